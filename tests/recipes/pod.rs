//! A pod that follows a recipe: its settings, its templates, its user, its programs.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::blocks;
use crate::harness::host::{User, set_mode, skip};
use crate::harness::wait::{LIMIT, within};
use crate::harness::{Scene, memory_dir, send};

/// Who agent and app are in the manifests.
pub const APP: User = User { uid: 10001, gid: 10001, groups: &[] };

/// Where templates are mounted in all recipes.
pub const TEMPLATES: &str = "/etc/segura-templates";

/// A pod with the settings of a recipe, whose vault holds these secrets; it renews each second.
pub fn pod(recipe: &str, secrets: &[(&str, Value)]) -> Scene {
    let mut scene = Scene::new();
    for (identity, data) in secrets {
        scene.vault.set_data(identity, data);
    }
    let templates = scene.vault.dir().join("recipe-templates");
    fs::create_dir(&templates).expect("the vault's directory is ours");
    let mount = scene.dir.path().display().to_string();
    for (name, value) in blocks::env(recipe) {
        let value = value.replace(blocks::MOUNT, &mount);
        scene.set(&name, &value.replace(TEMPLATES, &templates.display().to_string()));
    }
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    scene
}

/// Gives the pod a template of a recipe, by the name that the recipe has for it.
pub fn template(scene: &Scene, recipe: &str) {
    let (_, name) = recipe.split_once('/').expect("a page and a name");
    let file = scene.vault.dir().join("recipe-templates").join(name);
    fs::write(file, at(scene, recipe)).expect("it is new");
}

/// The text of a block, with this pod's volume where the recipe has its mount.
pub fn at(scene: &Scene, recipe: &str) -> String {
    blocks::text(recipe).replace(blocks::MOUNT, &scene.dir.path().display().to_string())
}

/// The volume as the kubelet prepares it for the manifests' `fsGroup`.
pub fn shared_with_the_app(scene: &Scene) {
    chown(scene.dir.path(), Some(0), Some(APP.gid)).expect("root may");
    set_mode(scene.dir.path(), 0o2775);
}

/// A directory of the app's own.
pub fn folder() -> TempDir {
    let dir = memory_dir();
    set_mode(dir.path(), 0o777);
    dir
}

/// Writes a block into a directory, by its name, with the pod's paths.
pub fn copy(scene: &Scene, recipe: &str, dir: &Path) -> PathBuf {
    let (_, name) = recipe.split_once('/').expect("a page and a name");
    let file = dir.join(name);
    fs::write(&file, at(scene, recipe)).expect("it is ours");
    file
}

/// The path of a program; without it the test is skipped with a line.
pub fn program(test: &str, name: &str) -> Option<String> {
    let found = found(name);
    if found.is_none() {
        skip(test, &format!("there is no {name}"));
    }
    found
}

/// The path of a program, administrators' ones among them.
pub fn found(name: &str) -> Option<String> {
    let look = r#"PATH="$PATH:/usr/sbin:/sbin:/usr/lib/go/bin"; command -v "$1""#;
    let output = Command::new("sh").args(["-c", look, "sh", name]).output().expect("a shell");
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(path)
}

/// A server, ended when this is dropped.
pub struct Server(Child, Signal);

impl Server {
    /// Starts it; it ends in order at `signal`.
    pub fn start(mut command: Command, signal: Signal) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("it was found before"), signal)
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.runs() {
            send(&self.0, self.1);
        }
        // It takes its own children with it, which it could not if it were killed.
        if !within(LIMIT, || !self.runs()) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}
