//! Commands that people run: they write documents to the vault, show and deprovision secrets, and check
//! the whole path.

mod deprovision;
mod doctor;

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::dev_vault::requests::{PUT_SECRET, path};
use crate::{
    dev_vault::{Effect, Fault},
    harness::{Run, SEED, Scene},
};

const CANARY: &str = "cAnArY-vAlUe+4f1d";

/// Runs the agent to its end; no value is ever shown on stderr.
fn run(scene: &Scene, args: &[&str]) -> Run {
    let run = scene.run(args);
    assert!(!run.stderr.contains(CANARY), "{}", run.stderr);
    run
}

#[test]
fn each_document_has_its_line_and_the_worst_result_is_the_exit_code() {
    let scene = Scene::new();
    let path = scene.file(
        "all.yaml",
        format!(
            "identity: one\ndata: {{k: {CANARY}}}\n---\nidentity: two\ndata: {{k: 5}}\nnmae: x\n---\nidentity: three\ndata: {{k: v, l: v}}\n"
        ),
    );
    let run = run(&scene, &["secret", "put", &path]);
    assert_eq!(run.code, Some(78), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(
        lines[0].starts_with("written  one  id=") && lines[0].ends_with("  keys=k"),
        "{lines:?}"
    );
    assert_eq!(lines[1], "failed   two");
    assert!(
        lines[2].starts_with("written  three  id=") && lines[2].ends_with("  keys=k,l"),
        "{lines:?}"
    );
    for reported in ["two", "  data.k: ", "  nmae: "] {
        assert!(run.stderr.contains(reported), "{reported}: {}", run.stderr);
    }
    assert_eq!(scene.count(PUT_SECRET), 2);
    assert!(scene.vault.version("three").is_some() && scene.vault.version("two").is_none());
}

#[test]
fn a_dry_run_needs_no_vault() {
    let mut scene = Scene::new();
    let document = json!([{ "identity": "a", "data": { "k": { "from_env": "DB_PASSWORD" } } }]);
    let path = scene.file("a.json", document.to_string());
    for variable in ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET", "SEGURA_CA_FILE"] {
        scene.unset(variable);
    }
    let failed = run(&scene, &["secret", "put", &path, "--dry-run"]);
    assert_eq!((failed.code, &*failed.stdout), (Some(78), "failed   a\n"));
    assert!(failed.stderr.contains("data.k: ") && failed.stderr.contains("DB_PASSWORD"));
    scene.set("DB_PASSWORD", CANARY);
    let run = run(&scene, &["secret", "put", &path, "--dry-run"]);
    assert_eq!((run.code, &*run.stdout), (Some(0), "valid    a  keys=k\n"), "{}", run.stderr);
    assert!(scene.request_lines().is_empty());
}

#[test]
fn a_document_can_come_from_stdin_and_its_values_from_files_and_variables() {
    let mut scene = Scene::new();
    scene.set("DB_PASSWORD", CANARY);
    let key = scene.file("key.pem", "line one\nline two\n");
    let document = format!(
        "identity: cart/db\ndata:\n  password: {{from_env: DB_PASSWORD}}\n  key: {{from_file: {key}}}\n"
    );
    let mut child = scene.agent(&["secret", "put", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let put = Run::of(child.wait_with_output().unwrap());
    assert_eq!(put.code, Some(0), "{}", put.stderr);
    assert!(
        put.stdout.starts_with("written  cart/db  ") && put.stdout.ends_with("keys=key,password\n")
    );
    let shown = run(&scene, &["secret", "get", "cart/db", "--output", "json", "--show-values"]);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["data"], json!([{ "key": "line one\nline two\n", "password": CANARY }]));
    // Without being asked for, no value is shown.
    for args in [
        &["secret", "get", "cart/db"][..],
        &["secret", "list"],
        &["secret", "list", "--output", "json"],
    ] {
        let run = run(&scene, args);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(
            run.stdout.contains("cart/db") && run.stdout.contains("password"),
            "{}",
            run.stdout
        );
        assert!(!run.stdout.contains(CANARY) && !run.stdout.contains("line one"), "{}", run.stdout);
    }
}

#[test]
fn a_value_that_the_vault_repeats_is_redacted() {
    let scene = Scene::new();
    let path = scene.file("a.yaml", format!("identity: a\ndata: {{k: {CANARY}}}\n"));
    let body = json!({ "response": { "status": 400, "error": true, "error_code": 1,
        "message": format!("the value {CANARY} is not allowed") } });
    scene.vault.fault(Fault::answer(path::SECRETS, 400, &body.to_string()));
    let run = run(&scene, &["secret", "put", &path]);
    assert_eq!((run.code, &*run.stdout), (Some(78), "failed   a\n"), "{}", run.stderr);
    assert!(run.error().contains("the value [redacted] is not allowed"), "{}", run.stderr);
}

#[test]
fn a_value_that_the_vault_repeats_packed_or_in_part_is_redacted() {
    let scene = Scene::new();
    let document =
        format!("identity: a\ndata: {{a: {CANARY}, b: {CANARY}-longer, c: {{from_file: c}}}}\n");
    scene.file("c", format!("x{CANARY}\n"));
    let path = scene.file("a.yaml", &document);
    let sent = run(&scene, &["secret", "put", &path]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let requests = scene.vault.requests();
    let body: Value =
        requests.iter().rev().find_map(|r| serde_json::from_str(&r.body).ok()).unwrap();
    let packed = body["data"].as_str().unwrap().to_owned();
    for repeated in [
        format!("Invalid base64: {packed}"),
        format!("no {CANARY}-longer"),
        format!("no x{CANARY}"),
    ] {
        scene.vault.clear_faults();
        let body = json!({ "response": { "status": 400, "error": true, "message": repeated } });
        scene.vault.fault(Fault::answer(path::SECRETS, 400, &body.to_string()));
        let run = run(&scene, &["secret", "put", &path]);
        assert!(run.error().contains("[redacted]"), "{}", run.stderr);
        assert!(
            !run.stderr.contains(&packed[..40]) && !run.stderr.contains("-longer"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_page_of_another_server_is_no_success() {
    let scene = Scene::new();
    scene.init().exits(0);
    let path = scene.file("a.yaml", "identity: a\ndata: {k: v}\n");
    for (route, args) in
        [(path::SECRETS, &["secret", "put", &path][..]), ("deprovision", &["deprovision"])]
    {
        scene.vault.fault(Fault::body(route, "<html>please log in</html>"));
        let run = run(&scene, args);
        assert_eq!(run.code, Some(76), "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.starts_with("failed"), "{}", run.stdout);
    }
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
}

#[test]
fn a_name_cannot_forge_a_line_and_every_mistake_is_reported() {
    let scene = Scene::new();
    let mut document = String::from("identity: \"a\\nwritten  b  id=1\"\ndata: {k: v}\n");
    for n in 0..200 {
        document += &format!("wrong_{n}: x\n");
    }
    let run = run(&scene, &["secret", "put", &scene.file("a.yaml", &document)]);
    assert_eq!((run.code, run.stdout.lines().count()), (Some(78), 1), "{}", run.stdout);
    assert!(run.stderr.contains("wrong_199: "), "{} bytes", run.stderr.len());
}

#[test]
fn a_write_without_an_answer_is_not_repeated_and_is_reported() {
    let mut scene = Scene::new();
    scene.set("SEGURA_PROVISION_TIMEOUT", "2s");
    let path = scene.file("a.yaml", "identity: a\ndata: {k: v}\n");
    scene.vault.fault(Fault::new(path::SECRETS, Effect::Hang).after());
    let run = run(&scene, &["secret", "put", &path]);
    assert_eq!(run.code, Some(69), "{}", run.stderr);
    assert!(run.hint().is_some(), "{}", run.stderr);
    assert_eq!(scene.count(PUT_SECRET), 1);
}

#[test]
fn unreadable_documents_are_reported_by_line_and_column() {
    let scene = Scene::new();
    for text in ["identity: [a\nb: c", "{\"identity\": \"a", "", "a: &x 1\nb: *x"] {
        let path = scene.file("broken", text);
        let run = run(&scene, &["secret", "put", &path]);
        run.exits(78);
        assert!(run.error().contains(&path), "{}", run.stderr);
    }
    let run = run(&scene, &["secret", "put", "/nowhere/at/all"]);
    run.exits(78);
    assert!(run.error().contains("/nowhere/at/all: No such file"), "{}", run.stderr);
    assert!(scene.request_lines().is_empty());
}

#[test]
fn a_missing_secret_is_reported_and_wrong_use_is_64() {
    let scene = Scene::new();
    let missing = run(&scene, &["secret", "get", "nobody"]);
    assert!(matches!(missing.code, Some(77 | 78)), "{}", missing.stderr);
    assert!(missing.error().contains("nobody") && missing.stdout.is_empty(), "{}", missing.stderr);
    for args in [
        &["secret"][..],
        &["secret", "put"],
        &["credential", "get"],
        &["secret", "get", "../x"],
        &["secret", "list", "--output", "xml"],
    ] {
        run(&scene, args).exits(64);
    }
    let help = run(&scene, &["secret", "put", "--help"]);
    assert!(help.stdout.contains("SEGURA_URL") && !help.stdout.contains("SEGURA_OUTPUT_DIR"));
}

#[test]
fn a_list_shows_the_seed_secret() {
    let scene = Scene::new();
    let run = run(&scene, &["secret", "list"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut lines = run.stdout.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("IDENTITY")), "{}", run.stdout);
    assert!(lines.any(|line| line.starts_with(SEED) && line.contains("213")), "{}", run.stdout);
}
