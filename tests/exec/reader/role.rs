//! The ways of becoming a reader: where one may not write, where another agent lives, and where a set
//! was left and no vault is known.

use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use super::{APP, ReadOnly, bare, for_the_group_to_read, scene, with_stdin, words};
use crate::harness::{
    Run, Scene,
    host::{can_switch_user, with_own_mounts},
    lines, side_by_side,
    sidecar::Sidecar,
};

/// Shows the entries by both kinds of names, and what is left of the settings.
const SCRIPT: &str =
    "echo \"<$password|$app_password|$db_password|$SEGURA_OUTPUT_DIR$SEGURA_URL>\"; read -r _";

/// Asserts that it reads, and that the vault hears nothing of it from its start to its end.
#[track_caller]
fn assert_reads(scene: &Scene, reader: Command, shown: &str) {
    let signals_received = || (scene.vault.requests().len(), scene.vault.connections());
    let before = signals_received();
    let reader = Sidecar::spawn(reader);
    reader.until_printed(shown);
    let said = reader.until_logged(lines::READS);
    assert!(said.contains("\"INFO\""), "{said}");
    reader.send(Signal::TERM);
    let run = reader.wait();
    assert_eq!(run.code, Some(143), "{}", run.stderr);
    assert_eq!(run.stdout, format!("{shown}\n"), "{}", run.stderr);
    assert_eq!(
        signals_received(),
        before,
        "the vault gets no request: {:?}",
        scene.request_lines()
    );
}

/// A scene that renews so seldom that nothing but a reader could ask.
fn seldom_renewed() -> Scene {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "1h");
    scene
}

/// A reader that knows where the set is and nothing else.
fn knows_the_place(scene: &Scene) -> Command {
    bare(scene, scene.agent(&words(SCRIPT)))
}

#[test]
fn exec_is_a_reader_while_a_sidecar_publishes() {
    let scene = seldom_renewed();
    let sidecar = scene.renewing_sidecar();
    assert_reads(&scene, knows_the_place(&scene), "<one|||>");
    // An agent with a vault is a reader, too, as `kubectl exec` in the sidecar's own container.
    assert_reads(&scene, with_stdin(scene.agent(&words(SCRIPT))), "<one|||>");
    sidecar.stop();
}

#[test]
fn exec_is_a_reader_of_a_left_set_without_a_vault() {
    let scene = seldom_renewed();
    scene.init().exits(0);
    assert_reads(&scene, knows_the_place(&scene), "<one|||>");
}

#[test]
fn exec_is_a_reader_if_only_another_user_may_write() {
    if !can_switch_user("exec_is_a_reader_if_only_another_user_may_write") {
        return;
    }
    let scene = seldom_renewed();
    for_the_group_to_read(scene.dir.path());
    let sidecar = scene.renewing_sidecar();
    assert_reads(&scene, bare(&scene, scene.agent_as(APP, &words(SCRIPT))), "<one|||>");
    // Neither a running agent nor the want of a vault makes this one a reader.
    sidecar.stop();
    assert_reads(&scene, with_stdin(scene.agent_as(APP, &words(SCRIPT))), "<one|||>");
}

#[test]
fn exec_is_a_reader_on_a_read_only_volume() {
    with_own_mounts("exec_is_a_reader_on_a_read_only_volume", || {
        let scene = seldom_renewed();
        let view = ReadOnly::view_of(scene.dir.path());
        let at_the_view = |mut reader: Command| {
            reader.env("SEGURA_OUTPUT_DIR", view.path());
            reader
        };
        let sidecar = scene.renewing_sidecar();
        assert_reads(&scene, at_the_view(knows_the_place(&scene)), "<one|||>");
        sidecar.stop();
        let with_a_vault = with_stdin(scene.agent(&words(SCRIPT)));
        assert_reads(&scene, at_the_view(with_a_vault), "<one|||>");
    });
}

#[test]
fn entries_are_named_as_their_publisher_names_them() {
    let cases = [
        (Some("app,db"), "<|one|of the db|>"),
        (Some("app"), "<one|||>"),
        (Some("db"), "<of the db|||>"),
        // Of all that there is, as with several.
        (None, "<|one|of the db|>"),
    ];
    side_by_side(cases, |(identities, shown)| {
        let mut scene = seldom_renewed();
        scene.vault.set_data("db", json!({"password": "of the db"}));
        match identities {
            Some(identities) => scene.set("SEGURA_IDENTITY", identities),
            None => scene.unset("SEGURA_IDENTITY"),
        };
        scene.init().exits(0);
        assert_reads(&scene, knows_the_place(&scene), shown);
        let sidecar = scene.renewing_sidecar();
        assert_reads(&scene, knows_the_place(&scene), shown);
        sidecar.stop();
        // And as a wrapper with the publisher's settings names them.
        let run = scene.exec_to_end(&words(SCRIPT)[2..]);
        assert_eq!(run.stdout, format!("{shown}\n"), "{}", run.stderr);
    });
}

#[test]
fn a_reader_chooses_the_names_of_its_variables() {
    let scene = seldom_renewed();
    scene.init().exits(0);
    let script = "echo \"<$password|$THE_PASSWORD|$THE_APP_PASSWORD>\"";
    for (settings, shown) in [
        (&[("SEGURA_ENV_NAME", "the_{key}")][..], "<||>"),
        (&[("SEGURA_ENV_NAME", "the_{key}"), ("SEGURA_ENV_CASE", "upper")], "<|one|>"),
        (&[("SEGURA_ENV_NAME", "the_{identity}_{key}"), ("SEGURA_ENV_CASE", "upper")], "<||one>"),
        (&[("SEGURA_EXEC_ENV", "false")], "<||>"),
    ] {
        let mut reader = bare(&scene, scene.agent(&words(script)));
        reader.envs(settings.iter().copied());
        let run = Sidecar::spawn(reader).wait();
        assert_eq!(run.stdout, format!("{shown}\n"), "{settings:?}: {}", run.stderr);
    }
}

#[test]
fn a_writable_directory_without_a_set_or_a_vault_names_the_missing_settings() {
    let scene = seldom_renewed();
    let reader = knows_the_place(&scene).output().expect("the agent runs");
    let run = Run::of(reader);
    run.exits(78);
    for part in ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"] {
        run.refuses(part);
    }
    assert!(scene.entries().is_empty(), "nothing is left behind: {:?}", scene.entries());
}

#[test]
fn a_deprovisioned_set_is_not_read_and_the_missing_settings_are_named() {
    let mut scene = seldom_renewed();
    scene.set("SEGURA_SOURCE", "provision").set("SEGURA_DEPROVISION", "true");
    scene.renewing_sidecar().stop();
    assert_eq!(scene.state()["given_back"], true);
    let run = Run::of(knows_the_place(&scene).output().expect("the agent runs"));
    run.refuses("SEGURA_URL");
}
