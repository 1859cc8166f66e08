//! Orphans: all who come to the agent are waited for, as process 1 and as subreaper.

pub mod processes;

use std::fs;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tempfile::TempDir;

use self::processes::{
    EVAL_LINES, Wrapped, children, is_stopped, living, only_child, send_to, zombies,
};
use crate::dev_vault::requests::secret;
use crate::dev_vault::{Effect, Fault};
use crate::harness::dispositions::mask;
use crate::harness::secret::{change, fetch_app_alone, generations, until_notified};
use crate::harness::{Scene, for_a_while, host::skip, lines, until};

/// A thousand processes whose parents are gone before them, by four shells at once.
const BOMB: &str = "for n in 1 2 3 4; do sh -c 'i=0; while [ $i -lt 250 ]; do (: &); i=$((i+1)); done' & done; wait; echo bombed";

/// A scene whose one secret is `app`, fetched every second.
fn scene() -> Scene {
    let mut scene = Scene::new();
    fetch_app_alone(&mut scene);
    scene.set("PATH", "/usr/bin:/bin").set("SEGURA_ON_CHANGE", "none");
    scene
}

/// The same agent as process 1 of a PID namespace of its own, below unshare(1).
fn as_init(agent: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(agent.get_program());
    command.args(agent.get_args()).env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether tests can have PID namespaces; skips aloud if not.
pub fn can_be_init(test: &str) -> bool {
    let can = as_init(&Command::new("true")).status().is_ok_and(|status| status.success());
    if !can {
        skip(test, "only root with unshare(1) can have a PID namespace");
    }
    can
}

/// A command of process 1 that evaluates lines, and its agent's PID outside of the namespace.
#[track_caller]
fn init_shell(scene: &Scene, first: &str) -> (Wrapped, i32) {
    let script = format!("{first}\n{EVAL_LINES}");
    let wrapped = Wrapped::spawn(as_init(&scene.agent(&["exec", "--", "sh", "-c", &script])));
    let agent = only_child(wrapped.agent_pid());
    (wrapped, agent)
}

/// Runs a shell in the PID namespace of a process, to its end.
#[track_caller]
fn enter(pid: i32, script: &str) {
    let pid = pid.to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid, "--pid", "--mount", "sh", "-c", script]);
    assert!(command.stdin(Stdio::null()).status().expect("nsenter(1)").success());
}

/// Ends the children of an agent, but for its command.
fn kill_all_but(agent: i32, command: i32) {
    let others = children(agent).into_iter().filter(|stat| stat.pid != command);
    others.for_each(|stat| send_to(stat.pid, Signal::KILL));
}

/// Throws the bomb; asserts that nothing of it stays, and that the agent and its command go on.
#[track_caller]
fn assert_survives(wrapped: &Wrapped, agent: i32) {
    wrapped.eval(BOMB);
    wrapped.agent.until_printed("bombed");
    until("no zombie is left", || zombies(agent) == 0);
    until("only the command is left", || children(agent).len() == 1);
    wrapped.eval("echo unhurt");
    wrapped.agent.until_printed("unhurt");
}

#[test]
fn a_thousand_orphans_leave_no_zombie_beside_a_subreaper() {
    let scene = scene();
    let wrapped = Wrapped::shell(&scene, "");
    let (command, agent) = (wrapped.until_started(1), wrapped.agent_pid());
    wrapped.eval("(sleep 600 &)");
    until("the orphan comes to the agent", || children(agent).len() == 2);
    kill_all_but(agent, command);
    assert_survives(&wrapped, agent);
    wrapped.eval("exit 3");
    assert_eq!(wrapped.agent.wait().code, Some(3));
}

#[test]
fn a_thousand_orphans_leave_no_zombie_beside_process_1() {
    if !can_be_init("a_thousand_orphans_leave_no_zombie_beside_process_1") {
        return;
    }
    let scene = scene();
    let (wrapped, agent) = init_shell(&scene, "");
    wrapped.until_started(1);
    assert_survives(&wrapped, agent);
    wrapped.eval("exit 42");
    assert_eq!(wrapped.agent.wait().code, Some(42));
}

#[test]
fn process_1_ends_with_its_command_and_all_other_processes_end_too() {
    if !can_be_init("process_1_ends_with_its_command_and_all_other_processes_end_too") {
        return;
    }
    let scene = scene();
    let ends: [(&str, i32); 4] =
        [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)];
    for (end, code) in ends {
        let (wrapped, agent) = init_shell(&scene, "ulimit -c 0");
        let command = wrapped.until_started(1);
        assert_ne!(command, 1, "the agent is process 1, not the command");
        wrapped.eval("(setsid sh -c 'trap \"\" TERM HUP; sleep 600 & wait' &)");
        until("an orphan comes to process 1", || children(agent).len() == 2);
        let all: Vec<i32> = children(agent).iter().map(|stat| stat.pid).collect();
        wrapped.eval(end);
        assert_eq!(wrapped.agent.wait().code, Some(code), "{end}");
        until("no process of the namespace is left", || {
            all.iter().all(|pid| living(*pid).is_none())
        });
    }
}

#[test]
fn process_1_forwards_signals_that_have_no_default_action_for_it() {
    if !can_be_init("process_1_forwards_signals_that_have_no_default_action_for_it") {
        return;
    }
    let scene = scene();
    let (wrapped, agent) = init_shell(&scene, "trap 'echo signalled; exit 5' TERM");
    wrapped.until_started(1);
    send_to(agent, Signal::TERM);
    let run = wrapped.agent.wait();
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    assert!(run.stdout.contains("signalled"), "{}", run.stdout);
    let (wrapped, agent) = init_shell(&scene, "");
    wrapped.until_started(1);
    send_to(agent, Signal::TERM);
    assert_eq!(wrapped.agent.wait().code, Some(143));
}

#[test]
fn orphans_of_a_process_that_entered_the_namespace_are_waited_for() {
    if !can_be_init("orphans_of_a_process_that_entered_the_namespace_are_waited_for") {
        return;
    }
    let scene = scene();
    let (wrapped, agent) = init_shell(&scene, "");
    wrapped.until_started(1);
    let command = only_child(agent);
    enter(agent, "(sleep 600 &)");
    until("it comes to process 1", || children(agent).len() == 2);
    kill_all_but(agent, command);
    enter(agent, "i=0; while [ $i -lt 100 ]; do (: &); i=$((i+1)); done");
    until("only the command is left", || children(agent).len() == 1);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn orphans_are_waited_for_before_the_command_starts() {
    if !can_be_init("orphans_are_waited_for_before_the_command_starts") {
        return;
    }
    let mut scene = scene();
    scene.set("SEGURA_TIMEOUT", "1h").set("SEGURA_STARTUP_TIMEOUT", "1h");
    scene.vault.fault(Fault::new("sctm", Effect::Hang));
    let (wrapped, agent) = init_shell(&scene, "");
    until("it asks for the secret", || scene.count(&secret("app")) > 0);
    enter(agent, "(sleep 600 &)");
    until("an orphan comes to process 1", || children(agent).len() == 1);
    kill_all_but(agent, 0);
    enter(agent, "i=0; while [ $i -lt 100 ]; do (: &); i=$((i+1)); done");
    until("no process is left", || children(agent).is_empty());
    assert!(wrapped.starts().is_empty(), "nothing runs without its secrets");
    send_to(agent, Signal::TERM);
    assert_eq!(wrapped.agent.wait().code, Some(143));
}

#[test]
fn children_from_before_the_execve_are_waited_for() {
    let mut scene = scene();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = fs::File::create(dir.path().join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    scene.set("FOLDER", &dir_name(&dir));
    let agent = scene.agent(&["exec", "--", "sh", "-c", EVAL_LINES]);
    let mut command = Command::new("sh");
    // flock(1) waits for its lock, not for children, and becomes the agent then.
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 600 & done; \
                  exec flock --no-fork \"$FOLDER/lock\" \"$@\"";
    command.args(["-c", script, "sh"]).arg(agent.get_program()).args(agent.get_args()).env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let wrapped = Wrapped::spawn(command);
    let agent = wrapped.agent_pid();
    let program = || fs::read_link(format!("/proc/{agent}/exe")).expect("it runs");
    until("it waits for the lock", || program().ends_with("flock"));
    kill_all_but(agent, children(agent)[0].pid);
    until("all but one have ended", || zombies(agent) == 8);
    flock(&lock, FlockOperation::Unlock).unwrap();
    let command = wrapped.until_started(1);
    until("those that have ended are waited for", || children(agent).len() == 2);
    kill_all_but(agent, command);
    until("only the command is left", || children(agent).len() == 1);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn a_stopped_orphan_stops_no_other_process() {
    let scene = scene();
    let wrapped = Wrapped::shell(&scene, "");
    let (command, agent) = (wrapped.until_started(1), wrapped.agent_pid());
    wrapped.eval("(sh -c 'kill -STOP $$; kill -STOP $$' &)");
    let orphan = || {
        let others = children(agent).into_iter().filter(|stat| stat.pid != command);
        others.map(|stat| stat.pid).collect::<Vec<_>>()
    };
    until("it comes to the agent", || orphan().len() == 1);
    let pid = orphan()[0];
    for _ in 0..2 {
        until("it is stopped", || is_stopped(pid));
        for_a_while("no other process is", || !is_stopped(agent) && !is_stopped(command));
        send_to(pid, Signal::CONT);
    }
    until("it is waited for", || orphan().is_empty());
    wrapped.eval("exit 4");
    assert_eq!(wrapped.agent.wait().code, Some(4));
}

#[test]
fn a_command_that_replaces_the_agent_gets_no_orphans() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    let wrapped = Wrapped::shell(&scene, "");
    let command = wrapped.until_started(1);
    assert_eq!(command, wrapped.agent_pid(), "it is the agent's process");
    wrapped.eval("sh -c 'sleep 600 & echo \"orphan $! $$\"'");
    let orphan = || {
        let stdout = wrapped.agent.stdout();
        let (_, line) = stdout.split_once("orphan ")?;
        let (orphan, parent) = line.split_once('\n')?.0.split_once(' ')?;
        Some((orphan.parse().ok()?, parent.parse().ok()?))
    };
    until("it has an orphan", || orphan().is_some());
    let (orphan, parent): (i32, i32) = orphan().unwrap();
    until("its parent is gone", || living(parent).is_none());
    let comes_to = living(orphan).unwrap().parent;
    send_to(orphan, Signal::KILL);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
    assert_ne!(comes_to, command, "nothing of the agent remains");
}

fn dir_name(dir: &TempDir) -> String {
    dir.path().display().to_string()
}

/// A scene that runs a script on each change, whose exit code is in the file `code`.
fn notified_by_script() -> (Scene, TempDir) {
    let mut scene = scene();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let script =
        "cd \"$FOLDER\"; env >environment; cat /proc/self/status >status; exit $(cat code)";
    let words = serde_json::json!(["/bin/sh", "-c", script]).to_string();
    scene.set("SEGURA_NOTIFY_COMMAND", &words);
    scene.set("FOLDER", &dir.path().display().to_string());
    fs::write(dir.path().join("code"), "0").expect("it is ours");
    (scene, dir)
}

#[test]
fn the_end_of_a_notify_command_is_seen_among_a_thousand_others() {
    let (scene, dir) = notified_by_script();
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    until_notified(&scene);
    fs::write(dir.path().join("code"), "3").unwrap();
    wrapped.eval(&format!("{BOMB}; {BOMB}"));
    change(&scene, "two");
    // The state has (2, 1) while the command still runs, too.
    until("the notification has failed", || !wrapped.agent.text_warnings().is_empty());
    assert_eq!(generations(&scene), (2, 1));
    fs::write(dir.path().join("code"), "0").unwrap();
    until_notified(&scene);
    wrapped.agent.until_logged(lines::NOTIFIED_AGAIN);
    assert_eq!(wrapped.agent.text_warnings().len(), 1, "{:?}", wrapped.agent.text_warnings());
    until("no zombie is left", || zombies(wrapped.agent_pid()) == 0);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn a_notify_command_blocks_no_signal_and_has_no_credential() {
    let mut scene = scene();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // No shell in between: dash(1) begins with blocking nothing.
    let words = ["/bin/cp", "/proc/self/status", "/proc/self/environ", &dir_name(&dir)];
    scene.set("SEGURA_NOTIFY_COMMAND", &serde_json::json!(words).to_string());
    scene.set("OF_THE_APP", "x");
    let wrapped = Wrapped::shell(&scene, "");
    until_notified(&scene);
    let status = fs::read_to_string(dir.path().join("status")).unwrap();
    assert_eq!(mask(&status, "SigBlk"), 0);
    let environment = fs::read_to_string(dir.path().join("environ")).unwrap();
    assert!(environment.split('\0').any(|pair| pair == "OF_THE_APP=x"), "{environment}");
    assert!(!environment.contains("SEGURA_"), "{environment}");
    assert!(!environment.contains(scene.vault.client_secret()), "{environment}");
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}
