//! What a put takes away: it is said before, by a dry run as well, and after.

use serde_json::json;

use super::{file, posted, put, run};
use crate::dev_vault::requests::{PUT_SECRET, path};
use crate::dev_vault::{Fault, Options, Resource};
use crate::harness::{Run, Scene};

/// A vault with the secret `a`: the keys `k` and `old`, and two renewals.
fn scene() -> Scene {
    let scene = Scene::new();
    let text =
        "identity: a\nrenew_credential_time: 60\nrenew_cloud_time: 30\ndata: {k: v, old: v}\n";
    let run = put(&scene, text, &[]);
    assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{}", run.stdout);
    scene.vault.clear_requests();
    scene
}

const DOCUMENT: &str = "identity: a\nrenew_cloud_time: 20\ndata: {k: w}\n";
const LOSS: &str = "warning: document 1, a: this put removes the keys old and switches off renew_credential_time (60 minutes) (version 1)\n";

#[test]
fn a_put_names_the_keys_that_go_and_the_renewal_that_ends() {
    let scene = scene();
    let before = put(&scene, DOCUMENT, &["--dry-run"]);
    let valid = "valid    a  keys=k  replaced=old  off=renew_credential_time\n";
    assert_eq!((before.code, &*before.stdout, &*before.stderr), (Some(0), valid, LOSS));
    assert_eq!((scene.count(PUT_SECRET), scene.vault.version("a").as_deref()), (0, Some("1")));
    let after = put(&scene, DOCUMENT, &[]);
    assert_eq!((after.code, &*after.stderr), (Some(0), LOSS));
    let told = "  version=2  keys=k  replaced=old  off=renew_credential_time\n";
    assert!(after.stdout.ends_with(told), "{}", after.stdout);
    // Nothing goes any more.
    let again = put(&scene, DOCUMENT, &[]);
    assert_eq!((again.code, &*again.stderr), (Some(0), ""));
    assert!(again.stdout.ends_with("  version=3  keys=k\n"), "{}", again.stdout);
}

#[test]
fn a_new_secret_replaces_nothing() {
    let scene = scene();
    for options in [&["--dry-run"][..], &[]] {
        let run = put(&scene, "identity: new/one\ndata: {k: v}\n", options);
        assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{}", run.stdout);
        assert!(!run.stdout.contains("replaced=") && !run.stdout.contains("off="));
    }
}

#[test]
fn an_update_without_data_leaves_the_values_and_says_what_it_switches_off() {
    let scene = scene();
    let text = "identity: a\ndescription: other words\nrenew_cloud_time: 30\n";
    let run = put(&scene, text, &[]);
    let warned = "warning: document 1, a: this put switches off renew_credential_time (60 minutes) (version 1)\n";
    assert_eq!((run.code, &*run.stderr), (Some(0), warned));
    let told = "  version=2  keys=k,old  off=renew_credential_time\n";
    assert!(run.stdout.ends_with(told), "{}", run.stdout);
    assert!(posted(&scene, path::SECRETS).get("data").is_none());
    // Where there is nothing to update, the vault decides, and a warning says so.
    let run = put(&scene, "identity: nobody\ndescription: x\n", &["--dry-run"]);
    assert_eq!((run.code, &*run.stdout), (Some(0), "valid    nobody\n"));
    assert!(run.stderr.starts_with("warning: document 1, nobody: the vault has no such secret"));
}

#[test]
fn all_that_is_stated_is_not_asked_for() {
    let scene = scene();
    let text = "identity: a\nrenew_cloud_time: off\nrenew_credential_time: 10\nrenew_ephemeral_credential_time: off\n";
    let run = put(&scene, text, &[]);
    assert_eq!((run.code, &*run.stderr), (Some(0), ""));
    assert_eq!(
        scene.request_lines().len(),
        2,
        "a login and the write: {:?}",
        scene.request_lines()
    );
}

/// The note on a put of which nobody knows what it replaces.
#[track_caller]
fn assert_unknown(run: &Run, why: &str) {
    let note = "note: document 1, a: this put removes each key that the document does not name and switches off renew_credential_time, renew_ephemeral_credential_time; what the vault stores of them is not known: ";
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let told = run.stderr.strip_prefix(note).unwrap_or_default();
    assert!(told.contains(why) && told.lines().count() == 1, "{}", run.stderr);
    assert!(!run.stdout.contains("replaced="), "{}", run.stdout);
}

#[test]
fn what_can_not_be_read_is_said_to_be_unknown() {
    let mut scene = scene();
    for (fault, why) in [
        (Fault::no_route(path::SECRETS), "no Route matched"),
        (Fault::bad_gateway(path::SECRETS), "502"),
        (Fault::body(path::SECRETS, "<html>"), "it is not JSON"),
    ] {
        scene.vault.clear_faults();
        scene.vault.fault(fault.method("GET"));
        for options in [&["--dry-run"][..], &[]] {
            assert_unknown(&put(&scene, DOCUMENT, options), why);
        }
    }
    scene.vault.clear_faults();
    let document = file(&scene, "a.yaml", DOCUMENT);
    let args = ["secret", "put", &document, "--dry-run"];
    scene.set("SEGURA_CA_FILE", "/nowhere/ca.pem");
    assert_unknown(&run(&scene, &args), "/nowhere/ca.pem");
    scene.unset("SEGURA_CA_FILE");
    assert_unknown(&run(&scene, &args), "no trusted authority");
    scene.unset("SEGURA_URL");
    assert_unknown(&run(&scene, &args), "no vault is set");
}

#[test]
fn a_vault_that_is_not_reached_is_tried_once_by_a_dry_run() {
    let scene = scene();
    scene.vault.set_client_secret("another");
    let text = format!("{DOCUMENT}---\nidentity: b\ndata: {{k: v}}\n");
    let run = put(&scene, &text, &["--dry-run"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr.matches("the vault refuses the client id or secret").count(), 2);
    assert_eq!(scene.request_lines().len(), 1, "{:?}", scene.request_lines());
    // A put would meet it with every document: one login says it.
    scene.vault.clear_requests();
    let run = put(&scene, &text, &[]);
    assert_eq!(run.code, Some(77), "{}", run.stderr);
    assert_eq!(run.stdout, "failed   a\nfailed   b\n");
    assert_eq!(scene.request_lines().len(), 1, "{:?}", scene.request_lines());
}

#[test]
fn a_document_by_kind_says_what_may_go_and_then_what_went() {
    let scene = scene();
    let text = "identity: a\ndata: {key_value: {fields: {K: v}}}\n";
    let run = put(&scene, text, &[]);
    assert!(run.stderr.contains("this put may remove the keys k, old and "), "{}", run.stderr);
    assert!(run.stdout.contains("  keys=K  replaced=k,old  off="), "{}", run.stdout);
    // The vault keeps pairs that a document by kind has left there.
    let run = put(&scene, "identity: a\ndata: {key_value: {fields: {L: v}}}\n", &[]);
    assert!(run.stderr.contains("may remove the keys K (version 2)"), "{}", run.stderr);
    assert!(run.stdout.ends_with("  keys=K,L\n"), "{}", run.stdout);
}

#[test]
fn a_secret_of_another_authorization_is_not_read_for() {
    let options = Options { resources: vec![Resource::Application], ..Options::default() };
    let scene = Scene::with(options);
    let run = put(&scene, DOCUMENT, &[]);
    assert_eq!((run.code, &*run.stdout), (Some(77), "failed   a\n"), "{}", run.stderr);
    let run = put(&scene, DOCUMENT, &["--dry-run"]);
    assert_eq!((run.code, &*run.stdout), (Some(0), "valid    a  keys=k\n"), "{}", run.stderr);
}

#[test]
fn one_identity_twice_is_refused_and_the_others_are_written() {
    let scene = scene();
    let document =
        |identity: &str, data: &str| json!({ "identity": identity, "data": { "k": data } });
    let all = json!([document("x", "1"), document("y", "1"), document("x", "2")]);
    let path = file(&scene, "all.json", &all.to_string());
    for (options, done) in [(&["--dry-run"][..], "valid    y  "), (&[], "written  y  ")] {
        let args: Vec<&str> = ["secret", "put", &path].iter().chain(options).copied().collect();
        let run = run(&scene, &args);
        assert_eq!(run.code, Some(78), "{}", run.stderr);
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("failed   x", "failed   x", 3));
        assert!(lines[1].starts_with(done), "{}", run.stdout);
        for told in [
            "document 1, x, is invalid\n  identity: document 3 writes the same secret",
            "document 3, x, is invalid\n  identity: document 1 writes the same secret",
        ] {
            assert!(run.stderr.contains(told), "{told}: {}", run.stderr);
        }
    }
    assert!(scene.vault.version("x").is_none() && scene.vault.version("y").is_some());
}

#[test]
fn several_documents_end_with_a_summary() {
    let scene = scene();
    let text = "identity: x\ndata: {k: v}\n---\nidentity: y\ndata: {k: v}\n---\nidentity: z\ndata: {k: 5}\n";
    for (options, expected) in
        [(&["--dry-run"][..], "2 valid, 1 failed"), (&[], "2 written, 1 failed")]
    {
        let run = put(&scene, text, options);
        assert_eq!(run.stderr.lines().last(), Some(expected), "{}", run.stderr);
        assert_eq!(run.stdout.lines().count(), 3, "{}", run.stdout);
    }
}
