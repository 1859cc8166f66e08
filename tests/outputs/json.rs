//! The JSON file, read back by serde_json and Python's json; and what all documents have to carry.

use std::collections::BTreeMap;

use serde_json::json;

use super::readers::JSON;
use super::values::{IDENTITY, Values, assert_same, values};
use crate::dev_vault::Options;
use crate::harness::Scene;

/// Values by identity and key.
pub type Document = BTreeMap<String, Values>;

/// Keys, and identities, that a document could take for something else.
const NAMES: &[&str] = &[
    "a b",
    " a",
    "a ",
    "a:b",
    "a: b",
    "a=b",
    "= a",
    "a#b",
    "a #b",
    "#a",
    "!a",
    "'a'",
    "\"a\"",
    "\\",
    "a\\b",
    "\\u0041",
    "no",
    "y",
    "true",
    "null",
    "~",
    "1",
    "1e3",
    "0x1f",
    ".5",
    "2001-12-14",
    "12:30",
    "-",
    "- a",
    "---",
    "?",
    "? a",
    "&a",
    "*a",
    "<<",
    "=",
    ":",
    ",",
    "{a}",
    "[a]",
    "%a",
    "@a",
    "`a`",
    "$x",
    "${x}",
    "|",
    ">",
    "é",
    "\u{1f511}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffe}",
    "\u{a0}",
    "a.b",
    ".a",
    "TTL",
];

/// What every document has to carry: arbitrary values, and arbitrary names.
pub fn document(random: usize) -> Document {
    let long = ["x".repeat(255), "\u{2028}".repeat(85), "\"".repeat(255), "é".repeat(127)];
    let names: Vec<&str> = NAMES.iter().copied().chain(long.iter().map(String::as_str)).collect();
    let keys: Values = names.iter().map(|key| ((*key).to_owned(), format!("<{key}>"))).collect();
    let mut document: Document = [
        (IDENTITY.to_owned(), values(random)),
        ("keys".to_owned(), keys),
        ("cart/db".to_owned(), [("k".to_owned(), "v".to_owned())].into()),
        ([long[0].as_str(); 8].join("/"), [("k".to_owned(), "deep".to_owned())].into()),
        ([long[1].as_str(); 8].join("/"), [("k".to_owned(), "escaped".to_owned())].into()),
    ]
    .into();
    for name in names {
        document.insert(name.to_owned(), [("k".to_owned(), name.to_owned())].into());
    }
    document
}

/// Identity and key as one name, as the readers print them.
pub fn flat(document: &Document) -> Values {
    joined(document, "\u{1}")
}

/// Identity and key as one name, joined by `between`.
pub fn joined(document: &Document, between: &str) -> Values {
    let values = document.iter().flat_map(|(identity, values)| {
        values.iter().map(move |(key, value)| (format!("{identity}{between}{key}"), value.clone()))
    });
    values.collect()
}

/// A pod that has been given a document, all of it in files of these kinds.
#[track_caller]
pub fn published(document: &Document, outputs: &str) -> Scene {
    let mut scene = Scene::with(Options { demo_secrets: false, ..Options::default() });
    for (identity, values) in document {
        scene.vault.put_secret(json!({ "identity": identity, "data": values }));
    }
    scene.set("SEGURA_SOURCE", "application").unset("SEGURA_IDENTITY");
    scene.set("SEGURA_OUTPUT", outputs);
    scene.init().exits(0);
    scene
}

#[test]
fn every_string_is_read_back_as_the_string_it_is() {
    let document = document(5_000);
    let scene = published(&document, "json");
    let read: Document = serde_json::from_str(&scene.read("secrets.json")).unwrap();
    assert_same("serde_json", &flat(&read), &flat(&document));
    JSON.reads("json file", &scene.path("secrets.json"), &flat(&document));
}

#[test]
fn a_document_carries_every_character_and_nul() {
    let document: Document =
        [("s".to_owned(), [("k".to_owned(), "a\0b".to_owned())].into())].into();
    let scene = published(&document, "json,yaml,properties");
    assert_eq!(scene.read("secrets.json"), "{\"s\":{\"k\":\"a\\u0000b\"}}\n");
    assert_eq!(scene.read("secrets.yaml"), "\"s\":\n  \"k\": \"a\\u0000b\"\n");
    assert_eq!(scene.read("secrets.properties"), "s.k=a\\u0000b\n");
}
