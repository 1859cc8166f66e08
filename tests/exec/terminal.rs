//! A terminal: the command has it while it runs, as if no agent stood between the two.

mod jobs;
mod session;

use std::fs;

use self::session::{CTRL_C, CTRL_Z, END, Session};
use super::orphans::can_be_init;
use super::orphans::processes::{is_gone, living};
use super::restart::{LINGERS, change_now, end_remaining_processes, watched_scene};
use crate::dev_vault::Fault;
use crate::dev_vault::requests::secret;
use crate::harness::secret::until_notified;
use crate::harness::{Scene, for_a_while, until};

/// Says who it is, and repeats each line that it reads.
const REPEATS: &str = "echo \"pid $$ $PPID\"; while read -r line || [ -n \"$again\" ]; do again=; echo \"got $line\"; done";

/// A scene whose set is published, and is read again when it is looked at; the log level is `warn`.
fn scene() -> Scene {
    let mut scene = watched_scene();
    scene.set("SEGURA_LOG", "warn");
    scene.init().exits(0);
    scene
}

#[test]
fn a_command_reads_from_the_terminal_after_each_start() {
    let scene = scene();
    let below_a_shell = "\"$AGENT\" exec -- sh -c 'read -r x; echo \"got $x\"; exit 7'";
    for n in 0..50 {
        let session = match n % 2 {
            0 => Session::of_agent(&scene, "read -r x; echo \"got $x\"; exit 7"),
            _ => Session::of(&scene, &["sh", "-c", below_a_shell]),
        };
        session.type_keys(&format!("line {n}\n"));
        session.until_shown(&format!("got line {n}\n"));
        assert_eq!(session.leader.wait().code, Some(7));
    }
}

#[test]
fn the_commands_group_has_the_terminal() {
    let scene = scene();
    let session = Session::of_agent(&scene, REPEATS);
    let (command, agent) = session.pids(1);
    until("the command has the terminal", || session.foreground() == command);
    assert_eq!(living(command).unwrap().group, command);
    assert_ne!(living(agent).unwrap().group, command);
    session.type_keys(END);
    assert_eq!(session.leader.wait().code, Some(0));
}

#[test]
fn an_interrupt_reaches_the_command_once() {
    let scene = scene();
    let traps = "trap 'n=$((n + 1)); again=1; echo \"INT $n\"' INT";
    let session = Session::of_agent(&scene, &format!("{traps}; {REPEATS}; exit 6"));
    let (command, _) = session.pids(1);
    until("the command has the terminal", || session.foreground() == command);
    session.type_keys(CTRL_C);
    session.until_shown("INT 1\n");
    for_a_while("it is one", || session.count("INT") == 1);
    session.type_keys(CTRL_C);
    session.until_shown("INT 2\n");
    session.type_keys("on\n");
    session.until_shown("got on\n");
    session.type_keys(END);
    assert_eq!(session.leader.wait().code, Some(6));
}

#[test]
fn an_interrupt_that_ends_the_command_ends_the_agent_too() {
    let scene = scene();
    let session = Session::of_agent(&scene, REPEATS);
    let (command, _) = session.pids(1);
    until("the command has the terminal", || session.foreground() == command);
    session.type_keys(CTRL_C);
    assert_eq!(session.leader.wait().code, Some(130));
}

/// Asserts that the key that stops is as good as not typed, for a command that repeats.
#[track_caller]
fn assert_not_stopped_for_good(session: Session) {
    let (command, _) = session.pids(1);
    until("the command has the terminal", || session.foreground() == command);
    for line in ["one", "two"] {
        session.type_keys(CTRL_Z);
        session.type_keys(&format!("{line}\n"));
        session.until_shown(&format!("got {line}\n"));
    }
    session.type_keys(END);
    assert_eq!(session.leader.wait().code, Some(0));
}

#[test]
fn a_stop_has_no_lasting_effect_where_the_agent_leads_the_session() {
    assert_not_stopped_for_good(Session::of_agent(&scene(), REPEATS));
}

#[test]
fn a_stop_has_no_lasting_effect_below_a_shell_without_job_control() {
    let script = format!("\"$AGENT\" exec -- sh -c '{REPEATS}'; exit $?");
    assert_not_stopped_for_good(Session::of(&scene(), &["sh", "-c", &script]));
}

#[test]
fn a_stop_before_the_start_that_no_process_could_undo_has_no_lasting_effect() {
    let mut scene = watched_scene();
    scene.set("SEGURA_LOG", "warn");
    scene.vault.fault(Fault::delay("sctm", 1_000).once());
    let session = Session::of_agent(&scene, REPEATS);
    until("the secret is fetched", || scene.count(&secret("app")) > 0);
    session.type_keys(CTRL_Z);
    session.pids(1);
    session.type_keys("one\n");
    session.until_shown("got one\n");
    session.type_keys(END);
    session.leader.wait();
}

#[test]
fn after_the_command_the_terminal_returns_to_its_former_group() {
    let scene = scene();
    let script = "\"$AGENT\" exec -- cat; read -r x; echo \"then $x\"";
    let session = Session::of(&scene, &["sh", "-c", script]);
    session.type_keys("one\n");
    session.until_shown("one\n");
    session.type_keys(END);
    session.type_keys("two\n");
    session.until_shown("then two\n");
    assert_eq!(session.leader.wait().code, Some(0));
}

#[test]
fn after_a_command_that_cannot_start_the_terminal_returns_to_its_former_group() {
    let scene = scene();
    let script = "\"$AGENT\" exec -- /nonexistent; echo \"code $?\"; read -r x; echo \"then $x\"";
    let session = Session::of(&scene, &["sh", "-c", script]);
    session.until_shown("code 127\n");
    session.type_keys("two\n");
    session.until_shown("then two\n");
    assert_eq!(session.leader.wait().code, Some(0));
}

#[test]
fn a_restarted_command_has_the_terminal() {
    let scene = scene();
    let session = Session::of_agent(&scene, REPEATS);
    let mut before = 0;
    for (times, value) in ["one", "two", "three"].iter().enumerate() {
        if times > 0 {
            until_notified(&scene);
            change_now(&scene, value);
        }
        let (command, _) = session.pids(times + 1);
        assert_ne!(command, before);
        until("the command has the terminal", || session.foreground() == command);
        session.type_keys(&format!("{value}\n"));
        session.until_shown(&format!("got {value}\n"));
        before = command;
    }
    session.type_keys(END);
    session.leader.wait();
}

#[test]
fn an_interrupt_between_stop_and_start_of_a_restart_ends_the_agent() {
    let scene = scene();
    let session = Session::of_agent(&scene, &format!("{LINGERS}; {REPEATS}"));
    let (command, agent) = session.pids(1);
    until("the command has the terminal", || session.foreground() == command);
    until_notified(&scene);
    change_now(&scene, "two");
    until("the command is waited for", || is_gone(command));
    session.type_keys(CTRL_C);
    let shown = || session.count("pid ");
    until("the agent ends, or starts another", || living(agent).is_none() || shown() == 2);
    end_remaining_processes(&session.shown());
    assert_eq!(shown(), 1, "an interrupt is not lost");
    assert_eq!(session.leader.wait().code, Some(130));
}

#[test]
fn a_resize_of_the_window_reaches_the_command_once() {
    let scene = scene();
    let traps = "trap 'n=$((n + 1)); again=1; echo \"WINCH $n $(stty size)\"' WINCH";
    let session = Session::of_agent(&scene, &format!("{traps}; {REPEATS}"));
    let (command, _) = session.pids(1);
    until("the command has the terminal", || session.foreground() == command);
    session.resize(50, 132);
    session.until_shown("WINCH 1 50 132\n");
    for_a_while("it is one", || session.count("WINCH") == 1);
    session.resize(24, 80);
    session.until_shown("WINCH 2 24 80\n");
    session.type_keys(END);
    session.leader.wait();
}

#[test]
fn a_closed_terminal_ends_the_command_and_the_agent() {
    let mut scene = scene();
    let file = scene.vault.dir().join("signalled");
    scene.set("FILE", &file.display().to_string());
    let script =
        "trap 'echo HUP >>\"$FILE\"; kill $!; exit 3' HUP; sleep 600 & echo \"pid $$ $PPID\"; wait";
    let session = Session::of_agent(&scene, script);
    session.pids(1);
    let (_litter, leader) = session.hang_up();
    assert_eq!(leader.wait().code, Some(3));
    assert_eq!(fs::read_to_string(file).unwrap(), "HUP\n");
}

#[test]
fn a_session_leader_outside_of_the_pid_namespace_is_no_obstacle() {
    if !can_be_init("a_session_leader_outside_of_the_pid_namespace_is_no_obstacle") {
        return;
    }
    let scene = scene();
    let script = "unshare --pid --fork --mount-proc --kill-child \"$AGENT\" exec -- \
                  sh -c 'echo \"pid $$ $PPID\"; exit 9'; echo \"code $?\"; read -r x; exit \"$x\"";
    let session = Session::of(&scene, &["sh", "-c", script]);
    session.until_shown("code 9\n");
    session.type_keys("4\n");
    assert_eq!(session.leader.wait().code, Some(4));
}

#[test]
fn an_interactive_shell_runs_jobs() {
    let scene = scene();
    for words in [["bash", "--norc", "--noediting", "-i"].as_slice(), &["dash", "-i"]] {
        let agent = scene.agent(&[]);
        let agent = agent.get_program().to_str().unwrap();
        let words: Vec<&str> = [agent, "exec", "--"].iter().chain(words).copied().collect();
        let session = Session::of(&scene, &words);
        session.type_keys("echo \"pid $$ $PPID\"; case $- in *m*) echo monitors ;; esac\n");
        let (shell, _) = session.pids(1);
        session.until_shown("monitors\n");
        session.type_keys("sleep 0.1 & wait; echo waited $((1 + 1))\n");
        session.until_shown("waited 2\n");
        session.type_keys("sh -c 'echo job; exec cat'\n");
        session.until_shown("job\n");
        session.type_keys(CTRL_Z);
        until("the shell has it again", || session.foreground() == shell);
        session.type_keys("echo stopped $((1 + 2))\n");
        session.until_shown("stopped 3\n");
        session.type_keys("fg\n");
        until("the job has it again", || session.foreground() != shell);
        session.type_keys("to the job\n");
        session.until_shown("to the job\n");
        session.type_keys(END);
        until("the shell has it again", || session.foreground() == shell);
        session.type_keys("exit 9\n");
        let shown = session.shown();
        assert_eq!(session.leader.wait().code, Some(9), "{shown}");
        assert!(!shown.contains("job control"), "{shown}");
    }
}
