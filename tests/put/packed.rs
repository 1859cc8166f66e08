//! Values that are packed as the vendor's table has them, and values that stand where they don't belong.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{posted, put, stored};
use crate::dev_vault::requests::{PUT_SECRET, path};
use crate::harness::Scene;

const CANARY: &str = "cAnArY-pAcKeD-4f1d";

#[test]
fn data_in_base64_of_json_is_written_as_the_table_documents_it() {
    let mut scene = Scene::new();
    let data = json!({ "user": "app", "password": CANARY });
    let packed = STANDARD.encode(data.to_string());
    let run = put(&scene, &json!({ "identity": "a", "data": packed }).to_string(), &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.ends_with("  keys=password,user\n"), "{}", run.stdout);
    assert_eq!(stored(&scene, "a"), data);
    // Wherever a text may stand, a reference may: a pipeline keeps the packed values in a variable.
    scene.set("PACKED", &packed);
    let run = put(&scene, "Identity: b\nDate: {from_env: PACKED}\n", &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(stored(&scene, "b"), data);
}

#[test]
fn packed_data_is_proven_like_an_object_and_never_shown() {
    let scene = Scene::new();
    for (data, told) in [
        (json!({ "k": 5, "password": CANARY }).to_string(), "  data.k: must be a text"),
        (json!({ "": CANARY }).to_string(), "  data.: its name is empty"),
        (json!({ "credentials": [{ "usr": CANARY }] }).to_string(), "  data.credentials.0.usr: "),
        (format!("[\"{CANARY}\"]"), "  data: is base64: unpacked, it is JSON, and no object"),
        (format!("{{\"k\": \"{CANARY}"), "  data: is base64: unpacked, line 1, column "),
    ] {
        let document = json!({ "identity": "a", "data": STANDARD.encode(&data) });
        let run = put(&scene, &document.to_string(), &[]);
        assert_eq!((run.code, &*run.stdout), (Some(78), "failed   a\n"), "{}", run.stderr);
        assert!(run.stderr.contains(told), "{told}: {}", run.stderr);
        assert!(!run.stderr.contains(CANARY), "{}", run.stderr);
    }
    assert_eq!(scene.count(PUT_SECRET), 0);
}

#[test]
fn the_pages_second_example_alone_is_told_where_it_belongs_in_one_line() {
    let scene = Scene::new();
    let script = json!({
        "access_keys": [{ "access_key": { "type": "aws", "fields": { "access_key_id": CANARY } } }],
        "credentials": [{ "credential": { "fields": { "user": CANARY } } }],
    });
    let run = put(&scene, &script.to_string(), &[]);
    assert_eq!((run.code, &*run.stdout), (Some(78), "failed   document 1\n"), "{}", run.stderr);
    let told: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(
        told,
        [
            "segura-agent: document 1 is invalid",
            "  access_keys, credentials: put this under data, and identity beside data",
        ]
    );
    // Put there, it is written.
    let document = json!({ "identity": "a", "data": script });
    assert_eq!(put(&scene, &document.to_string(), &[]).code, Some(0));
    assert!(posted(&scene, path::SECRETS)["data"].is_string(), "base64, as documented");
}

#[test]
fn a_cloud_that_no_page_lists_is_sent_with_a_warning() {
    let scene = Scene::new();
    let fields = json!({ "access_key_id": "A", "secret_access_key": CANARY });
    let data = json!({ "access_keys": [{ "access_key": { "type": "AWS", "fields": fields } }] });
    let run = put(&scene, &json!({ "identity": "a", "data": data }).to_string(), &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let warned = "warning: document 1, a: data.access_keys.0.access_key.type: is not one of aws, azure, gcp: ";
    assert!(run.stderr.contains(warned), "{}", run.stderr);
    let packed = posted(&scene, path::SECRETS)["data"].as_str().map(str::to_owned);
    let sent = STANDARD.decode(packed.unwrap_or_default()).unwrap_or_default();
    assert!(String::from_utf8_lossy(&sent).contains(r#""type":"AWS""#), "letters stay as they are");
    assert!(!run.stderr.contains(CANARY));
}
