//! A reader before there is anything to read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use rustix::process::Signal;

use super::{
    APP, FS_GROUP, ReadOnly, SHOWS, bare, for_the_group_to_read, reads, scene, until_has, words,
};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault},
    harness::{
        Run, Scene, for_a_while,
        host::{can_switch_user, with_own_mounts},
        side_by_side,
        sidecar::Sidecar,
        until,
    },
};

/// A scene where a running agent holds the directory, which the vault has not answered yet.
fn unanswered() -> (Scene, Sidecar) {
    let mut scene = scene();
    scene.set("SEGURA_STARTUP_TIMEOUT", "off").set("SEGURA_TIMEOUT", "2s");
    scene.vault.fault(Fault::new("", Effect::Hang));
    let sidecar = scene.sidecar();
    until("it asks", || !scene.vault.requests().is_empty());
    (scene, sidecar)
}

/// Starts a reader before the sidecar, in a place that it can't write to.
#[track_caller]
fn assert_waits_for_the_sidecar(scene: &Scene, mut reader: Command) {
    reader.env("SEGURA_STARTUP_TIMEOUT", "1m");
    let reader = Sidecar::spawn(reader);
    let said = reader.until_logged(lines::WAITS);
    assert!(said.contains("WARN") && said.contains("hint"), "{said}");
    let sidecar = scene.renewing_sidecar();
    until_has(&reader, &["one"]);
    reader.assert_logged(lines::READS, 1, "once");
    reader.assert_logged(lines::WAITS, 1, "once");
    sidecar.stop();
}

#[test]
fn a_reader_started_first_waits_for_a_publisher_of_another_user() {
    if !can_switch_user("a_reader_started_first_waits_for_a_publisher_of_another_user") {
        return;
    }
    let scene = scene();
    for_the_group_to_read(scene.dir.path());
    assert_waits_for_the_sidecar(&scene, bare(&scene, scene.agent_as(APP, &words(SHOWS))));
}

#[test]
fn a_reader_started_first_waits_on_a_read_only_volume() {
    with_own_mounts("a_reader_started_first_waits_on_a_read_only_volume", || {
        let scene = scene();
        let view = ReadOnly::view_of(scene.dir.path());
        let mut reader = bare(&scene, scene.agent(&words(SHOWS)));
        reader.env("SEGURA_OUTPUT_DIR", view.path());
        assert_waits_for_the_sidecar(&scene, reader);
    });
}

#[test]
fn a_reader_waits_for_the_first_set_of_an_agent_that_has_none_yet() {
    let (scene, sidecar) = unanswered();
    let reader = reads(&scene, SHOWS, &[]);
    reader.until_logged(lines::WAITS);
    assert_eq!(reader.stdout(), "", "nothing runs without its secrets");
    scene.vault.clear_faults();
    until_has(&reader, &["one"]);
    sidecar.kill();
}

#[test]
fn a_reader_gives_up_at_its_deadline_with_one_line_and_a_hint() {
    let (scene, _sidecar) = unanswered();
    let run = reads(&scene, SHOWS, &[("SEGURA_STARTUP_TIMEOUT", "1s")]).wait();
    run.exits(69);
    let place = scene.dir.path().display();
    let line = format!(
        "segura-agent: cannot read a set in {place}: no set is published there; gave up after 1s"
    );
    assert_eq!(run.error(), line);
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_URL")), "{}", run.stderr);
    assert_eq!(run.stderr.matches("segura-agent: ").count(), 1, "{}", run.stderr);
    assert!(run.stderr.ends_with(&format!("hint: {}", run.hint().unwrap())), "{}", run.stderr);
}

#[test]
fn a_reader_without_a_deadline_waits_without_end() {
    let (scene, sidecar) = unanswered();
    let reader = reads(&scene, SHOWS, &[("SEGURA_STARTUP_TIMEOUT", "off")]);
    reader.until_logged(lines::WAITS);
    for_a_while("it waits", || !reader.has_ended() && reader.stdout().is_empty());
    scene.vault.clear_faults();
    until_has(&reader, &["one"]);
    sidecar.kill();
}

#[test]
fn a_signal_ends_a_waiting_reader_without_a_command() {
    let cases = [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131), (Signal::HUP, 129)];
    let (scene, _sidecar) = unanswered();
    side_by_side(cases, |(signal, code)| {
        let reader = reads(&scene, SHOWS, &[("SEGURA_STARTUP_TIMEOUT", "off")]);
        reader.until_logged(lines::WAITS);
        reader.send(signal);
        let run = reader.wait();
        run.exits(code);
        assert!(!run.stderr.contains("segura-agent: "), "an ordinary end: {}", run.stderr);
    });
}

/// Asserts that the error names the user that must be able to read, and that no command ran.
#[track_caller]
fn assert_reports_rights(run: &Run) {
    run.exits(73);
    assert!(run.error().contains("Permission denied"), "{}", run.stderr);
    assert!(run.hint().is_some_and(|hint| hint.contains("fsGroup")), "{}", run.stderr);
    assert_eq!(run.stderr.matches("segura-agent: ").count(), 1, "{}", run.stderr);
}

/// Asserts the error of a reader of another user, whose volume has this group and files this mode.
#[track_caller]
fn assert_denied(group: u32, mode: u32, file_mode: &str) {
    let mut scene = scene();
    chown(scene.dir.path(), None, Some(group)).expect("root may");
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(mode)).expect("root may");
    scene.set("SEGURA_FILE_MODE", file_mode);
    let sidecar = scene.renewing_sidecar();
    let mut reader = bare(&scene, scene.agent_as(APP, &words(SHOWS)));
    reader.env("SEGURA_STARTUP_TIMEOUT", "1s");
    assert_reports_rights(&Sidecar::spawn(reader).wait());
    sidecar.stop();
}

#[test]
fn a_reader_of_files_for_the_agents_user_alone_gets_the_remedy() {
    if can_switch_user("a_reader_of_files_for_the_agents_user_alone_gets_the_remedy") {
        assert_denied(FS_GROUP, 0o2755, "0400");
    }
}

#[test]
fn a_reader_outside_of_the_group_gets_the_remedy() {
    if can_switch_user("a_reader_outside_of_the_group_gets_the_remedy") {
        assert_denied(0, 0o755, "0440");
    }
}

#[test]
fn a_reader_that_may_not_open_the_directory_gets_the_remedy() {
    if can_switch_user("a_reader_that_may_not_open_the_directory_gets_the_remedy") {
        assert_denied(0, 0o700, "0440");
    }
}

#[test]
fn a_reader_outside_of_the_group_gets_the_remedy_in_a_world_writable_directory() {
    if can_switch_user(
        "a_reader_outside_of_the_group_gets_the_remedy_in_a_world_writable_directory",
    ) {
        // An emptyDir without fsGroup.
        assert_denied(0, 0o777, "0440");
    }
}
