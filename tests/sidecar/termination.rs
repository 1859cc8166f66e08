//! How it ends, and how it goes on after what would end others.

mod faults;

use std::{net::TcpListener, time::Duration};

use rustix::process::Signal;

use super::{Change, DEPROVISION, LOGIN, PROVISION, READ, left_by_init};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault, Options},
    harness::{SEED, Scene, pause, side_by_side, sidecar::Sidecar, until},
};

/// Asserts that a termination ends it well, and soon by the vault's clock.
#[track_caller]
fn assert_ends_soon(scene: &Scene, sidecar: Sidecar, what: &str) {
    let sent = scene.vault.elapsed();
    sidecar.stop();
    let took = scene.vault.elapsed() - sent;
    assert!(took < Duration::from_secs(8), "{what}: {took:?}");
}

#[test]
fn sigterm_ends_every_wait_of_a_sidecar_at_once() {
    let cases: [(&str, Change); 4] = [
        ("a read", |scene| scene.vault.fault(Fault::new("dapp", Effect::Hang))),
        ("a login", |scene| scene.vault.fault(Fault::new("oauth2", Effect::Hang))),
        ("a body", |scene| scene.vault.fault(Fault::new("dapp", Effect::Drip { ms: 2_000 }))),
        ("the next due", |scene| {
            scene.vault.fault(Fault::rate_limit("", "3600"));
        }),
    ];
    side_by_side(cases, |(what, spoil)| {
        let mut scene = left_by_init();
        scene.set("SEGURA_TIMEOUT", "1h").set("SEGURA_CONNECT_TIMEOUT", "1h");
        let files = scene.published();
        spoil(&scene);
        let sidecar = scene.renewing_sidecar();
        until("it asks", || !scene.request_lines().is_empty());
        assert_ends_soon(&scene, sidecar, what);
        assert_eq!(scene.published(), files, "{what}");
    });
}

#[test]
fn sigterm_ends_a_sidecar_while_it_connects() {
    let mut scene = left_by_init();
    scene.set("SEGURA_TIMEOUT", "1h").set("SEGURA_CONNECT_TIMEOUT", "1h");
    scene.vault.go_down();
    // A connection here never gets a TLS answer.
    let mut silent = None;
    until("the vault has left its port", || {
        silent = TcpListener::bind(scene.vault.address()).ok();
        silent.is_some()
    });
    let silent = silent.unwrap();
    silent.set_nonblocking(true).unwrap();
    let sidecar = scene.renewing_sidecar();
    let mut taken = None;
    until("it connects", || {
        taken = silent.accept().ok();
        taken.is_some()
    });
    assert_ends_soon(&scene, sidecar, "connecting");
}

#[test]
fn with_deprovisioning_on_the_set_is_deprovisioned_and_removed() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_OUTPUT", "files,env,json");
    });
    let mut scene = scene;
    scene.set("SEGURA_DEPROVISION", "true");
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 1);
    sidecar.stop();
    assert_eq!(scene.count(DEPROVISION), 1);
    assert!(scene.vault.provisioned(SEED).is_empty());
    assert!(scene.published().is_empty(), "{:?}", scene.entries());
    assert_eq!(scene.state()["given_back"], true);
    assert!(!scene.check("started").0, "it is no set any more");
    assert_eq!(scene.generations().len(), 1, "no value stays: {:?}", scene.entries());
    // The next one provisions again.
    let sidecar = scene.renewing_sidecar();
    assert_eq!((scene.count(PROVISION), scene.vault.provision_count()), (1, 2));
    assert_eq!(scene.read("secret-postman/password"), scene.password());
    sidecar.stop();
}

#[test]
fn with_deprovisioning_off_nothing_is_deprovisioned() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 1);
    sidecar.stop();
    assert_eq!((scene.count(DEPROVISION), scene.vault.provisioned(SEED).len()), (0, 1));
}

#[test]
fn a_set_that_cannot_be_deprovisioned_stays() {
    let mut scene = left_by_init();
    scene.set("SEGURA_DEPROVISION", "true");
    let files = scene.published();
    let sidecar = scene.renewing_sidecar();
    scene.vault.go_down();
    let sent = scene.vault.elapsed();
    let run = sidecar.stop();
    assert!(scene.vault.elapsed() - sent < Duration::from_secs(9));
    assert!(run.stderr.contains(lines::NOT_DEPROVISIONED), "{}", run.stderr);
    assert_eq!((scene.published(), &scene.state()["given_back"]), (files, &false.into()));
    scene.vault.come_back();
    let sidecar = scene.renewing_sidecar();
    sidecar.send(Signal::TERM);
    sidecar.wait().exits(0);
    assert!(scene.vault.provisioned(SEED).is_empty());
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_possibly_deprovisioned_set_is_removed_in_time() {
    let mut scene = left_by_init();
    scene.set("SEGURA_DEPROVISION", "true");
    scene.vault.fault(Fault::new("deprovision", Effect::Hang).after());
    let sidecar = scene.renewing_sidecar();
    let sent = scene.vault.elapsed();
    sidecar.stop();
    let took = scene.vault.elapsed() - sent;
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert!(scene.published().is_empty());
    assert_eq!(scene.state()["given_back"], true);
}

#[test]
fn missed_passes_are_made_up_for_by_one() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 1);
    sidecar.send(Signal::STOP);
    pause(2_500);
    let (reads, woken) = (scene.count(READ), scene.vault.elapsed());
    scene.vault.rotate();
    sidecar.send(Signal::CONT);
    until("it goes on", || scene.count(READ) >= reads + 2);
    scene.wait_until_fresh();
    sidecar.stop();
    let at: Vec<Duration> = scene
        .vault
        .requests()
        .iter()
        .filter(|request| request.method == "GET" && request.at >= woken)
        .map(|request| request.at)
        .collect();
    for pair in at.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(700), "{at:?}");
    }
}

#[test]
fn tokens_of_two_seconds_are_replaced_without_a_warning() {
    let options = Options { token_ttl: Duration::from_secs(2), ..Options::default() };
    let scene = Scene::after_init(options, |_| {});
    let sidecar = scene.renewing_sidecar();
    let mut failures = 0;
    until("it has renewed often", || {
        failures = failures.max(scene.failures());
        scene.count(READ) >= 5
    });
    assert_eq!(failures, 0);
    assert!(sidecar.warnings().is_empty(), "{:?}", sidecar.warnings());
    assert!(scene.count(LOGIN) >= 2, "{:?}", scene.request_lines());
    sidecar.stop();
}
