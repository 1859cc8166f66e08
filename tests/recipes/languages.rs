//! node, Python and Go run the recipes' code beside an agent.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::blocks;
use super::pod::{at, copy, folder, pod, program};
use crate::harness::host::{bounded, skip};
use crate::harness::sidecar::Sidecar;
use crate::harness::{Run, Scene};

fn secret(password: &str) -> Value {
    json!({ "host": "db", "username": "ada", "password": password })
}

/// Runs an app that prints `saw VALUE` at its start and after each change, through two of them.
#[track_caller]
fn sees_two_changes(scene: &Scene, mut app: Command) {
    app.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let app = Sidecar::spawn(app);
    for password in ["first", "second", "third"] {
        scene.vault.set_data("shop-db", secret(password));
        app.until_printed(&format!("saw {password}\n"));
    }
    app.kill();
}

/// A pod whose secret is published, and a folder for the app.
fn with_sidecar(recipe: &str) -> (Scene, Sidecar, TempDir) {
    let scene = pod(recipe, &[("shop-db", secret("first"))]);
    let agent = scene.renewing_sidecar();
    (scene, agent, folder())
}

#[test]
fn node_reads_the_document_and_is_notified_of_a_change() {
    let Some(node) = program("node_reads_the_document_and_is_notified_of_a_change", "node") else {
        return;
    };
    let (scene, agent, dir) = with_sidecar("node/agent.yaml");
    copy(&scene, "node/secrets.mjs", dir.path());
    let main = r#"
        import { onChange, read } from "./secrets.mjs";
        const show = () => console.log(`saw ${read()["shop-db"].password}`);
        onChange(show);
        show();
    "#;
    fs::write(dir.path().join("main.mjs"), main).unwrap();
    let mut app = Command::new(node);
    app.arg(dir.path().join("main.mjs"));
    sees_two_changes(&scene, app);
    agent.stop();
}

#[test]
fn node_reads_the_env_file() {
    let Some(node) = program("node_reads_the_env_file", "node") else {
        return;
    };
    let scene = pod("node/agent-env.yaml", &[("shop-db", secret("a b#c"))]);
    scene.init().exits(0);
    let dir = folder();
    let main = dir.path().join("server.mjs");
    fs::write(&main, "console.log(process.env.DB_USERNAME, process.env.DB_PASSWORD)").unwrap();
    let words = blocks::command("node/command.yaml");
    let [_, option, file] = words.as_slice() else {
        panic!("{words:?}");
    };
    assert_eq!(file, "/app/server.mjs");
    let option = option.replace(blocks::MOUNT, &scene.dir.path().display().to_string());
    let run = Run::of(bounded(&[&node, &option]).arg(main).output().unwrap());
    if run.stderr.contains("bad option") {
        skip("node_reads_the_env_file", "this node has no --env-file");
        return;
    }
    assert_eq!(run.stdout, "ada a b#c\n", "{}", run.stderr);
}

#[test]
fn python_reads_the_document_and_is_notified_of_a_change() {
    let Some(python) = program("python_reads_the_document_and_is_notified_of_a_change", "python3")
    else {
        return;
    };
    let (scene, agent, dir) = with_sidecar("python/agent.yaml");
    copy(&scene, "python/secrets_file.py", dir.path());
    let main = r#"
import threading
from secrets_file import on_change, read

def show():
    print("saw", read()["shop-db"]["password"], flush=True)

on_change(show, 0.1)
show()
threading.Event().wait()
"#;
    fs::write(dir.path().join("main.py"), main).unwrap();
    let mut app = Command::new(python);
    app.arg(dir.path().join("main.py"));
    sees_two_changes(&scene, app);
    agent.stop();
}

/// Runs a Python script of a recipe and then one line, if Python has what it imports.
fn python_prints(test: &str, scene: &Scene, recipe: &str, line: &str) -> Option<String> {
    let python = program(test, "python3")?;
    let dir = folder();
    let script = at(scene, recipe) + line;
    fs::write(dir.path().join("script.py"), script).expect("it is ours");
    let run = Run::of(
        bounded(&[&python]).arg(dir.path().join("script.py")).output().expect("timeout(1)"),
    );
    if run.stderr.contains("ModuleNotFoundError") {
        let module = run.stderr.lines().last().unwrap_or_default();
        skip(test, module);
        return None;
    }
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    Some(run.stdout)
}

#[test]
fn pydantic_settings_reads_one_identity() {
    let test = "pydantic_settings_reads_one_identity";
    let scene = pod("python/agent.yaml", &[]);
    // Several entries: their directories are not in the way.
    let data = json!([{ "username": "ada", "password": "one" }, { "password": " two " }]);
    scene.vault.set_data("shop-db", data);
    scene.init().exits(0);
    let line = "print(repr((database.username, database.password.get_secret_value())))";
    if let Some(read) = python_prints(test, &scene, "python/settings.py", line) {
        assert_eq!(read, "('ada', 'two')\n", "the page says that blanks are stripped");
    }
}

#[test]
fn python_reads_the_env_file() {
    let scene = pod("python/agent-env.yaml", &[("shop-db", secret("a b#$c"))]);
    scene.init().exits(0);
    let line = "print(secrets['username'], secrets['password'])";
    if let Some(read) = python_prints("python_reads_the_env_file", &scene, "python/env.py", line) {
        assert_eq!(read, "ada a b#$c\n");
    }
}

/// A driver whose connections are the data source names that they were opened with.
const GO_MAIN: &str = r#"
package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"recipe/secrets"
)

type naming struct{}

func (naming) Open(name string) (driver.Conn, error) {
	fmt.Println("saw", name)
	return nil, errors.New("that is all")
}

func main() {
	db := secrets.Open(naming{}, func(secret map[string]string) string { return secret["password"] })
	db.Ping()
	secrets.Watch(context.Background(), 100*time.Millisecond, func() { db.Ping() })
}
"#;

#[test]
fn go_reads_the_document_and_is_notified_of_a_change() {
    let Some(go) = program("go_reads_the_document_and_is_notified_of_a_change", "go") else {
        return;
    };
    let (scene, agent, dir) = with_sidecar("go/agent.yaml");
    let package = dir.path().join("secrets");
    fs::create_dir(&package).unwrap();
    copy(&scene, "go/secrets.go", &package);
    copy(&scene, "go/connector.go", &package);
    fs::write(dir.path().join("go.mod"), "module recipe\n\ngo 1.19\n").unwrap();
    fs::write(dir.path().join("main.go"), GO_MAIN).unwrap();
    for verb in [["vet", "./..."].as_slice(), &["build", "-o", "app", "."]] {
        let mut command = bounded(&[&go]);
        command.args(verb).current_dir(dir.path());
        // Nothing is fetched: the standard library is all that it needs.
        command.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
        let run = Run::of(command.output().unwrap());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    sees_two_changes(&scene, Command::new(dir.path().join("app")));
    agent.stop();
}
