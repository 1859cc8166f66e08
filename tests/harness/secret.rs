//! The secret that a sidecar renews, and its passes and notifications.

use std::fs;

use crate::dev_vault::requests::secret;
use crate::harness::{Scene, until};

/// A scene whose one secret is `app`, fetched every second.
pub fn scene() -> Scene {
    let mut scene = Scene::new();
    fetch_app_alone(&mut scene);
    scene
}

/// Has a scene fetch the secret `app` alone.
pub fn fetch_app_alone(scene: &mut Scene) {
    change(scene, "one");
    scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "app");
    scene.set("SEGURA_RENEW_INTERVAL", "1s").set("SEGURA_LOG_FORMAT", "text");
}

/// Gives the secret another value, and its version the next number.
pub fn change(scene: &Scene, password: &str) {
    change_with_ttl(scene, password, "3600");
}

/// The same, with another lifetime.
pub fn change_with_ttl(scene: &Scene, password: &str, ttl: &str) {
    let data = serde_json::json!({ "password": password, "TTL": ttl });
    scene.vault.set_data("app", data);
}

/// How often the secret was asked for.
pub fn passes(scene: &Scene) -> usize {
    scene.count(&secret("app"))
}

/// Waits for so many more passes, and for the end of all but the last.
#[track_caller]
pub fn after_passes(scene: &Scene, more: usize) {
    let enough = passes(scene) + more + 1;
    until("the passes go on", || passes(scene) >= enough);
}

/// The current generation, and the last one that was notified; zeros before the first.
pub fn generations(scene: &Scene) -> (u64, u64) {
    let state = fs::read(scene.path(".segura.json")).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
    let number = |name: &str| state.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    (number("generation"), number("notified"))
}

/// Waits until this value is published.
#[track_caller]
pub fn until_published(scene: &Scene, password: &str) {
    let file = scene.path("app/password");
    until("the value is published", || {
        fs::read_to_string(&file).is_ok_and(|found| found == password)
    });
}

/// Waits until the state says that the current generation was notified.
#[track_caller]
pub fn until_notified(scene: &Scene) {
    until("all is notified", || {
        let (generation, notified) = generations(scene);
        generation > 0 && generation == notified
    });
}
