//! `deprovision`: the accounts of this pod are deprovisioned, by its state or by an id.

use super::run;
use crate::dev_vault::requests::DEPROVISION;
use crate::harness::{SEED, Scene, sidecar::Sidecar};

#[test]
fn the_published_set_is_deprovisioned_and_removed() {
    let scene = Scene::new();
    scene.init().exits(0);
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
    let given = run(&scene, &["deprovision"]);
    assert_eq!(
        (given.code, &*given.stdout),
        (Some(0), "given back  secret-postman\n"),
        "{}",
        given.stderr
    );
    assert!(scene.vault.provisioned(SEED).is_empty());
    assert!(scene.published().is_empty(), "{:?}", scene.published());
    // A second time there is nothing, and the next start provisions again.
    let again = run(&scene, &["deprovision"]);
    assert_eq!((again.code, again.stdout.lines().count()), (Some(0), 1), "{}", again.stdout);
    assert_eq!(scene.count(DEPROVISION), 1);
    scene.init().exits(0);
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
}

#[test]
fn failed_deprovisioning_is_recorded_for_another_try() {
    let mut scene = Scene::new();
    scene.vault.set_data("two", serde_json::json!({ "user": "x" }));
    scene.set("SEGURA_IDENTITY", "secret-postman,two").init().exits(0);
    scene.vault.fault(crate::dev_vault::Fault::answer("deprovision", 500, "{}").skip(1).once());
    let failed = run(&scene, &["deprovision"]);
    assert_eq!(failed.code, Some(69), "{}", failed.stderr);
    let lines: Vec<&str> = failed.stdout.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("given back  ")), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("failed      ") && line.contains("  id=")),
        "{lines:?}"
    );
    assert!(scene.published().is_empty(), "a deprovisioned set is not published any more");
    let again = run(&scene, &["deprovision"]);
    assert_eq!((again.code, again.stdout.lines().count()), (Some(0), 1), "{}", again.stderr);
    assert!(again.stdout.starts_with("given back  "), "{}", again.stdout);
    assert_eq!(scene.vault.provisioned(SEED).len() + scene.vault.provisioned("two").len(), 0);
    run(&scene, &["deprovision", ""]).exits(64);
}

#[test]
fn an_id_is_deprovisioned_without_touching_a_file() {
    let scene = Scene::new();
    scene.init().exits(0);
    let files = scene.published();
    let given = run(&scene, &["deprovision", "213"]);
    assert_eq!((given.code, &*given.stdout), (Some(0), "given back  id=213\n"), "{}", given.stderr);
    assert!(scene.vault.provisioned(SEED).is_empty());
    assert_eq!(scene.published(), files);
}

#[test]
fn the_set_of_a_running_agent_is_not_deprovisioned() {
    let scene = Scene::new();
    let sidecar = scene.renewing_sidecar();
    let refused = run(&scene, &["deprovision"]);
    refused.exits(73);
    assert!(refused.hint().is_some_and(|hint| hint.contains("SECRET_ID")), "{}", refused.stderr);
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
    sidecar.stop();
}

#[test]
fn a_set_of_another_origin_is_not_deprovisioned() {
    let mut scene = Scene::new();
    scene.init().exits(0);
    scene.set("SEGURA_POD_NAME", "web-7d4b9c6f5-other");
    let refused = run(&scene, &["deprovision"]);
    refused.exits(78);
    scene.unset("SEGURA_POD_NAME").set("HOSTNAME", "somewhere");
    let refused = run(&scene, &["deprovision", "213"]);
    refused.refuses("SEGURA_POD_NAME");
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
    assert!(!scene.published().is_empty());
}

#[test]
fn a_vault_that_refuses_leaves_the_set_as_it_is() {
    let scene = Scene::new();
    scene.init().exits(0);
    let files = scene.published();
    scene.vault.go_down();
    let failed = Sidecar::spawn(scene.agent(&["deprovision"])).wait();
    assert_eq!(failed.code, Some(69), "{}", failed.stderr);
    assert_eq!(failed.stdout, "failed      secret-postman  id=213\n");
    assert_eq!(scene.published(), files);
}
