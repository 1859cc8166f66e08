//! `--merge`: what a document does not name stays as the vault stores it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{posted, put, run, stored};
use crate::dev_vault::requests::{PUT_SECRET, path};
use crate::dev_vault::{Encryption, Fault, Options};
use crate::harness::{Run, Scene};

const CANARY: &str = "cAnArY-kEpT-4f1d";

/// A vault with the secret `a`.
fn scene() -> Scene {
    let scene = Scene::new();
    let text = format!(
        "identity: a\nname: the name\nrenew_credential_time: 60\ndata: {{k: v, kept: \"{CANARY}\", empty: ''}}\n"
    );
    assert_eq!(put(&scene, &text, &[]).code, Some(0));
    scene.vault.clear_requests();
    scene
}

/// The put's failure, of which nothing was written.
#[track_caller]
fn refused(scene: &Scene, run: &Run, code: i32, told: &str) {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    assert!(run.error().contains(told), "{told}: {}", run.stderr);
    assert!(run.hint().is_some() && run.stdout.starts_with("failed   "), "{}", run.stderr);
    assert!(!format!("{run:?}").contains(CANARY), "{run:?}");
    assert_eq!(scene.count(PUT_SECRET), 0, "{run:?}");
}

#[test]
fn keys_and_renewals_that_a_document_does_not_name_stay() {
    let scene = scene();
    let run = put(&scene, "identity: a\ndata: {k: w, new: n}\n", &["--merge"]);
    assert_eq!((run.code, &*run.stderr), (Some(0), ""));
    assert!(run.stdout.ends_with("  version=2  keys=empty,k,kept,new\n"), "{}", run.stdout);
    assert_eq!(stored(&scene, "a"), json!({ "k": "w", "kept": CANARY, "empty": "", "new": "n" }));
    let sent = posted(&scene, path::SECRETS);
    assert_eq!(
        (&sent["renew_credential_time"], &sent["renew_cloud_time"]),
        (&json!(60), &json!([]))
    );
}

#[test]
fn what_a_document_states_wins() {
    let scene = scene();
    let text = "identity: a\nrenew_credential_time: off\nrenew_cloud_time: 15\ndata: {k: w}\n";
    let run = put(&scene, text, &["--merge"]);
    let warned = "warning: document 1, a: this put switches off renew_credential_time (60 minutes) (version 1)\n";
    assert_eq!((run.code, &*run.stderr), (Some(0), warned));
    assert!(
        run.stdout.ends_with("  keys=empty,k,kept  off=renew_credential_time\n"),
        "{}",
        run.stdout
    );
    let sent = posted(&scene, path::SECRETS);
    assert_eq!(
        (&sent["renew_credential_time"], &sent["renew_cloud_time"]),
        (&json!([]), &json!(15))
    );
}

#[test]
fn a_document_by_kind_or_packed_or_without_data_is_merged_too() {
    let scene = scene();
    let by_kind =
        "identity: a\ndata: {credentials: [{credential: {fields: {user: u, user_label: U}}}]}\n";
    let run = put(&scene, by_kind, &["--merge"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.ends_with("  keys=U,empty,k,kept\n"), "{}", run.stdout);
    assert_eq!(stored(&scene, "a")["kept"], CANARY);
    let packed = STANDARD.encode(json!({ "k": "packed" }).to_string());
    let document = json!({ "identity": "a", "data": packed }).to_string();
    assert_eq!(put(&scene, &document, &["--merge"]).code, Some(0));
    let expected = json!({ "U": "u", "empty": "", "k": "packed", "kept": CANARY });
    assert_eq!(stored(&scene, "a"), expected);
    let run = put(&scene, "identity: a\ndescription: d\n", &["--merge"]);
    assert_eq!((run.code, &*run.stderr), (Some(0), ""));
    assert!(posted(&scene, path::SECRETS).get("data").is_none());
    assert_eq!(posted(&scene, path::SECRETS)["renew_credential_time"], 60);
    assert_eq!(stored(&scene, "a"), expected);
}

#[test]
fn a_secret_that_is_not_there_is_made() {
    let scene = scene();
    let run = put(&scene, "identity: deep/new\ndata: {k: v}\n", &["--merge"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.starts_with("note: document 1, deep/new: the vault lists no such secret"));
    assert_eq!(stored(&scene, "deep/new"), json!({ "k": "v" }));
}

#[test]
fn values_that_can_not_be_read_are_never_written_over() {
    let scene = scene();
    let text = "identity: a\ndata: {k: w}\n";
    let shown = |value: &str| {
        let secret = json!({ "identity": "a", "data": [{ "k": "v", "kept": value }] });
        json!({ "response": { "status": 200, "error": false }, "secret": secret }).to_string()
    };
    let get = |fault: Fault| fault.method("GET");
    for (fault, code, told) in [
        (get(Fault::no_route(path::SECRETS)), 77, "cannot read what the vault stores of a: "),
        (get(Fault::bad_gateway(path::SECRETS)), 69, "cannot read what the vault stores of a: "),
        (get(Fault::body(path::SECRETS, "<html>")), 76, "cannot read what the vault stores of a: "),
        (
            get(Fault::body(path::SECRETS, &shown("********"))),
            78,
            "cannot merge into a: the vault shows the values of kept masked or encrypted",
        ),
        (
            get(Fault::body(path::SECRETS, &shown(&STANDARD.encode([7; 256])))),
            78,
            "cannot merge into a: the vault shows the values of kept masked or encrypted",
        ),
        (
            get(Fault::body(path::SECRETS, &shown("An error occurred while encrypting the text"))),
            78,
            "cannot merge into a: the vault could not encrypt \"kept\" of a",
        ),
    ] {
        scene.vault.clear_faults();
        scene.vault.clear_requests();
        scene.vault.fault(fault);
        refused(&scene, &put(&scene, text, &["--merge"]), code, told);
    }
    scene.vault.clear_faults();
    assert_eq!(stored(&scene, "a")["kept"], CANARY);
    // A hidden value that the document names is none to keep.
    scene.vault.fault(get(Fault::body(path::SECRETS, &shown("********"))));
    let run = put(&scene, "identity: a\ndata: {k: w, kept: new}\n", &["--merge"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn encrypted_values_are_kept_by_who_has_the_key() {
    let encryption = Encryption::Generated;
    let mut scene = Scene::with(Options { encryption, ..Options::default() });
    let text = format!("identity: a\ndata: {{password: \"{CANARY}\", k: v}}\n");
    assert_eq!(put(&scene, &text, &[]).code, Some(0));
    scene.vault.clear_requests();
    let key = scene.unset("SEGURA_PRIVATE_KEY_FILE").vault.env();
    let merged = "identity: a\ndata: {k: w}\n";
    let told = "cannot merge into a: the vault shows the values of password masked or encrypted";
    refused(&scene, &put(&scene, merged, &["--merge"]), 78, told);
    let key = key.into_iter().find(|(name, _)| name == "SEGURA_PRIVATE_KEY_FILE");
    scene.set("SEGURA_PRIVATE_KEY_FILE", &key.expect("the vault has a key").1);
    let run = put(&scene, merged, &["--merge"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(stored(&scene, "a"), json!({ "k": "w", "password": CANARY }));
}

#[test]
fn a_renewal_of_unknown_minutes_and_several_entries_are_refused() {
    let scene = scene();
    let text = "identity: a\ndata: {k: w}\n";
    let secret = json!({ "identity": "a", "renew_cloud_time": true, "data": [{ "k": "v" }] });
    let body = json!({ "response": { "status": 200 }, "secret": secret }).to_string();
    scene.vault.fault(Fault::body(path::SECRETS, &body).method("GET"));
    let told =
        "cannot merge into a: renew_cloud_time is on, and the vault does not say its minutes";
    refused(&scene, &put(&scene, text, &["--merge"]), 78, told);
    scene.vault.clear_faults();
    scene.vault.set_data("a", json!([{ "k": "v" }, { "k": "x", "kept": CANARY }]));
    let told = "cannot merge into a: it has 2 entries";
    refused(&scene, &put(&scene, text, &["--merge"]), 78, told);
    let run = put(&scene, text, &[]);
    assert!(run.stdout.contains("  replaced=kept  "), "a plain put says what goes: {run:?}");
}

#[test]
fn a_dry_run_says_what_a_merge_would_keep() {
    let mut scene = scene();
    let text = "identity: a\ndata: {k: w}\n";
    let valid = put(&scene, text, &["--merge", "--dry-run"]);
    assert_eq!((valid.code, &*valid.stderr), (Some(0), ""));
    assert_eq!(valid.stdout, "valid    a  keys=empty,k,kept\n");
    scene.unset("SEGURA_URL");
    let valid = put(&scene, text, &["--merge", "--dry-run"]);
    assert_eq!((valid.code, &*valid.stdout), (Some(0), "valid    a  keys=k\n"));
    let note = "note: document 1, a: what --merge keeps is not known: no vault is set\n";
    assert_eq!(valid.stderr, note);
    assert_eq!(scene.count(PUT_SECRET), 0);
}

#[test]
fn what_the_vault_repeats_of_a_kept_value_is_not_shown() {
    let scene = scene();
    let sent = put(&scene, "identity: a\ndata: {k: w}\n", &["--merge"]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let packed = posted(&scene, path::SECRETS)["data"].as_str().map(str::to_owned);
    for repeated in [CANARY.to_owned(), packed.unwrap_or_default()] {
        scene.vault.clear_faults();
        let body: Value = json!({ "response": { "status": 400, "error": true, "message": format!("no {repeated}") } });
        let fault = Fault::answer(path::SECRETS, 400, &body.to_string());
        scene.vault.fault(fault.method("POST"));
        let run = put(&scene, "identity: a\ndata: {k: w}\n", &["--merge"]);
        assert!(run.error().contains("no [redacted]"), "{}", run.stderr);
        assert!(!run.stderr.contains(CANARY) && !run.stderr.contains(&repeated));
    }
}

#[test]
fn only_secrets_are_merged() {
    let scene = Scene::new();
    run(&scene, &["credential", "put", "x.yaml", "--merge"]).exits(64);
}
