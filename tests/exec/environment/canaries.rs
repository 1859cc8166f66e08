//! Values, the client secret and tokens are looked for wherever a wrapper and its command could show
//! them, while the log level is the highest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::super::basics::{Held, SUPERVISED_AND_NOT};
use super::refused::LITTLE_ROOM;
use crate::{
    dev_vault::{Options, Provisioned},
    harness::{Run, SEED, Scene, side_by_side, sidecar::Sidecar, until},
};

const VALUE: &str = "cAnArY-vAlUe+4f1d";
const SECRET: &str = "cAnArY-sEcReT/+90ab=";

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

/// A string, and what it looks like where someone was careless with it.
fn disguised(canary: &str) -> [String; 3] {
    let form = url::form_urlencoded::byte_serialize(canary.as_bytes()).collect();
    // Of the last group of base64, more may be to come.
    let whole = canary.len() / 3 * 3;
    [canary.to_owned(), form, STANDARD.encode(canary.get(..whole).unwrap_or(canary))]
}

/// The client secret, and every token that was used.
fn credentials(scene: &Scene) -> Vec<String> {
    let tokens = scene.vault.requests().into_iter().filter_map(|request| {
        Some(request.header("authorization")?.strip_prefix("Bearer ")?.to_owned())
    });
    let mut all: BTreeSet<String> = tokens.collect();
    assert!(!all.is_empty(), "tokens were used");
    // What makes a token one is the last of its parts.
    let parts: Vec<String> =
        all.iter().filter_map(|token| Some(token.rsplit_once('.')?.1.to_owned())).collect();
    all.extend(parts);
    all.insert(SECRET.to_owned());
    all.iter().flat_map(|canary| disguised(canary)).collect()
}

fn values(scene: &Scene) -> Vec<String> {
    let accounts = scene.vault.provisioned(SEED).into_iter();
    let passwords = accounts.map(|Provisioned { password, .. }| password);
    passwords.chain([VALUE.to_owned()]).flat_map(|value| disguised(&value)).collect()
}

#[track_caller]
fn assert_none(canaries: &[String], bytes: &[u8], place: &str) {
    let text = String::from_utf8_lossy(bytes);
    for canary in canaries {
        assert!(!text.contains(canary), "{canary} in {place}: {text}");
    }
}

#[track_caller]
fn assert_silent(scene: &Scene, run: &Run) {
    for canaries in [values(scene), credentials(scene)] {
        assert_none(&canaries, run.stderr.as_bytes(), "stderr");
        assert_none(&canaries, run.stdout.as_bytes(), "stdout");
    }
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
    assert_none(&credentials(&scene), &environment, "the command's environment");
    let text = String::from_utf8_lossy(&environment);
    assert!(text.contains(&format!("key={VALUE}-key-2\0")), "what is looked for is there");
    assert!(!text.contains("-path-"), "what is withheld is not given");
    for pid in [command, &wrapper.id().to_string()] {
        let arguments = shown(pid, "cmdline");
        assert!(!arguments.is_empty());
        for canaries in [values(&scene), credentials(&scene)] {
            assert_none(&canaries, &arguments, "an argument list");
        }
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
    assert_none(&credentials(&scene), &environment, "the command's environment");
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
            assert_none(&values(&scene), run.stderr.as_bytes(), what);
            let secret = disguised(SECRET);
            assert_none(&secret, run.stderr.as_bytes(), what);
            if what != "refused" {
                assert_silent(&scene, &run);
            }
        });
    }
}
