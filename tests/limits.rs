//! What is too long in an answer or a setting: words are kept as a digest, names are refused by name,
//! and nothing that the agent writes grows with them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::dev_vault::Options;
use crate::harness::sidecar::{Sidecar, free_port};
use crate::harness::{Run, Scene, until};

/// A word of two mebibytes: three of them fit into one answer.
fn enormous(letter: char) -> String {
    letter.to_string().repeat(2 << 20)
}

/// An identity of so many parts.
fn nested(parts: usize) -> String {
    vec!["p"; parts].join("/")
}

/// A sidecar's pod that takes all secrets of the authorization, of which `a` and `b` are there.
fn all() -> Scene {
    let mut scene = Scene::with(Options { demo_secrets: false, ..Options::default() });
    scene.unset("SEGURA_IDENTITY").set("SEGURA_RENEW_INTERVAL", "1s");
    for identity in ["a", "b"] {
        scene.vault.set_data(identity, json!({ "k": "1" }));
    }
    scene
}

/// The state of one secret.
fn known(scene: &Scene, identity: &str) -> Value {
    let state = scene.state();
    let secrets = state["secrets"].as_array().unwrap();
    secrets.iter().find(|secret| secret["identity"] == identity).unwrap().clone()
}

/// Changes `b`, and waits until it is published.
fn renews(scene: &Scene, value: &str) {
    scene.vault.set_data("b", json!({ "k": value }));
    until("b is renewed", || scene.read("b/k") == value);
}

/// The bytes of all that the agent has said.
fn said(sidecar: &Sidecar) -> usize {
    sidecar.log().iter().map(String::len).sum()
}

#[test]
fn enormous_words_are_kept_as_digests() {
    let mut scene = all();
    let port = free_port();
    scene.set("SEGURA_LISTEN", &format!("127.0.0.1:{port}"));
    let put = |version: &str| {
        scene.vault.put_secret(json!({ "identity": "a", "data": { "k": version[..1] },
            "version": version, "name": enormous('n'), "engine": enormous('e') }));
    };
    put(&enormous('v'));
    let sidecar = scene.renewing_sidecar();
    let first = known(&scene, "a");
    for field in ["version", "name", "engine"] {
        let word = first[field].as_str().unwrap();
        assert!(word.starts_with("sha256:") && word.len() == 71, "{field}: {} bytes", word.len());
    }
    // Another version is another one, and the same is not.
    let generation = scene.state()["generation"].clone();
    renews(&scene, "2");
    assert_eq!(known(&scene, "a"), first);
    assert_ne!(scene.state()["generation"], generation);
    put(&enormous('w'));
    until("the new version is published", || scene.read("a/k") == "w");
    assert_ne!(known(&scene, "a")["version"], first["version"]);
    let mut metrics = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut metrics).unwrap();
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    let state = scene.read(".segura.json").len();
    assert!(metrics.len() < 64 << 10 && state < 8 << 10 && said(&sidecar) < 64 << 10, "{state}");
    sidecar.stop();
}

#[test]
fn a_word_of_a_kibibyte_is_kept_as_it_stands() {
    let scene = all();
    let (longest, longer) = ("x".repeat(1024), "x".repeat(1025));
    for (identity, word) in [("a", &longest), ("b", &longer)] {
        scene
            .vault
            .put_secret(json!({ "identity": identity, "data": { "k": "1" }, "version": word,
            "name": word, "engine": word, "expiration_date": word }));
    }
    scene.init().exits(0);
    for field in ["version", "name", "engine", "expiration_date"] {
        assert_eq!(known(&scene, "a")[field], json!(longest), "{field}");
        let digest = known(&scene, "b")[field].as_str().unwrap().to_owned();
        assert!(digest.starts_with("sha256:") && digest.len() == 71, "{field}: {digest}");
    }
    let list = scene.agent(&["secret", "list", "--output", "json"]).output().unwrap();
    assert!(Run::of(list).stdout.contains("\"sha256:"));
}

/// A secret that is over a limit, what it is over, and what is said of it.
fn over_a_limit() -> Vec<(&'static str, Value, &'static str)> {
    let data = json!({ "k": "v" });
    let part = "x".repeat(256);
    let (deep, long) = ("has more than 32 parts", "is too long: at most 255 bytes a part");
    vec![
        ("33 parts", json!({ "identity": nested(33), "data": data }), deep),
        ("1,023 parts", json!({ "identity": nested(1023), "data": data }), deep),
        ("a part of 256 bytes", json!({ "identity": format!("q/{part}"), "data": data }), long),
        ("two mebibytes", json!({ "identity": enormous('x'), "data": data }), long),
        ("a key of 256 bytes", json!({ "identity": "c", "data": { part: "v", "k": "v" } }), long),
        ("an enormous key", json!({ "identity": "c", "data": { enormous('x'): "v" } }), long),
        (
            "an enormous id",
            json!({ "identity": "c", "data": data, "secret_id": enormous('7') }),
            "the id of c is longer than 1 KiB",
        ),
    ]
}

#[test]
fn a_secret_over_a_limit_is_named_at_a_start() {
    for (what, secret, told) in over_a_limit() {
        let scene = all();
        scene.vault.put_secret(secret);
        let run = scene.init();
        run.exits(76);
        assert!(run.error().contains(told), "{what}: {}", run.error());
        assert!(run.stderr.len() < 4 << 10, "{what}: {} bytes", run.stderr.len());
    }
}

#[test]
fn a_secret_over_a_limit_stops_no_other() {
    for (what, secret, told) in over_a_limit() {
        let scene = all();
        let sidecar = scene.renewing_sidecar();
        scene.vault.put_secret(secret);
        sidecar.until_logged(told);
        renews(&scene, "2");
        assert_eq!(scene.read("a/k"), "1", "{what}");
        assert_eq!(scene.published().len(), 2, "{what}");
        let state = scene.read(".segura.json").len();
        assert!(state < 4 << 10 && said(&sidecar) < 16 << 10, "{what}: {state}");
        sidecar.stop();
    }
}

#[test]
fn a_secret_that_goes_over_a_limit_keeps_its_last_good_version() {
    let mut scene = all();
    scene.set("SEGURA_IDENTITY", "a,b").set("SEGURA_SOURCE", "application");
    let sidecar = scene.renewing_sidecar();
    scene.vault.set_data("a", json!({ "x".repeat(256): "2", "k": "2" }));
    until("a is held back", || scene.held_back("a").is_some());
    renews(&scene, "2");
    assert_eq!((scene.read("a/k"), scene.held_back("a")), ("1".into(), Some("nonsense".into())));
    scene.vault.set_data("a", json!({ "x".repeat(255): "2", "k": "2" }));
    until("a is renewed", || scene.read("a/k") == "2");
    assert_eq!(scene.held_back("a"), None);
    sidecar.stop();
}

#[test]
fn an_identity_of_32_parts_of_which_one_has_255_bytes_is_published() {
    let mut scene = all();
    let identity = format!("{}/{}", nested(31), "x".repeat(255));
    scene.vault.set_data(&identity, json!({ "k": "deep" }));
    scene.init().exits(0);
    assert_eq!(scene.read(&format!("{identity}/k")), "deep");
    scene.set("SEGURA_IDENTITY", &identity).set("SEGURA_SOURCE", "secret").init().exits(0);
}

#[test]
fn an_identity_over_a_limit_is_no_setting_and_no_document() {
    let mut scene = all();
    for (identity, told) in [
        (nested(33), "identity number 2 has more than 32 parts"),
        ("x".repeat(256), "identity number 2 is too long"),
    ] {
        scene.set("SEGURA_IDENTITY", &format!("a,{identity}"));
        let run = scene.init();
        run.refuses("SEGURA_IDENTITY");
        assert!(run.stderr.contains(told) && run.stderr.len() < 4 << 10, "{}", run.stderr);
    }
    let path = scene.vault.dir().join("deep.json");
    std::fs::write(&path, json!({ "identity": nested(33), "data": {} }).to_string()).unwrap();
    let put = scene.agent(&["secret", "put", &path.display().to_string()]).output().unwrap();
    let put = Run::of(put);
    assert_eq!(put.code, Some(78), "{}", put.stderr);
    assert!(put.stderr.contains("identity: has more than 32 parts"), "{}", put.stderr);
}

#[test]
fn thousands_of_secrets_without_a_name_are_counted() {
    let scene = all();
    let sidecar = scene.renewing_sidecar();
    let good = r#"{"identity":"a","data":{"k":"1"}},{"identity":"b","data":{"k":"2"}}"#;
    let secrets = format!("[{good}{}]", ",{}".repeat(100_000));
    let body = format!(r#"{{"response":{{"status":200}},"application":{{"secrets":{secrets}}}}}"#);
    scene.vault.fault(crate::dev_vault::Fault::body("dapp/application", &body));
    sidecar.until_logged("99900 more secrets in the answer have no valid identity");
    until("b is renewed", || scene.read("b/k") == "2");
    assert!(said(&sidecar) < 64 << 10, "{}", said(&sidecar));
    sidecar.stop();
}
