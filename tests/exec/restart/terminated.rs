//! A termination at every point of a restart: nothing is started after it.

use rustix::process::Signal;

use super::{LINGERS, LONG, change_now, end_remaining_processes, until_watched, watched_scene};
use crate::exec::orphans::processes::{Wrapped, is_gone, living};
use crate::harness::secret::generations;
use crate::harness::{Run, Scene, for_a_while, lines, pause, side_by_side, until};

/// Signals that terminate, and the code of who dies of them.
const TERMINATIONS: [(Signal, i32); 3] =
    [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)];

/// Asserts that a wrapper ends with a code, its command having been started so often.
#[track_caller]
fn assert_ends(wrapped: Wrapped, code: i32, starts: usize) -> Run {
    let run = wrapped.agent.wait();
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    assert_eq!(run.stdout.matches("start ").count(), starts, "{}", run.stdout);
    run
}

#[test]
fn sigterm_during_the_splay_ends_the_agent_at_once() {
    side_by_side(TERMINATIONS, |(signal, code)| {
        let number = signal.as_raw();
        for (first, code) in
            [("ulimit -c 0".to_owned(), code), (format!("trap 'exit 5' {number}"), 5)]
        {
            let mut scene = watched_scene();
            scene.set("SEGURA_RESTART_SPLAY", LONG);
            let wrapped = Wrapped::shell(&scene, &first);
            wrapped.until_started(1);
            until_watched(&scene);
            change_now(&scene, "two");
            wrapped.agent.until_logged(lines::SPLAYING);
            wrapped.agent.send(signal);
            assert_ends(wrapped, code, 1);
        }
    });
}

#[test]
fn a_command_that_survives_sigterm_is_not_restarted_at_the_end_of_the_splay() {
    let mut scene = watched_scene();
    scene.set("SEGURA_RESTART_SPLAY", "2s");
    let wrapped = Wrapped::shell(&scene, "trap 'again=1; echo signalled' TERM");
    let command = wrapped.until_started(1);
    until_watched(&scene);
    wrapped.agent.send(Signal::TERM);
    wrapped.agent.until_printed("signalled\n");
    change_now(&scene, "two");
    until("the change is published", || generations(&scene).0 == 2);
    for_a_while("the command runs", || living(command).is_some());
    for_a_while("the command runs", || living(command).is_some());
    assert_eq!(wrapped.agent.stdout().matches("signalled\n").count(), 1);
    wrapped.eval("exit 6");
    assert_ends(wrapped, 6, 1);
}

#[test]
fn sigterm_while_the_command_is_being_stopped_is_forwarded_and_cancels_the_restart() {
    side_by_side(TERMINATIONS, |(signal, _)| {
        let scene = watched_scene();
        let first = "for s in TERM INT QUIT; do trap 'n=$((n + 1)); again=1; echo \"signalled $n\"; \
                     [ $n = 1 ] || exit 5' $s; done";
        let wrapped = Wrapped::shell(&scene, first);
        wrapped.until_started(1);
        until_watched(&scene);
        change_now(&scene, "two");
        wrapped.agent.until_printed("signalled 1\n");
        wrapped.agent.send(signal);
        let run = assert_ends(wrapped, 5, 1);
        assert!(run.stdout.contains("signalled 2\n"), "{}", run.stdout);
    });
}

#[test]
fn a_command_that_ignores_sigterm_is_left_to_the_kubelet() {
    let mut scene = watched_scene();
    scene.set("SEGURA_STOP_TIMEOUT", "2s");
    let wrapped = Wrapped::shell(&scene, "trap 'again=1; echo signalled' TERM");
    let command = wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    wrapped.agent.until_printed("signalled\n");
    wrapped.agent.send(Signal::TERM);
    until("it is forwarded", || wrapped.agent.stdout().matches("signalled\n").count() == 2);
    for_a_while("the command runs", || living(command).is_some());
    for_a_while("the command runs", || living(command).is_some());
    wrapped.eval("kill -KILL $$");
    assert_ends(wrapped, 137, 1);
}

#[test]
fn sigterm_between_stop_and_start_of_a_restart_ends_the_agent() {
    side_by_side(TERMINATIONS, |(signal, code)| {
        let scene = watched_scene();
        let wrapped = Wrapped::shell(&scene, LINGERS);
        let command = wrapped.until_started(1);
        until_watched(&scene);
        change_now(&scene, "two");
        until("the command is waited for", || is_gone(command));
        assert_eq!(wrapped.starts().len(), 1, "its group is not gone");
        wrapped.agent.send(signal);
        end_remaining_processes(&assert_ends(wrapped, code, 1).stdout);
    });
}

#[test]
fn a_group_that_does_not_end_is_given_up_after_a_while() {
    let scene = watched_scene();
    let wrapped = Wrapped::shell(&scene, LINGERS);
    wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    wrapped.until_started(2);
    // All of its group, so that no process of it stays.
    wrapped.eval("kill -KILL 0");
    end_remaining_processes(&assert_ends(wrapped, 137, 2).stdout);
}

#[test]
fn sigterm_right_after_the_second_start_ends_the_second_command() {
    let scene = watched_scene();
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    wrapped.agent.assert_logged(lines::STARTED, 2, "the second");
    wrapped.agent.send(Signal::TERM);
    let run = wrapped.agent.wait();
    assert_eq!(run.code, Some(143), "{}", run.stderr);
}

#[test]
fn sigterm_at_any_moment_of_a_restart_is_followed_by_no_start() {
    let mut scene = watched_scene();
    scene.set("SEGURA_OUTPUT", "none").set("SEGURA_STOP_TIMEOUT", "40ms");
    let first = "[ $password != one ] || trap '' TERM";
    for moment in 0..40 {
        change_now(&scene, "one");
        let wrapped = Wrapped::shell(&scene, first);
        wrapped.until_started(1);
        until("the change is heard of", || {
            change_now(&scene, "two");
            wrapped.agent.times_logged(lines::STOPPING) > 0
        });
        pause(moment * 2);
        wrapped.agent.send(Signal::TERM);
        // Only a command that was there before the signal, and ignores it, takes this.
        wrapped.eval("[ $password != one ] || exit 6");
        let run = wrapped.agent.wait();
        let known = [Some(6), Some(137), Some(143)];
        assert!(known.contains(&run.code), "{moment}: {:?} {}", run.code, run.stderr);
    }
}

#[test]
fn sigterm_before_the_first_start_is_never_lost() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "off").set("PATH", "/usr/bin:/bin");
    scene.set("SEGURA_SOURCE", "secret");
    scene.init().exits(0);
    // Readers of the set that stood have a moment before it is swept, in which nothing runs yet.
    scene.set("SEGURA_IDENTITY", "payments/database");
    let wrapped = Wrapped::shell(&scene, "");
    until("another set is published", || generations(&scene).0 == 2);
    wrapped.agent.send(Signal::TERM);
    wrapped.eval("exit 0");
    assert_ends(wrapped, 143, 0);
}
