//! `check`: what a probe hears, from the set that stands and from the lock of a living agent.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    dev_vault::{Effect, Fault},
    harness::{
        Run, Scene,
        host::{NOBODY, User, can_be_others, skip},
        send, until,
    },
};

const QUESTIONS: [&str; 3] = ["started", "ready", "live"];
/// Where the state lies.
const STATE: &str = "..segura/state.json";

/// What `check` answers: yes or no, and its one line.
#[track_caller]
fn answer(run: &Run) -> (bool, String) {
    assert_eq!(run.stderr, "", "a probe's one line is on stdout");
    assert_eq!(run.stdout.matches('\n').count(), 1, "{run:?}");
    let line = run.stdout.trim_end().to_owned();
    assert!(matches!(run.code, Some(0 | 1)), "{run:?}");
    (run.code == Some(0), line)
}

#[track_caller]
fn check(scene: &Scene, question: &str) -> (bool, String) {
    let run = scene.agent(&["check", question]).output().expect("the agent runs");
    answer(&Run::of(run))
}

#[track_caller]
fn assert_yes(scene: &Scene, question: &str, start: &str) {
    let (yes, line) = check(scene, question);
    assert!(yes && line.starts_with(start), "{line}");
}

#[track_caller]
fn assert_no(scene: &Scene, question: &str, start: &str) {
    let (yes, line) = check(scene, question);
    assert!(!yes && line.starts_with(start), "{line}");
}

/// An agent that holds the directory and hears nothing from the vault.
fn waiting(scene: &Scene) -> Child {
    scene.vault.fault(Fault::new("", Effect::Hang));
    let agent = scene.spawn_init();
    until("the agent asks", || !scene.vault.requests().is_empty());
    agent
}

fn killed(agent: Child) {
    send(&agent, Signal::KILL);
    agent.wait_with_output().expect("it was killed");
}

/// Rewrites the state file as no agent would.
fn rewrite(scene: &Scene, change: impl FnOnce(&mut Value)) {
    let mut state = scene.state();
    change(&mut state);
    fs::remove_file(scene.path(STATE)).expect("it is ours");
    fs::write(scene.path(STATE), state.to_string()).expect("the folder is ours");
}

#[test]
fn what_init_has_left_is_started_and_no_more() {
    let scene = Scene::new();
    assert_no(&scene, "started", "not started: no whole set stands in /dev/shm/");
    scene.init().ended(0);
    scene.vault.clear_requests();
    assert_yes(&scene, "started", "started: generation 1, fetched ");
    assert_no(&scene, "ready", "not ready: no agent is alive in /dev/shm/");
    assert_no(&scene, "live", "not live: no agent is alive in /dev/shm/");
    let (_, line) = check(&scene, "ready");
    assert!(line.contains(": init fetched the set ") && line.contains("nothing renews"), "{line}");
    let alone = Run::of(scene.agent(&["check"]).output().unwrap());
    let (yes, line) = answer(&alone);
    assert!(!yes && line.starts_with("not ready: "), "alone it means ready: {line}");
    assert!(scene.vault.requests().is_empty(), "a check asks nobody");
}

#[test]
fn an_agent_is_alive_as_long_as_it_is() {
    let scene = Scene::due();
    let agent = waiting(&scene);
    assert_yes(&scene, "ready", "ready: generation 1, fetched ");
    assert_no(&scene, "live", "not live: init published the set in /dev/shm/");
    killed(agent);
    assert_yes(&scene, "started", "started: generation 1");
    assert_no(&scene, "ready", "not ready: no agent is alive in ");
    assert_no(&scene, "live", "not live: no agent is alive in ");
}

#[test]
fn looking_takes_nothing_from_the_agent() {
    let scene = Scene::due();
    let agent = waiting(&scene);
    for _ in 0..20 {
        assert_yes(&scene, "ready", "ready: ");
    }
    let second = scene.init();
    second.ended(73);
    assert!(second.error().contains("another segura-agent holds it"), "{}", second.stderr);
    assert_yes(&scene, "ready", "ready: ");
    killed(agent);
}

#[test]
fn an_agent_without_a_set_is_live_alone() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
    let agent = waiting(&scene);
    assert_no(&scene, "started", "not started: no whole set stands in /dev/shm/");
    assert_no(&scene, "ready", "not ready: no whole set stands in /dev/shm/");
    assert_yes(&scene, "live", "live: the agent is starting");
    killed(agent);
}

#[test]
fn the_loop_is_judged_by_what_its_own_agent_has_promised() {
    let scene = Scene::due();
    let agent = waiting(&scene);
    let fetched = scene.state()["boot_ms"]["fetched"].as_u64().unwrap();
    rewrite(&scene, |state| state["boot_ms"]["silent_until"] = json!(fetched + 3_600_000));
    assert_yes(&scene, "live", "live: generation 1");
    assert_yes(&scene, "ready", "ready: generation 1");
    rewrite(&scene, |state| state["boot_ms"]["silent_until"] = json!(fetched));
    assert_no(&scene, "live", "not live: the agent has stopped turning");
    assert_no(&scene, "ready", "not ready: the agent has stopped turning");
    assert_yes(&scene, "started", "started: ");
    // As an agent before this one would have left it.
    let before = fs::metadata(scene.path("..segura/holder")).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(scene.path(STATE)).unwrap();
    file.set_modified(before - Duration::from_secs(60)).unwrap();
    assert_yes(&scene, "live", "live: generation 1");
    killed(agent);
}

#[test]
fn a_set_over_max_stale_is_not_ready() {
    let mut scene = Scene::due();
    let agent = waiting(&scene);
    scene.set("SEGURA_MAX_STALE", "1h");
    assert_yes(&scene, "ready", "ready: ");
    scene.set("SEGURA_MAX_STALE", "10ms");
    let (yes, line) = check(&scene, "ready");
    assert!(!yes && line.contains(" old, older than SEGURA_MAX_STALE=10ms"), "{line}");
    assert_yes(&scene, "started", "started: ");
    killed(agent);
}

#[test]
fn failures_are_told() {
    let scene = Scene::due();
    scene.vault.go_down();
    scene.init().ended(0);
    let (yes, line) = check(&scene, "started");
    assert!(yes && line.ends_with("; last failure: unreachable, 1 in a row"), "{line}");
}

#[test]
fn a_directory_that_is_missing_is_told() {
    let mut scene = Scene::new();
    let missing = scene.path("missing").display().to_string();
    scene.set("SEGURA_OUTPUT_DIR", &missing);
    for question in QUESTIONS {
        let (yes, line) = check(&scene, question);
        let told = format!("not {question}: cannot open the output directory {missing}: No such");
        assert!(!yes && line.starts_with(&told), "{line}");
    }
}

#[test]
fn a_set_that_was_given_back_is_none() {
    let scene = Scene::new();
    scene.init().ended(0);
    rewrite(&scene, |state| state["given_back"] = json!(true));
    assert_no(
        &scene,
        "started",
        "not started: the set was given back to the vault, or the vault no longer has it",
    );
    assert_no(
        &scene,
        "ready",
        "not ready: the set was given back to the vault, or the vault no longer has it",
    );
}

#[test]
fn a_state_that_is_torn_takes_nothing_from_the_set() {
    let scene = Scene::new();
    scene.init().ended(0);
    fs::remove_file(scene.path(STATE)).unwrap();
    assert_yes(&scene, "started", "started: generation 1");
    fs::write(scene.path(STATE), "{\"generation\":").unwrap();
    assert_yes(&scene, "started", "started: generation 1");
    fs::remove_dir_all(scene.path("..segura")).unwrap();
    assert_no(&scene, "started", "not started: no whole set stands");
}

#[test]
fn a_set_that_lost_a_name_is_not_whole() {
    let scene = Scene::new();
    scene.init().ended(0);
    fs::remove_file(scene.path("secret-postman")).unwrap();
    assert_no(&scene, "started", "not started: no whole set stands");
}

#[test]
fn those_who_may_read_may_check_and_others_are_told_why_not() {
    if !can_be_others("those_who_may_read_may_check") {
        return;
    }
    let scene = Scene::due();
    let agent = waiting(&scene);
    // The group is all that a container of another user shares by `fsGroup`.
    let reader = User { uid: 1001, gid: 1001, groups: &[0] };
    let run = Run::of(scene.agent_as(reader, &["check"]).output().unwrap());
    let (yes, line) = answer(&run);
    assert!(yes && line.starts_with("ready: generation 1"), "{line}");
    let run = Run::of(scene.agent_as(NOBODY, &["check"]).output().unwrap());
    let (yes, line) = answer(&run);
    assert!(!yes && line.starts_with("not ready: cannot open "), "{line}");
    assert!(line.contains("..segura: Permission denied"), "{line}");
    killed(agent);
}

#[test]
fn an_agent_is_seen_from_another_process_namespace() {
    let unshare = |scene: &Scene, args: &[&str]| {
        let agent = scene.agent(args);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork"]).arg(agent.get_program()).args(args).env_clear();
        command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.output().ok().map(Run::of)
    };
    let scene = Scene::due();
    if unshare(&scene, &["--version"]).is_none_or(|run| run.code != Some(0)) {
        return skip("an_agent_is_seen_from_another_process_namespace", "unshare(1) needs root");
    }
    let agent = waiting(&scene);
    let (yes, line) = answer(&unshare(&scene, &["check"]).unwrap());
    assert!(yes && line.starts_with("ready: "), "{line}");
    killed(agent);
}

#[test]
fn where_nothing_is_written_there_is_nothing_to_check() {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "none").set("SEGURA_OUTPUT_DIR", "/missing");
    for question in QUESTIONS {
        let (yes, line) = check(&scene, question);
        assert!(yes && line.contains("there is nothing to check"), "{line}");
    }
}

#[test]
fn a_check_reads_its_own_settings_alone() {
    let mut scene = Scene::new();
    scene.init().ended(0);
    for name in ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET", "SEGURA_IDENTITY"] {
        scene.unset(name);
    }
    scene
        .set("SEGURA_CA_FILE", "/missing")
        .set("SEGURA_FILE_MODE", "wrong")
        .set("SEGURA_TYPO", "x");
    assert_yes(&scene, "started", "started: ");
    let log = tempfile::NamedTempFile::new().unwrap();
    scene.set("SEGURA_TERMINATION_LOG", &log.path().display().to_string());
    scene.set("SEGURA_MAX_STALE", "soon");
    let run = Run::of(scene.agent(&["check"]).output().unwrap());
    run.ended(78);
    assert!(run.stderr.contains("SEGURA_MAX_STALE: must be "), "{}", run.stderr);
    assert_eq!(fs::read_to_string(log.path()).unwrap(), "", "that message is the agent's");
}

#[test]
fn wrong_use_is_64() {
    let scene = Scene::new();
    for args in [&["check", "alive"][..], &["check", "ready", "live"], &["check", "--ready"]] {
        Run::of(scene.agent(args).output().unwrap()).ended(64);
    }
}
