//! `secret put` and `credential put`: documents to the vault.

mod own;

use std::fs;

use crate::harness::{Run, Scene};

/// Writes a file beside the vault's own; gives its path.
fn file(scene: &Scene, name: &str, text: &str) -> String {
    let path = scene.vault.dir().join(name);
    fs::write(&path, text).expect("the vault's directory is ours");
    path.display().to_string()
}

/// Runs the agent to its end.
fn run(scene: &Scene, args: &[&str]) -> Run {
    Run::of(scene.agent(args).output().expect("the agent runs"))
}
