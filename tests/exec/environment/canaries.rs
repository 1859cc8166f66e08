//! Values, the client secret and tokens are looked for wherever a wrapper and its command could show
//! them, while the log level is the highest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::super::basics::{Held, SUPERVISED_AND_NOT};
use super::refused::LITTLE_ROOM;
use crate::{
    dev_vault::Options,
    harness::{Run, SEED, Scene, side_by_side, sidecar::Sidecar, until},
    leaks::{SECRET, VALUE, canaries::Canaries},
};

/// A pod whose every value is a canary, at the highest log level.
fn scene() -> Scene {
    let client_secret = Some(SECRET.to_owned());
    let mut scene = Scene::with(Options { tls: false, client_secret, ..Options::default() });
    change(&scene, 1);
    for (name, value) in [
        ("SEGURA_LOG", "trace"),
        ("SEGURA_RENEW_INTERVAL", "1s"),
        ("SEGURA_RESTART_SPLAY", "0s"),
        ("SEGURA_STOP_TIMEOUT", "100ms"),
        ("SENHASEGURA_CLIENT_SECRET", SECRET),
        // One that an entry replaces, and one that is withheld.
        ("key", "of the container"),
        ("PATH", "/usr/bin:/bin"),
    ] {
        scene.set(name, value);
    }
    scene
}

fn change(scene: &Scene, number: u8) {
    let value = |name: &str| format!("{VALUE}-{name}-{number}");
    scene.vault.set_data(SEED, json!({"key": value("key"), "PATH": value("path")}));
}

#[track_caller]
fn assert_silent(scene: &Scene, run: &Run) {
    let canaries = Canaries::of(scene);
    canaries.assert_absent(run.stderr.as_bytes(), "stderr");
    canaries.assert_absent(run.stdout.as_bytes(), "stdout");
}

/// What `/proc` shows of a process.
fn shown(pid: &str, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).expect("it lives, and is of our own user")
}

#[test]
fn a_running_exec_and_its_command_leak_no_value() {
    let scene = scene();
    let wrapper = Held::script(&scene, "trap '' TERM; echo \"pid $$.\"");
    wrapper.until_printed(".\n");
    // It is stopped in vain, killed and restarted.
    change(&scene, 2);
    until("it is restarted", || wrapper.stdout().matches(".\n").count() == 2);
    let printed = wrapper.stdout();
    let command = printed.lines().last().unwrap().trim_end_matches('.').trim_start_matches("pid ");
    let environment = shown(command, "environ");
    let credentials = Canaries::of(&scene).credentials;
    Canaries::assert_none(&credentials, &environment, "the command's environment");
    let text = String::from_utf8_lossy(&environment);
    assert!(text.contains(&format!("key={VALUE}-key-2\0")), "what is looked for is there");
    assert!(!text.contains("-path-"), "what is withheld is not given");
    for pid in [command, &wrapper.id().to_string()] {
        let arguments = shown(pid, "cmdline");
        assert!(!arguments.is_empty());
        Canaries::of(&scene).assert_absent(&arguments, "an argument list");
    }
    let run = wrapper.release();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("TRACE") && run.stderr.contains("is killed"), "{}", run.stderr);
    assert_silent(&scene, &run);
}

#[test]
fn a_command_that_replaces_the_agent_has_none_of_its_credentials() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    let wrapper = Held::script(&scene, "echo ready");
    wrapper.until_printed("ready\n");
    let environment = shown(&wrapper.id().to_string(), "environ");
    assert!(String::from_utf8_lossy(&environment).contains(&format!("key={VALUE}-key-1\0")));
    let credentials = Canaries::of(&scene).credentials;
    Canaries::assert_none(&credentials, &environment, "the command's environment");
    let run = wrapper.release();
    assert_eq!(run.code, Some(0));
    assert_silent(&scene, &run);
}

#[test]
fn a_failed_start_leaks_no_value() {
    type Spoil = fn(&mut Scene);
    let cases: [(&str, i32, Spoil); 6] = [
        ("not found", 127, |_| {}),
        ("NUL", 76, |scene| {
            scene.vault.set_data(SEED, json!({"key": format!("{VALUE}\0{VALUE}")}));
        }),
        ("too long", 78, |scene| {
            scene.vault.set_data(SEED, json!({"key": VALUE.repeat(10_000)}));
        }),
        ("one name for two", 78, |scene| {
            scene.vault.set_data(SEED, json!({"a.b": VALUE, "a-b": VALUE}));
        }),
        ("too long together", 78, |scene| {
            let long = VALUE.repeat(7_000);
            let all = BTreeMap::from(["a", "b", "c"].map(|name| (name, &long)));
            scene.vault.set_data(SEED, json!(all));
        }),
        ("refused", 77, |scene| scene.vault.set_client_secret("another")),
    ];
    // One whose absence shows only when it is run.
    let folder = tempfile::tempdir().unwrap();
    let orphan = folder.path().join("orphan");
    fs::write(&orphan, "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(&orphan, fs::Permissions::from_mode(0o755)).unwrap();
    let orphan = orphan.display().to_string();
    for interval in SUPERVISED_AND_NOT {
        side_by_side(cases, |(what, code, spoil)| {
            let mut scene = scene();
            scene.set("SEGURA_RENEW_INTERVAL", interval);
            spoil(&mut scene);
            let program = if code == 127 { orphan.as_str() } else { "/bin/true" };
            let run = Sidecar::spawn(scene.wrapper_by(LITTLE_ROOM, &[program])).wait();
            assert_eq!(run.code, Some(code), "{what}: {}", run.stderr);
            assert_silent(&scene, &run);
        });
    }
}
