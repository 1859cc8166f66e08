//! `SEGURA_FILE_RULES`: single files have a mode and an owner of their own.

use std::os::unix::fs::chown;

use serde_json::json;

use crate::harness::{
    Scene,
    host::{NOBODY, User, can_switch_user, mode, owner},
    until,
};

const PGPASS: &str = r#"[{"glob": "**/.pgpass", "mode": "0600"}]"#;

/// A pod that asks for `db`, as files and in documents.
fn scene(rules: &str) -> Scene {
    let mut scene = Scene::new();
    scene.vault.set_data("db", json!({ ".pgpass": "*:*:*:ada:one", "user": "ada", "pin": "1" }));
    scene.set("SEGURA_SOURCE", "application").set("SEGURA_IDENTITY", "db");
    scene.set("SEGURA_OUTPUT", "files,env,json").set("SEGURA_FILE_RULES", rules);
    scene
}

#[test]
fn a_rule_applies_to_its_file_and_the_rest_have_the_defaults() {
    let scene = scene(PGPASS);
    scene.init().exits(0);
    assert_eq!(mode(scene.path("db/.pgpass")), 0o600);
    for path in ["db/user", "db/pin", "secrets.env", "secrets.json", ".segura.json"] {
        assert_eq!(mode(scene.path(path)), 0o440, "{path}");
    }
    assert_eq!(mode(scene.path("db")), 0o750);
}

#[test]
fn the_first_rule_that_matches_counts() {
    let scene = scene(
        r#"[{"glob": "db/user", "mode": "0400"}, {"glob": "db/**", "mode": "0444"},
            {"glob": "*.env"}, {"glob": "*", "mode": "0600"}]"#,
    );
    scene.init().exits(0);
    for (path, expected) in [
        ("db/user", 0o400),
        ("db/pin", 0o444),
        ("db/.pgpass", 0o444),
        // A rule that says nothing spares a file the rules after it.
        ("secrets.env", 0o440),
        ("secrets.json", 0o600),
        // What the agent keeps for itself is no business of rules.
        (".segura.json", 0o440),
        ("..data/..bundle.json", 0o440),
    ] {
        assert_eq!(mode(scene.path(path)), expected, "{path}");
    }
}

#[test]
fn owners_by_rule_are_set_and_reported() {
    if !can_switch_user("owners_by_rule_are_set_and_reported") {
        return;
    }
    let mut scene = scene(
        r#"[{"glob": "db/pin", "uid": 1001, "mode": "0400"}, {"glob": "db/user", "gid": 70}]"#,
    );
    scene.set("SEGURA_FILE_UID", "1002").set("SEGURA_FILE_GID", "1002");
    let run = scene.init();
    run.exits(0);
    assert_eq!(owner(scene.path("db/pin")), Some((1001, 1002)));
    assert_eq!(owner(scene.path("db/user")), Some((1002, 70)));
    for path in ["db/.pgpass", "db", "secrets.json"] {
        assert_eq!(owner(scene.path(path)), Some((1002, 1002)), "{path}");
    }
    assert!(
        run.stderr.contains("; db/pin by uid 1001; db/user by uid 1002 and gid 70"),
        "{}",
        run.stderr
    );
    // It is true as it is told: a member of the folder's group, and it alone, reads its file.
    let app = User { uid: 1001, groups: &[1002], ..NOBODY };
    assert_eq!(app.reads(&scene.path("db/pin")), Some(b"1".to_vec()));
    assert_eq!(User { uid: 1003, ..app }.reads(&scene.path("db/pin")), None);
}

#[test]
fn rules_that_the_agent_may_not_apply_are_reported_before_anything_is_provisioned() {
    if !can_switch_user(
        "rules_that_the_agent_may_not_apply_are_reported_before_anything_is_provisioned",
    ) {
        return;
    }
    for (wish, reason) in [
        (r#""uid": 1001"#, "Operation not permitted"),
        (r#""gid": 2000"#, "Operation not permitted"),
        (r#""mode": "0040""#, "Permission denied"),
    ] {
        let mut scene = Scene::new();
        chown(scene.dir.path(), Some(1000), Some(1000)).unwrap();
        scene.set(
            "SEGURA_FILE_RULES",
            &format!(r#"[{{"glob": "x/*"}}, {{"glob": "db/*", {wish}}}]"#),
        );
        let run = scene.run_as(NOBODY, &["init"]);
        run.exits(73);
        for part in ["SEGURA_FILE_RULES", "db/*: ", reason] {
            assert!(run.error().contains(part), "{part}: {}", run.stderr);
        }
        assert!(run.hint().is_some_and(|hint| hint.contains("CAP_CHOWN")), "{}", run.stderr);
        assert_eq!(scene.vault.requests().len(), 0, "{}", run.stderr);
    }
}

#[test]
fn mistakes_in_rules_are_reported_with_all_other_problems() {
    let mut scene = scene(r#"[{"glob": "x", "mode": "rw"}, {"path": "canary"}]"#);
    scene.set("SEGURA_FILE_MODE", "rw");
    let run = scene.init();
    run.exits(78);
    run.refuses("SEGURA_FILE_MODE");
    for rule in ["rule 1: mode ", "rule 2: "] {
        let reported = |(name, reported): &(&str, &str)| {
            *name == "SEGURA_FILE_RULES" && reported.starts_with(rule)
        };
        assert!(run.problems().iter().any(reported), "{rule}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
}

#[test]
fn a_rule_that_matches_no_file_is_logged_once() {
    let mut scene =
        scene(r#"[{"glob": "bd/*", "mode": "0400"}, {"glob": "db/*", "mode": "0400"}]"#);
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let sidecar = scene.sidecar();
    let reported = "bd/* of SEGURA_FILE_RULES";
    sidecar.until_logged(reported);
    scene.vault.set_data("db", json!({ "user": "bob" }));
    until("the change is published", || {
        scene.path("db/user").exists() && scene.read("db/user") == "bob"
    });
    assert_eq!(mode(scene.path("db/user")), 0o400, "a rule holds for every generation");
    let log = sidecar.stop();
    assert_eq!(log.stderr.matches(reported).count(), 1, "{}", log.stderr);
    assert!(!log.stderr.contains("db/* of SEGURA_FILE_RULES"), "{}", log.stderr);
}

#[test]
fn an_adopted_set_gets_the_modes_of_new_rules() {
    let mut scene = scene(PGPASS);
    scene.init().exits(0);
    let before = scene.generations();
    scene.init().exits(0);
    assert_eq!(scene.generations(), before, "the same rules change nothing");
    scene.set("SEGURA_FILE_RULES", &PGPASS.replace("0600", "0400")).init().exits(0);
    assert_eq!(mode(scene.path("db/.pgpass")), 0o400);
    assert_ne!(scene.generations(), before);
}
