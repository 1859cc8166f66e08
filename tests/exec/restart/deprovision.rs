//! The set is deprovisioned once the command and its group are gone.

use rustix::process::Signal;

use super::members;
use crate::dev_vault::Fault;
use crate::dev_vault::requests::DEPROVISION;
use crate::exec::orphans::processes::{Wrapped, living};
use crate::harness::{SEED, Scene, for_a_while, lines, side_by_side, until};

/// A scene that gives its set back, which is read again after an interval.
fn scene(interval: &str) -> Scene {
    let mut scene = Scene::new();
    scene.set("SEGURA_DEPROVISION", "true").set("SEGURA_RENEW_INTERVAL", interval);
    scene.set("SEGURA_RESTART_SPLAY", "0s").set("PATH", "/usr/bin:/bin");
    scene
}

/// Asserts that the set was deprovisioned once, and is removed.
#[track_caller]
fn assert_deprovisioned(scene: &Scene) {
    assert_eq!(scene.count(DEPROVISION), 1);
    assert!(scene.vault.provisioned(SEED).is_empty());
    assert!(scene.published().is_empty(), "{:?}", scene.entries());
    assert_eq!(scene.state().get("given_back"), Some(&true.into()));
}

#[test]
fn the_set_of_a_command_that_ends_by_itself_is_deprovisioned() {
    side_by_side(["10m", "1s", "off"], |interval| {
        let scene = scene(interval);
        let wrapped = Wrapped::shell(&scene, "");
        let command = wrapped.until_started(1);
        assert_ne!(command, wrapped.agent_pid(), "{interval}: it is supervised");
        assert_eq!(scene.vault.provisioned(SEED).len(), 1, "{interval}");
        for_a_while("nothing is deprovisioned", || scene.count(DEPROVISION) == 0);
        wrapped.eval("exit 4");
        let run = wrapped.agent.wait();
        assert_eq!(run.code, Some(4), "{interval}: {}", run.stderr);
        assert_deprovisioned(&scene);
    });
}

#[test]
fn a_terminated_command_has_its_set_until_it_has_ended() {
    side_by_side(["10m", "off"], |interval| {
        let scene = scene(interval);
        let wrapped = Wrapped::shell(&scene, "trap 'echo held; read -r line; exit 5' TERM");
        wrapped.until_started(1);
        wrapped.agent.send(Signal::TERM);
        wrapped.agent.until_printed("held");
        for_a_while("nothing is deprovisioned", || scene.count(DEPROVISION) == 0);
        assert!(scene.path("secret-postman/password").exists(), "{interval}");
        wrapped.eval("");
        let run = wrapped.agent.wait();
        assert_eq!(run.code, Some(5), "{interval}: {}", run.stderr);
        assert_deprovisioned(&scene);
    });
}

#[test]
fn a_set_is_deprovisioned_only_after_the_commands_group_is_gone() {
    let ends: [(&str, Option<Signal>, i32); 2] =
        [("exit 6", None, 6), ("", Some(Signal::TERM), 143)];
    side_by_side(ends, |(end, signal, code)| {
        let scene = scene("10m");
        scene.vault.fault(Fault::delay("deprovision", 500).after());
        let first = "(trap '' TERM HUP; exec sleep 600) & echo \"member $!\"";
        let wrapped = Wrapped::shell(&scene, first);
        wrapped.until_started(1);
        let member = members(&wrapped)[0];
        assert!(living(member).is_some());
        match signal {
            Some(signal) => wrapped.agent.send(signal),
            None => wrapped.eval(end),
        }
        until("it is deprovisioned", || scene.count(DEPROVISION) == 1);
        assert_eq!(living(member), None);
        assert_eq!(wrapped.agent.wait().code, Some(code));
        assert_deprovisioned(&scene);
    });
}

#[test]
fn a_restart_deprovisions_nothing() {
    let scene = scene("1s");
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    scene.vault.rotate();
    wrapped.until_started(2);
    let given = wrapped.values();
    assert_ne!(given[0], given[1]);
    assert_eq!((scene.count(DEPROVISION), scene.vault.provision_count()), (0, 1));
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
    assert_deprovisioned(&scene);
}

#[test]
fn an_exit_for_a_change_deprovisions_the_set_too() {
    let mut scene = scene("1s");
    scene.set("SEGURA_ON_CHANGE", "exit");
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    scene.vault.rotate();
    let run = wrapped.agent.wait();
    assert_eq!(run.code, Some(75), "{}", run.stderr);
    assert_deprovisioned(&scene);
}

#[test]
fn an_unreachable_vault_does_not_change_the_exit_code() {
    let scene = scene("10m");
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    scene.vault.go_down();
    wrapped.eval("exit 7");
    let run = wrapped.agent.wait();
    assert_eq!(run.code, Some(7), "{}", run.stderr);
    assert!(run.stderr.contains(lines::NOT_DEPROVISIONED), "{}", run.stderr);
    assert_eq!(scene.state()["given_back"], false);
}
