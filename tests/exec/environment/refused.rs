//! What no environment can hold: refused by name before the command starts, held back once it runs.

use std::fs;

use serde_json::json;

use super::super::basics::{HOLD, Held, SUPERVISED_AND_NOT, WAIT, only_line};
use super::{expected, given, refused, scene_with, scene_with_changes};
use crate::harness::{Run, Scene, for_a_while, lines, side_by_side, sidecar::Sidecar, until};

#[test]
fn a_value_that_no_environment_can_hold_is_refused_before_the_command_starts() {
    let cases = [
        (
            json!({"good": "x", "bad": "canary\0"}),
            76,
            vec![r#""bad" of app"#, "NUL"],
            "SEGURA_EXEC_ENV",
        ),
        (
            json!({"bad": "canary".repeat(30_000)}),
            78,
            vec![r#""bad" of app"#, "128 KiB"],
            "SEGURA_EXEC_ENV",
        ),
        (
            json!({"a-b": "canary", "a.b": "x"}),
            78,
            vec![r#""a-b" of app"#, r#""a.b" of app"#, "a_b"],
            "SEGURA_ENV_NAME",
        ),
    ];
    for (data, code, parts, hint) in cases {
        for interval in SUPERVISED_AND_NOT {
            let mut scene = scene_with(&data);
            scene.set("SEGURA_RENEW_INTERVAL", interval);
            let run = refused(&scene);
            let error = only_line(run.exits(code), "segura-agent: ");
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            assert!(only_line(&run, "hint: ").contains(hint), "{}", run.stderr);
            assert!(!run.stderr.contains("canary"), "{}", run.stderr);
            assert!(scene.published().is_empty(), "{:?}", scene.entries());
        }
    }
}

#[test]
fn the_longest_possible_variable_reaches_the_command() {
    // Name, `=` and NUL included (`MAX_ARG_STRLEN`).
    let longest = "x".repeat(128 * 1024 - "k=\0".len());
    let mut scene = scene_with(&json!({"k": longest}));
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        assert!(given(&scene) == expected(&[("k", &longest)]), "{interval}");
    }
}

/// So small a stack that a command has [`ROOM`] for its words and its environment (`execve(2)`).
pub const LITTLE_ROOM: &str = "ulimit -S -s 1024; unset PWD; exec \"$@\"";
const ROOM: usize = 256 * 1024;

/// What the kernel counts of these: each with its NUL and a pointer to it.
fn counted(texts: &[&str]) -> usize {
    texts.iter().map(|text| text.len() + 1 + 8).sum()
}

fn with_little_room(scene: &Scene, words: &[&str]) -> Run {
    Sidecar::spawn(scene.wrapper_by(LITTLE_ROOM, words)).wait()
}

#[test]
fn entries_too_long_in_total_are_refused_before_the_command_starts() {
    let [a, b, c] = ["a", "b", "c"].map(|letter| letter.repeat(100_000));
    for interval in SUPERVISED_AND_NOT {
        let mut scene = scene_with(&json!({"a": a, "b": b, "c": c}));
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let trace = scene.vault.dir().join("the-command-ran");
        let run = with_little_room(&scene, &["touch", &trace.display().to_string()]);
        only_line(run.exits(78), "segura-agent: ");
        assert!(only_line(&run, "hint: ").contains("SEGURA_EXEC_ENV=false"), "{}", run.stderr);
        assert!(!trace.exists() && !run.stderr.contains("aaaa"));
        scene.vault.set_data("app", json!({"a": a, "b": b}));
        fs::remove_dir_all(scene.path("..segura")).unwrap();
        fs::remove_file(scene.path("..data")).unwrap();
        with_little_room(&scene, &["true"]).exits(0);
    }
}

#[test]
fn at_the_limit_of_the_environment_the_command_runs_or_the_settings_are_refused() {
    let [a, b] = ["a", "b"].map(|letter| letter.repeat(120_000));
    let mut scene = scene_with(&json!({"a": a, "b": b}));
    scene.init().exits(0);
    let rest = counted(&["true", "a=", &a, "b=", &b, "PAD="]) - 2 * (1 + 8);
    let mut run = |pad: usize| {
        scene.set("PAD", &"x".repeat(pad));
        with_little_room(&scene, &["true"])
    };
    run(1).exits(0);
    run(ROOM - rest + 1).exits(78);
    for less in (0..64).step_by(4) {
        let run = run(ROOM - rest - less);
        assert!(matches!(run.code, Some(0 | 78)), "{less}: {:?} {}", run.code, run.stderr);
    }
}

#[test]
fn on_renewal_a_value_that_no_environment_can_hold_is_held_back_and_the_command_runs_on() {
    let nul = json!({"k": "a\0"});
    let long = json!({"k": "x".repeat(200_000)});
    let one_name = json!({"k": "x", "a-b": "x", "a.b": "x"});
    side_by_side([nul, long, one_name], |bad| {
        let scene = scene_with_changes();
        let wrapper = Held::script(&scene, "echo \"has $app_k $other_k.\"");
        wrapper.until_printed("has one one.\n");
        scene.vault.set_data("app", &bad);
        until("it is held back", || scene.held_back("app").is_some());
        assert_eq!(scene.held_back("other"), None);
        scene.vault.set_data("other", json!({"k": "two"}));
        wrapper.until_printed("has one two.\n");
        assert_eq!(scene.read("app/k"), "one");
        scene.vault.set_data("app", json!({"k": "three"}));
        wrapper.until_printed("has three two.\n");
        let run = wrapper.release();
        assert_eq!(run.stdout, "has one one.\nhas one two.\nhas three two.\n", "{}", run.stderr);
        assert_eq!(run.code, Some(0));
    });
}

#[test]
fn on_renewal_a_set_too_long_in_total_leaves_the_command_running() {
    let scene = scene_with_changes();
    let [a, b, c] = ["a", "b", "c"].map(|letter| letter.repeat(100_000));
    let script = format!("{HOLD}\necho \"has $app_k.\"\n{WAIT}");
    let wrapper = Held::spawn(scene.wrapper_by(LITTLE_ROOM, &["/bin/sh", "-c", &script]));
    wrapper.until_printed("has one.\n");
    scene.vault.set_data("app", json!({"k": "two", "a": a, "b": b, "c": c}));
    let line = wrapper.until_logged(lines::RUNS_ON);
    assert!(line.contains("WARN") && line.contains("SEGURA_EXEC_ENV=false"), "{line}");
    for_a_while("it runs on", || !wrapper.has_ended() && wrapper.stdout() == "has one.\n");
    scene.vault.set_data("app", json!({"k": "three"}));
    wrapper.until_printed("has three.\n");
    let run = wrapper.release();
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "has one.\nhas three.\n"));
}

#[test]
fn a_set_that_does_not_fit_is_logged_once_however_often_it_is_fetched() {
    let scene = scene_with_changes();
    let wrapper = Held::spawn(scene.wrapper_by(LITTLE_ROOM, &["cat"]));
    wrapper.until_logged(lines::STARTED);
    let [a, b, c] = ["a", "b", "c"].map(|letter| letter.repeat(100_000));
    scene.vault.set_data("app", json!({"a": a, "b": b, "c": c}));
    wrapper.until_logged(lines::RUNS_ON);
    let asked = scene.request_lines().len();
    until("it is fetched a few more times", || scene.request_lines().len() >= asked + 6);
    wrapper.assert_logged(lines::RUNS_ON, 1, "one warning for one set");
    wrapper.assert_logged(lines::SPLAYING, 1, "it has changed once");
    assert_eq!(wrapper.release().code, Some(0));
}

#[test]
fn on_renewal_a_set_slightly_too_long_leaves_the_command_running() {
    let mut scene = scene_with_changes();
    scene.set("SEGURA_IDENTITY", "app");
    let script = format!("{HOLD}\necho \"has $k.\"\n{WAIT}");
    let words = ["/bin/sh", "-c", &script];
    let wrapper = Held::spawn(scene.wrapper_by(LITTLE_ROOM, &words));
    wrapper.until_printed("has one.\n");
    // The kernel counts the path of the program, too.
    let [a, c] = ["a", "c"].map(|letter| letter.repeat(100_000));
    let rest = counted(&words) + counted(&["k=two", "a=", &a, "b=", "c=", &c]) - 2 * (1 + 8);
    let b = "b".repeat(ROOM - rest);
    scene.vault.set_data("app", json!({"k": "two", "a": a, "b": b, "c": c}));
    until("it is tried or given up", || {
        wrapper.has_ended() || wrapper.times_logged(lines::RUNS_ON) > 0
    });
    let run = wrapper.release();
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "has one.\n"), "{}", run.stderr);
}

#[test]
fn an_adopted_set_that_no_environment_can_hold_is_refused_too() {
    for interval in SUPERVISED_AND_NOT {
        let mut scene = scene_with(&json!({"bad": "canary\0"}));
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        scene.init().exits(0);
        let run = refused(&scene);
        assert!(run.exits(76).error().contains(r#""bad" of app"#), "{}", run.stderr);
        // Without a vault it is read, as by a reader.
        for name in ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"] {
            scene.unset(name);
        }
        let run = refused(&scene);
        assert!(run.error().contains(r#""bad" of app"#), "{}", run.stderr);
        assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_EXEC_ENV")));
    }
}
