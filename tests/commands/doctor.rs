//! `doctor`: every step of the path, its verdict, and the remedy for what fails.

use std::process::{Child, Command};

use super::run;
use crate::harness::{Run, SEED, Scene, host::is_root};

/// The lines of a step.
fn steps<'a>(run: &'a Run, step: &str) -> Vec<&'a str> {
    let of = |line: &&str| line.get(6..).is_some_and(|rest| rest.split(' ').next() == Some(step));
    run.stdout.lines().filter(of).collect()
}

/// Asserts the one line that failed.
#[track_caller]
fn fails(run: &Run, code: i32, step: &str, reported: &str, remedy: &str) {
    assert_eq!(run.code, Some(code), "{}{}", run.stdout, run.stderr);
    let failed: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(
        failed,
        steps(run, step).into_iter().filter(|l| l.starts_with("FAIL")).collect::<Vec<_>>()
    );
    let line = failed.join("\n");
    assert!(failed.len() == 1 && line.contains(reported), "{line}");
    let reported = line.split_once("-> ").map_or("", |(_, reported)| reported);
    assert!(reported.contains(remedy), "{line}");
}

#[test]
fn doctor_checks_every_step_and_changes_nothing() {
    let mut scene = Scene::new();
    let mut target = Ends(Command::new("sleep").arg("60").spawn().unwrap());
    scene.set("SEGURA_NOTIFY_URL", "http://127.0.0.1:9/reload");
    scene.set_file("SEGURA_SIGNAL_PID_FILE", target.0.id().to_string());
    scene.set("SEGURA_SIGNAL", "URG");
    let run = run(&scene, &["doctor"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for step in [
        "settings",
        "identity",
        "name",
        "connection",
        "tls",
        "login",
        "secret",
        "directory",
        "readers",
        "files",
        "set",
        "tell",
    ] {
        assert!(!steps(&run, step).is_empty(), "{step} in {}", run.stdout);
    }
    assert!(!run.stdout.contains("FAIL"), "{}", run.stdout);
    let tell = steps(&run, "tell");
    let reported = format!("(pid {})", target.0.id());
    assert!(tell.iter().any(|l| l.contains("SIGURG") && l.contains(&reported)), "{tell:?}");
    assert!(tell.iter().any(|line| line.contains("http://127.0.0.1:9/reload")), "{tell:?}");
    assert!(target.0.try_wait().unwrap().is_none(), "no process is signalled");
    assert!(scene.entries().is_empty(), "nothing is written");
    assert!(scene.vault.provisioned(SEED).is_empty(), "nothing is provisioned");
}

/// A child that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A setting, and what it makes fail: exit code, step, words and remedy.
type Broken = (&'static str, &'static str, i32, &'static str, &'static str, &'static str);

const BROKEN: [Broken; 7] = [
    ("SEGURA_URL", "https://nowhere.invalid", 69, "name", "nowhere.invalid", "SEGURA_URL"),
    ("SEGURA_URL", "https://127.0.0.1:9", 69, "connection", "127.0.0.1", "SEGURA_URL"),
    ("SEGURA_CLIENT_SECRET", "wrong", 77, "login", "", "SEGURA_CLIENT_ID"),
    ("SEGURA_CA_FILE", "/nowhere.pem", 78, "files", "SEGURA_CA_FILE", ""),
    ("SEGURA_IDENTITY", "nobody", 77, "secret", "nobody", ""),
    ("SEGURA_DECODE", "**", 76, "render", "base64", "SEGURA_DECODE"),
    ("SEGURA_OUTPUT_DIR", "/nowhere", 73, "directory", "No such file", "emptyDir"),
];

#[test]
fn doctor_names_each_failure_with_its_remedy() {
    for (variable, value, code, step, reported, remedy) in BROKEN {
        let mut scene = Scene::new();
        scene.set(variable, value);
        fails(&run(&scene, &["doctor"]), code, step, reported, remedy);
    }
    let mut scene = Scene::new();
    scene.unset("SEGURA_CA_FILE");
    let untrusted = run(&scene, &["doctor"]);
    fails(&untrusted, 69, "tls", "", "SEGURA_CA_FILE");
    scene.set("SEGURA_FILE_MODE", "rw");
    let run = run(&scene, &["doctor"]);
    assert_eq!(run.code, Some(78), "{}", run.stderr);
    assert!(run.stdout.starts_with("FAIL  settings    SEGURA_FILE_MODE: "), "{}", run.stdout);
}

#[test]
fn doctor_reports_a_running_agent_and_its_set() {
    let scene = Scene::new();
    let sidecar = scene.renewing_sidecar();
    let run = run(&scene, &["doctor"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(steps(&run, "directory").iter().any(|line| line.starts_with("ok ")));
    assert!(steps(&run, "set").iter().any(|line| line.contains("generation 1 ")), "{}", run.stdout);
    assert!(scene.check("ready").0, "it holds it on");
    sidecar.stop();
}

#[test]
fn on_a_read_only_volume_doctor_checks_as_a_reader() {
    if !is_root() {
        return crate::harness::host::skip(
            "on_a_read_only_volume_doctor_checks_as_a_reader",
            "it takes root",
        );
    }
    let scene = Scene::new();
    scene.init().exits(0);
    let agent = scene.agent_as(crate::harness::host::NOBODY, &["doctor"]);
    let run = Run::of({ agent }.output().expect("the agent runs"));
    assert!(run.stdout.contains("another agent publishes there"), "{}", run.stdout);
}
