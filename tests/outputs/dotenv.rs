//! The dialect `dotenv`: what shells, systemd and the parsers of node, Python and Ruby read alike.

use std::fs;

use segura_agent::render::env::Dialect;

use super::readers::{
    NODE_LOAD, NODE_PARSE, NPM, PYTHON, PYTHON_DEBIAN, PYTHON_PLAIN, RUBY, Reader, SHELLS, SYSTEMD,
};
use super::values::{Values, alone, env_scene, has_noncharacter, is_refused, taken, values};
use crate::harness::{host::skip, side_by_side};

const TEST: &str = "dotenv env file";

/// The readers that take every line break in a value.
fn readers() -> impl Iterator<Item = Reader> {
    let parsers = [SYSTEMD, PYTHON, PYTHON_DEBIAN, PYTHON_PLAIN, NODE_PARSE, NODE_LOAD, NPM];
    SHELLS.into_iter().chain(parsers)
}

/// What no quoting carries to all of them.
fn is_beyond(value: &str) -> bool {
    let single = value.contains('\'') && value.contains(['"', '\\', '$', '`']);
    let escapes = value.contains("\\\\") || value.ends_with('\\') || value.contains("${");
    value.contains('\r') || single || escapes
}

/// What the dialect takes.
fn subset() -> Values {
    let mut values = values(8_000);
    values.retain(|_, value| !has_noncharacter(value));
    let values = taken(Dialect::Dotenv, values, is_beyond);
    assert!(values.len() > 2_000, "only {} are left", values.len());
    values
}

/// Whether this machine's ruby dotenv reads values of several lines, as it does since 2.8.
fn ruby_reads_lines() -> Option<bool> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("env");
    fs::write(&file, "A='a\nb'\n").expect("it is new");
    let read = RUBY.read(TEST, &file, &Values::new())?;
    Some(read.get("A").is_some_and(|value| value == "a\nb"))
}

#[test]
fn every_value_of_the_subset_is_read_back_by_every_reader() {
    let mut values = subset();
    values.insert("LONG".to_owned(), "\"$x #\n\u{1f511}".repeat(20_000));
    let scene = env_scene(Dialect::Dotenv, &values);
    side_by_side(readers(), |reader| {
        reader.reads(TEST, &scene.path("secrets.env"), &values);
    });
}

#[test]
fn every_value_of_the_subset_is_read_back_by_ruby() {
    let mut values = subset();
    match ruby_reads_lines() {
        None => return,
        Some(true) => {}
        Some(false) => {
            skip(TEST, "this ruby dotenv is older than 2.8: without values of several lines");
            values.retain(|_, value| !value.contains('\n'));
        }
    }
    let scene = env_scene(Dialect::Dotenv, &values);
    RUBY.reads(TEST, &scene.path("secrets.env"), &values);
}

#[test]
fn values_that_readers_take_in_different_ways_are_refused_by_name() {
    for (value, reason) in [
        ("a\r\nb", "carriage return"),
        ("\r", "carriage return"),
        ("a\\\\b", "two backslashes"),
        ("a\\", "ends with one"),
        ("${a}", "${"),
        ("it's $5", "single quote"),
        ("it's \"5\"", "single quote"),
        ("it's \\5", "single quote"),
        ("it's `5`", "single quote"),
    ] {
        is_refused(Dialect::Dotenv, value, reason);
    }
}

#[test]
fn each_value_is_read_back_from_a_file_of_its_own() {
    let scenes = alone(Dialect::Dotenv, &["it's", "$(>ran)", "a # b", "\n", ""]);
    side_by_side(readers(), |reader| {
        scenes.iter().all(|(scene, value)| reader.reads(TEST, &scene.path("secrets.env"), value));
    });
}
