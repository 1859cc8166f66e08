//! `SEGURA_SANDBOX`: what each of its words does where the file rules can be, and where not.

use std::fs;
use std::os::unix::fs::symlink;

use super::{is_held, scene};
use crate::harness::{Run, Scene, until};

/// Whether a process may gain privileges, as the kernel has it.
fn may_gain(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    status.contains("NoNewPrivs:\t0\n")
}

/// A file in a folder of `/` that is not there.
const IN_ROOT: &str = "/no-such-folder-of-segura/app.pid";

#[test]
fn a_setting_that_rules_the_sandbox_out_is_told_and_refused_where_it_is_required() {
    for (variable, value) in
        [("SEGURA_NOTIFY_COMMAND", r#"["/bin/true"]"#), ("SEGURA_SIGNAL_PROCESS", "no-such-app")]
    {
        let mut scene = scene();
        scene.set(variable, value);
        let run = Run::of(scene.agent(&["sidecar"]).output().expect("the agent runs"));
        run.refuses("SEGURA_SANDBOX");
        assert!(run.stderr.contains(variable), "{}", run.stderr);
        assert!(scene.request_lines().is_empty());
        scene.set("SEGURA_SANDBOX", "auto");
        let sidecar = scene.renewing_sidecar();
        sidecar.until_logged(&format!("the sandbox is off: {variable} rules it out"));
        assert!(may_gain(sidecar.id()), "a program that it starts may need it");
        sidecar.stop();
    }
}

#[test]
fn files_of_the_root_folder_leave_the_rules_on_files_out() {
    if !is_held("files_of_the_root_folder_leave_the_rules_on_files_out") {
        return;
    }
    let mut scene = scene();
    scene.set("SEGURA_SIGNAL_PID_FILE", IN_ROOT);
    let run = Run::of(scene.agent(&["sidecar"]).output().expect("the agent runs"));
    run.exits(78);
    assert!(
        run.error()
            .contains("cannot enter the sandbox: /no-such-folder-of-segura/app.pid lies in /")
    );
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_SANDBOX=auto")), "{}", run.stderr);
    assert!(scene.request_lines().is_empty(), "nothing is asked before");
    scene.set("SEGURA_SANDBOX", "auto");
    let sidecar = scene.renewing_sidecar();
    let line = sidecar.until_logged("the sandbox has no rules on files");
    assert!(line.contains(IN_ROOT), "{line}");
    assert!(!may_gain(sidecar.id()));
    sidecar.stop();
}

#[test]
fn it_is_off_by_default_and_in_modes_that_run_what_others_wrote() {
    let mut scene = scene();
    scene.unset("SEGURA_SANDBOX");
    let sidecar = scene.renewing_sidecar();
    assert!(may_gain(sidecar.id()));
    assert_eq!(sidecar.times_logged("sandbox"), 0, "{:?}", sidecar.log());
    sidecar.stop();
    for word in ["off", "auto", "require"] {
        scene.set("SEGURA_SANDBOX", word).set("SEGURA_NOTIFY_COMMAND", r#"["/bin/true"]"#);
        scene.init().exits(0);
        let run = scene.exec_to_end(&["sh", "-c", "grep NoNewPrivs /proc/self/status"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(0), "NoNewPrivs:\t0\n"), "{word}");
    }
    scene.set("SEGURA_SANDBOX", "on");
    scene.init().refuses("SEGURA_SANDBOX");
}

#[test]
fn a_denial_names_the_setting_that_lifts_it() {
    if !is_held("a_denial_names_the_setting_that_lifts_it") {
        return;
    }
    let mut scene = scene();
    let (links, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let link = links.path().join("ca.pem");
    symlink(scene.vault.ca_file(), &link).unwrap();
    scene.set("SEGURA_CA_FILE", &link.display().to_string());
    let sidecar = scene.renewing_sidecar();
    sidecar.until_logged("the sandbox is on");
    // The same bytes, in a folder that the path did not lead through at the start.
    let file = elsewhere.path().join("ca.pem");
    fs::copy(scene.vault.ca_file(), &file).unwrap();
    symlink(&file, links.path().join("next")).unwrap();
    fs::rename(links.path().join("next"), &link).unwrap();
    let line = sidecar.until_logged("SEGURA_SANDBOX=off");
    assert!(line.contains("SEGURA_CA_FILE: cannot read"), "{line}");
    until("the state says so", || scene.state()["last_error"] == "settings");
    // A file whose mode denies it is no denial of the sandbox: root alone is above modes.
    fs::remove_file(&link).unwrap();
    fs::copy(scene.vault.ca_file(), &link).unwrap();
    until("renewal works", || scene.failures() == 0);
    sidecar.stop();
    scene.set("SEGURA_SANDBOX", "off");
    fs::remove_file(&link).unwrap();
    symlink(&file, &link).unwrap();
    let sidecar = scene.renewing_sidecar();
    scene.vault.rotate();
    until("it is read", || scene.state()["generation"] == 2);
    sidecar.stop();
}

/// Lines of `doctor` about the sandbox.
fn seen(scene: &Scene) -> (Option<i32>, String) {
    let run = Run::of(scene.agent(&["doctor"]).output().expect("the agent runs"));
    let lines = run.stdout.lines().filter(|line| line.contains("  sandbox "));
    (run.code, lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn doctor_says_what_a_sidecar_would_be_held_to() {
    if !is_held("doctor_says_what_a_sidecar_would_be_held_to") {
        return;
    }
    let mut scene = scene();
    let (code, line) = seen(&scene);
    let authority = scene.vault.dir().display().to_string();
    assert!(line.starts_with("ok ") && line.contains(&authority), "{line}");
    assert_eq!(code, Some(0));
    scene.set("SEGURA_SIGNAL_PID_FILE", IN_ROOT);
    let (code, line) = seen(&scene);
    assert!(line.starts_with("FAIL") && line.contains("lies in /"), "{line}");
    assert_eq!(code, Some(78));
    scene.set("SEGURA_SANDBOX", "auto");
    let (code, line) = seen(&scene);
    assert!(line.starts_with("warn") && code == Some(0), "{line}");
    scene.set("SEGURA_SIGNAL_PROCESS", "no-such-app").unset("SEGURA_SIGNAL_PID_FILE");
    let (_, line) = seen(&scene);
    assert!(line.contains("off: SEGURA_SIGNAL_PROCESS"), "{line}");
    scene.set("SEGURA_SANDBOX", "off");
    assert_eq!(seen(&scene).1, "");
}
