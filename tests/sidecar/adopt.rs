//! From one agent to the next: adopting, holding, ending before and after the first set.

use rustix::process::Signal;

use super::{Change, LOGIN, PROVISION, READ, left_by_init};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault, Options},
    harness::{SEED, Scene, for_a_while, side_by_side, until},
};

#[test]
fn a_set_of_init_is_adopted_without_a_request_before_it_is_due() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_RENEW_INTERVAL", "1h");
    });
    let (files, connections) = (scene.published(), scene.vault.connections());
    let first = scene.renewing_sidecar();
    for_a_while("no request is sent", || scene.request_lines().is_empty());
    first.kill();
    let second = scene.renewing_sidecar();
    for_a_while("no request is sent after a crash", || scene.request_lines().is_empty());
    assert_eq!(scene.vault.connections(), connections);
    assert_eq!((scene.published(), scene.generations().len()), (files, 1));
    assert_eq!(scene.state()["generation"], 1);
    let run = second.stop();
    assert!(run.stderr.contains(lines::ADOPTED), "{}", run.stderr);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn without_a_set_it_provisions_once_like_init() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "1h");
    let sidecar = scene.renewing_sidecar();
    for_a_while("it provisioned once", || scene.request_lines() == [LOGIN, PROVISION]);
    assert_eq!(scene.read("secret-postman/password"), scene.password());
    sidecar.stop();
    assert_eq!(scene.vault.provision_count(), 1);
    assert_eq!(scene.read("secret-postman/password"), scene.password(), "it stays published");
}

#[test]
fn a_second_agent_reports_the_sidecar_and_does_not_disturb_it() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    let name = format!("sidecar, pid {}", sidecar.id());
    let second = scene.sidecar().wait();
    for run in [&second, &scene.init()] {
        run.exits(73);
        assert!(run.error().contains(&name), "{}", run.error());
    }
    let reads = scene.count(READ);
    until("the first goes on", || scene.count(READ) > reads);
    sidecar.stop();
    scene.init().exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn sigterm_leaves_the_adopted_set_as_it_was() {
    let cases = [
        (Signal::TERM, "SIGTERM", Some(143)),
        (Signal::INT, "SIGINT", Some(130)),
        (Signal::TERM, "SIGTERM", None),
        (Signal::INT, "SIGINT", None),
    ];
    side_by_side(cases, |(signal, name, before)| {
        let scene = Scene::new();
        if before.is_some() {
            scene.vault.fault(Fault::new("token", Effect::Hang));
        }
        let sidecar = if before.is_some() { scene.sidecar() } else { scene.renewing_sidecar() };
        until("it has sent a request", || scene.count(LOGIN) == 1);
        sidecar.send(signal);
        sidecar.wait().exits(before.unwrap_or(0));
        assert_eq!(scene.published().is_empty(), before.is_some(), "{name}");
        assert_eq!(scene.generations().is_empty(), before.is_some(), "{name}");
        assert_eq!(scene.vault.provisioned(SEED).is_empty(), before.is_some(), "{name}");
    });
}

#[test]
fn a_sidecar_renews_by_its_own_interval_and_not_that_of_init() {
    side_by_side(["off", "1h"], |interval| {
        let mut scene = Scene::after_init(Options::default(), |scene| {
            scene.set("SEGURA_RENEW_INTERVAL", interval);
        });
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
        let sidecar = scene.renewing_sidecar();
        until("it renews", || scene.count(READ) > 1);
        sidecar.stop();
    });
}

#[test]
fn a_sidecar_with_renewal_off_never_renews_a_set_of_init() {
    let mut scene = left_by_init();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    scene.wait_until_due();
    let sidecar = scene.renewing_sidecar();
    for_a_while("no request is sent", || scene.request_lines().is_empty());
    sidecar.stop();
}

#[test]
fn a_due_set_is_read_once_and_soon() {
    let scene = left_by_init();
    scene.wait_until_due();
    scene.vault.rotate();
    let sidecar = scene.renewing_sidecar();
    scene.wait_until_fresh();
    sidecar.stop();
    assert_eq!((scene.count(LOGIN), scene.count(PROVISION)), (1, 0));
}

#[test]
fn a_due_set_is_used_from_the_start_during_an_outage() {
    let scene = left_by_init();
    let files = scene.published();
    scene.wait_until_due();
    scene.vault.go_down();
    let sidecar = scene.renewing_sidecar();
    until("it has failed", || scene.failures() > 0);
    assert_eq!(scene.published(), files);
    sidecar.stop();
}

#[test]
fn the_set_of_another_pod_is_replaced_and_not_adopted() {
    let mut scene = left_by_init();
    scene.set("SEGURA_POD_NAME", "web-7d4b9c6f5-bcdfg");
    let sidecar = scene.renewing_sidecar();
    until("it has provisioned", || scene.vault.provision_count() == 2);
    let own = scene.account_of(SEED, "web-7d4b9c6f5-bcdfg");
    until("its own is published", || scene.read("secret-postman/password") == own.password);
    sidecar.stop();
}

#[test]
fn a_sidecar_without_a_first_set_ends_like_init() {
    let cases: [(&str, i32, Change); 3] = [
        ("no vault", 69, |scene| scene.vault.go_down()),
        ("no client", 77, |scene| scene.vault.set_client_secret("another")),
        ("no secret", 78, |scene| scene.vault.remove_secret(SEED)),
    ];
    side_by_side(cases, |(what, code, spoil)| {
        let mut scene = Scene::new();
        scene.set("SEGURA_STARTUP_TIMEOUT", "1s");
        spoil(&scene);
        let run = scene.sidecar().wait();
        assert!(run.exits(code).hint().is_some(), "{what}: {}", run.stderr);
        assert!(scene.published().is_empty(), "{what}");
    });
}
