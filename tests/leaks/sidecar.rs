//! A sidecar's whole life at the highest log level: rotation, failures, deprovisioning.

use std::fs;

use super::canaries::{Canaries, end_silent};
use super::{LOGIN, PROVISION, SECRET, TOKEN, VALUE, known_token, scene};
use crate::{
    dev_vault::{Effect, Fault},
    harness::{SEED, Scene, side_by_side, sidecar::Sidecar, until},
};

/// Stops a sidecar that logs at the highest level, and asserts that it has leaked nothing.
#[track_caller]
fn stop_silent(scene: &Scene, sidecar: Sidecar, what: &str, former: &[String]) {
    let run = end_silent(scene, sidecar, 0, what, former);
    assert!(run.stderr.contains("TRACE"), "{what}: {}", run.stderr);
}

#[test]
fn a_sidecar_with_rotations_and_failures_leaks_nothing() {
    let mut scene = scene();
    scene.set("SEGURA_DEPROVISION", "true").set("SEGURA_STARTUP_TIMEOUT", "1m");
    let sidecar = scene.renewing_sidecar();
    let mut former = Vec::new();
    let mut rotated = |scene: &Scene| {
        former.push(scene.vault.provisioned(SEED).remove(0).password);
        scene.vault.rotate();
        let password = scene.vault.provisioned(SEED).remove(0).password;
        until("it is fresh", || scene.read("secret-postman/password") == password);
    };
    rotated(&scene);
    scene.vault.go_down();
    until("it fails", || scene.failures() > 0);
    scene.vault.come_back();
    until("it recovers", || scene.failures() == 0);
    rotated(&scene);
    // What can't be rendered is held back by name alone.
    scene.vault.set_data(SEED, format!(r#"{{"a-b": "{VALUE}-1", "a.b": "{VALUE}-2"}}"#));
    until("it is held back", || scene.held_back(SEED).is_some());
    let canaries = Canaries::of(&scene);
    assert!(canaries.credentials.len() > 12);
    former.push(scene.vault.provisioned(SEED).remove(0).password);
    stop_silent(&scene, sidecar, "a life", &former);
    assert!(scene.vault.provisioned(SEED).is_empty(), "it was deprovisioned");
    assert!(scene.published().is_empty());
}

#[test]
fn failures_of_renewal_leak_nothing() {
    let said = format!("{SECRET} {VALUE} {TOKEN}");
    let location = format!("https://{VALUE}.invalid/");
    let faults = [
        ("HTML", Fault::body(PROVISION, &format!("<html>{said}</html>"))),
        ("text", Fault::body(PROVISION, &format!(r#"{{"response": "{said}"}}"#))),
        ("half an answer", Fault::new(PROVISION, Effect::Cut).after()),
        ("no answer", Fault::new(PROVISION, Effect::Hang).after()),
        ("an old token", Fault::expired(PROVISION)),
        ("a redirect", Fault::new(PROVISION, Effect::Redirect { location })),
        (
            "a login that fails",
            Fault::answer(LOGIN, 500, &serde_json::json!({"message": SECRET}).to_string()),
        ),
    ];
    side_by_side(faults, |(what, fault)| {
        let scene = scene();
        scene.init().exits(0);
        let sidecar = scene.renewing_sidecar();
        scene.vault.fault(fault);
        until("it fails", || scene.failures() > 0);
        scene.vault.clear_faults();
        until("it recovers", || scene.failures() == 0);
        stop_silent(&scene, sidecar, what, &[]);
    });
}

#[test]
fn answers_that_repeat_credentials_to_a_sidecar_leak_none() {
    let said = format!("Bearer {TOKEN} of {SECRET} is not liked");
    let cases = [
        (
            "a rejection",
            400,
            serde_json::json!({"response": {"status": 400, "error": true, "message": said, "error_code": 1}}),
        ),
        (
            "a failure",
            500,
            serde_json::json!({"response": {"status": 500, "error": true, "message": said}}),
        ),
        ("a refused token", 401, serde_json::json!({"exp": said, "message": said})),
        (
            "a success that is none",
            200,
            serde_json::json!({"response": {"status": 200, "error": true, "message": said}}),
        ),
    ];
    side_by_side(cases, |(what, status, body)| {
        let scene = scene();
        scene.init().exits(0);
        known_token(&scene);
        scene.vault.fault(Fault::answer(PROVISION, status, &body.to_string()));
        let sidecar = scene.renewing_sidecar();
        until("it fails on", || scene.failures() >= 2);
        stop_silent(&scene, sidecar, what, &[]);
    });
}

#[test]
fn a_replaced_client_secret_leaks_neither_the_old_nor_the_new() {
    let mut scene = scene();
    let path = scene.vault.dir().join("client-secret");
    fs::write(&path, SECRET).unwrap();
    scene.unset("SEGURA_CLIENT_SECRET");
    scene.set("SEGURA_CLIENT_SECRET_FILE", &path.display().to_string());
    let sidecar = scene.renewing_sidecar();
    let next = "cAnArY-sEcReT-two";
    fs::write(&path, next).unwrap();
    scene.vault.revoke_tokens();
    until("it is refused", || scene.failures() > 0);
    scene.vault.set_client_secret(next);
    fs::write(&path, format!("{next}\n")).unwrap();
    until("it is let in", || scene.failures() == 0);
    stop_silent(&scene, sidecar, "a new client secret", &[next.to_owned()]);
}
