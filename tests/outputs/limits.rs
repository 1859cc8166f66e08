//! Sets that are larger than a start could read back.

use serde_json::json;

use crate::dev_vault::Options;
use crate::harness::{Scene, for_a_while, lines, until};

/// Three secrets whose values are so many MiB each.
fn scene(sizes: [usize; 3]) -> Scene {
    let mut scene = Scene::with(Options { tls: false, ..Options::default() });
    for (identity, size) in ["a", "b", "c"].into_iter().zip(sizes) {
        put(&scene, identity, size);
    }
    scene.set("SEGURA_IDENTITY", "a,b,c").set("SEGURA_SOURCE", "secret");
    scene
}

fn put(scene: &Scene, identity: &str, mebibytes: usize) {
    let value = "v".repeat(mebibytes << 20);
    scene.vault.put_secret(json!({ "identity": identity, "data": { "k": value } }));
}

#[test]
fn a_set_of_more_than_16_mib_is_refused_by_name() {
    let scene = scene([6, 6, 5]);
    let run = scene.init();
    run.exits(76);
    assert!(run.error().contains("larger than 16 MiB"), "{}", run.error());
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_IDENTITY")), "{}", run.stderr);
    assert!(scene.published().is_empty());
}

#[test]
fn a_secret_that_grows_past_the_limit_is_held_back_and_the_others_are_not() {
    let mut scene = scene([5, 5, 1]);
    scene.set("SEGURA_RENEW_INTERVAL", "1s").init().exits(0);
    let sidecar = scene.renewing_sidecar();
    put(&scene, "a", 7);
    put(&scene, "c", 2);
    put(&scene, "b", 7);
    until("one is held back", || sidecar.times_logged(lines::HELD_BACK) > 0);
    for_a_while("the set stays below the limit", || {
        scene.published().values().map(Vec::len).sum::<usize>() < 16 << 20
    });
    assert!(scene.check("ready").0, "it can be read back");
    sidecar.stop();
    scene.vault.go_down();
    scene.init().exits(0);
}
