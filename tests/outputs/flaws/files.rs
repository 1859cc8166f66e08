//! Files that can't be templates, and names that can't be outputs: all of it is known before anything
//! is asked.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::super::templates::give;
use super::super::values::{IDENTITY, Values, scene};
use super::{CANARY, assert_refused_at_once, init, provisioned, with};
use crate::harness::{
    Scene,
    host::{NOBODY, can_switch_user},
};

#[test]
fn two_outputs_that_want_one_name_are_refused_and_both_are_named() {
    for (output, variable, name) in [
        ("env", "SEGURA_ENV_FILE", "secrets.env"),
        ("json", "SEGURA_JSON_FILE", "secrets.json"),
        ("yaml", "SEGURA_YAML_FILE", "secrets.yaml"),
        ("properties", "SEGURA_PROPERTIES_FILE", "app.conf"),
    ] {
        let mut scene = with(&[(&format!("{name}.j2"), "x")]);
        scene.set("SEGURA_OUTPUT", output).set(variable, name);
        assert_refused_at_once(&scene, &[variable]);
        // A name is nobody's if its output isn't wanted.
        scene.set("SEGURA_OUTPUT", "files");
        init(&scene).exits(0);
        assert_eq!(scene.read(name), "x");
    }
}

#[test]
fn a_secret_whose_folder_has_a_templates_name_is_refused_and_both_are_named() {
    for identity in ["app.conf", "app.conf/deep"] {
        let mut scene = scene(&Values::new());
        scene.vault.set_data(identity, json!({ "k": CANARY }));
        scene.set("SEGURA_IDENTITY", identity);
        give(&mut scene, &[("app.conf.j2", "x")]);
        assert_refused_at_once(&scene, &["app.conf.j2", "SEGURA_IDENTITY"]);
        // Where all secrets are asked for, it shows once they are there.
        scene.vault.remove_secret(IDENTITY);
        scene.unset("SEGURA_IDENTITY");
        let run = init(&scene);
        run.exits(76);
        let error = run.error();
        assert!(error.contains("app.conf.j2") && error.contains(identity), "{error}");
        assert!(scene.published().is_empty());
        scene.set("SEGURA_OUTPUT", "json");
        init(&scene).exits(0);
        assert_eq!(scene.read("app.conf"), "x");
    }
}

#[test]
fn an_unusable_template_directory_is_refused_before_any_request() {
    let mut scene = provisioned();
    let dir = give(&mut scene, &[]);
    assert_refused_at_once(&scene, &[".j2"]);
    fs::write(dir.join("app.conf"), "{{").unwrap();
    assert_refused_at_once(&scene, &[".j2"]);
    for path in [dir.join("app.conf"), dir.join("missing")] {
        scene.set("SEGURA_TEMPLATE_DIR", &path.display().to_string());
        assert_refused_at_once(&scene, &[""]);
    }
}

/// Puts something in the place of a template.
type Place = fn(&Path);

#[test]
fn an_unreadable_template_is_refused_before_any_request() {
    let cases: [(&str, Place); 6] = [
        ("UTF-8", |path| fs::write(path, b"caf\xe9").unwrap()),
        ("UTF-8", |path| fs::write(path, b"\xff\xfea\0").unwrap()),
        ("larger than 1 MiB", |path| fs::write(path, vec![b' '; 1024 * 1024 + 1]).unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("No such file", |path| symlink("nowhere", path).unwrap()),
        ("a device", |path| symlink("/dev/zero", path).unwrap()),
    ];
    for (part, place) in cases {
        let mut scene = provisioned();
        let dir = give(&mut scene, &[("sound.j2", "x")]);
        place(&dir.join("app.j2"));
        assert_refused_at_once(&scene, &["app.j2", part]);
    }
}

#[test]
fn a_pipe_without_a_writer_delays_no_start() {
    let mut scene = provisioned();
    let dir = give(&mut scene, &[("sound.j2", "x")]);
    let made = Command::new("mkfifo").arg(dir.join("app.j2")).status().unwrap();
    assert!(made.success());
    assert_refused_at_once(&scene, &["app.j2"]);
}

#[test]
fn a_template_without_read_permission_is_refused_before_any_request() {
    if !can_switch_user("a_template_without_read_permission_is_refused_before_any_request") {
        return;
    }
    let mut scene = provisioned();
    chown(scene.dir.path(), Some(NOBODY.uid), Some(NOBODY.gid)).unwrap();
    let dir = give(&mut scene, &[("app.j2", CANARY), ("sound.j2", "x")]);
    let init = |scene: &Scene| scene.run_as(NOBODY, &["init"]);
    let close = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    close(&dir.join("app.j2"), 0o600);
    let run = init(&scene);
    run.refuses("SEGURA_TEMPLATE_DIR");
    assert!(run.stderr.contains("app.j2"), "{}", run.stderr);
    close(&dir, 0o700);
    let run = init(&scene);
    run.refuses("SEGURA_TEMPLATE_DIR");
    assert!(!run.stderr.contains("app.j2"), "no name is known: {}", run.stderr);
    assert!(scene.request_lines().is_empty() && scene.entries().is_empty());
}

#[test]
fn names_that_no_output_may_have_are_refused_or_ignored() {
    for name in [".j2", "..j2", ".segura.json.j2", "...j2"] {
        let scene = with(&[(name, CANARY), ("sound.j2", "x")]);
        if name.starts_with("..") {
            // The kubelet's own are none.
            init(&scene).exits(0);
            assert!(!scene.published().contains_key(name), "{name}");
            assert!(scene.published().contains_key("sound"), "{name}");
        } else {
            assert_refused_at_once(&scene, &[name.trim_end_matches(".j2")]);
        }
    }
    for name in ["..data.j2", "..segura.j2", "..bundle.json.j2", "..generation.json.j2"] {
        let scene = with(&[(name, "x"), ("sound.j2", "x")]);
        init(&scene).exits(0);
        assert_eq!(scene.published().len(), 16 + 1, "{:?}", scene.published().keys());
        assert!(fs::read_link(scene.path("..data")).is_ok(), "{name}");
        assert_eq!(scene.state()["generation"], 1);
        let alone = with(&[(name, "x")]);
        assert_refused_at_once(&alone, &[".j2"]);
    }
}

#[test]
fn a_template_name_cannot_forge_a_line() {
    let scene = with(&[("a\nsegura-agent: forged: x.j2", "{{")]);
    let run = init(&scene);
    run.exits(78);
    assert!(
        !run.stderr.lines().any(|line| line.starts_with("segura-agent: forged")),
        "{}",
        run.stderr
    );
}
