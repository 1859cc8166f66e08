//! With the vendor's variables alone the agent replaces the historic sidecar: its layout, and
//! none of its twelve known bugs.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::dev_vault::requests::{APPLICATION, LOGIN, path};
use crate::{
    dev_vault::{Effect, Fault, Options},
    harness::{SEED, Scene, for_a_while, host::mode, sidecar::Sidecar, until},
};

/// A pod that has nothing but the vendor's variables; the vault is on plain http, as loopback may be.
fn scene() -> Scene {
    of(Options { tls: false, ..Options::default() })
}

fn of(options: Options) -> Scene {
    let mut scene = Scene::with(options);
    let ours: Vec<String> = scene.vault.env().into_iter().map(|(name, _)| name).collect();
    for name in ours.iter().map(String::as_str).chain([
        "SEGURA_IDENTITY",
        "SEGURA_POD_NAME",
        "SEGURA_NAMESPACE",
        "SEGURA_STARTUP_TIMEOUT",
        "SEGURA_OUTPUT_DIR",
    ]) {
        scene.unset(name);
    }
    let folder = scene.dir.path().display().to_string();
    let (url, id) = (scene.vault.url(), scene.vault.client_id().to_owned());
    let secret = scene.vault.client_secret().to_owned();
    scene.set("SENHASEGURA_URL", &url).set("SENHASEGURA_CLIENT_ID", &format!("{id}\n"));
    scene.set("SENHASEGURA_CLIENT_SECRET", &format!(" {secret}\n"));
    scene.set("SENHASEGURA_SECRETS_FOLDER", &folder).set("HOSTNAME", "web-0");
    scene.vault.remove_secret(SEED);
    scene.vault.set_data("db", json!([{ "user": "ada", "TTL": null }, { "password": "one" }]));
    scene
}

fn read(scene: &Scene, path: &str) -> String {
    scene.read(&format!("senhasegura/{path}"))
}

fn state(scene: &Scene) -> Value {
    serde_json::from_str(&read(scene, ".segura.json")).expect("the state is JSON")
}

/// An answer of the vault with these secrets.
fn answer(secrets: &Value) -> String {
    json!({ "response": { "status": 200, "message": "", "error": false, "error_code": 0 },
        "application": { "name": "a", "secrets": secrets } })
    .to_string()
}

#[test]
fn the_layout_is_that_of_the_historic_sidecar() {
    let scene = scene();
    scene.vault.set_data("cart/db", json!([{ "k": "first" }, { "k": "last" }]));
    let run = scene.init();
    run.exits(0);
    for (path, value) in
        [("db/user", "ada"), ("db/password", "one"), ("db/TTL", ""), ("cart/db/k", "last")]
    {
        assert_eq!(read(&scene, path), value, "{path}");
        assert_eq!(mode(scene.path("senhasegura").join(path)), 0o444, "{path}");
    }
    assert_eq!(mode(scene.path("senhasegura/cart/db")), 0o755);
}

#[test]
fn a_vendors_manifest_works_with_its_arguments() {
    let flags = ["--app-name", "shop", "--system", "s", "--environment", "e"];
    let scene = scene();
    let words = [&["kubernetes", "sidecar"], &flags[..]].concat();
    let sidecar = Sidecar::spawn(scene.agent(&words));
    until("it is published", || scene.path("senhasegura/db/password").exists());
    sidecar.until_logged("`sidecar`");
    sidecar.stop().exits(0);
    let words =
        [&["kubernetes", "init-container", "--type", "inject-template"], &flags[..]].concat();
    let run = scene.run(&words);
    run.exits(0);
    assert!(run.stderr.contains("`init`"), "{}", run.stderr);
    let words = [
        "kubernetes",
        "-v",
        "-v",
        "--config",
        "/etc/dsm.yaml",
        "init-container",
        "-t",
        "inject-template",
    ];
    let run = scene.run(&words);
    run.exits(0);
    assert!(run.stderr.contains("--config"), "{}", run.stderr);
    for kind in ["iso", "inject"] {
        let words = [&["kubernetes", "init-container", "--type", kind], &flags[..]].concat();
        let run = scene.run(&words);
        run.exits(64);
        assert!(run.hint().is_some_and(|hint| hint.contains("`init`")), "{}", run.stderr);
    }
}

#[test]
fn bug_1_lifetimes_from_ten_to_a_hundred_and_twenty_seconds_are_honoured() {
    for (ttl, least, most) in
        [("15", 10, 15), ("30", 10, 30), ("5", 30, 120), ("300", 30, 120), ("", 30, 120)]
    {
        let scene = scene();
        scene.vault.set_data("db", json!({ "password": "one", "TTL": ttl }));
        let sidecar = Sidecar::spawn(scene.agent(&["sidecar"]));
        until("it is published", || scene.path("senhasegura/.segura.json").exists());
        let times = &state(&scene)["boot_ms"];
        let wait = times["next_due"].as_u64().unwrap() - times["fetched"].as_u64().unwrap();
        let wait = Duration::from_millis(wait).as_secs_f64();
        assert!((f64::from(least)..=f64::from(most)).contains(&wait), "TTL {ttl:?}: {wait}");
        sidecar.stop();
    }
}

#[test]
fn bugs_2_and_7_no_error_deletes_a_secret_or_ends_the_process() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let first =
        [Fault::no_route(path::LOGIN).once(), Fault::answer(path::APPLICATION, 500, "{}").once()];
    first.into_iter().for_each(|fault| scene.vault.fault(fault));
    let sidecar = Sidecar::spawn(scene.agent(&["sidecar"]));
    until("it is published all the same", || scene.path("senhasegura/db/password").exists());
    for fault in [
        Fault::no_route(path::APPLICATION),
        Fault::expired(path::APPLICATION),
        Fault::no_route(path::LOGIN),
        Fault::answer(
            path::APPLICATION,
            200,
            r#"{"response":{"status":200,"erro":true},"application":{"secrets":[]}}"#,
        ),
        Fault::answer(path::APPLICATION, 200, &answer(&json!([]))),
    ] {
        scene.vault.clear_faults();
        let seen = scene.vault.requests().len();
        scene.vault.fault(fault);
        until("it was met twice", || scene.vault.requests().len() >= seen + 3);
        assert_eq!(read(&scene, "db/password"), "one");
    }
    scene.vault.clear_faults();
    scene.vault.set_data("db", json!({ "password": "two" }));
    until("it goes on", || read(&scene, "db/password") == "two");
    sidecar.stop().exits(0);
}

#[test]
fn bugs_3_and_4_readers_see_no_gap_and_foreign_files_stay() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let iso = scene.path("senhasegura/iso");
    fs::create_dir_all(&iso).unwrap();
    fs::write(iso.join("SENHASEGURA_URL"), "x").unwrap();
    let sidecar = Sidecar::spawn(scene.agent(&["sidecar"]));
    until("it is published", || scene.path("senhasegura/db/password").exists());
    let mut seen = std::collections::BTreeSet::new();
    for value in ["two", "three"] {
        scene.vault.set_data("db", json!({ "password": value, "user": value }));
        until("it is rotated", || {
            seen.insert(read(&scene, "db/password"));
            seen.contains(value)
        });
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["one", "three", "two"]);
    assert_eq!(fs::read_to_string(iso.join("SENHASEGURA_URL")).unwrap(), "x");
    sidecar.stop().exits(0);
}

#[test]
fn bugs_5_6_and_11_impossible_names_are_refused_by_name_and_nothing_is_written() {
    let secret = |identity: &str, data: Value| json!({ "secret_id": "1", "secret_name": "s", "identity": identity, "version": "1", "engine": "Generic", "data": [data] });
    for (secrets, reported) in [
        (json!([secret("db", json!({ "a/b": "x", "k": "v" }))]), "a/b"),
        (json!([secret("db", json!({ "../k": "x" }))]), "../k"),
        (json!([secret("../../escape", json!({ "k": "x" }))]), "../../escape"),
        (json!([secret("", json!({ "k": "x" }))]), "\"\""),
        (json!([secret("db", json!({ "k": "x" })), secret("db", json!({ "l": "y" }))]), "db"),
    ] {
        let scene = scene();
        scene.vault.fault(Fault::body(path::APPLICATION, &answer(&secrets)));
        let run = scene.init();
        run.exits(76);
        assert!(run.error().contains(reported), "{reported}: {}", run.stderr);
        let visible = |name: &String| !name.starts_with('.');
        let entries = fs::read_dir(scene.path("senhasegura")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        assert!(!names.into_iter().any(|name| visible(&name)), "{reported}");
        assert_eq!(scene.entries(), ["senhasegura"], "{reported}");
    }
}

#[test]
fn bug_8_an_untrusted_vault_gets_no_request() {
    let mut scene = of(Options::default());
    scene.set("SEGURA_STARTUP_TIMEOUT", "1s");
    let run = scene.init();
    run.exits(69);
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_CA_FILE")), "{}", run.stderr);
    assert!(scene.request_lines().is_empty());
    let ca = scene.vault.ca_file().display().to_string();
    scene.set("SEGURA_CA_FILE", &ca).init().exits(0);
}

#[test]
fn bug_9_no_published_file_is_executable() {
    let scene = scene();
    scene.init().exits(0);
    assert_eq!(mode(scene.path("senhasegura/db/password")) & 0o333, 0, "read, and nothing else");
}

#[test]
fn bug_10_a_token_is_used_for_its_lifetime_and_a_signal_ends_the_agent_with_0() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let sidecar = Sidecar::spawn(scene.agent(&["sidecar"]));
    until("it has read three times", || scene.count(APPLICATION) >= 3);
    assert_eq!(scene.count(LOGIN), 1);
    sidecar.send(Signal::TERM);
    sidecar.wait().exits(0);
}

#[test]
fn bug_12_a_value_that_is_not_text_affects_no_other() {
    let scene = scene();
    let body = answer(&json!([{ "secret_id": 7, "identity": "db", "version": 2,
        "data": [{ "port": 5432, "tls": true, "user": "ada", "more": { "a": [1] } }] }]));
    scene.vault.fault(Fault::body(path::APPLICATION, &body));
    scene.init().exits(0);
    for (path, value) in
        [("db/port", "5432"), ("db/tls", "true"), ("db/user", "ada"), ("db/more", "{\"a\":[1]}")]
    {
        assert_eq!(read(&scene, path), value, "{path}");
    }
}

#[test]
fn the_wait_for_a_hanging_vault_is_bounded() {
    let mut scene = scene();
    scene.set("SEGURA_TIMEOUT", "1s").set("SEGURA_STARTUP_TIMEOUT", "3s");
    scene.vault.fault(Fault::new(path::APPLICATION, Effect::Hang));
    scene.init().exits(69);
    for_a_while("nothing is published", || !scene.path("senhasegura/db").exists());
}
