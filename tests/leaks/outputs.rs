//! Every output at the highest log level, and every way in which one can't be made.

use std::fs;
use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::Signal;

use super::canaries::{Canaries, assert_silent, watched};
use super::{VALUE, assert_cases_silent, scene};
use crate::harness::{SEED, Scene, lines, side_by_side, until};

/// What reaches a value of the seed's secret in a template.
const REACHED: &str = "secrets[\"secret-postman\"].key";

fn templates(scene: &mut Scene, text: &str) {
    let dir = scene.vault.dir().join("templates");
    fs::create_dir_all(&dir).expect("the vault's directory is ours");
    fs::write(dir.join("out.j2"), text.replace("KEY", REACHED)).expect("it is ours");
    scene.set("SEGURA_TEMPLATE_DIR", &dir.display().to_string());
}

fn value(scene: &mut Scene, value: &str) {
    scene.vault.set_data(SEED, serde_json::json!({ "key": value }));
}

/// An env file of one dialect that can't carry what stands around the canary.
fn dialect(scene: &mut Scene, dialect: &str, before: &str, behind: &str) {
    value(scene, &format!("{before}{VALUE}{behind}"));
    scene.set("SEGURA_OUTPUT", "files,env,json").set("SEGURA_ENV_DIALECT", dialect);
}

#[test]
fn every_output_holds_its_values_in_its_published_files_alone() {
    let mut scene = scene();
    value(&mut scene, &format!("{VALUE}-1"));
    let encoded = STANDARD.encode(format!("{VALUE}-2"));
    scene.vault.set_data("cart/db", serde_json::json!([{ "cert": encoded }, { "cert": encoded }]));
    scene.set("SEGURA_IDENTITY", "secret-postman,cart/db").set("SEGURA_DECODE", "**/cert");
    scene.set("SEGURA_OUTPUT", "files,env,json,yaml,properties");
    let all = "{{ KEY }} {{ KEY|shell }} {{ KEY|tojson }} {{ KEY|toyaml }} {{ KEY|properties }} {{ KEY|pgpass }} {{ KEY|urlencode }} {{ KEY|b64encode }} {{ KEY|b64encode|b64decode }}";
    templates(&mut scene, all);
    let seen = watched(scene.spawn_init());
    seen.0.exits(0);
    assert!(seen.0.stderr.contains("TRACE"), "the log level is the highest: {}", seen.0.stderr);
    for file in ["secrets.env", "secrets.json", "secrets.yaml", "secrets.properties", "out"] {
        assert!(scene.read(file).contains(VALUE), "{file}");
    }
    assert_eq!(scene.read("cart/db/cert"), format!("{VALUE}-2"));
    assert!(scene.read("out").contains(&STANDARD.encode(format!("{VALUE}-1"))));
    assert_silent(&scene, "every output", &seen);
}

#[test]
fn values_that_a_dialect_refuses_are_not_leaked() {
    assert_cases_silent(&[
        ("shell, a noncharacter", 78, |scene| dialect(scene, "shell", "", "\u{fffe}")),
        ("shell, a NUL", 76, |scene| dialect(scene, "shell", "", "\0")),
        ("dotenv, CR", 78, |scene| dialect(scene, "dotenv", "", "\r\nx")),
        ("dotenv, a backslash", 78, |scene| dialect(scene, "dotenv", "", "\\")),
        ("dotenv, quotes", 78, |scene| dialect(scene, "dotenv", "'", "\"")),
        ("dotenv, an expansion", 78, |scene| dialect(scene, "dotenv", "${", "}")),
        ("docker, a line", 78, |scene| dialect(scene, "docker", "", "\nx")),
        ("docker, length", 78, |scene| dialect(scene, "docker", "", &"x".repeat(65_536))),
        ("k8s, a quote", 78, |scene| dialect(scene, "k8s", "'", "")),
        ("k8s, length", 78, |scene| dialect(scene, "k8s", "", &"x".repeat(32_768))),
        ("shell, a name of its own", 78, |scene| {
            let data = format!(r#"{{"UID": "{VALUE}"}}"#);
            scene.vault.set_data(SEED, data);
        }),
        ("two keys of one property", 78, |scene| {
            let data = format!(r#"{{"k.x": "{VALUE}"}}"#);
            scene.vault.set_data(SEED, data);
            scene.vault.set_data("secret-postman.k", format!(r#"{{"x": "{VALUE}"}}"#));
            scene.set("SEGURA_IDENTITY", "secret-postman,secret-postman.k");
            scene.set("SEGURA_OUTPUT", "properties");
        }),
    ]);
}

#[test]
fn values_that_are_not_base64_are_not_leaked() {
    assert_cases_silent(&[
        ("not base64", 76, |scene| {
            value(scene, &format!("{VALUE}!"));
            scene.set("SEGURA_DECODE", "**");
        }),
        ("not base64, in a document alone", 76, |scene| {
            value(scene, &format!("{VALUE}!"));
            scene.set("SEGURA_DECODE", "*/key").set("SEGURA_OUTPUT", "yaml");
        }),
        ("base64 of what no env file can hold", 76, |scene| {
            value(scene, &STANDARD.encode(format!("{VALUE}\0")));
            scene.set("SEGURA_DECODE", "*/key");
        }),
    ]);
}

#[test]
fn templates_that_cannot_be_rendered_leak_nothing() {
    assert_cases_silent(&[
        ("no template", 78, |scene| templates(scene, "{{ KEY")),
        ("a missing name", 78, |scene| templates(scene, "{{ KEY }}{{ secrets.nothing }}")),
        ("a missing key of a value's name", 78, |scene| templates(scene, "{{ secrets[KEY] }}")),
        ("a filter of a value's name", 78, |scene| templates(scene, "{{ [1]|map(KEY)|list }}")),
        ("a test of a value's name", 78, |scene| templates(scene, "{{ [1]|select(KEY)|list }}")),
        ("arithmetic", 78, |scene| templates(scene, "{{ KEY + 1 }}")),
        ("a negation", 78, |scene| templates(scene, "{{ -KEY }}")),
        ("a number", 78, |scene| templates(scene, "{{ KEY|int }}{{ KEY|float }}")),
        ("a call", 78, |scene| templates(scene, "{{ KEY() }}")),
        ("a method", 78, |scene| templates(scene, "{{ KEY.title() }}")),
        ("a date", 78, |scene| templates(scene, "{{ KEY|dateformat }}")),
        ("a format", 78, |scene| templates(scene, "{{ KEY|format(1) }}{{ \"%d\"|format(KEY) }}")),
        ("a range", 78, |scene| templates(scene, "{{ range(KEY) }}")),
        ("a mapping", 78, |scene| templates(scene, "{{ dict(KEY) }}")),
        ("an unpacking", 78, |scene| templates(scene, "{% set a, b = [KEY] %}")),
        ("a parameter", 78, |scene| templates(scene, "{{ KEY|pgpass(KEY) }}")),
        ("a keyword", 78, |scene| templates(scene, "{{ KEY|tojson(indent=KEY) }}")),
        ("base64", 78, |scene| templates(scene, "{{ KEY|b64decode }}")),
        (".pgpass", 78, |scene| templates(scene, "{{ (KEY ~ \"\\n\")|pgpass }}")),
        ("a shell", 78, |scene| {
            value(scene, &format!("{VALUE}\0"));
            scene.set("SEGURA_OUTPUT", "files");
            templates(scene, "{{ KEY|shell }}");
        }),
        ("length", 78, |scene| templates(scene, "{{ KEY * 400000 }}")),
        ("steps", 78, |scene| {
            templates(
                scene,
                "{% for a in range(99999) %}{% for b in range(99999) %}{% if KEY %}{% endif %}{% endfor %}{% endfor %}",
            );
        }),
        ("depth", 78, |scene| {
            templates(scene, "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(KEY) }}")
        }),
    ]);
}

#[test]
fn values_that_cannot_be_rendered_on_renewal_are_not_leaked() {
    type Change = fn(&mut Scene);
    let cases: [(&str, Change, &str); 4] = [
        ("a template", |scene| templates(scene, "{{ KEY }}"), "{\"other\": \"VALUE\"}"),
        ("a filter", |scene| templates(scene, "{{ KEY|pgpass }}"), "{\"key\": \"VALUE\\n\"}"),
        (
            "base64",
            |scene| {
                value(scene, &STANDARD.encode(format!("{VALUE}-1")));
                scene.set("SEGURA_DECODE", "*/key");
            },
            "{\"key\": \"VALUE!\"}",
        ),
        (
            "a dialect",
            |scene| {
                scene.set("SEGURA_ENV_DIALECT", "dotenv");
            },
            "{\"key\": \"${VALUE}\"}",
        ),
    ];
    side_by_side(cases, |(what, settings, bad)| {
        let mut scene = scene();
        settings(&mut scene);
        let sidecar = scene.renewing_sidecar();
        scene.vault.set_data(SEED, bad.replace("VALUE", VALUE));
        until("it is held back", || scene.held_back(SEED).is_some());
        let canaries = Canaries::of(&scene);
        let arguments = fs::read(format!("/proc/{}/cmdline", sidecar.id())).unwrap();
        let standing = scene.path("..data").canonicalize().unwrap();
        let published =
            |path: &Path| path.starts_with(&standing) && !path.ends_with("..generation.json");
        until("what it replaced is swept", || scene.generations().len() == 1);
        canaries.assert_files(scene.dir.path(), &published, what);
        sidecar.send(Signal::TERM);
        let run = sidecar.wait();
        run.exits(0);
        assert!(run.stderr.contains(lines::HELD_BACK) && run.stderr.contains("TRACE"), "{what}");
        assert_silent(&scene, what, &(run, arguments));
    });
}
