//! `exec`, as agent and as reader, at the highest log level: only the command
//! has the entries.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use super::canaries::{assert_silent, end_silent, watched};
use super::memory::writable;
use super::{Case, LOGIN, PROVISION, SECRET, TOKEN, VALUE, scene};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault},
    harness::{
        SEED, Scene,
        host::{NOBODY, can_switch_user, is_root, skip},
        side_by_side,
        sidecar::{Sidecar, with_stdin},
        until,
    },
};

/// Shows its number, and lives until the test lets go of its standard input.
const WORDS: [&str; 5] = ["exec", "--", "/bin/sh", "-c", "echo $$; read -r _"];

/// A pod of canaries whose command is soon restarted.
fn wrapped() -> Scene {
    let mut scene = scene();
    scene.set("SEGURA_RESTART_SPLAY", "0s").set("SEGURA_STOP_TIMEOUT", "2s");
    scene
}

fn agent(scene: &Scene) -> Sidecar {
    Sidecar::spawn(with_stdin(scene.agent(&WORDS)))
}

/// The settings of a reader: none of a vault.
fn bare(scene: &Scene, mut reader: Command) -> Command {
    let log = scene.vault.dir().join("termination-log");
    reader.env_clear().env("SEGURA_OUTPUT_DIR", scene.dir.path()).env("SEGURA_LOG", "trace");
    reader.env("SEGURA_TERMINATION_LOG", log).env("SEGURA_RESTART_SPLAY", "0s");
    with_stdin(reader)
}

/// How many commands have been started.
fn starts(wrapper: &Sidecar) -> usize {
    wrapper.stdout().lines().count()
}

#[test]
fn an_exec_from_start_to_end_leaks_nothing() {
    let mut scene = wrapped();
    scene.set("SEGURA_DEPROVISION", "true").set("SEGURA_STARTUP_TIMEOUT", "1m");
    let agent = agent(&scene);
    until("the command runs", || starts(&agent) == 1);
    let mut former = vec![scene.password()];
    scene.vault.rotate();
    until("the command is restarted", || starts(&agent) == 2);
    scene.vault.go_down();
    until("it fails", || scene.failures() > 0);
    scene.vault.come_back();
    until("it recovers", || scene.failures() == 0);
    // What would be longer than an environment can be, and what has one name twice.
    for data in [
        format!(r#"{{"key": "{VALUE}-{}"}}"#, "x".repeat(200_000)),
        format!(r#"{{"a-b": "{VALUE}-1", "a.b": "{VALUE}-2"}}"#),
        format!(r#"{{"key": "{VALUE}\u0000{VALUE}"}}"#),
    ] {
        scene.vault.set_data(SEED, data);
        until("it is held back", || scene.held_back(SEED).is_some());
        scene.vault.set_data(SEED, format!(r#"{{"key": "{VALUE}-4"}}"#));
        until("it is fresh again", || scene.held_back(SEED).is_none());
    }
    former.push(scene.password());
    agent.until_logged("TRACE");
    end_silent(&scene, agent, 143, "a life", &former);
    assert!(scene.vault.provisioned(SEED).is_empty(), "it was deprovisioned");
}

#[test]
fn failures_under_a_command_leak_nothing() {
    let said = format!("{SECRET} {VALUE} {TOKEN}");
    let message = serde_json::json!({"message": SECRET}).to_string();
    let faults = [
        ("HTML", Fault::body(PROVISION, &format!("<html>{said}</html>"))),
        ("half an answer", Fault::new(PROVISION, Effect::Cut).after()),
        ("no answer", Fault::new(PROVISION, Effect::Hang).after()),
        ("a failure", Fault::answer(PROVISION, 500, &message)),
        ("a login that fails", Fault::answer(LOGIN, 500, &message)),
    ];
    side_by_side(faults, |(what, fault)| {
        let scene = wrapped();
        scene.init().exits(0);
        let agent = agent(&scene);
        until("the command runs", || starts(&agent) == 1);
        scene.vault.revoke_tokens();
        scene.vault.fault(fault);
        until("it fails", || scene.failures() > 0);
        scene.vault.clear_faults();
        end_silent(&scene, agent, 143, what, &[]);
    });
}

#[test]
fn a_failed_start_leaks_nothing_and_runs_no_command() {
    let cases: [Case; 7] = [
        ("a wrong client secret", 77, |scene| scene.vault.set_client_secret("another")),
        ("HTML", 76, |scene| {
            scene.vault.fault(Fault::body(PROVISION, &format!("<html>{SECRET} {VALUE}</html>")));
        }),
        ("a value with NUL", 76, |scene| {
            let data = format!(r#"{{"key": "{VALUE}\u0000{VALUE}"}}"#);
            scene.vault.set_data(SEED, data);
        }),
        ("keys that become one variable", 78, |scene| {
            let data = format!(r#"{{"a-b": "{VALUE}-1", "a.b": "{VALUE}-2"}}"#);
            scene.vault.set_data(SEED, data);
        }),
        ("a value longer than variables", 78, |scene| {
            let data = format!(r#"{{"key": "{VALUE}-{}"}}"#, "x".repeat(200_000));
            scene.vault.set_data(SEED, data);
        }),
        ("no vault", 69, |scene| scene.vault.go_down()),
        ("settings that are wrong", 78, |scene| {
            scene.set("SEGURA_STOP_SIGNAL", VALUE).set("SEGURA_CLIENT_ID_FILE", SECRET);
        }),
    ];
    side_by_side(cases, |(what, code, spoil)| {
        let mut scene = wrapped();
        // The command's environment alone is what can't be made.
        scene.set("SEGURA_OUTPUT", "files");
        spoil(&mut scene);
        let seen = watched(scene.agent(&WORDS).spawn().expect("the agent starts"));
        assert_eq!((seen.0.code, seen.0.stdout.as_str()), (Some(code), ""), "{what}: {seen:?}");
        assert_silent(&scene, what, &seen);
    });
}

#[test]
fn a_reader_leaks_nothing_of_its_set() {
    let mut scene = wrapped();
    scene.set("SEGURA_OUTPUT", "files");
    let sidecar = scene.renewing_sidecar();
    let reader = Sidecar::spawn(bare(&scene, scene.agent(&WORDS)));
    until("the command runs", || starts(&reader) == 1);
    let former = scene.password();
    scene.vault.rotate();
    until("the command is restarted", || starts(&reader) == 2);
    // What no environment can hold.
    scene.vault.set_data(SEED, format!(r#"{{"key": "{VALUE}\u0000{VALUE}"}}"#));
    let said = reader.until_logged(lines::RUNS_ON);
    assert!(said.contains("WARN"), "{said}");
    let failed = watched(bare(&scene, scene.agent(&WORDS)).spawn().expect("it starts"));
    assert_eq!((failed.0.code, failed.0.stdout.as_str()), (Some(76), ""), "{failed:?}");
    until("what was replaced is swept", || scene.generations().len() == 1);
    sidecar.stop();
    assert_silent(&scene, "a reader that can't start", &failed);
    fs::write(scene.vault.dir().join("termination-log"), "").unwrap();
    end_silent(&scene, reader, 143, "a reader", &[former]);
}

/// What a process may write to and that holds a value.
fn holding(pid: u32) -> Vec<String> {
    let writable = writable(pid);
    assert!(!writable.is_empty());
    let holds = |bytes: &[u8]| bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes());
    writable.into_iter().filter(|(_, bytes)| holds(bytes)).map(|(map, _)| map).collect()
}

#[test]
fn a_waiting_agent_holds_no_value_in_memory_and_its_command_does() {
    if !is_root() {
        return skip(
            "a_waiting_agent_holds_no_value_in_memory_and_its_command_does",
            "only root reads another's memory",
        );
    }
    let mut scene = wrapped();
    scene.set("SEGURA_LOG", "info");
    let agent = agent(&scene);
    until("the command runs", || starts(&agent) == 1);
    let reader = Sidecar::spawn(bare(&scene, scene.agent(&WORDS)));
    until("the reader's command runs", || starts(&reader) == 1);
    scene.vault.set_data(SEED, format!(r#"{{"key": "{VALUE}-4"}}"#));
    for wrapper in [&agent, &reader] {
        until("the command is restarted", || starts(wrapper) == 2);
        let command = wrapper.stdout().lines().last().unwrap().parse().unwrap();
        until("what is looked for is found", || !holding(command).is_empty());
        until("no page of the wrapper holds a value", || holding(wrapper.id()).is_empty());
    }
}

#[test]
fn a_process_of_the_same_user_can_read_the_command_but_not_the_agent() {
    // Root reads everything, so root's tests need a user for both sides.
    let root = is_root();
    if root && !can_switch_user("a_process_of_the_same_user_can_read_the_command_but_not_the_agent")
    {
        return;
    }
    let scene = wrapped();
    let command = |words: &[&str]| {
        if root { scene.agent_as(NOBODY, words) } else { scene.agent(words) }
    };
    if root {
        chown(scene.dir.path(), Some(NOBODY.uid), Some(NOBODY.gid)).unwrap();
    }
    let agent = Sidecar::spawn(with_stdin(command(&WORDS)));
    until("the command runs", || starts(&agent) == 1);
    let reader = Sidecar::spawn(bare(&scene, command(&WORDS)));
    let reads = |process: u32, part: &str| {
        let path = format!("/proc/{process}/{part}");
        if root { NOBODY.reads(Path::new(&path)) } else { fs::read(path).ok() }
    };
    for wrapper in [&agent, &reader] {
        until("its command runs", || starts(wrapper) == 1);
        for part in ["environ", "maps", "auxv"] {
            assert_eq!(reads(wrapper.id(), part), None, "{part}");
        }
        let command = wrapper.stdout().trim().parse().unwrap();
        let environ = reads(command, "environ").expect("the command is not hidden");
        let environ = String::from_utf8(environ).unwrap();
        assert!(environ.contains(VALUE), "{environ}");
        assert!(!environ.contains(SECRET) && !environ.contains("SEGURA_"), "{environ}");
    }
}
