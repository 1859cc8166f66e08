//! `secret put` and `credential put`: documents to the vault.

#![expect(clippy::panic, reason = "a helper that can't go on fails the test that called it")]

mod credentials;
mod interrupted;
mod merge;
mod own;
mod packed;
mod replaced;

use std::fs;

use serde_json::Value;

use crate::dev_vault::Request;
use crate::harness::{Run, Scene};

/// Writes a file beside the vault's own; gives its path.
fn file(scene: &Scene, name: &str, text: &str) -> String {
    let path = scene.vault.dir().join(name);
    fs::write(&path, text).expect("the vault's directory is ours");
    path.display().to_string()
}

/// Runs `secret put` of this text with these options to its end.
fn put(scene: &Scene, text: &str, options: &[&str]) -> Run {
    let path = file(scene, "document.yaml", text);
    let args: Vec<&str> = ["secret", "put", &path].iter().chain(options).copied().collect();
    run(scene, &args)
}

/// The values of a secret's only entry, as the vault answers them.
fn stored(scene: &Scene, identity: &str) -> Value {
    let shown = run(scene, &["secret", "get", identity, "--output", "json", "--show-values"]);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let entries = shown.get("data").and_then(Value::as_array).map(Vec::as_slice);
    let Some([entry]) = entries else { panic!("one entry: {shown}") };
    entry.clone()
}

#[test]
fn a_secret_that_is_not_there_hints_at_what_the_command_reads() {
    let scene = Scene::new();
    for identity in ["nope", "deep/nope"] {
        let run = run(&scene, &["secret", "get", identity]);
        assert!(matches!(run.code, Some(77 | 78)), "{}", run.stderr);
        let hint = run.hint().expect("a hint");
        assert!(hint.contains("`segura-agent secret list`"), "{hint}");
        assert!(!hint.contains("SEGURA_IDENTITY") && !hint.contains("SEGURA_SOURCE"), "{hint}");
    }
}

/// The last body that was posted to this path.
fn posted(scene: &Scene, path: &str) -> Value {
    let requests = scene.vault.requests();
    let is_post = |request: &&Request| request.is("POST", path);
    let last = requests.iter().rev().find(is_post).expect("it was posted");
    serde_json::from_str(&last.body).expect("a JSON body")
}

/// Runs the agent to its end.
fn run(scene: &Scene, args: &[&str]) -> Run {
    Run::of(scene.agent(args).output().expect("the agent runs"))
}
