//! What the process itself gives away: to its peers, to a stderr that nobody reads, in a panic.

use std::fs;
use std::io::{Read, pipe};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::canaries::Canaries;
use super::{Case, LOGIN, SECRET, VALUE, scene};
use crate::{
    dev_vault::{Effect, Fault},
    harness::{
        Run, full_pipe,
        host::{NOBODY, can_switch_user, is_root},
        side_by_side, until,
    },
};

#[test]
fn a_process_of_the_same_user_cannot_read_the_agent() {
    // Root reads everything, so root's tests need a user for both sides.
    let root = is_root();
    if root && !can_switch_user("a_process_of_the_same_user_cannot_read_the_agent") {
        return;
    }
    let scene = scene();
    scene.vault.fault(Fault::new(LOGIN, Effect::Hang));
    let (mut agent, mut sleep) = if root {
        chown(scene.dir.path(), Some(NOBODY.uid), Some(NOBODY.gid)).unwrap();
        (scene.agent_as(NOBODY, &["init"]), NOBODY.runs("sleep"))
    } else {
        (scene.agent(&["init"]), Command::new("sleep"))
    };
    let mut agent = agent.spawn().unwrap();
    let mut other = sleep.arg("60").env_clear().env("CANARY", "seen").spawn().unwrap();
    let reads = |process: &Child, part: &str| {
        let path = format!("/proc/{}/{part}", process.id());
        if root { NOBODY.reads(Path::new(&path)) } else { fs::read(path).ok() }
    };
    until("the agent has its settings", || !scene.vault.requests().is_empty());
    until("any other process shows its environment", || {
        reads(&other, "environ").is_some_and(|seen| seen == b"CANARY=seen\0")
    });
    for part in ["environ", "maps", "auxv"] {
        assert_eq!(reads(&agent, part), None, "{part}");
    }
    let limits = String::from_utf8(reads(&agent, "limits").unwrap()).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    for process in [&mut agent, &mut other] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

#[test]
fn a_full_stderr_delays_no_process() {
    let cases: [Case; 3] = [
        ("success", 0, |_| {}),
        ("refusal", 77, |scene| scene.vault.set_client_secret("another")),
        ("settings", 78, |scene| {
            scene.unset("SEGURA_URL");
        }),
    ];
    side_by_side(cases, |(what, code, spoil)| {
        let mut scene = scene();
        spoil(&mut scene);
        let (mut reader, writer, filled) = full_pipe();
        let agent = scene.agent(&["init"]).stderr(Stdio::from(writer)).spawn().unwrap();
        assert_eq!(Run::wait(agent).code, Some(code), "{what}");
        assert_eq!(scene.published().is_empty(), code != 0, "{what}");
        let mut written = Vec::new();
        reader.read_to_end(&mut written).unwrap();
        assert_eq!(written.len(), filled, "{what}: a line is written whole or not at all");
    });
}

#[test]
fn lines_that_did_not_fit_are_counted() {
    let mut scene = scene();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
    scene.vault.fault(Fault::new(LOGIN, Effect::Hang));
    let (mut reader, writer, filled) = full_pipe();
    let agent = scene.agent(&["init"]).stderr(Stdio::from(writer)).spawn().unwrap();
    until("it tries again", || scene.vault.requests().len() >= 2);
    let mut filler = vec![0; filled];
    reader.read_exact(&mut filler).unwrap();
    assert!(filler.iter().all(|byte| *byte == b'.'));
    scene.vault.clear_faults();
    Run::wait(agent).exits(0);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    // The log of a pipe is JSON, and so is the line that counts.
    let first: serde_json::Value = serde_json::from_str(rest.lines().next().unwrap()).unwrap();
    let counted = first["message"].as_str().unwrap();
    assert!(counted.ends_with("log lines were dropped: stderr was full"), "{rest}");
    assert_eq!(first["level"], "WARN");
    assert!(rest.contains("\"published\""), "{rest}");
}

#[test]
fn a_closed_stderr_is_no_failure() {
    let scene = scene();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let agent = scene.agent(&["init"]).stderr(Stdio::from(writer)).spawn().unwrap();
    assert_eq!(Run::wait(agent).code, Some(0));
    let scene = super::scene();
    let agent = scene.agent(&["init"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec \"$0\" init 2>&- >&- <&-"]).arg(agent.get_program()).env_clear();
    shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert_eq!(shell.status().unwrap().code(), Some(0));
    assert_eq!(scene.generations().len(), 1);
    let canaries = Canaries::of(&scene);
    canaries.assert_files(scene.dir.path(), &|path| !path.ends_with("..generation.json"), "closed");
}

#[test]
fn a_panic_prints_its_place_and_nothing_else() {
    // This test is its own other process: what panics there is the real hook's to tell.
    const ROLE: &str = "PANIC_ON_PURPOSE";
    if std::env::vars_os().any(|(name, _)| name == ROLE) {
        segura_agent::os::harden::quiet_panics();
        panic!("{VALUE} {SECRET}");
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "leaks::process::a_panic_prints_its_place_and_nothing_else",
            "--nocapture",
        ])
        .env(ROLE, "1")
        .output()
        .unwrap();
    let run = Run::of(output);
    assert_eq!(run.code, Some(70), "{}", run.stderr);
    assert!(!run.stdout.contains("cAnArY"), "{}", run.stdout);
    let mut lines = run.stderr.lines();
    let place = lines.next().unwrap_or_default();
    assert!(
        place.starts_with("segura-agent: bug in the agent: panic at tests/leaks/process.rs:"),
        "{place}"
    );
    assert_eq!(lines.next(), Some("hint: report this line; restarting is safe"));
    assert_eq!(lines.next(), None);
}
