//! Warnings at the start about impossible notifications; and that waiting takes no CPU time.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use super::app::App;
use crate::harness::host::{NOBODY, can_switch_user, skip};
use crate::harness::secret::{change, scene, until_notified, until_published};
use crate::harness::side_by_side;
use crate::harness::sidecar::Sidecar;
use crate::harness::{lines, pause, until};

#[test]
fn impossible_notifications_are_reported_at_the_start_with_the_remedy() {
    let cases: [fn(); 3] =
        [there_is_no_such_process, the_process_is_another_users, the_agent_is_process_one];
    side_by_side(cases, |case| case());
}

fn there_is_no_such_process() {
    let mut scene = scene();
    scene.set("SEGURA_SIGNAL_PROCESS", "nobody-is-called-this");
    let sidecar = scene.sidecar();
    let line = sidecar.until_logged(lines::NO_PROCESS);
    assert!(line.contains(" INFO ") && line.contains(" nobody-is-called-this"), "{line}");
    until_notified(&scene);
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    // It might have started late; at a change it is the wrong name.
    change(&scene, "two");
    let line = sidecar.until_logged(lines::NEVER_A_PROCESS);
    assert!(line.contains(" WARN ") && line.contains(" nobody-is-called-this"), "{line}");
    until_notified(&scene);
    sidecar.stop();
}

fn the_process_is_another_users() {
    if !can_switch_user("what_cannot_work_is_said: it_is_another_users") {
        return;
    }
    let mut scene = scene();
    let app = App::new(&scene);
    let mut running = app.start();
    chown(scene.dir.path(), Some(NOBODY.uid), Some(NOBODY.gid)).expect("root may");
    scene.set("SEGURA_SIGNAL_PROCESS", app.name());
    let sidecar = Sidecar::spawn(scene.agent_as(NOBODY, &["sidecar"]));
    let line = sidecar.until_logged(&format!("{} (pid {})", app.name(), running.pid()));
    assert!(line.contains(" WARN ") && line.contains("runAsUser"), "{line}");
    until_published(&scene, "one");
    assert!(running.is_running() && app.notified().is_empty());
    sidecar.stop();
}

fn the_agent_is_process_one() {
    let alone = |command: &mut Command| {
        let mut own = Command::new("unshare");
        own.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
        own.arg(command.get_program()).args(command.get_args()).env_clear();
        own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        own.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        own
    };
    let mut can = alone(&mut Command::new("true"));
    if !can.status().is_ok_and(|status| status.success()) {
        skip("what_cannot_work_is_said: the_agent_is_process_one", "no PID namespace of its own");
        return;
    }
    let mut scene = scene();
    let file = scene.vault.dir().join("pid");
    fs::write(&file, "1\n").expect("the directory is ours");
    scene.set("SEGURA_SIGNAL_PROCESS", "nobody-is-called-this");
    scene.set("SEGURA_SIGNAL_PID_FILE", &file.display().to_string());
    let sidecar = Sidecar::spawn(alone(&mut scene.agent(&["sidecar"])));
    for text in [lines::NO_PROCESS, lines::OWN_PID] {
        let line = sidecar.until_logged(text);
        assert!(line.contains(" WARN ") && line.contains("shareProcessNamespace: true"), "{line}");
    }
}

/// How often a process has gone to sleep by itself, all threads together.
fn sleeps(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let of_thread = |thread: std::io::Result<fs::DirEntry>| {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line?.trim().parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

#[test]
fn waiting_for_a_process_to_notify_costs_no_cpu_between_passes() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "10m");
    scene.set("SEGURA_SIGNAL_PROCESS", "nobody-is-called-this");
    scene
        .set("SEGURA_SIGNAL_PID_FILE", "/nowhere/pid")
        .set("SEGURA_NOTIFY_URL", "http://127.0.0.78:9/");
    let sidecar = scene.sidecar();
    until_published(&scene, "one");
    for text in [lines::NO_PROCESS, lines::NO_PID_FILE, lines::NOBODY_LISTENS] {
        sidecar.until_logged(text);
    }
    // The last thing to do after a start is to sweep.
    until("it comes to rest", || {
        let before = sleeps(sidecar.id());
        pause(3_000);
        sleeps(sidecar.id()) == before
    });
    let before = sleeps(sidecar.id());
    pause(3_000);
    assert_eq!(sleeps(sidecar.id()), before);
    sidecar.stop();
}
