//! Encrypted values: decrypted with the authorization's key, or reported by key.

use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use serde_json::json;

use crate::{
    dev_vault::{Encryption, Options},
    harness::{SEED, Scene, until},
};

fn encrypted() -> Scene {
    let mut scene =
        Scene::with(Options { encryption: Encryption::Generated, ..Options::default() });
    scene
        .vault
        .set_data(SEED, json!({ "username": "ada", "password": "it's \u{1f511}", "n": "1" }));
    scene.set("SEGURA_SOURCE", "application");
    scene
}

#[test]
fn encrypted_values_are_decrypted_and_plain_ones_are_taken_as_they_are() {
    let mut scene = encrypted();
    let key = scene.vault.private_key_file().display().to_string();
    scene.set("SEGURA_PRIVATE_KEY_FILE", &key).init().exits(0);
    assert_eq!(scene.read(&format!("{SEED}/password")), "it's \u{1f511}");
    assert_eq!(scene.read(&format!("{SEED}/username")), "ada");
    assert_eq!(scene.read(&format!("{SEED}/n")), "1");
}

#[test]
fn without_a_key_encrypted_values_are_published_as_they_are_with_a_warning() {
    let mut scene = encrypted();
    let run = scene.unset("SEGURA_PRIVATE_KEY_FILE").init();
    run.exits(0);
    assert_ne!(scene.read(&format!("{SEED}/password")), "it's \u{1f511}");
    assert!(run.stderr.contains("SEGURA_PRIVATE_KEY_FILE"), "{}", run.stderr);
}

#[test]
fn an_encrypted_value_is_logged_once_and_not_at_every_pass() {
    for source in ["provision", "application", "secret"] {
        let mut scene = encrypted();
        scene.set("SEGURA_SOURCE", source).set("SEGURA_RENEW_INTERVAL", "1s");
        let sidecar = scene.unset("SEGURA_PRIVATE_KEY_FILE").renewing_sidecar();
        scene.vault.clear_requests();
        until("it reads again and again", || scene.vault.requests().len() >= 3);
        sidecar.assert_logged(&format!("{SEED} looks encrypted"), 1, source);
        scene.vault.set_data(SEED, json!({ "username": "ada", "password": "next" }));
        scene.vault.rotate();
        until("a change is published", || scene.state()["generation"].as_u64() > Some(1));
        sidecar.assert_logged(&format!("{SEED} looks encrypted"), 1, source);
    }
}

#[test]
fn a_value_too_long_for_the_vault_to_encrypt_is_an_error_by_key() {
    let mut scene = encrypted();
    let key = scene.vault.private_key_file().display().to_string();
    scene.vault.set_data(SEED, json!({ "username": "ada", "password": "x".repeat(300) }));
    let run = scene.set("SEGURA_PRIVATE_KEY_FILE", &key).init();
    run.exits(76);
    assert!(run.error().contains("password"), "{}", run.stderr);
    assert!(run.hint().is_some(), "{}", run.stderr);
    assert!(scene.published().is_empty());
}

#[test]
fn the_key_of_another_authorization_is_reported() {
    let mut scene = encrypted();
    let other = RsaPrivateKey::new(&mut OsRng, 2048).unwrap().to_pkcs8_pem(LineEnding::LF);
    let run = scene.set_file("SEGURA_PRIVATE_KEY_FILE", other.unwrap().as_bytes()).init();
    run.exits(76);
    assert!(
        run.hint().is_some_and(|hint| hint.contains("SEGURA_PRIVATE_KEY_FILE")),
        "{}",
        run.stderr
    );
}
