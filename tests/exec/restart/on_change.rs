//! Where a change has other consequences than a restart, or none.

use rustix::process::Signal;

use super::{LONG, change_now, members, until_watched, watched_scene};
use crate::exec::orphans::processes::{Wrapped, living};
use crate::harness::secret::{generations, until_notified};
use crate::harness::{for_a_while, lines, side_by_side, until};

#[test]
fn an_exit_for_a_change_stops_the_command_first() {
    side_by_side([(None, 75), (Some("42"), 42)], |(code, expected)| {
        let mut scene = watched_scene();
        scene.set("SEGURA_ON_CHANGE", "exit");
        if let Some(code) = code {
            scene.set("SEGURA_CHANGE_EXIT_CODE", code);
        }
        let first =
            "trap 'echo stopped; exit 3' TERM; (trap '' TERM; exec sleep 600) & echo \"member $!\"";
        let wrapped = Wrapped::shell(&scene, first);
        wrapped.until_started(1);
        let member = members(&wrapped)[0];
        until_watched(&scene);
        change_now(&scene, "two");
        let run = wrapped.agent.wait();
        assert_eq!(run.code, Some(expected), "{}", run.stderr);
        assert!(run.stdout.contains("stopped\n"), "{}", run.stdout);
        assert_eq!(living(member), None, "its group has gone with it");
        assert_eq!(scene.read("app/password"), "two");
    });
}

#[test]
fn an_exit_for_a_change_kills_a_command_that_ignores_the_stop_signal() {
    let mut scene = watched_scene();
    scene.set("SEGURA_ON_CHANGE", "exit").set("SEGURA_STOP_TIMEOUT", "300ms");
    let wrapped = Wrapped::shell(&scene, "trap '' TERM");
    wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    let run = wrapped.agent.wait();
    assert_eq!(run.code, Some(75), "{}", run.stderr);
    assert_eq!(run.stderr.matches("SEGURA_STOP_TIMEOUT").count(), 1, "{}", run.stderr);
}

#[test]
fn a_command_that_ends_before_the_exit_for_a_change_gives_its_own_code() {
    let mut scene = watched_scene();
    scene.set("SEGURA_ON_CHANGE", "exit").set("SEGURA_RESTART_SPLAY", LONG);
    for (end, code) in [(None, 143), (Some("exit 9"), 9)] {
        let wrapped = Wrapped::shell(&scene, "");
        wrapped.until_started(1);
        until_notified(&scene);
        change_now(&scene, &format!("for {code}"));
        wrapped.agent.until_logged(lines::SPLAYING);
        match end {
            Some(end) => wrapped.eval(end),
            None => wrapped.agent.send(Signal::TERM),
        }
        assert_eq!(wrapped.agent.wait().code, Some(code));
    }
}

#[test]
fn with_on_change_none_a_change_has_no_effect() {
    let mut scene = watched_scene();
    scene.set("SEGURA_ON_CHANGE", "none");
    let traps = "for s in HUP TERM INT USR1; do trap 'again=1; echo signalled' $s; done";
    let wrapped = Wrapped::shell(&scene, traps);
    let command = wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    until("it counts as notified", || generations(&scene) == (2, 2));
    for_a_while("the command runs", || living(command).is_some());
    wrapped.eval("exit 0");
    let run = wrapped.agent.wait();
    assert_eq!((run.code, run.stdout.contains("signalled")), (Some(0), false), "{}", run.stdout);
}

#[test]
fn with_on_change_signal_each_change_sends_one_signal() {
    type Setting = (&'static str, &'static str);
    let cases: [(&[Setting], &str); 3] = [
        (&[("SEGURA_EXEC_ENV", "false")], "HUP"),
        (&[("SEGURA_ON_CHANGE", "signal")], "HUP"),
        (&[("SEGURA_ON_CHANGE", "signal"), ("SEGURA_SIGNAL", "USR1")], "USR1"),
    ];
    side_by_side(cases, |(settings, signal)| {
        let mut scene = watched_scene();
        for (name, value) in settings {
            scene.set(name, value);
        }
        let traps = "for s in HUP USR1; do trap \"again=1; echo 'signalled $s'\" $s; done";
        let wrapped = Wrapped::shell(&scene, traps);
        let command = wrapped.until_started(1);
        until_watched(&scene);
        for (times, value) in [(1, "two"), (2, "three")] {
            change_now(&scene, value);
            let reported = format!("signalled {signal}\n");
            until("it is logged", || wrapped.agent.stdout().matches(&reported).count() == times);
            until_notified(&scene);
        }
        assert_eq!(wrapped.agent.stdout().matches("signalled").count(), 2);
        assert_eq!((wrapped.starts().len(), living(command).is_some()), (1, true));
        wrapped.eval("exit 0");
        assert_eq!(wrapped.agent.wait().code, Some(0));
    });
}

#[test]
fn probes_are_answered_while_the_command_runs_and_restarts() {
    let mut scene = watched_scene();
    scene.listen();
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    until_watched(&scene);
    for (times, value) in [(1, "two"), (2, "three")] {
        let (status, body) = scene.get("/readyz");
        assert!(status == 200 && body.starts_with("ready: generation "), "{body}");
        assert_eq!(scene.get("/livez").0, 200);
        change_now(&scene, value);
        wrapped.until_started(times + 1);
        until_notified(&scene);
    }
    let (status, metrics) = scene.get("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("segura_agent_generation 3\n"), "{metrics}");
    assert_eq!(scene.get("/").0, 404);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn probes_before_the_command_starts_answer_not_ready() {
    let mut scene = watched_scene();
    scene.listen().set("SEGURA_STARTUP_TIMEOUT", "1m");
    scene.vault.go_down();
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.agent.until_logged(lines::RETRIES);
    assert_eq!((scene.get("/livez").0, scene.get("/readyz").0), (200, 503));
    assert!(wrapped.starts().is_empty());
    scene.vault.come_back();
    wrapped.until_started(1);
    assert_eq!(scene.get("/readyz").0, 200);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}
