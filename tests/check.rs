//! `check`: answers from the published set and the lock of a running agent.

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
        host::{NOBODY, User, can_switch_user, skip},
        send, until,
    },
};

const QUESTIONS: [&str; 3] = ["started", "ready", "live"];
/// Where the state lies.
const STATE: &str = "..segura/state.json";

/// Asserts a yes, and gives the line.
#[track_caller]
fn assert_yes(scene: &Scene, question: &str) -> String {
    let (yes, line) = scene.check(question);
    assert!(yes && line.starts_with(&format!("{question}: ")), "{line}");
    line
}

/// Asserts a no, and gives the line.
#[track_caller]
fn assert_no(scene: &Scene, question: &str) -> String {
    let (yes, line) = scene.check(question);
    assert!(!yes && line.starts_with(&format!("not {question}: ")), "{line}");
    line
}

/// Asserts a yes for the first generation.
#[track_caller]
fn assert_first(scene: &Scene, question: &str) {
    let line = assert_yes(scene, question);
    assert!(line.contains(" generation 1"), "{line}");
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
fn a_set_of_init_is_started_but_not_live() {
    let scene = Scene::new();
    assert_no(&scene, "started");
    scene.init().exits(0);
    scene.vault.clear_requests();
    assert_first(&scene, "started");
    assert_no(&scene, "ready");
    assert_no(&scene, "live");
    let line = assert_no(&scene, "ready");
    assert!(line.contains("init"), "who left the set is named: {line}");
    let alone = scene.run(&["check"]);
    let (yes, line) = alone.answer();
    assert!(!yes && line.starts_with("not ready: "), "alone it means ready: {line}");
    assert!(scene.vault.requests().is_empty(), "a check sends no request");
}

#[test]
fn an_agent_is_live_until_it_ends() {
    let scene = Scene::with_due_set();
    let agent = waiting(&scene);
    assert_first(&scene, "ready");
    assert_no(&scene, "live");
    killed(agent);
    assert_first(&scene, "started");
    assert_no(&scene, "ready");
    assert_no(&scene, "live");
}

#[test]
fn a_check_leaves_the_lock_to_the_agent() {
    let scene = Scene::with_due_set();
    let agent = waiting(&scene);
    for _ in 0..20 {
        assert_yes(&scene, "ready");
    }
    let second = scene.init();
    second.exits(73);
    assert!(second.error().contains(&agent.id().to_string()), "{}", second.stderr);
    assert_yes(&scene, "ready");
    killed(agent);
}

#[test]
fn an_agent_without_a_set_is_live_but_not_ready() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
    let agent = waiting(&scene);
    assert_no(&scene, "started");
    assert_no(&scene, "ready");
    assert_yes(&scene, "live");
    killed(agent);
}

#[test]
fn liveness_is_judged_by_the_heartbeat_that_its_own_agent_promised() {
    let scene = Scene::with_due_set();
    let agent = waiting(&scene);
    let fetched = scene.state()["boot_ms"]["fetched"].as_u64().unwrap();
    rewrite(&scene, |state| state["boot_ms"]["silent_until"] = json!(fetched + 3_600_000));
    assert_first(&scene, "live");
    assert_first(&scene, "ready");
    rewrite(&scene, |state| state["boot_ms"]["silent_until"] = json!(fetched));
    assert_no(&scene, "live");
    assert_no(&scene, "ready");
    assert_yes(&scene, "started");
    // As an agent before this one would have left it.
    let before = fs::metadata(scene.path("..segura/holder")).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(scene.path(STATE)).unwrap();
    file.set_modified(before - Duration::from_secs(60)).unwrap();
    assert_first(&scene, "live");
    killed(agent);
}

#[test]
fn a_set_over_max_stale_is_not_ready() {
    let mut scene = Scene::with_due_set();
    let agent = waiting(&scene);
    scene.set("SEGURA_MAX_STALE", "1h");
    assert_yes(&scene, "ready");
    scene.set("SEGURA_MAX_STALE", "10ms");
    let line = assert_no(&scene, "ready");
    assert!(line.contains("SEGURA_MAX_STALE=10ms"), "{line}");
    assert_yes(&scene, "started");
    killed(agent);
}

#[test]
fn failures_are_reported() {
    let scene = Scene::with_due_set();
    scene.vault.go_down();
    scene.init().exits(0);
    let line = assert_yes(&scene, "started");
    assert!(line.contains("unreachable"), "{line}");
}

#[test]
fn a_missing_directory_is_reported() {
    let mut scene = Scene::new();
    let missing = scene.path("missing").display().to_string();
    scene.set("SEGURA_OUTPUT_DIR", &missing);
    for question in QUESTIONS {
        let line = assert_no(&scene, question);
        assert!(line.contains(&format!("{missing}: No such file")), "{line}");
    }
}

#[test]
fn a_deprovisioned_set_is_neither_started_nor_ready() {
    let scene = Scene::new();
    scene.init().exits(0);
    rewrite(&scene, |state| state["given_back"] = json!(true));
    assert_no(&scene, "started");
    assert_no(&scene, "ready");
}

#[test]
fn a_torn_state_file_does_not_make_the_set_incomplete() {
    let scene = Scene::new();
    scene.init().exits(0);
    fs::remove_file(scene.path(STATE)).unwrap();
    assert_first(&scene, "started");
    fs::write(scene.path(STATE), "{\"generation\":").unwrap();
    assert_first(&scene, "started");
    fs::remove_dir_all(scene.path("..segura")).unwrap();
    assert_no(&scene, "started");
}

#[test]
fn a_set_without_one_of_its_names_is_incomplete() {
    let scene = Scene::new();
    scene.init().exits(0);
    fs::remove_file(scene.path("secret-postman")).unwrap();
    assert_no(&scene, "started");
}

#[test]
fn users_with_read_rights_can_check_and_others_get_the_reason() {
    if !can_switch_user("users_with_read_rights_can_check_and_others_get_the_reason") {
        return;
    }
    let scene = Scene::with_due_set();
    let agent = waiting(&scene);
    // The group is all that a container of another user shares by `fsGroup`.
    let reader = User { uid: 1001, gid: 1001, groups: &[0] };
    let run = scene.run_as(reader, &["check"]);
    let (yes, line) = run.answer();
    assert!(yes && line.starts_with("ready: generation 1"), "{line}");
    let run = scene.run_as(NOBODY, &["check"]);
    let (yes, line) = run.answer();
    assert!(!yes && line.starts_with("not ready: "), "{line}");
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
    let scene = Scene::with_due_set();
    if unshare(&scene, &["--version"]).is_none_or(|run| run.code != Some(0)) {
        return skip("an_agent_is_seen_from_another_process_namespace", "unshare(1) needs root");
    }
    let agent = waiting(&scene);
    let (yes, line) = unshare(&scene, &["check"]).unwrap().answer();
    assert!(yes && line.starts_with("ready: "), "{line}");
    killed(agent);
}

#[test]
fn with_output_none_there_is_nothing_to_check() {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "none").set("SEGURA_OUTPUT_DIR", "/missing");
    for question in QUESTIONS {
        let (yes, line) = scene.check(question);
        assert!(yes && line.contains("SEGURA_OUTPUT=none"), "{line}");
    }
}

#[test]
fn a_check_reads_its_own_settings_alone() {
    let mut scene = Scene::new();
    scene.init().exits(0);
    for name in ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET", "SEGURA_IDENTITY"] {
        scene.unset(name);
    }
    scene
        .set("SEGURA_CA_FILE", "/missing")
        .set("SEGURA_FILE_MODE", "wrong")
        .set("SEGURA_TYPO", "x");
    assert_yes(&scene, "started");
    let log = tempfile::NamedTempFile::new().unwrap();
    scene.set("SEGURA_TERMINATION_LOG", &log.path().display().to_string());
    scene.set("SEGURA_MAX_STALE", "soon");
    let run = scene.run(&["check"]);
    run.refuses("SEGURA_MAX_STALE");
    assert_eq!(fs::read_to_string(log.path()).unwrap(), "", "that message is the agent's");
}

#[test]
fn wrong_use_is_64() {
    let scene = Scene::new();
    for args in [&["check", "alive"][..], &["check", "ready", "live"], &["check", "--ready"]] {
        scene.run(args).exits(64);
    }
}
