//! A doc line begins with a verb or a noun, and no text uses an archaic word: see *Words* in
//! `CONTRIBUTING.md`.

use crate::harness::tree::{agent, pages, sources, text};

/// Words that begin a clause without a head, which leaves the reader to find out what is meant.
const HEADLESS: [&str; 19] = [
    "What", "Whatever", "Who", "Whoever", "Whom", "Whose", "Where", "Wherever", "When", "Whenever",
    "How", "However", "Whether", "Why", "Which", "That", "Nobody", "None", "Nothing",
];
/// Words that are no longer in use, or that replace a term of the field.
const ARCHAIC: [&str; 4] = ["anew", "mended", "thrice", "whoever"];

/// The text of a doc line.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim_start)
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}

fn is_headless(line: &str) -> bool {
    doc(line).is_some_and(|text| HEADLESS.contains(&first_word(text)))
}

fn is_archaic(line: &str) -> bool {
    let words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_ascii_lowercase);
    words.into_iter().any(|word| ARCHAIC.contains(&word.as_str()))
}

fn found(holds: impl Fn(&str) -> bool) -> Vec<String> {
    let sources = agent();
    let all = sources.iter().flat_map(|source| {
        source.text.lines().enumerate().map(|(at, line)| (&source.path, at + 1, line))
    });
    all.filter(|(.., line)| holds(line))
        .map(|(path, at, line)| format!("{path}:{at}: {}", line.trim()))
        .collect()
}

#[test]
fn no_doc_line_begins_with_a_headless_clause() {
    assert!(found(|line| doc(line).is_some()).len() > 1_000, "doc lines are found");
    let found = found(is_headless);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_source_test_or_page_uses_an_archaic_word() {
    let written = pages().into_iter().map(|path| (text(&path), path));
    let sources = ["src", "tests", "benches"].into_iter().flat_map(sources);
    // This file names them.
    let sources = sources.filter(|source| source.path != "tests/architecture/words.rs");
    for (text, path) in sources.map(|source| (source.text, source.path)).chain(written) {
        for (at, line) in text.lines().enumerate() {
            assert!(!is_archaic(line), "{path}:{}: {}", at + 1, line.trim());
        }
    }
}

#[test]
fn a_headless_clause_is_found_where_it_begins_a_line() {
    for (line, headless) in [
        ("    /// What is published.", true),
        ("//! How long it takes.", true),
        ("/// Whether it holds", true),
        ("/// Whatsoever", false),
        ("/// The set that is published.", false),
        ("/// and what it holds", false),
        ("// What a comment says", false),
        ("let what = 1;", false),
    ] {
        assert_eq!(is_headless(line), headless, "{line}");
    }
    assert!(is_archaic("tracing::info!(\"fetching anew\");") && !is_archaic("a new set"));
}
