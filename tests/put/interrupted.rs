//! A put that a signal ends says what is written, what may be and what is not.

use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::file;
use crate::dev_vault::requests::{LOGIN, PUT_SECRET, path};
use crate::dev_vault::{Effect, Fault};
use crate::harness::{Run, Scene, send, until};

const DOCUMENTS: &str = "identity: one\ndata: {k: v}\n---\nidentity: two\ndata: {k: v}\n---\nidentity: three\ndata: {k: v}\n";

fn spawn(scene: &Scene, options: &[&str]) -> Child {
    let path = file(scene, "all.yaml", DOCUMENTS);
    let args: Vec<&str> = ["secret", "put", &path].iter().chain(options).copied().collect();
    scene.agent(&args).spawn().expect("the agent starts")
}

#[test]
fn a_signal_while_one_is_sent_says_what_is_written() {
    for (signal, code, name) in [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM")] {
        let scene = Scene::new();
        let hang = Fault::new(path::SECRETS, Effect::Hang).method("POST").skip(1);
        scene.vault.fault(hang);
        let child = spawn(&scene, &[]);
        until("the second is sent", || scene.count(PUT_SECRET) == 2);
        send(&child, signal);
        let run = Run::wait(child);
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        let told = format!(
            "segura-agent: ended by {name}: written: one; may be written: two; failed: 0; not sent: three"
        );
        assert_eq!(run.error(), told);
        assert!(run.hint().is_some(), "{}", run.stderr);
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(
            lines[0].starts_with("written  one  ")
                && lines[1..] == ["failed   two", "failed   three"]
        );
        assert_eq!(scene.count(PUT_SECRET), 2);
    }
}

#[test]
fn a_signal_while_the_login_hangs_says_that_nothing_is_sent() {
    let scene = Scene::new();
    scene.vault.fault(Fault::new(path::LOGIN, Effect::Hang));
    let document = "username: u\nhostname: w2016\nip: 10.66.33.15\n";
    let document = file(&scene, "one.yaml", document);
    let child = scene.agent(&["credential", "put", &document]).spawn().expect("the agent starts");
    until("it logs in", || scene.count(LOGIN) == 1);
    send(&child, Signal::INT);
    let run = Run::wait(child);
    let told = "segura-agent: ended by SIGINT: written: none; failed: 0; not sent: u@w2016";
    assert_eq!((run.code, run.error(), run.hint()), (Some(130), told, None));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_ends_no_put() {
    let scene = Scene::new();
    scene.vault.fault(Fault::new(path::SECRETS, Effect::Delay { ms: 1_000 }).method("POST"));
    let path = file(&scene, "all.yaml", DOCUMENTS);
    // A shell starts a job in the background with SIGINT ignored.
    let script =
        format!("trap '' INT; exec {} secret put {path}", env!("CARGO_BIN_EXE_segura-agent"));
    let agent = scene.agent(&[]);
    let environment = agent.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env_clear().envs(environment);
    let child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    until("the first is sent", || scene.count(PUT_SECRET) == 1);
    send(&child, Signal::INT);
    let run = Run::wait(child);
    assert_eq!((run.code, run.stderr.lines().last()), (Some(0), Some("3 written, 0 failed")));
}

#[test]
fn a_signal_before_anything_is_sent_says_so() {
    for options in [&[][..], &["--merge"], &["--dry-run"]] {
        let scene = Scene::new();
        scene.vault.fault(Fault::new(path::SECRETS, Effect::Hang).method("GET"));
        let child = spawn(&scene, options);
        until("the first is read", || scene.count("GET /iso/sctm/secret/one") == 1);
        send(&child, Signal::INT);
        let run = Run::wait(child);
        assert_eq!(run.code, Some(130), "{}", run.stderr);
        let word = if options == ["--dry-run"] { "valid" } else { "written" };
        let told = format!(
            "segura-agent: ended by SIGINT: {word}: none; failed: 0; not sent: one, two, three"
        );
        assert_eq!((run.error(), run.hint()), (told.as_str(), None));
        assert_eq!(run.stdout, "failed   one\nfailed   two\nfailed   three\n");
        assert_eq!(scene.count(PUT_SECRET), 0);
    }
}
