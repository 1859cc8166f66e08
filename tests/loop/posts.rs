//! POSTs of unknown fate are counted across restarts.

use std::fs;

use serde_json::Value;

use super::{STARTS, assert_published, on_post, page, start};
use crate::dev_vault::requests::{PROVISION, READ, path};
use crate::dev_vault::{Effect, Fault, Options};
use crate::harness::{SEED, Scene, side_by_side, until};

/// A pod whose starts end soon.
fn with_short_starts() -> Scene {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "2s");
    scene
}

/// The record that the next start reads.
fn record(scene: &Scene) -> Value {
    let bytes = fs::read(scene.path("..segura/pending.json")).expect("a POST is recorded");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// A read that shows the secret as it was before any provisioning.
fn read_without_account() -> Fault {
    let body = r#"{"code": 200, "response": {"status": 200, "error": false, "message": "done"},
        "secret": {"secret_id": "213", "secret_name": "postman", "identity": "secret-postman",
        "version": "7", "expiration_date": "", "engine": "Generic",
        "data": [{"hostname": "h", "username": "u"}]}}"#;
    Fault::body(path::PROVISION, body).method("GET")
}

#[test]
fn twenty_starts_make_three_accounts_where_nothing_can_show_one() {
    let every_page: fn(&Scene) = |scene| {
        scene.vault.fault(on_post(page(403)).after());
        scene.vault.fault(Fault::new(path::PROVISION, page(403)));
        scene.vault.fault(Fault::new(path::APPLICATION, page(403)));
    };
    let page_of_success: fn(&Scene) = |scene| {
        scene.vault.fault(on_post(page(200)).after());
        scene.vault.fault(Fault::new(path::PROVISION, page(200)));
    };
    let blind: fn(&Scene) = |scene| {
        scene.vault.fault(on_post(page(406)).after());
        scene.vault.fault(read_without_account());
    };
    let unknown: fn(&Scene) = |scene| {
        let body =
            r#"{"response": {"status": 404, "error": true, "message": "Resource sub not found"}}"#;
        scene.vault.fault(on_post(page(404)).after());
        scene.vault.fault(Fault::answer(path::PROVISION, 404, body));
    };
    let cases = [
        ("a filter's page to all", every_page),
        ("a page of success", page_of_success),
        ("reads that show nothing", blind),
        ("a vault that knows no such resource", unknown),
    ];
    side_by_side(cases, |(what, break_it)| {
        let mut scene = with_short_starts();
        break_it(&scene);
        for n in 0..STARTS {
            let run = start(&scene, n);
            assert_ne!(run.code, Some(0), "{what}: {}", run.stderr);
            assert_ne!(run.code, Some(78), "{what}: reading goes on: {}", run.stderr);
            assert!(scene.count(PROVISION) <= 3, "{what}, start {n}: {:?}", scene.request_lines());
        }
        assert_eq!(scene.count(PROVISION), 3, "{what}: {:?}", scene.request_lines());
        assert_eq!(record(&scene)["posts"][0]["unknown"], 3, "{what}");
        // What is found is taken, however many were sent.
        scene.vault.clear_faults();
        scene.set("SEGURA_STARTUP_TIMEOUT", "30s");
        if scene.vault.provisioned(SEED).is_empty() {
            return;
        }
        scene.init().exits(0);
        assert_eq!(scene.count(PROVISION), 3, "{what}");
        assert!(!scene.path("..segura/pending.json").exists(), "{what}");
    });
}

#[test]
fn each_post_is_recorded_with_time_and_number_before_it_is_sent() {
    let scene = with_short_starts();
    scene.vault.fault(on_post(Effect::Hang));
    let mut agent = scene.spawn_init();
    until("the POST hangs", || scene.count(PROVISION) == 1);
    agent.kill().unwrap();
    agent.wait().unwrap();
    let record = record(&scene);
    assert_eq!(record["identities"], serde_json::json!([SEED]));
    let posted = &record["posts"][0];
    assert_eq!((&posted["unknown"], &posted["version"]), (&Value::from(1), &Value::Null));
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec * 1000;
    let at = posted["at"].as_i64().unwrap();
    assert!((now - 300_000..=now + 1_000).contains(&at), "{at} is not about {now}");
}

#[test]
fn a_renamed_list_of_identities_does_not_restart_the_count() {
    let mut scene = with_short_starts();
    scene.vault.fault(on_post(page(403)));
    scene.vault.fault(read_without_account());
    for identities in ["secret-postman", "secret-postman,a", "a,secret-postman"] {
        scene.set("SEGURA_IDENTITY", identities);
        for n in 0..3 {
            assert_ne!(start(&scene, n).code, Some(0));
        }
    }
    assert!(super::posts_of(&scene, SEED) <= 3, "{:?}", scene.request_lines());
}

#[test]
fn a_due_pass_that_posts_is_counted_across_restarts() {
    let mut scene = Scene::new();
    scene.set("SEGURA_REFRESH", "post").set("SEGURA_RENEW_INTERVAL", "1s");
    scene.init().exits(0);
    scene.wait_until_due();
    scene.vault.clear_requests();
    scene.set("SEGURA_RENEW_INTERVAL", "1h");
    scene.vault.fault(on_post(page(403)));
    for _ in 0..5 {
        let reads = scene.count(READ);
        let sidecar = scene.renewing_sidecar();
        until("it has read or posted", || scene.count(READ) > reads || scene.count(PROVISION) == 1);
        until("the failure is counted", || scene.failures() > 0);
        sidecar.stop();
    }
    let sidecar = scene.renewing_sidecar();
    let reads = scene.count(READ);
    until("it reads on", || scene.count(READ) >= reads + 3);
    assert_eq!(scene.count(PROVISION), 3, "{:?}", scene.request_lines());
    assert!(scene.held_back(SEED).is_some(), "{}", scene.state());
    scene.vault.clear_faults();
    scene.vault.rotate();
    until("a new version is read", || scene.state()["generation"] == 2);
    sidecar.stop();
    assert_eq!(scene.count(PROVISION), 3, "{:?}", scene.request_lines());
}

#[test]
fn a_vault_without_a_resource_to_read_is_asked_for_its_list() {
    // The vault's own 404 of a read settles nothing: the POST may have acted.
    let body =
        r#"{"response": {"status": 404, "error": true, "message": "Resource sub not found"}}"#;
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "30s");
    scene.vault.fault(on_post(Effect::Reset).once());
    scene.vault.fault(Fault::answer(path::PROVISION, 404, body).method("GET").once());
    scene.init().exits(0);
    assert_eq!((scene.count(PROVISION), scene.count(READ)), (2, 1), "{:?}", scene.request_lines());
    assert_published(&scene, SEED, "");
}

#[test]
fn a_faulty_secret_is_provisioned_once_and_read_until_it_is_corrected() {
    let scene = Scene::with(Options::default());
    // A key that can't be a file.
    scene.vault.set_data(SEED, r#"{"../k": "v"}"#);
    for n in 0..STARTS {
        assert_eq!(start(&scene, n).code, Some(76));
    }
    assert_eq!(scene.count(PROVISION), 1, "{:?}", scene.request_lines());
    scene.vault.set_data(SEED, r#"{"hostname": "h"}"#);
    scene.init().exits(0);
    assert_eq!(scene.count(PROVISION), 1);
    assert_published(&scene, SEED, "");
}
