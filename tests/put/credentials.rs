//! Credentials of PAM Core: partial updates, words that no page lists, and one credential twice.

use serde_json::{Value, json};

use super::{file, posted, run};
use crate::dev_vault::requests::PUT_CREDENTIAL;
use crate::harness::{Run, Scene};

/// Runs `credential put` of these documents to its end.
fn put(scene: &Scene, documents: &Value) -> Run {
    run(scene, &["credential", "put", &file(scene, "document.json", &documents.to_string())])
}

/// A document on a device of the vault, with more fields.
fn on_device(user: &str, more: &Value) -> Value {
    let mut document = json!({ "username": user, "hostname": "w2016", "ip": "10.66.33.15" });
    let more = more.as_object().cloned().unwrap_or_default();
    document.as_object_mut().expect("an object").extend(more);
    document
}

#[test]
fn a_credential_that_is_known_by_its_user_takes_a_partial_update() {
    let scene = Scene::new();
    let own = json!({ "session_settings": { "use_own_credential_to_connect": true } });
    assert_eq!(put(&scene, &on_device("app", &own)).code, Some(0));
    let update = on_device("app", &json!({ "session_settings": { "SSH": true } }));
    let run = put(&scene, &update);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with("written  app@w2016  id="), "{}", run.stdout);
    assert_eq!(
        run.stderr,
        "warning: document 1, app@w2016: session_settings: a new credential also needs authentication_credential, authentication_hostname, authentication_ip, unless use_own_credential_to_connect is true\n"
    );
    assert_eq!(posted(&scene, "pam/credential"), update);
    let record = scene.vault.credentials().pop().expect("it is there").record;
    let settings = &record["session_settings"];
    assert_eq!(
        (&settings["SSH"], &settings["use_own_credential_to_connect"]),
        (&json!(true), &json!(true))
    );
    // What is said to be off still needs another credential.
    let off = json!({ "session_settings": { "use_own_credential_to_connect": false } });
    let run = put(&scene, &on_device("app", &off));
    assert_eq!(run.code, Some(78), "{}", run.stderr);
    assert_eq!(
        run.stderr.matches("is missing, but use_own_credential_to_connect: false needs it").count(),
        3
    );
}

#[test]
fn a_criticality_that_no_page_lists_is_sent_as_it_is_with_a_warning() {
    let scene = Scene::new();
    // The vault decides: this one knows the words of the page alone.
    for (word, warned, code) in [("critical", true, 78), ("High", false, 0), ("LOW", false, 0)] {
        let document = on_device("app", &json!({ "additional_settings": { "criticality": word } }));
        let run = put(&scene, &document);
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert_eq!(run.stderr.contains("additional_settings.criticality: is not one of"), warned);
        assert_eq!(posted(&scene, "pam/credential"), document);
    }
}

#[test]
fn null_is_told_by_what_the_field_needs() {
    let scene = Scene::new();
    for (field, told) in [
        ("username", "username: is null: write \"\" to let the vault choose (error 1042)"),
        ("hostname", "hostname: is null, and must name the device (error 1004)"),
        ("ip", "ip: is null, and must be the device's address (error 1005)"),
    ] {
        let mut document = on_device("app", &json!({}));
        document[field] = Value::Null;
        let run = put(&scene, &document);
        assert_eq!(run.code, Some(78), "{}", run.stderr);
        assert!(run.stderr.contains(told) && run.stderr.lines().count() == 2, "{}", run.stderr);
    }
    let run = put(&scene, &json!({ "hostname": 5 }));
    assert!(run.stderr.starts_with("segura-agent: document 1 is invalid\n"), "{}", run.stderr);
    assert_eq!(scene.count(PUT_CREDENTIAL), 0);
}

#[test]
fn one_credential_twice_is_refused_by_whichever_name() {
    let scene = Scene::new();
    let id = |identifier: &str| json!({ "identifier": identifier });
    for (a, b) in [
        (on_device("app", &json!({})), on_device("app", &json!({ "tags": "x" }))),
        (on_device("app", &id("x")), on_device("other", &id("x"))),
        (on_device("app", &id("x")), on_device("app", &id("y"))),
        (on_device("", &json!({})), on_device("usr", &json!({}))),
    ] {
        let run = put(&scene, &json!([a, b]));
        assert_eq!(run.code, Some(78), "{}", run.stderr);
        assert!(run.stderr.contains("document 2 writes the same credential"), "{}", run.stderr);
        assert_eq!(run.stdout.matches("failed   ").count(), 2);
    }
    assert_eq!(scene.count(PUT_CREDENTIAL), 0);
    let both = json!([on_device("app", &json!({})), on_device("other", &json!({}))]);
    let run = put(&scene, &both);
    assert_eq!((run.code, run.stderr.lines().last()), (Some(0), Some("2 written, 0 failed")));
}

#[test]
fn an_identifier_of_other_characters_is_told_by_the_vault_and_its_hint() {
    let scene = Scene::new();
    for document in [
        on_device("app", &json!({ "identifier": "a!b" })),
        on_device("app", &json!({ "additional_settings": { "identifier": "a!b" } })),
    ] {
        let run = put(&scene, &document);
        assert_eq!(run.code, Some(78), "{}", run.stderr);
        assert!(run.error().contains("1053"), "{}", run.stderr);
        let hint = run.hint().expect("a hint");
        assert!(hint.starts_with("identifier may hold letters, digits, - and _;"), "{hint}");
        assert!(hint.contains("the dot"), "{hint}");
    }
}

#[test]
fn a_blank_user_name_renames_the_credential_of_an_identifier_and_is_warned_of() {
    let scene = Scene::new();
    assert_eq!(put(&scene, &on_device("app", &json!({ "identifier": "x" }))).code, Some(0));
    let run = put(&scene, &on_device("", &json!({ "identifier": "x" })));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("gets the name usr"), "{}", run.stderr);
    assert_eq!(scene.vault.credentials()[0].username, "usr");
}
