//! `docs/injection.md` against the policies' own text.

use std::collections::BTreeSet;

use super::evaluator::{mutated, refusals};
use super::refusals::{NOT_ADDED, table};
use super::yaml::{documents, policy, text};
use super::{pods, rules};
use serde_json::json;

fn page() -> String {
    text("docs/injection.md")
}

/// A part of the page, by its heading.
fn section(heading: &str) -> String {
    let page = page();
    let from = page.split(&format!("\n## {heading}\n")).nth(1).expect("the heading is there");
    from.split("\n## ").next().expect("one").to_owned()
}

/// The cells of a section's table, without its head.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let section = section(heading);
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The first cells of a section's table, without their marks.
fn first_cells(heading: &str) -> BTreeSet<String> {
    rows(heading).iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
}

/// What stands between single quotes in a text, and starts so.
fn quoted(text: &str, start: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c == '-' || c == '/');
    let mark = format!("'{start}");
    let pieces = text.split(&mark).skip(1);
    let names = pieces.map(|rest| format!("{start}{}", rest.split(ends).next().expect("one")));
    names.filter(|name| name != start).collect()
}

#[test]
fn every_annotation_is_documented_read_and_allowed() {
    let documented = first_cells("The annotations");
    let mutating = quoted(&text("deploy/policy/mutating.yaml"), "segura-agent/");
    assert_eq!(documented, mutating, "read by the one policy");
    let validating = policy("ValidatingAdmissionPolicy", "segura-agent");
    let known = validating["spec"]["variables"].as_array().expect("a list");
    let known = known.iter().find(|variable| variable["name"] == "known").expect("it is there");
    let known = quoted(known["expression"].as_str().expect("CEL"), "segura-agent/");
    assert_eq!(documented, known, "known to the other");
}

#[test]
fn every_parameter_is_documented_installed_and_read() {
    let documented = first_cells("The parameters");
    let installed = text("deploy/policy/params.yaml");
    let data = installed.split("\ndata:\n").nth(1).expect("the data");
    let key = |line: &str| {
        let key = line.trim_start_matches([' ', '#']).split(": ").next()?.to_owned();
        let is_key = line.contains(": ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        is_key.then_some(key)
    };
    assert_eq!(
        documented,
        data.lines().filter_map(key).collect(),
        "in the ConfigMap, set or as a comment"
    );
    let mutating = text("deploy/policy/mutating.yaml");
    let read = mutating.split("params.data['").skip(1);
    let read = read.map(|rest| rest.split('\'').next().expect("one").to_owned()).collect();
    assert_eq!(documented, read);
}

#[test]
fn every_line_of_a_refusal_is_documented_word_for_word() {
    let rows = rows("Refusals");
    let documented: Vec<&str> = rows.iter().map(|row| row[1].trim_matches('`')).collect();
    let mut said: Vec<String> = table().into_iter().map(|(_, line)| line).collect();
    said.push(NOT_ADDED.to_owned());
    assert_eq!(documented, said);
    let validating = policy("ValidatingAdmissionPolicy", "segura-agent");
    let validations = validating["spec"]["validations"].as_array().expect("a list").len();
    assert_eq!(validations + 2, said.len(), "each validation, and two of them twice");
}

#[test]
fn the_agent_is_injected_into_the_example_which_is_admitted() {
    let page = page();
    let example = page.split("```yaml\n").nth(1).expect("an example");
    let example = documents(example.split("```").next().expect("one")).remove(0);
    let mutating = policy("MutatingAdmissionPolicy", "segura-agent");
    let found = mutated(&mutating, &pods::params(&json!({})), &example);
    assert_ne!(found, example);
    rules::assert_rules("the example", &example, &found);
    let validating = policy("ValidatingAdmissionPolicy", "segura-agent");
    assert_eq!(refusals(&validating, &found), Vec::<String>::new());
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let params = pods::params(&json!({}));
    for row in rows("The parameters") {
        let key = row[0].trim_matches('`');
        if !["required", "none"].contains(&row[1].as_str()) {
            assert_eq!(params["data"][key], row[1].trim_matches('`'), "{key}");
        }
    }
}
