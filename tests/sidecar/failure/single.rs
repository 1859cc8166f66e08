//! One identity of several fails: it keeps its last good version, the others go on.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault, Options},
    harness::{SEED, Scene, side_by_side, until},
    sidecar::{Change, READ, poke},
};

const OTHER: &str = "payments/database";

fn several(change: impl FnOnce(&mut Scene)) -> Scene {
    Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_IDENTITY", "application5,payments/database,secret-postman");
        scene.set("SEGURA_OUTPUT", "files,env,json").set("SEGURA_TIMEOUT", "2s");
        scene.listen();
        scene.vault.set_data(OTHER, r#"{"token": "good"}"#);
        change(scene);
    })
}

/// Asserts that one identity keeps its published version.
#[track_caller]
fn assert_kept_version(scene: &Scene, what: &str, token: &str) {
    assert_eq!(scene.read("payments/database/token"), token, "{what}");
    let line = format!("payments_database_token='{token}'\n");
    assert!(scene.read("secrets.env").contains(&line), "{what}");
    let json: serde_json::Value = serde_json::from_str(&scene.read("secrets.json")).unwrap();
    assert_eq!(json[OTHER]["token"], token, "{what}");
}

/// One way of failing, how it is called in the state, what brings it about and what ends it.
type Case = (&'static str, &'static str, Change, Change);

fn faulty_answers() -> Vec<Case> {
    fn restored(scene: &Scene) {
        scene.vault.set_data(OTHER, r#"{"token": "restored"}"#);
    }
    vec![
        ("absent", "settings", |scene| scene.vault.remove_secret(OTHER), restored),
        (
            "a faulty name",
            "nonsense",
            |scene| scene.vault.set_data(OTHER, r#"{"../evil": "x", "token": "y"}"#),
            restored,
        ),
        (
            "no data",
            "refused",
            |scene| {
                let secret = r#"{"identity": "payments/database", "data": []}"#;
                let body = format!(r#"{{"response": {{"status": 200}}, "secret": {secret}}}"#);
                scene.vault.fault(Fault::body("payments", &body));
            },
            |scene| {
                scene.vault.clear_faults();
                restored(scene);
            },
        ),
        (
            "a hanging read",
            "unreachable",
            |scene| scene.vault.fault(Fault::new("payments", Effect::Hang)),
            |scene| {
                scene.vault.clear_faults();
                restored(scene);
            },
        ),
        (
            "HTML",
            "nonsense",
            |scene| scene.vault.fault(Fault::body("payments", "<html>")),
            |scene| {
                scene.vault.clear_faults();
                restored(scene);
            },
        ),
        (
            "two keys of one variable",
            "render",
            |scene| scene.vault.set_data(OTHER, r#"{"a-b": "1", "a.b": "2", "token": "y"}"#),
            restored,
        ),
        (
            "NUL in an environment",
            "render",
            |scene| scene.vault.set_data(OTHER, r#"{"token": "x\u0000y"}"#),
            restored,
        ),
    ]
}

#[test]
fn an_identity_that_fails_keeps_its_last_good_version_and_the_others_are_renewed() {
    side_by_side(faulty_answers(), |(what, class, spoil, repair)| {
        let scene = several(|_| {});
        let password = scene.read("payments/database/password");
        let sidecar = scene.renewing_sidecar();
        spoil(&scene);
        until(&format!("{what}: it is held back"), || scene.held_back(OTHER).is_some());
        scene.vault.rotate();
        scene.wait_until_fresh();
        assert_eq!(scene.held_back(OTHER).as_deref(), Some(class), "{what}");
        assert_eq!((scene.held_back(SEED), scene.held_back("application5")), (None, None));
        assert_eq!(scene.state()["last_error"], class, "{what}");
        let reads = scene.count(READ);
        until("it goes on", || scene.count(READ) >= reads + 4);
        assert_kept_version(&scene, what, "good");
        assert_eq!(scene.read("payments/database/password"), password, "{what}");
        sidecar.assert_warned(1, what);
        assert!(sidecar.warnings()[0].contains(OTHER), "{what}: {:?}", sidecar.warnings());
        let metrics = scene.get("/metrics").1;
        let line = "segura_agent_secret_held_back{identity=\"payments/database\"} 1\n";
        assert!(metrics.contains(line), "{what}: {metrics}");
        assert_eq!(metrics.matches("secret_held_back{").count(), 1, "{what}");
        let (ready, line) = scene.check("ready");
        assert!(ready && line.contains("held back: payments/database"), "{what}: {line}");
        repair(&scene);
        until(&format!("{what}: it is over"), || scene.held_back(OTHER).is_none());
        assert_kept_version(&scene, what, "restored");
        until("the state says so", || scene.failures() == 0);
        sidecar.assert_logged(lines::FRESH, 1, what);
        assert!(!scene.get("/metrics").1.contains("secret_held_back{"), "{what}");
        sidecar.stop();
    });
}

#[test]
fn an_identity_still_held_back_is_not_reported_as_renewed() {
    let mut scene = several(|_| {});
    scene.set("SEGURA_RENEW_INTERVAL", "3s");
    let sidecar = scene.renewing_sidecar();
    // One that is tried again between two dues, and one that is not.
    scene.vault.fault(Fault::new("application5", Effect::Hang));
    scene.vault.set_data(OTHER, r#"{"a-b": "1", "a.b": "2"}"#);
    until("both are held back", || {
        scene.held_back(OTHER).is_some() && scene.held_back("application5").is_some()
    });
    let failures = scene.failures();
    until("both are tried again", || scene.failures() >= failures + 3);
    assert_eq!(sidecar.times_logged(lines::FRESH), 0, "{:?}", sidecar.log());
    sidecar.assert_warned(2, "");
    sidecar.stop();
}

#[test]
fn identities_that_a_pass_did_not_reach_are_fetched_soon() {
    let scene = several(|scene| {
        scene.set("SEGURA_RENEW_INTERVAL", "10m");
    });
    scene.vault.rotate();
    scene.vault.fault(Fault::new("payments", Effect::Hang));
    scene.vault.fault(Fault::rate_limit("secret-postman", "0").once());
    let sidecar = scene.renewing_sidecar();
    poke(&scene);
    scene.wait_until_fresh();
    sidecar.stop();
}

#[test]
fn the_other_identities_are_renewed_however_many_fail() {
    let scene = several(|_| {});
    let passwords = [OTHER, "application5"].map(|name| scene.read(&format!("{name}/password")));
    scene.vault.fault(Fault::new("payments", Effect::Cut));
    scene.vault.set_data("application5", r#"{"..": "x"}"#);
    let sidecar = scene.renewing_sidecar();
    scene.vault.rotate();
    scene.wait_until_fresh();
    let now = [OTHER, "application5"].map(|name| scene.read(&format!("{name}/password")));
    assert_eq!(now, passwords);
    until("both are logged", || sidecar.warnings().len() == 2);
    let metrics = scene.get("/metrics").1;
    assert_eq!(metrics.matches("secret_held_back{").count(), 2, "{metrics}");
    sidecar.stop();
}

#[test]
fn the_next_sidecar_still_holds_back() {
    let scene = several(|_| {});
    let password = scene.read("payments/database/password");
    scene.vault.set_data(OTHER, r#"{"a-b": "1", "a.b": "2"}"#);
    let first = scene.renewing_sidecar();
    until("it is held back", || scene.held_back(OTHER).is_some());
    first.kill();
    let second = scene.renewing_sidecar();
    scene.vault.rotate();
    scene.wait_until_fresh();
    assert_kept_version(&scene, "after a crash", "good");
    assert_eq!(scene.read("payments/database/password"), password);
    assert_eq!(scene.held_back(OTHER).as_deref(), Some("render"));
    second.stop();
}
