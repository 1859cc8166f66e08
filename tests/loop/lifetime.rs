//! A set whose every `TTL` has run out is replaced, and no other is.

use std::time::Duration;

use super::{PAGE, on_post, page};
use crate::dev_vault::requests::{PROVISION, READ, path};
use crate::dev_vault::{Fault, Options};
use crate::harness::{Run, SEED, Scene, side_by_side, sidecar::Sidecar, until};

/// The lifetime of accounts, in seconds.
const LIFETIME: u64 = 2;

/// A set whose lifetime is over, though it is not due for long.
fn run_out(interval: &str) -> Scene {
    let options = Options { ttl: Some(LIFETIME.to_string()), ..Options::default() };
    let mut scene = Scene::with(options);
    scene.set("SEGURA_RENEW_INTERVAL", interval).set("SEGURA_RESTART_SPLAY", "0s");
    scene.init().exits(0);
    let end = scene.vault.elapsed() + Duration::from_millis(LIFETIME * 1000 + 50);
    until("its lifetime is over", || scene.vault.elapsed() > end);
    scene.vault.clear_requests();
    scene
}

/// Starts in a mode until its set is published and renewed, and ends it.
#[track_caller]
fn start(scene: &Scene, mode: &str) {
    match mode {
        "sidecar" => {
            scene.renewing_sidecar().stop();
        }
        "exec" => {
            let run = Sidecar::spawn(scene.agent(&["exec", "--", "/bin/true"])).wait();
            assert_eq!(run.code, Some(0), "{}", run.stderr);
        }
        _ => {
            scene.init().exits(0);
        }
    }
}

/// Starts in a mode, which replaces the set, and ends it.
#[track_caller]
fn replace(scene: &Scene, mode: &str) {
    if mode != "sidecar" {
        return start(scene, mode);
    }
    let sidecar = scene.sidecar();
    until("the set is replaced", || scene.state()["generation"] == 2);
    sidecar.stop();
}

fn password(scene: &Scene) -> String {
    scene.vault.provisioned(SEED).pop().expect("an account").password
}

#[test]
fn a_set_that_has_run_out_is_provisioned_again_in_every_mode() {
    let modes = ["init", "sidecar", "exec"];
    let cases = modes.iter().flat_map(|mode| [(*mode, "1h"), (*mode, "off")]);
    side_by_side(cases, |(mode, interval)| {
        let scene = run_out(interval);
        replace(&scene, mode);
        let what = format!("{mode}, {interval}: {:?}", scene.request_lines());
        assert_eq!((scene.count(PROVISION), scene.vault.provision_count()), (1, 2), "{what}");
        assert!(scene.count(READ) >= 1, "{what}");
        assert_eq!(scene.read("secret-postman/password"), password(&scene), "{what}");
        // The next one is five minutes away, for restarts as for renewal.
        let end = scene.vault.elapsed() + Duration::from_millis(LIFETIME * 1000 + 50);
        until("its lifetime is over", || scene.vault.elapsed() > end);
        for mode in modes {
            start(&scene, mode);
        }
        assert_eq!(scene.count(PROVISION), 1, "{what}");
    });
}

#[test]
fn a_set_that_has_run_out_serves_on_where_it_cannot_be_replaced() {
    let down: fn(&Scene) = |scene| scene.vault.go_down();
    let unread: fn(&Scene) = |scene| {
        scene.vault.fault(Fault::new(path::PROVISION, page(403)).method("GET"));
    };
    let refused: fn(&Scene) = |scene| scene.vault.set_client_secret("another");
    let limited: fn(&Scene) = |scene| {
        scene.vault.fault(Fault::rate_limit(path::PROVISION, "3600").method("POST"));
    };
    let cases = [
        ("the vault is down", down, 0),
        ("a read that does not answer", unread, 0),
        ("a refused client", refused, 0),
        ("a limited rate", limited, 1),
    ];
    side_by_side(cases, |(what, break_it, posts)| {
        let scene = run_out("1h");
        let files = scene.published();
        break_it(&scene);
        let run = scene.init();
        run.exits(0);
        assert!(run.stderr.contains("\"WARN\""), "{what}: {}", run.stderr);
        assert_eq!((scene.published(), scene.count(PROVISION)), (files, posts), "{what}");
    });
}

#[test]
fn a_read_that_brings_something_newer_spares_the_post() {
    let scene = run_out("1h");
    scene.vault.rotate();
    scene.init().exits(0);
    assert_eq!((scene.count(READ), scene.count(PROVISION)), (1, 0));
    assert_eq!(scene.read("secret-postman/password"), password(&scene));
}

#[test]
fn a_vault_that_has_removed_the_account_is_provisioned_again() {
    for mode in ["init", "sidecar"] {
        let scene = run_out("1h");
        let given = Run::of(scene.agent(&["deprovision", "213"]).output().unwrap());
        assert_eq!(given.code, Some(0), "{}", given.stderr);
        assert!(scene.vault.provisioned(SEED).is_empty());
        replace(&scene, mode);
        assert_eq!(scene.count(PROVISION), 1, "{mode}");
        assert_eq!(scene.read("secret-postman/password"), password(&scene), "{mode}");
    }
}

#[test]
fn a_set_that_has_not_run_out_is_never_provisioned_again_by_a_start() {
    let options = Options { ttl: Some("3600".to_owned()), ..Options::default() };
    let mut scene = Scene::with(options);
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    scene.init().exits(0);
    scene.wait_until_due();
    for _ in 0..5 {
        scene.init().exits(0);
    }
    assert_eq!(scene.vault.provision_count(), 1);
    // One identity without a lifetime beside it is no other.
    let mut scene = Scene::with(Options { ttl: Some("1".to_owned()), ..Options::default() });
    scene.vault.put_secret(r#"{"identity": "a", "data": {"password": "p", "TTL": "3600"}}"#);
    scene.set("SEGURA_IDENTITY", "secret-postman,a").set("SEGURA_RENEW_INTERVAL", "off");
    scene.init().exits(0);
    let end = scene.vault.elapsed() + Duration::from_millis(1_050);
    until("the first lifetime is over", || scene.vault.elapsed() > end);
    scene.init().exits(0);
    assert_eq!(scene.count(PROVISION), 2, "not every lifetime is over");
}

#[test]
fn a_crash_loop_on_a_set_that_has_run_out_posts_once_in_five_minutes() {
    let scene = run_out("1h");
    scene.vault.fault(on_post(page(403)));
    for mode in ["init", "exec", "init", "sidecar", "init", "exec"] {
        start(&scene, mode);
    }
    assert_eq!(scene.count(PROVISION), 1, "{:?}", scene.request_lines());
    assert!(!PAGE.is_empty() && scene.path("..segura/pending.json").exists());
}
