//! The dialect `shell`: every value but one with a NUL, by POSIX shells and systemd alike.

use std::fs;

use segura_agent::render::env::Dialect;

use super::readers::{Reader, SHELLS, SYSTEMD};
use super::values::{
    Values, alone, env_scene, has_noncharacter, is_refused, rendered, scene, taken, values,
};
use crate::harness::side_by_side;

const TEST: &str = "shell env file";

/// Variables that one shell or another computes, or won't have changed.
const KEPT_BY_SHELLS: &[&str] = &[
    "_",
    "BASHOPTS",
    "BASHPID",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_COMMAND",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_VERSINFO",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "OPTIND",
    "PIPESTATUS",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SRANDOM",
    "UID",
];

fn readers() -> impl Iterator<Item = Reader> {
    SHELLS.into_iter().chain([SYSTEMD])
}

#[test]
fn every_value_is_read_back_by_shells_and_systemd() {
    let mut values = values(5_000);
    values.retain(|_, value| !has_noncharacter(value));
    let mut values = taken(Dialect::Shell, values, |_| false);
    values.insert("LONG".to_owned(), "'\"$x\\\n\u{1f511}".repeat(30_000));
    let scene = env_scene(Dialect::Shell, &values);
    side_by_side(readers(), |reader| {
        reader.reads(TEST, &scene.path("secrets.env"), &values);
    });
}

#[test]
fn each_value_is_read_back_from_a_file_of_its_own() {
    let scenes = alone(Dialect::Shell, &["a\\", "'", "$(>ran)", "\n", "# a", ""]);
    side_by_side(readers(), |reader| {
        scenes.iter().all(|(scene, value)| reader.reads(TEST, &scene.path("secrets.env"), value));
    });
}

#[test]
fn a_variable_that_a_shell_reserves_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut lost = Vec::new();
    for name in KEPT_BY_SHELLS {
        let values: Values = [((*name).to_owned(), "it's mine".to_owned())].into();
        let Ok(text) = rendered(Dialect::Shell, &values) else {
            continue;
        };
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        let loses = |shell: &Reader| shell.attempt(&file, &values).as_ref() != Some(&values);
        lost.extend(SHELLS.iter().filter(|s| loses(s)).map(|s| format!("{name} by {}", s.name)));
    }
    assert!(lost.is_empty(), "written, but not read back: {lost:?}");
}

#[test]
fn noncharacters_that_make_systemd_refuse_the_file_are_refused_by_name() {
    for value in ["\u{fffe}", "\u{ffff}", "\u{fdd0}", "\u{fdef}", "\u{1fffe}", "\u{10ffff}"] {
        is_refused(Dialect::Shell, value, "noncharacter");
        is_refused(Dialect::Dotenv, value, "noncharacter");
    }
}

#[test]
fn a_nul_is_refused_by_name_in_every_dialect() {
    for dialect in [Dialect::Shell, Dialect::Dotenv, Dialect::Docker, Dialect::Kubernetes] {
        let mut scene = scene(&[("the-key".to_owned(), "canary\0".to_owned())].into());
        scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_DIALECT", dialect.as_str());
        let run = scene.init();
        run.exits(76);
        let error = run.error();
        assert!(error.contains("\"the-key\" of outputs") && error.contains("NUL"), "{error}");
        assert!(
            run.hint().is_some_and(|hint| hint.contains("SEGURA_EXEC_ENV=false")),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("canary"), "{}", run.stderr);
        // As a file it is what it is.
        scene.set("SEGURA_OUTPUT", "files").init().exits(0);
        assert_eq!(scene.read("outputs/the-key"), "canary\0");
    }
}
