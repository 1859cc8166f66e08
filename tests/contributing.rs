//! Pages and recipes for those who change this project, held against the steps of `.ci/run` and the files
//! that they name.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::documents::{Fence, Page, pages, spans};
use crate::harness::kubernetes::documents;
use crate::harness::tree::{self, package};
use crate::harness::{Scene, host::skip, until};

/// The steps of `.ci/run` in its order, and its text; nothing in a package, which is built without it.
fn ci(test: &str) -> Option<(Vec<String>, String)> {
    if !package().join(".ci/run").exists() {
        skip(test, "a package has no .ci/run");
        return None;
    }
    let output = Command::new("bash").arg(package().join(".ci/run")).arg("--list").output();
    let output = output.expect("there is bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("steps are named in text");
    let names = list.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    Some((names.collect(), Page::read(".ci/run").text))
}

/// The recipes of the justfile with the lines of each, but the two that are no step.
fn recipes() -> Vec<(String, Vec<String>)> {
    let justfile = Page::read("justfile").text;
    let mut recipes: Vec<(String, Vec<String>)> = Vec::new();
    for line in justfile.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("    "), line.strip_suffix(':')) {
            (Some(command), _) => {
                let (_, body) = recipes.last_mut().expect("a recipe has a name");
                body.push(command.to_owned());
            }
            (None, Some(name)) => recipes.push((name.to_owned(), Vec::new())),
            (None, None) => panic!("neither a recipe nor a line of one: {line}"),
        }
    }
    recipes.retain(|(name, _)| !["default", "all"].contains(&name.as_str()));
    recipes
}

#[test]
fn each_recipe_runs_the_step_of_its_name_and_no_step_lacks_one() {
    let Some((steps, _)) = ci("each_recipe_runs_the_step_of_its_name_and_no_step_lacks_one") else {
        return;
    };
    let expected = steps.into_iter().map(|step| {
        let command = format!(".ci/run {step}");
        (step, vec![command])
    });
    assert_eq!(recipes(), expected.collect::<Vec<_>>());
}

#[test]
fn each_step_and_each_package_has_its_row() {
    let Some((steps, text)) = ci("each_step_and_each_package_has_its_row") else {
        return;
    };
    let page = Page::read("CONTRIBUTING.md");
    let first = |head: &str| page.rows(head).into_iter().flat_map(spans).collect::<Vec<_>>();
    assert_eq!(first("step"), steps);
    let (_, list) = text.split_once("\npackages=(\n").expect("the packages are an array");
    let (list, _) = list.split_once("\n)\n").expect("an array ends");
    let lines = list.lines().filter(|line| !line.trim_start().starts_with('#'));
    let packages: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    assert_eq!(first("package"), packages);
}

/// Shown in `CONTRIBUTING.md`.
#[test]
fn a_password_that_changes_is_published_as_the_next_generation() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let sidecar = scene.renewing_sidecar();
    let before = scene.read("secret-postman/password");
    scene.vault.rotate();
    until("the next generation is published", || scene.state()["generation"] == 2);
    assert_ne!(scene.read("secret-postman/password"), before);
    sidecar.stop();
}

#[test]
fn the_shown_test_is_one_of_these() {
    let page = Page::read("CONTRIBUTING.md");
    let fences = page.fences();
    let shown: Vec<&Fence<'_>> = fences.iter().filter(|fence| fence.kind == "rust").collect();
    assert_eq!(shown.len(), 1);
    for fence in shown {
        assert!(
            include_str!("contributing.rs").contains(&fence.lines.join("\n")),
            "{:#?}",
            fence.lines
        );
    }
}

#[test]
fn every_helper_in_the_table_exists() {
    let page = Page::read("CONTRIBUTING.md");
    let (_, table) = page.text.split_once("| for | call |").expect("a table of helpers");
    let (table, _) = table.split_once("\n\n").expect("a table ends");
    let sources = ["tests/harness", "tests/dev-vault"].into_iter().flat_map(tree::sources);
    let mut text = tree::text("tests/harness.rs");
    text.extend(sources.map(|source| source.text));
    let calls = spans(table).into_iter().flat_map(|span| span.split('(').rev().skip(1));
    let names: BTreeSet<&str> = calls
        .filter_map(|call| call.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next())
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let there = ["(", "<"].iter().any(|next| text.contains(&format!("fn {name}{next}")));
        assert!(there, "no helper is called {name}");
    }
}

/// No page of a decision is longer than this.
const LONGEST: usize = 40;

#[test]
fn each_decision_has_context_and_reversal_and_is_in_the_index() {
    let index = Page::read("docs/decisions/README.md");
    let pages = pages().into_iter().filter(|page| page.path.starts_with("docs/decisions/"));
    let decisions: Vec<Page> = pages.filter(|page| page.path != index.path).collect();
    for page in &decisions {
        let parts = ["Context", "Decision", "Consequences", "What would change it"];
        assert_eq!(page.headings().get(1..), Some(parts.as_slice()), "{}", page.path);
        assert!(page.text.lines().count() <= LONGEST, "{} is too long", page.path);
    }
    let named = decisions.iter().filter_map(|page| {
        let name = page.path.rsplit('/').next()?.strip_suffix(".md")?;
        Some(format!("[{name}]({name}.md)"))
    });
    let mut rows = index.rows("decision");
    rows.sort_unstable();
    assert_eq!(rows, named.collect::<Vec<_>>());
}

/// The questions of a form by their ids, and whether each must be answered.
fn questions(form: &Value) -> BTreeMap<&str, bool> {
    let body = form["body"].as_array().expect("a form has a body");
    let asked = body.iter().filter_map(|part| Some((part["id"].as_str()?, part)));
    let must = |part: &Value| part["validations"]["required"] == true;
    asked.map(|(id, part)| (id, must(part))).collect()
}

#[test]
fn forms_request_the_needed_facts_and_warn_of_secrets() {
    let folder = package().join(".github/ISSUE_TEMPLATE");
    if !folder.exists() {
        return skip("forms_request_the_needed_facts_and_warn_of_secrets", "a package has none");
    }
    for (name, needed) in [
        ("bug", ["happens", "version", "mode", "kubernetes", "doctor", "log"].as_slice()),
        ("feature", &["need", "today"]),
    ] {
        let text = Page::read(&format!(".github/ISSUE_TEMPLATE/{name}.yml")).text;
        let forms = documents(&text);
        let [form] = forms.as_slice() else { panic!("{name}: one document") };
        for key in ["name", "description"] {
            assert!(form[key].is_string(), "{name}: {key}");
        }
        let warning = form["body"][0]["attributes"]["value"].as_str().unwrap_or_default();
        assert!(warning.to_lowercase().contains("paste no secret"), "{name}: {warning}");
        let questions = questions(form);
        for id in needed {
            assert_eq!(questions.get(id), Some(&true), "{name}: {id}");
        }
        let body = form["body"].as_array().expect("it has one");
        for part in body {
            let kind = part["type"].as_str().unwrap_or_default();
            let known = ["markdown", "textarea", "input", "dropdown", "checkboxes"];
            assert!(known.contains(&kind), "{name}: {kind}");
            assert!(
                kind == "markdown" || part["attributes"]["label"].is_string(),
                "{name}: {part}"
            );
        }
    }
}
