//! `exec` on a published set: adopted, renewed, and never provisioned again.

use std::fs;

use rustix::process::Signal;

use super::reader::{SHOWS, shown, until_has, values, words, wraps};
use crate::dev_vault::requests::{LOGIN, PROVISION};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault, Options},
    harness::{SEED, Scene, for_a_while, side_by_side, sidecar::Sidecar, until},
};

/// A way to be refused for good.
type Refusal = (&'static str, fn(&Scene));

/// A set that `init` has left to be renewed every so often; the vault's list of requests is empty.
fn left_by_init(interval: &str) -> Scene {
    Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_RENEW_INTERVAL", interval).set("SEGURA_RESTART_SPLAY", "0s");
    })
}

/// Kills the agent where it is, and waits until its command is gone as well.
#[track_caller]
fn killed_with_its_command(agent: Sidecar) {
    let command = shown(&agent).last().expect("it runs").0;
    agent.kill();
    let process = format!("/proc/{command}");
    until("the command is gone", || fs::metadata(&process).is_err());
}

#[test]
fn a_set_of_init_is_adopted_and_the_command_starts_at_once() {
    let scene = left_by_init("1h");
    let (files, connections) = (scene.published(), scene.vault.connections());
    let agent = wraps(&scene, SHOWS);
    until_has(&agent, &[&scene.password()]);
    agent.until_logged(lines::ADOPTED);
    for_a_while("no request is sent", || scene.request_lines().is_empty());
    agent.send(Signal::TERM);
    assert_eq!(agent.wait().code, Some(143));
    assert_eq!(scene.vault.connections(), connections);
    assert_eq!((scene.published(), scene.vault.provision_count()), (files, 1));
}

#[test]
fn a_set_of_init_is_adopted_and_the_command_replaces_the_agent() {
    let scene = left_by_init("1h");
    let mut agent = scene.agent(&words("echo \"<$password>\"; exit 5"));
    agent.env("SEGURA_RENEW_INTERVAL", "off");
    let run = Sidecar::spawn(agent).wait();
    assert_eq!(run.code, Some(5), "{}", run.stderr);
    assert_eq!(run.stdout, format!("<{}>\n", scene.password()));
    assert!(run.stderr.contains(lines::ADOPTED), "{}", run.stderr);
    assert!(scene.request_lines().is_empty());
}

#[test]
fn a_command_that_replaced_the_agent_holds_no_lock() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    let command = wraps(&scene, SHOWS);
    until("it has begun", || values(&command).len() == 1);
    assert_eq!(shown(&command), [(command.id(), scene.password())]);
    assert!(!scene.check("ready").0, "nothing renews the set");
    scene.init().exits(0);
    // Nothing of the first one's kind is in the way of another.
    let second = wraps(&scene, SHOWS);
    until_has(&second, &[&scene.password()]);
    second.until_logged(lines::ADOPTED);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_killed_exec_adopts_its_published_set() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "1h");
    let first = wraps(&scene, SHOWS);
    until("it has begun", || values(&first).len() == 1);
    until_has(&first, &[&scene.password()]);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    let (files, generations) = (scene.published(), scene.generations());
    killed_with_its_command(first);
    let second = wraps(&scene, SHOWS);
    until_has(&second, &[&scene.password()]);
    second.until_logged(lines::ADOPTED);
    for_a_while("no request is sent after a crash", || scene.request_lines() == [LOGIN, PROVISION]);
    assert_eq!((scene.published(), scene.generations()), (files, generations));
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_due_set_is_renewed_before_the_command_starts() {
    let scene = left_by_init("1s");
    let before = scene.password();
    scene.wait_until_due();
    scene.vault.rotate();
    let agent = wraps(&scene, SHOWS);
    until_has(&agent, &[&scene.password()]);
    assert_ne!(before, scene.password());
    assert_eq!((scene.count(PROVISION), scene.vault.provision_count()), (0, 1));
}

#[test]
fn a_due_set_is_used_during_an_outage_and_renewed_after_it() {
    let scene = left_by_init("1s");
    let before = scene.password();
    scene.wait_until_due();
    scene.vault.go_down();
    let agent = wraps(&scene, SHOWS);
    until_has(&agent, &[&before]);
    let said = agent.until_logged(lines::SERVES_ON);
    assert!(said.contains("\"WARN\""), "{said}");
    until("it fails on", || scene.failures() > 1);
    for_a_while("the command runs on", || values(&agent) == [before.as_str()]);
    scene.vault.come_back();
    until("it recovers", || scene.failures() == 0);
    scene.wait_until_trusted();
    scene.vault.rotate();
    until_has(&agent, &[&before, &scene.password()]);
    assert_eq!((scene.count(PROVISION), scene.vault.provision_count()), (0, 1));
}

#[test]
fn a_due_set_does_not_hide_a_refusal_where_sets_are_removed() {
    let cases: [Refusal; 2] = [
        ("another client secret", |scene| scene.vault.set_client_secret("another")),
        ("an inactive authorization", |scene| scene.vault.set_enabled(false)),
    ];
    side_by_side(cases, |(what, refuse)| {
        let mut scene = left_by_init("1s");
        scene.set("SEGURA_ON_ABSENT", "remove");
        let files = scene.published();
        scene.wait_until_due();
        refuse(&scene);
        let run = wraps(&scene, SHOWS).wait();
        assert_eq!((run.code, run.stdout.as_str()), (Some(77), ""), "{what}: {}", run.stderr);
        assert!(run.hint().is_some(), "{what}: {}", run.stderr);
        assert!(run.error().starts_with("segura-agent: cannot "), "{what}: {}", run.stderr);
        assert_eq!(scene.published(), files, "{what}: the published set is left as it was");
    });
}

#[test]
fn a_signal_during_the_renewal_of_a_due_set_ends_exec_without_a_command() {
    let scene = left_by_init("1s");
    scene.wait_until_due();
    scene.vault.fault(Fault::new("", Effect::Hang));
    let agent = wraps(&scene, SHOWS);
    until("it asks", || !scene.request_lines().is_empty());
    agent.send(Signal::TERM);
    agent.wait().exits(143);
}

#[test]
fn the_set_of_another_pod_is_replaced_and_not_adopted() {
    let mut scene = left_by_init("1h");
    scene.set("SEGURA_POD_NAME", "web-7d4b9c6f5-bcdfg");
    let agent = wraps(&scene, SHOWS);
    until("it has provisioned", || scene.vault.provision_count() == 2);
    until_has(&agent, &[&scene.password()]);
    assert_eq!(scene.count(PROVISION), 1);
    agent.until_logged(lines::STARTED);
    assert_eq!(agent.times_logged(lines::ADOPTED), 0);
}

#[test]
fn exec_writes_the_same_state_as_a_sidecar() {
    let kept = |start: fn(&Scene) -> Sidecar| {
        let scene = left_by_init("1s");
        let agent = start(&scene);
        scene.wait_until_trusted();
        let fetched = || scene.state()["boot_ms"]["fetched"].as_u64();
        let before = fetched();
        until("a pass is remembered", || fetched() > before);
        assert_eq!(scene.state()["generation"], 1);
        scene.vault.go_down();
        until("failures are counted", || scene.failures() > 0);
        let state = scene.state();
        assert_eq!(state["last_error"], "unreachable");
        scene.vault.come_back();
        until("a success is remembered", || scene.failures() == 0);
        scene.vault.rotate();
        until("the next is published and notified", || {
            let state = scene.state();
            state["generation"] == 2 && state["notified"] == 2
        });
        let state = scene.state();
        assert_eq!(state["secrets"][0]["version"].as_str(), scene.vault.version(SEED).as_deref());
        let (live, line) = scene.check("live");
        assert!(live, "{line}");
        until("what was replaced is swept", || scene.generations().len() == 1);
        agent.kill();
        let names = |state: &serde_json::Value| {
            let fields = state.as_object().expect("an object").keys();
            fields.cloned().collect::<Vec<_>>()
        };
        names(&scene.state())
    };
    let by_exec = kept(|scene| wraps(scene, SHOWS));
    assert_eq!(by_exec, kept(Scene::renewing_sidecar));
}
