//! No page names a setting that there is not.

use std::collections::BTreeSet;

use segura_agent::config::variables::{ALIASES, VARIABLES};

use crate::harness::tree;

/// What looks like a setting and is none: a Service of that name puts these into a pod.
const SERVICE_LINKS: [&str; 3] = ["SEGURA_PORT", "SEGURA_SERVICE_HOST", "SEGURA_PORT_443_TCP_ADDR"];
/// A typing error that the page on troubleshooting shows.
const TYPO: &str = "SEGURA_URLL";
/// A variable of the tests, which the README may tell of.
const TESTS: [&str; 1] = ["SEGURA_STATIC_BINARY"];

/// The names in a text that start so.
fn names<'t>(text: &'t str, start: &str) -> BTreeSet<&'t str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with(start) && word.len() > start.len()).collect()
}

#[test]
fn every_setting_that_a_page_names_exists() {
    let known: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    let pages = tree::pages();
    // What has changed may name what is gone.
    for shown in pages.iter().filter(|page| *page != "CHANGELOG.md") {
        let text = tree::text(shown);
        for name in names(&text, "SEGURA_") {
            let other = SERVICE_LINKS.contains(&name) || TESTS.contains(&name) || name == TYPO;
            let is = known.contains(name) || other;
            assert!(is, "{shown} names {name}, which is no setting");
        }
        for name in names(&text, "SENHASEGURA_") {
            assert!(ALIASES.contains(&name), "{shown} names {name}, which is no alias");
        }
    }
}
