//! A reader while another agent publishes: the changes that its command is notified of.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use super::{SHOWS, change, reads, scene, shown, until_has, until_published, values};
use crate::harness::{Scene, for_a_while, lines, sidecar::Sidecar, until};

/// Says what the entry is, in its environment and on disk, and both again at each signal.
const EVAL_LINES: &str = r#"
tell() { read -r file <"$FILE"; echo "$$ <$1 $password $file>"; }
trap 'tell HUP' HUP
trap 'tell USR1' USR1
tell start
exec 3<&0
cat <&3 >/dev/null 2>&1 &
until wait $!; do :; done
"#;

/// Asserts that the command has had just this, and goes on to have no more.
#[track_caller]
fn assert_undisturbed(reader: &Sidecar, expected: &[&str]) {
    for_a_while("the command is left alone", || !reader.has_ended() && values(reader) == expected);
}

#[test]
fn a_change_restarts_the_command_with_the_new_entries() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let reader = reads(&scene, SHOWS, &[]);
    until_has(&reader, &["one"]);
    change(&scene, "two");
    until_has(&reader, &["one", "two"]);
    change(&scene, "three");
    until_has(&reader, &["one", "two", "three"]);
    let shown = shown(&reader);
    assert!(shown[0].0 != shown[1].0 && shown[1].0 != shown[2].0, "each is another: {shown:?}");
    assert_undisturbed(&reader, &["one", "two", "three"]);
    sidecar.stop();
}

#[test]
fn a_change_signals_the_command_with_on_change_signal() {
    for (settings, name) in [
        (&[("SEGURA_ON_CHANGE", "signal")][..], "HUP"),
        (&[("SEGURA_ON_CHANGE", "signal"), ("SEGURA_SIGNAL", "USR1")], "USR1"),
    ] {
        let scene = scene();
        let sidecar = scene.renewing_sidecar();
        let file = scene.path("app/password").display().to_string();
        let settings = [settings, &[("FILE", &file)]].concat();
        let reader = reads(&scene, EVAL_LINES, &settings);
        until_has(&reader, &["start one one"]);
        change(&scene, "two");
        let reported = format!("{name} one two");
        until_has(&reader, &["start one one", &reported]);
        let shown = shown(&reader);
        assert_eq!(shown[0].0, shown[1].0, "it is the same that runs on");
        assert_undisturbed(&reader, &["start one one", &reported]);
        sidecar.stop();
    }
}

#[test]
fn a_change_ends_the_reader_with_on_change_exit() {
    for (settings, code) in [
        (&[("SEGURA_ON_CHANGE", "exit")][..], 75),
        (&[("SEGURA_ON_CHANGE", "exit"), ("SEGURA_CHANGE_EXIT_CODE", "9")], 9),
    ] {
        let scene = scene();
        let sidecar = scene.renewing_sidecar();
        let reader = reads(&scene, SHOWS, settings);
        until_has(&reader, &["one"]);
        change(&scene, "two");
        let run = reader.wait();
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert_eq!(run.stdout.lines().count(), 1, "no other was started: {}", run.stdout);
        sidecar.stop();
    }
}

#[test]
fn a_change_has_no_effect_with_on_change_none() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let file = scene.path("app/password").display().to_string();
    let settings = [("SEGURA_ON_CHANGE", "none"), ("FILE", file.as_str())];
    let reader = reads(&scene, EVAL_LINES, &settings);
    until_has(&reader, &["start one one"]);
    change(&scene, "two");
    reader.until_logged(lines::CHANGED);
    assert_undisturbed(&reader, &["start one one"]);
    sidecar.stop();
}

#[test]
fn a_change_of_lifetimes_alone_is_not_notified() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let reader = reads(&scene, SHOWS, &[]);
    until_has(&reader, &["one"]);
    scene.vault.set_data("app", json!({"password": "one", "TTL": "1800"}));
    until("it is published", || scene.read("app/TTL") == "1800");
    assert_undisturbed(&reader, &["one"]);
    change(&scene, "two");
    until_has(&reader, &["one", "two"]);
    reader.assert_logged(lines::CHANGED, 1, "only a change is notified");
    sidecar.stop();
}

#[test]
fn a_killed_and_restarted_sidecar_disturbs_no_reader() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let reader = reads(&scene, SHOWS, &[]);
    until_has(&reader, &["one"]);
    sidecar.kill();
    let sidecar = scene.renewing_sidecar();
    sidecar.until_logged(lines::ADOPTED);
    assert_undisturbed(&reader, &["one"]);
    assert_eq!(reader.warnings(), Vec::<String>::new());
    change(&scene, "two");
    until_has(&reader, &["one", "two"]);
    sidecar.stop();
}

#[test]
fn a_reader_of_a_set_of_init_follows_a_later_sidecar() {
    let scene = scene();
    scene.init().exits(0);
    let reader = reads(&scene, SHOWS, &[]);
    until_has(&reader, &["one"]);
    let sidecar = scene.renewing_sidecar();
    assert_undisturbed(&reader, &["one"]);
    change(&scene, "two");
    until_has(&reader, &["one", "two"]);
    sidecar.stop();
}

#[test]
fn a_set_that_no_environment_can_hold_leaves_the_command_as_it_is() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let reader = reads(&scene, SHOWS, &[]);
    until_has(&reader, &["one"]);
    change(&scene, &"x".repeat(200_000));
    let said = reader.until_logged(lines::RUNS_ON);
    assert!(said.contains("\"WARN\"") && said.contains("password"), "{said}");
    assert_undisturbed(&reader, &["one"]);
    change(&scene, "three");
    until_has(&reader, &["one", "three"]);
    sidecar.stop();
}

/// A pod that deprovisions its set at the end, and its first set.
fn with_deprovision() -> (Scene, Sidecar) {
    let mut scene = scene();
    scene.unset("SEGURA_SOURCE").set("SEGURA_DEPROVISION", "true");
    let sidecar = scene.renewing_sidecar();
    (scene, sidecar)
}

/// The entry of the account that the pod holds now.
fn account(scene: &Scene) -> String {
    scene.vault.provisioned("app").pop().expect("the pod has an account").password
}

#[test]
fn a_deprovisioned_set_is_used_until_another_is_published() {
    let (scene, sidecar) = with_deprovision();
    let first = account(&scene);
    let reader = reads(&scene, SHOWS, &[]);
    until_has(&reader, &[&first]);
    sidecar.stop();
    assert!(scene.published().is_empty(), "{:?}", scene.entries());
    assert_undisturbed(&reader, &[&first]);
    assert_eq!(reader.text_warnings(), Vec::<String>::new());
    let sidecar = scene.renewing_sidecar();
    let second = account(&scene);
    assert_ne!(first, second);
    until_has(&reader, &[&first, &second]);
    sidecar.stop();
}

#[test]
fn a_set_whose_generations_start_from_one_again_is_followed() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    for value in ["two", "three"] {
        change(&scene, value);
        until_published(&scene, value);
    }
    let reader = reads(&scene, SHOWS, &[]);
    until_has(&reader, &["three"]);
    assert_eq!(scene.state()["generation"], 3);
    sidecar.stop();
    for entry in scene.entries() {
        let path = scene.path(&entry);
        let is_folder = fs::symlink_metadata(&path).unwrap().is_dir();
        if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
    assert_undisturbed(&reader, &["three"]);
    change(&scene, "four");
    let sidecar = scene.renewing_sidecar();
    assert_eq!(scene.state()["generation"], 1);
    until_has(&reader, &["three", "four"]);
    change(&scene, "five");
    until_has(&reader, &["three", "four", "five"]);
    sidecar.stop();
}

#[test]
fn a_reader_that_follows_no_change_is_replaced_by_the_command() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let reader = reads(&scene, SHOWS, &[("SEGURA_RENEW_INTERVAL", "off")]);
    until_has(&reader, &["one"]);
    reader.until_logged(lines::READS);
    assert_eq!(shown(&reader)[0].0, reader.id(), "the command has our number");
    let program = fs::read_link(format!("/proc/{}/exe", reader.id())).unwrap();
    assert_eq!(program, fs::canonicalize("/bin/sh").unwrap(), "nothing of the agent remains");
    change(&scene, "two");
    until_published(&scene, "two");
    assert_undisturbed(&reader, &["one"]);
    reader.send(Signal::TERM);
    // No code but the signal itself.
    assert_eq!(reader.wait().code, None);
    sidecar.stop();
}

#[test]
fn two_readers_of_one_set_are_both_notified() {
    let scene = scene();
    let sidecar = scene.renewing_sidecar();
    let readers = [reads(&scene, SHOWS, &[]), reads(&scene, SHOWS, &[])];
    readers.iter().for_each(|reader| until_has(reader, &["one"]));
    change(&scene, "two");
    readers.iter().for_each(|reader| until_has(reader, &["one", "two"]));
    let [first, second] = readers;
    first.send(Signal::TERM);
    assert_eq!(first.wait().code, Some(143));
    change(&scene, "three");
    until_has(&second, &["one", "two", "three"]);
    sidecar.stop();
}
