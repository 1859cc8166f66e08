//! A command that is kept: through an outage of the vault, and where the next can't be had.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{change_now, look_again, until_watched, watched_scene};
use crate::exec::orphans::processes::{EVAL_LINES, Wrapped, living};
use crate::harness::secret::{after_passes, change, generations, until_notified, until_published};
use crate::harness::{Scene, for_a_while, lines, side_by_side, until};

#[test]
fn an_outage_of_the_vault_restarts_no_command() {
    let mut scene = watched_scene();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let traps = "for s in HUP INT USR1; do trap 'again=1; echo signalled' $s; done";
    let wrapped = Wrapped::shell(&scene, traps);
    let command = wrapped.until_started(1);
    until_watched(&scene);
    scene.vault.go_down();
    change(&scene, "two");
    until("renewal has failed", || scene.failures() > 0);
    for_a_while("the command runs", || living(command).is_some());
    scene.vault.come_back();
    until("the command is restarted", || wrapped.starts().len() == 2);
    assert_eq!(wrapped.values(), ["one", "two"]);
    until_notified(&scene);
    wrapped.eval("exit 0");
    let run = wrapped.agent.wait();
    assert_eq!((run.code, run.stdout.contains("signalled")), (Some(0), false), "{}", run.stdout);
}

/// An agent with a small stack, by which the kernel measures what it takes for an environment.
fn with_a_small_stack(scene: &Scene) -> Wrapped {
    let agent = scene.agent(&["exec", "--", "sh", "-c", EVAL_LINES]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -s 2048; exec \"$@\"", "sh"]);
    command.arg(agent.get_program()).args(agent.get_args()).env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Wrapped::spawn(command)
}

/// A set of which no environment that [`with_a_small_stack`] has can hold all.
fn too_much(password: &str) -> serde_json::Value {
    let part = "x".repeat(100_000);
    let [a, b, c, d, e, f] = std::array::from_fn(|_| &part);
    json!({ "password": password, "a": a, "b": b, "c": c, "d": d, "e": e, "f": f })
}

#[test]
fn a_set_that_no_environment_holds_leaves_the_command_running_and_is_logged_once() {
    let mut scene = watched_scene();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let wrapped = with_a_small_stack(&scene);
    let command = wrapped.until_started(1);
    until_watched(&scene);
    scene.vault.set_data("app", too_much("two"));
    until_published(&scene, "two");
    wrapped.agent.until_logged(lines::RUNS_ON);
    after_passes(&scene, 4);
    assert!(living(command).is_some());
    let complaints = wrapped.agent.text_warnings();
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    assert!(complaints[0].contains("SEGURA_EXEC_ENV=false"), "{complaints:?}");
    assert_eq!(generations(&scene), (2, 1), "it is not notified");
    change(&scene, "three");
    until("the command is restarted", || wrapped.starts().len() == 2);
    assert_eq!(wrapped.values(), ["one", "three"]);
    until_notified(&scene);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn a_value_that_no_variable_holds_is_held_back_and_restarts_no_command() {
    side_by_side(["x".repeat(200_000), "a\0b".to_owned()], |value| {
        let scene = watched_scene();
        let wrapped = Wrapped::shell(&scene, "");
        let command = wrapped.until_started(1);
        until_watched(&scene);
        change_now(&scene, &value);
        until("it is held back", || scene.held_back("app").is_some());
        for_a_while("the command runs", || living(command).is_some());
        assert_eq!((wrapped.agent.times_logged(lines::SPLAYING), generations(&scene)), (0, (1, 1)));
        change_now(&scene, "two");
        wrapped.until_started(2);
        assert_eq!(wrapped.values(), ["one", "two"]);
        wrapped.eval("exit 0");
        assert_eq!(wrapped.agent.wait().code, Some(0));
    });
}

#[test]
fn the_running_command_stays_if_its_program_is_gone_or_not_executable() {
    let vanish = |path: &std::path::Path| fs::remove_file(path).unwrap();
    let forbid = |path: &std::path::Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap()
    };
    type Harm<'a> = &'a (dyn Fn(&std::path::Path) + Sync);
    let cases: [Harm<'_>; 2] = [&vanish, &forbid];
    for harm in cases {
        let scene = watched_scene();
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let program = dir.path().join("app");
        // Not copied by this process, whose open descriptor a child might hold at the wrong moment.
        assert!(Command::new("cp").arg("/bin/sh").arg(&program).status().unwrap().success());
        let words = program.display().to_string();
        let agent = scene.agent(&["exec", "--", &words, "-c", EVAL_LINES]);
        let wrapped = Wrapped::spawn(agent);
        let command = wrapped.until_started(1);
        until_watched(&scene);
        harm(&program);
        change_now(&scene, "two");
        let said = wrapped.agent.until_logged(lines::RUNS_ON);
        assert!(said.contains(&words), "{said}");
        for_a_while("the command runs", || living(command).is_some());
        wrapped.eval("exit 0");
        assert_eq!(wrapped.agent.wait().code, Some(0));
    }
}

#[test]
fn a_new_version_with_equal_values_causes_no_restart() {
    let scene = watched_scene();
    let wrapped = Wrapped::shell(&scene, "");
    let command = wrapped.until_started(1);
    until_watched(&scene);
    let asked = scene.request_lines().len();
    look_again(&scene);
    until("it is read again", || scene.request_lines().len() > asked);
    change_now(&scene, "one");
    for_a_while("the command runs", || living(command).is_some());
    assert_eq!((wrapped.starts().len(), generations(&scene)), (1, (1, 1)));
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}
