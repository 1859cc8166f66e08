//! Job control: the agent and its command are one job of the shell above them.

use super::super::orphans::processes::{is_stopped, living, send_to};
use super::session::{CTRL_C, CTRL_Z, END, Session};
use super::{REPEATS, scene};
use crate::dev_vault::Fault;
use crate::dev_vault::requests::secret;
use crate::exec::restart::watched_scene;
use crate::harness::{Scene, for_a_while, side_by_side, until};
use rustix::process::Signal;

const SHELLS: [&str; 2] = ["dash", "bash"];

/// Runs a case below each shell, which knows `script` as `$SCRIPT`.
fn below_shells(script: &str, case: impl Fn(&Scene, &Session) + Sync) {
    side_by_side(SHELLS, |shell| {
        let mut scene = scene();
        scene.set("SCRIPT", script);
        let session = Session::of_shell(&scene, shell);
        case(&scene, &session);
        session.type_keys("exit 0\n");
        until("the shell ends", || living(session.leader_pid()).is_none());
    });
}

/// Asserts that the shell has the terminal, and listens.
#[track_caller]
fn assert_shell_listens(session: &Session, number: u32) {
    until("the shell has the terminal", || session.foreground() == session.leader_pid());
    session.type_keys(&format!("echo shell $(({number} + 0))\n"));
    session.until_shown(&format!("shell {number}\n"));
}

#[test]
fn a_stopped_job_continues_in_the_foreground_and_reads_on() {
    below_shells(REPEATS, |_, session| {
        session.type_keys("\"$AGENT\" exec -- sh -c \"$SCRIPT\"\n");
        let (command, agent) = session.pids(1);
        for n in 0..3 {
            until("the command has the terminal", || session.foreground() == command);
            session.type_keys(&format!("line {n}\n"));
            session.until_shown(&format!("got line {n}\n"));
            session.type_keys(CTRL_Z);
            until("both are stopped", || is_stopped(command) && is_stopped(agent));
            assert_shell_listens(session, n);
            session.type_keys("fg\n");
            until("both go on", || !is_stopped(command) && !is_stopped(agent));
        }
        until("the command has the terminal", || session.foreground() == command);
        session.type_keys(END);
        assert_shell_listens(session, 10);
    });
}

#[test]
fn a_stopped_job_continues_in_the_background_without_the_terminal() {
    below_shells("echo \"pid $$ $PPID\"; exec sleep 600", |_, session| {
        session.type_keys("\"$AGENT\" exec -- sh -c \"$SCRIPT\"\n");
        let (command, agent) = session.pids(1);
        until("the command has the terminal", || session.foreground() == command);
        session.type_keys(CTRL_Z);
        until("both are stopped", || is_stopped(command) && is_stopped(agent));
        assert_shell_listens(session, 1);
        session.type_keys("bg\n");
        until("both go on", || !is_stopped(command) && !is_stopped(agent));
        for_a_while("the shell has the terminal", || session.foreground() == session.leader_pid());
        assert_shell_listens(session, 2);
        session.type_keys("fg\n");
        until("the shell has given it away", || session.foreground() != session.leader_pid());
        session.type_keys(CTRL_C);
        assert_shell_listens(session, 3);
        until("both have ended", || living(command).is_none() && living(agent).is_none());
    });
}

#[test]
fn a_job_that_starts_in_the_background_does_not_take_the_terminal() {
    below_shells("echo \"pid $$ $PPID\"; exec sleep 600", |_, session| {
        session.type_keys("\"$AGENT\" exec -- sh -c \"$SCRIPT\" &\n");
        let (command, agent) = session.pids(1);
        for_a_while("the shell has the terminal", || session.foreground() == session.leader_pid());
        assert_shell_listens(session, 1);
        assert!(!is_stopped(command) && !is_stopped(agent));
        session.type_keys("kill %1\n");
        until("both have ended", || living(command).is_none() && living(agent).is_none());
    });
}

#[test]
fn a_job_that_reads_in_the_background_is_stopped_until_it_is_in_the_foreground() {
    below_shells(REPEATS, |_, session| {
        session.type_keys("\"$AGENT\" exec -- sh -c \"$SCRIPT\" &\n");
        let (command, agent) = session.pids(1);
        until("both are stopped", || is_stopped(command) && is_stopped(agent));
        assert_shell_listens(session, 1);
        session.type_keys("fg\n");
        until("the command has the terminal", || session.foreground() == command);
        session.type_keys("one\n");
        session.until_shown("got one\n");
        session.type_keys(END);
        assert_shell_listens(session, 2);
    });
}

/// Reads once it was sent a signal.
const READS_LATER: &str = "trap go=1 USR1; echo \"pid $$ $PPID\"; while [ -z \"$go\" ]; do sleep 0.05; done; read -r line; echo \"got $line\"";

#[test]
fn a_background_job_gets_the_terminal_once_it_is_in_the_foreground() {
    below_shells(READS_LATER, |_, session| {
        session.type_keys("\"$AGENT\" exec -- sh -c \"$SCRIPT\" &\n");
        let (command, agent) = session.pids(1);
        assert_shell_listens(session, 1);
        session.type_keys("fg\n");
        until("the shell has given it away", || session.foreground() != session.leader_pid());
        send_to(command, Signal::USR1);
        session.type_keys("one\n");
        session.until_shown("got one\n");
        assert_shell_listens(session, 2);
        until("both have ended", || living(command).is_none() && living(agent).is_none());
    });
}

#[test]
fn a_job_stopped_before_its_command_starts_continues_with_it() {
    side_by_side(SHELLS, |shell| {
        let mut scene = watched_scene();
        scene.set("SEGURA_LOG", "warn").set("SCRIPT", REPEATS);
        scene.vault.fault(Fault::delay("sctm", 1_000).once());
        let session = Session::of_shell(&scene, shell);
        session.type_keys("\"$AGENT\" exec -- sh -c \"$SCRIPT\"\n");
        until("the secret is fetched", || scene.count(&secret("app")) > 0);
        session.type_keys(CTRL_Z);
        assert_shell_listens(&session, 1);
        session.type_keys("fg\n");
        let (command, _) = session.pids(1);
        until("the command has the terminal", || session.foreground() == command);
        session.type_keys("one\n");
        session.until_shown("got one\n");
        session.type_keys(END);
        assert_shell_listens(&session, 2);
    });
}

#[test]
fn other_processes_of_a_pipeline_can_read_from_the_terminal() {
    below_shells("echo \"pid $$ $PPID\" >&2; exec sleep 600", |_, session| {
        let reader = "sh -c 'read -r line </dev/tty; echo \"got $line\"'";
        session.type_keys(&format!("\"$AGENT\" exec -- sh -c \"$SCRIPT\" | {reader}\n"));
        let (command, agent) = session.pids(1);
        session.type_keys("one\n");
        session.until_shown("got one\n");
        session.type_keys(CTRL_C);
        until("both have ended", || living(command).is_none() && living(agent).is_none());
        assert_shell_listens(session, 1);
    });
}

#[test]
fn a_pipeline_is_stopped_and_continued_as_one_job() {
    below_shells("echo \"pid $$ $PPID\" >&2; exec sleep 600", |_, session| {
        session.type_keys("\"$AGENT\" exec -- sh -c \"$SCRIPT\" | cat\n");
        let (command, agent) = session.pids(1);
        until("the shell has given it away", || session.foreground() != session.leader_pid());
        session.type_keys(CTRL_Z);
        until("both are stopped", || is_stopped(command) && is_stopped(agent));
        assert_shell_listens(session, 1);
        session.type_keys("fg\n");
        until("both go on", || !is_stopped(command) && !is_stopped(agent));
        session.type_keys(CTRL_C);
        assert_shell_listens(session, 2);
        until("both have ended", || living(command).is_none() && living(agent).is_none());
    });
}

#[test]
fn beside_a_job_of_a_shell_without_job_control_the_shell_reads_on() {
    let scene = scene();
    let script = "\"$AGENT\" exec -- sh -c 'echo \"pid $$ $PPID\"; exec sleep 600' & read -r line; echo \"got $line\"; kill $!; wait $!";
    let session = Session::of(&scene, &["sh", "-c", script]);
    session.pids(1);
    session.type_keys("one\n");
    session.until_shown("got one\n");
    assert_eq!(session.leader.wait().code, Some(143));
}
