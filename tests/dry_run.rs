//! `init --dry-run`: what would be written is shown, and nothing is written or provisioned.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use crate::dev_vault::requests::PROVISION;
use crate::harness::{
    Run, SEED, Scene,
    host::{is_root, owner},
};

/// A pod that asks for `db` and `cart/db`.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.vault.set_data("db", json!({ "user": "canary-ada", "pin": "canary-1", "gone": "" }));
    scene.vault.set_data("cart/db", json!({ "user": "canary-bob" }));
    scene.set("SEGURA_SOURCE", "application").set("SEGURA_IDENTITY", "db,cart/db");
    scene
}

fn plan(scene: &Scene) -> Run {
    let run = scene.run(&["init", "--dry-run"]);
    assert!(!format!("{run:?}").contains("canary"), "{run:?}");
    run
}

/// The plan's lines, blanks squeezed.
fn lines(run: &Run) -> Vec<String> {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    run.stdout.lines().map(squeezed).collect()
}

/// Everything in the directory, with what tells that it was touched.
fn everything(scene: &Scene) -> BTreeMap<String, (u64, std::time::SystemTime)> {
    let entries = scene.entries().into_iter();
    let known = entries.map(|name| {
        let found = fs::symlink_metadata(scene.path(&name)).expect("it is there");
        (name, (found.len(), found.modified().expect("tmpfs knows times")))
    });
    known.collect()
}

/// Who owns what this process makes.
fn ours(scene: &Scene) -> String {
    let (uid, gid) = owner(scene.dir.path()).expect("it is there");
    format!("{uid}:{gid}")
}

#[test]
fn before_the_first_set_every_file_is_new_and_nothing_is_written() {
    let mut scene = scene();
    scene.set("SEGURA_OUTPUT", "files,json");
    let run = plan(&scene);
    let ours = ours(&scene);
    let document = r#"{"cart/db":{"user":"canary-bob"},"db":{"gone":"","pin":"canary-1","user":"canary-ada"}}"#;
    let expected = [
        format!("new 0440 {ours} 10 cart/db/user"),
        format!("new 0440 {ours} 0 db/gone"),
        format!("new 0440 {ours} 8 db/pin"),
        format!("new 0440 {ours} 10 db/user"),
        format!("new 0440 {ours} {} secrets.json", document.len() + 1),
    ];
    assert_eq!(lines(&run), expected);
    assert!(run.stderr.contains("4 new") || run.stderr.contains("5 new"), "{}", run.stderr);
    assert!(scene.entries().is_empty(), "{:?}", scene.entries());
    // It is as it was told.
    scene.init().exits(0);
    let sizes: Vec<usize> = scene.published().values().map(Vec::len).collect();
    assert_eq!(sizes, [10, 0, 8, 10, document.len() + 1]);
}

#[test]
fn against_a_published_set_each_file_is_new_changed_removed_or_the_same() {
    let mut scene = scene();
    scene.init().exits(0);
    assert!(lines(&plan(&scene)).iter().all(|line| line.starts_with("same ")));
    assert!(plan(&scene).stderr.contains("4 files are already as they would be written"));

    scene.vault.set_data("db", json!({ "user": "canary-eve", "pin": "canary-22", "added": "x" }));
    scene.set("SEGURA_FILE_RULES", r#"[{"glob": "cart/**", "mode": "0400"}]"#);
    let before = everything(&scene);
    let run = plan(&scene);
    let ours = ours(&scene);
    let expected = [
        format!("changed 0400 {ours} 10 cart/db/user (was 0440 {ours} 10)"),
        format!("new 0440 {ours} 1 db/added"),
        format!("gone 0440 {ours} 0 db/gone"),
        format!("changed 0440 {ours} 9 db/pin (was 0440 {ours} 8)"),
        format!("changed 0440 {ours} 10 db/user"),
    ];
    assert_eq!(lines(&run), expected);
    assert!(run.stderr.contains("1 new, 3 changed, 1 gone, 0 same"), "{}", run.stderr);
    assert_eq!(everything(&scene), before, "nothing was touched");
}

#[test]
fn a_dry_run_works_beside_a_running_agent() {
    let mut scene = Scene::new();
    scene.set("SEGURA_DEPROVISION", "true");
    let sidecar = scene.renewing_sidecar();
    let files = scene.published().len();
    let run = plan(&scene);
    assert_eq!(lines(&run).len(), files);
    let reported = format!("{files} files are already as they would be written");
    assert!(run.stderr.contains(&reported), "{}", run.stderr);
    assert!(scene.check("ready").0, "the agent holds its directory as before");
    sidecar.stop();
}

#[test]
fn a_dry_run_provisions_nothing() {
    let scene = Scene::new();
    let run = plan(&scene);
    assert!(lines(&run).iter().all(|line| line.starts_with("new ")), "{}", run.stdout);
    assert_eq!(scene.count(PROVISION), 0);
    // Where a set of ours is published it is read as a renewal would.
    scene.init().exits(0);
    scene.vault.clear_requests();
    let run = plan(&scene);
    assert!(lines(&run).iter().all(|line| line.starts_with("same ")), "{}", run.stdout);
    assert_eq!(scene.count(PROVISION), 0);
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
}

#[test]
fn a_failure_that_would_stop_a_start_stops_the_dry_run() {
    let reported = |change: &dyn Fn(&mut Scene), code: i32, words: &str| {
        let mut scene = scene();
        change(&mut scene);
        let run = plan(&scene);
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert!(run.error().contains(words), "{}", run.stderr);
        assert_eq!(run.stdout, "");
    };
    reported(
        &|scene| {
            scene.set("SEGURA_IDENTITY", "missing");
        },
        77,
        "missing",
    );
    reported(
        &|scene| {
            scene.vault.go_down();
        },
        69,
        "os error 111",
    );
    reported(
        &|scene| {
            scene.set("SEGURA_DECODE", "db/*");
        },
        76,
        "base64",
    );
    reported(
        &|scene| {
            scene.set("SEGURA_OUTPUT_DIR", "/proc/self/missing");
        },
        73,
        "/proc/self/missing",
    );
    reported(
        &|scene| {
            fs::write(scene.path("db"), "").unwrap();
        },
        73,
        "/db",
    );
    reported(
        &|scene| {
            scene.set("SEGURA_FILE_MODE", "rw");
        },
        78,
        "",
    );
}

#[test]
fn a_dry_run_needs_no_right_to_write() {
    if !is_root() {
        return crate::harness::host::skip("a_dry_run_needs_no_right_to_write", "it takes root");
    }
    let scene = scene();
    let agent = scene.agent_as(crate::harness::host::NOBODY, &["init", "--dry-run"]);
    let run = Run::of({ agent }.output().expect("the agent runs"));
    assert_eq!(lines(&run).len(), 4);
}

#[test]
fn warnings_are_printed_with_the_plan() {
    let mut scene = scene();
    scene.vault.set_data("db", json!([{ "user": "canary-1" }, { "user": "canary-2" }]));
    scene.set("SEGURA_DECODE", "bd/*").set("SEGURA_FILE_RULES", r#"[{"glob": "dv/*"}]"#);
    let run = plan(&scene);
    lines(&run);
    let warnings: Vec<&str> = run.stderr.lines().filter(|line| line.contains("WARN")).collect();
    for reported in ["user", "bd/* of SEGURA_DECODE", "dv/* of SEGURA_FILE_RULES"] {
        assert!(warnings.iter().any(|line| line.contains(reported)), "{reported}: {}", run.stderr);
    }
}
