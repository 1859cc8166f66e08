//! A reader that can't be woken by a change: it looks by itself, less often.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::{APP, SHOWS, bare, change, for_the_group_to_read, scene, until_has, values, words};
use crate::harness::{
    Scene,
    host::{can_switch_user, skip},
    lines,
    sidecar::Sidecar,
    until,
};

/// A reader in a user namespace that has none left of what `limit` counts.
fn without(limit: &str, scene: &Scene) -> Command {
    let agent = scene.agent(&words(SHOWS));
    let script = format!("echo 0 >/proc/sys/user/{limit} && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "/bin/sh", "-c", &script]);
    command.arg(agent.get_program()).args(agent.get_args());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    bare(scene, command)
}

/// Waits until the next set has reached the command, for longer than a reader sleeps.
#[track_caller]
fn assert_follows(scene: &Scene, reader: &Sidecar) {
    change(scene, "two");
    let read = || fs::read_to_string(scene.path("app/password"));
    until("it is published", || read().is_ok_and(|found| found == "two"));
    let mut looks = 0;
    until("it has had its time, or the next set", || {
        looks += 1;
        looks > 1_900 || values(reader).len() > 1
    });
    until_has(reader, &["one", "two"]);
}

fn assert_follows_without(test: &str, limit: &str) {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let mut reader = without(limit, &scene);
    reader.env("SEGURA_RESTART_SPLAY", "0s");
    let reader = Sidecar::spawn(reader);
    until("it runs, or could not be started", || !values(&reader).is_empty() || reader.has_ended());
    if reader.has_ended() {
        return skip(test, &reader.log().join(" "));
    }
    until_has(&reader, &["one"]);
    reader.until_logged(lines::NOT_WATCHED);
    assert_follows(&scene, &reader);
    sidecar.stop();
}

#[test]
fn changes_are_found_without_an_inotify_instance() {
    let test = "changes_are_found_without_an_inotify_instance";
    assert_follows_without(test, "max_inotify_instances");
}

#[test]
fn changes_are_found_without_an_inotify_watch() {
    assert_follows_without("changes_are_found_without_an_inotify_watch", "max_inotify_watches");
}

#[test]
fn changes_are_found_in_a_directory_that_could_not_be_opened_at_first() {
    if !can_switch_user("changes_are_found_in_a_directory_that_could_not_be_opened_at_first") {
        return;
    }
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut reader = bare(&scene, scene.agent_as(APP, &words(SHOWS)));
    reader.env("SEGURA_RESTART_SPLAY", "0s").env("SEGURA_STARTUP_TIMEOUT", "1m");
    let reader = Sidecar::spawn(reader);
    reader.until_logged(lines::WAITS);
    sidecar.stop();
    for_the_group_to_read(scene.dir.path());
    // As an agent after this one publishes it for the group.
    fs::remove_file(scene.path("..data")).unwrap();
    let sidecar = scene.renewing_sidecar();
    until_has(&reader, &["one"]);
    assert_follows(&scene, &reader);
    sidecar.stop();
}
