//! The recipes of the documentation, given to the readers that they are written for.
//!
//! Every code block has a name, its parser, and a test that takes it; or it is listed here.

mod blocks;
mod documents;
mod java;
mod languages;
mod mesh;
mod migration;
mod mysql;
mod names;
mod nginx;
mod pod;
mod postgresql;
mod syntax;

use std::collections::BTreeSet;

use crate::harness::tree;

/// What no reader takes here, since its libraries or its cluster are not at hand. The page of the
/// recipes lists the same.
const SYNTAX_ALONE: [&str; 12] = [
    "dotnet/Program.cs",
    "dotnet/KeyPerFile.cs",
    "dotnet/app.yaml",
    "spring/Rotation.java",
    "spring/application.yaml",
    "spring/application-tree.yaml",
    "spring/application-tls.yaml",
    "spring/management.yaml",
    "node/pool.mjs",
    "python/engine.py",
    "go/notify.go",
    "mysql/backup.sh",
];

#[test]
fn every_block_is_run_by_a_test_or_listed_as_not_run() {
    let tests = sources();
    let page = blocks::page("README");
    for block in blocks::blocks() {
        let listed = SYNTAX_ALONE.contains(&block.id.as_str());
        let taken = tests.contains(&format!("\"{}\"", block.id));
        assert!(listed || taken, "{}: no test takes {}", block.place, block.id);
        assert!(
            !(listed && taken),
            "{} is taken by a test, and listed as if it were not",
            block.id
        );
        let reported = page.contains(&format!("`{}`", block.id));
        assert_eq!(reported, listed, "docs/recipes/README.md on {}", block.id);
    }
    let ids: BTreeSet<String> = blocks::blocks().into_iter().map(|block| block.id).collect();
    for id in SYNTAX_ALONE {
        assert!(ids.contains(id), "{id} is listed, and is no block");
    }
}

#[test]
fn no_two_blocks_of_a_page_have_one_name() {
    let mut seen = BTreeSet::new();
    for block in blocks::blocks() {
        assert!(seen.insert(block.id.clone()), "{}: another {}", block.place, block.id);
    }
}

#[test]
fn every_test_that_a_page_names_exists() {
    let tests = sources();
    for page in blocks::pages() {
        let text = blocks::page(&page);
        let reported =
            text.split("\n\n").filter(|part| part.contains("Test: ") || part.contains("Tests: "));
        let names: Vec<&str> =
            reported.flat_map(|part| part.split('`').skip(1).step_by(2)).collect();
        let has_none = page == "README" || page == "rotation";
        assert!(has_none || names.len() > 1, "docs/recipes/{page}.md names no test");
        for name in names.iter().filter(|name| !name.contains('.')) {
            let there = tests.contains(&format!("fn {name}("));
            assert!(there, "docs/recipes/{page}.md names a test that is not there: {name}");
        }
    }
}

/// The text of all tests of recipes but this file.
fn sources() -> String {
    tree::sources("tests/recipes").into_iter().map(|source| source.text).collect()
}
