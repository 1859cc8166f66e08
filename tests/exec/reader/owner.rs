//! The owner of the set that a reader takes: its own user, root, `SEGURA_AGENT_UID`, or the owner
//! that it saw first. Another container of the pod may put any file in the volume.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use serde_json::Value;

use super::{SHOWS, bare, change, scene, with_stdin, words};
use crate::harness::{
    Run, Scene,
    host::{NOBODY, User, can_switch_user},
    sha256,
    sidecar::Sidecar,
    until,
};

/// The app, which is neither the agent's user nor in its group.
const APP: User = User { uid: 1001, gid: 1001, groups: &[] };
/// Another container of the pod, with a writable mount of the volume.
const NEIGHBOUR: User = User { uid: 1002, gid: 1002, groups: &[] };

/// A volume like a memory emptyDir, in which an agent of [`NOBODY`] has published for all to read.
fn volume() -> Scene {
    let mut scene = scene();
    scene.set("SEGURA_FILE_MODE", "0444").set("SEGURA_DIR_MODE", "0755");
    let everyone = fs::Permissions::from_mode(0o777);
    fs::set_permissions(scene.dir.path(), everyone).expect("the directory is the test's");
    scene
}

/// A reader of the app, that follows the agent of this user.
fn reader(scene: &Scene, agent_uid: &str) -> Command {
    let mut reader = bare(scene, scene.agent_as(APP, &words(SHOWS)));
    reader.env("SEGURA_AGENT_UID", agent_uid).env("SEGURA_STARTUP_TIMEOUT", "2s");
    with_stdin(reader)
}

/// The neighbour puts a copy of the agent's folder in its place, with the values that it wants.
fn forge(scene: &Scene) {
    let script = r#"cd "$1" && mkdir ..forged && cp ..segura/state.json ..segura/holder ..forged/ && cp -rL ..data ..2000_01_01_00_00_00.000000001 &&
        printf '{"app":[{"password":"forged"}]}' >forged.json && mv -f forged.json ..2000_01_01_00_00_00.000000001/..bundle.json &&
        mv ..segura ..away && mv ..forged ..segura && ln -s ..2000_01_01_00_00_00.000000001 ..turned && mv -T ..turned ..data"#;
    let mut shell = NEIGHBOUR.runs("sh");
    let run =
        Run::of(shell.args(["-ec", script, "sh"]).arg(scene.dir.path()).output().expect("sh"));
    run.exits(0);
    // It shows its own digests, too.
    let state = scene.path("..segura/state.json");
    let mut forged: Value =
        serde_json::from_slice(&fs::read(&state).expect("a state")).expect("JSON");
    let digest = |name: &str| {
        let path = scene.path("..2000_01_01_00_00_00.000000001").join(name);
        sha256(&fs::read(path).expect("a file"))
    };
    let set = serde_json::json!({
        "folder": "..2000_01_01_00_00_00.000000001",
        "bundle_sha256": digest("..bundle.json"),
        "generation_sha256": digest("..generation.json"),
        "file_uid": NEIGHBOUR.uid,
    });
    forged.as_object_mut().expect("an object").insert("set".to_owned(), set);
    fs::remove_file(&state).expect("it is there");
    fs::write(&state, forged.to_string()).expect("the test is root");
    chown(&state, Some(NEIGHBOUR.uid), Some(NEIGHBOUR.gid)).expect("the test is root");
}

#[test]
fn a_reader_takes_the_set_of_the_agent_that_it_is_told() {
    if !can_switch_user("a_reader_takes_the_set_of_the_agent_that_it_is_told") {
        return;
    }
    let scene = volume();
    Run::of(scene.agent_as(NOBODY, &["init"]).output().expect("the agent runs")).exits(0);
    for agent_uid in ["1000", ""] {
        let reader = Sidecar::spawn(reader(&scene, agent_uid));
        until("the command has the entry", || reader.stdout().contains("<one>"));
        reader.kill();
    }
    let run = Sidecar::spawn(reader(&scene, "2000")).wait();
    run.exits(69);
    assert!(run.error().contains("uid 1000"), "{}", run.error());
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_AGENT_UID")), "{}", run.stderr);
}

#[test]
fn a_reader_never_takes_the_set_of_a_neighbour() {
    if !can_switch_user("a_reader_never_takes_the_set_of_a_neighbour") {
        return;
    }
    let scene = volume();
    Run::of(scene.agent_as(NOBODY, &["init"]).output().expect("the agent runs")).exits(0);
    // One follows the user that it is told, one the first that it sees.
    let followers = ["1000", ""].map(|agent_uid| Sidecar::spawn(reader(&scene, agent_uid)));
    for reader in &followers {
        until("the command has the entry", || reader.stdout().contains("<one>"));
    }
    forge(&scene);
    for reader in &followers {
        reader.until_logged("the published set can't be read");
    }
    Sidecar::spawn(reader(&scene, "1000")).wait().exits(69);
    // The agent puts its own folder back, and the readers follow it again.
    change(&scene, "two");
    let agent = Sidecar::spawn(scene.agent_as(NOBODY, &["sidecar"]));
    for reader in followers {
        until("the command has the new entry", || reader.stdout().contains("<two>"));
        assert!(!reader.stdout().contains("forged"), "{}", reader.stdout());
        reader.kill();
    }
    agent.stop();
}

#[test]
fn a_probe_takes_the_set_of_the_agent_that_it_is_told() {
    if !can_switch_user("a_probe_takes_the_set_of_the_agent_that_it_is_told") {
        return;
    }
    let scene = volume();
    Run::of(scene.agent_as(NOBODY, &["init"]).output().expect("the agent runs")).exits(0);
    for (agent_uid, code) in [("1000", 0), ("", 0), ("2000", 1)] {
        let mut check = scene.agent_as(APP, &["check", "started"]);
        let output = check.env("SEGURA_AGENT_UID", agent_uid).output().expect("it runs");
        let line = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert_eq!(line.contains("SEGURA_AGENT_UID"), code == 1, "{line}");
    }
}
