//! The files of the repository: every test of sources and pages walks them here.

#![expect(clippy::panic, reason = "a helper that can't go on fails the test that called it")]

use std::fs;
use std::path::Path;

/// What begins the tests of a source.
const TESTS: &str = "\n#[cfg(test)]\n";

/// A source file, by its path below the package.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// Whether it holds nothing but tests.
    pub fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The text before its tests.
    pub fn without_tests(&self) -> &str {
        self.text.split(TESTS).next().unwrap_or_default()
    }
}

/// The package's folder.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the package.
#[track_caller]
pub fn text(path: &str) -> String {
    fs::read_to_string(package().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder of the package, by its path below the package.
#[track_caller]
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for (path, is_folder) in entries(&folder) {
            if is_folder {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The files at the top of the package.
pub fn top() -> Vec<String> {
    let files = entries("").into_iter().filter(|(_, is_folder)| !is_folder);
    files.map(|(path, _)| path).collect()
}

/// What people read: the files at the top, and those of `docs` and `deploy`.
pub fn published() -> Vec<String> {
    [top(), files("docs"), files("deploy")].concat()
}

/// Every page that people read.
pub fn pages() -> Vec<String> {
    let pages: Vec<String> = published().into_iter().filter(|path| path.ends_with(".md")).collect();
    assert!(pages.len() > 10, "the pages are found");
    pages
}

/// Every Rust file below a folder of the package.
#[track_caller]
pub fn sources(folder: &str) -> Vec<Source> {
    let paths = files(folder).into_iter().filter(|path| path.ends_with(".rs"));
    let sources: Vec<Source> = paths.map(|path| Source { text: text(&path), path }).collect();
    assert!(sources.len() > 5, "{folder} holds sources");
    sources
}

/// The agent's own sources, those that hold nothing but tests left out.
pub fn agent() -> Vec<Source> {
    let sources: Vec<Source> =
        sources("src").into_iter().filter(|source| !source.is_test()).collect();
    assert!(sources.len() > 60, "the sources are found");
    sources
}

/// The entries of a folder by their paths below the package, and whether each is a folder.
#[track_caller]
fn entries(folder: &str) -> Vec<(String, bool)> {
    let full = package().join(folder);
    let entries = fs::read_dir(&full).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut found: Vec<(String, bool)> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let below = path.strip_prefix(package()).expect("it is below");
            (below.display().to_string(), path.is_dir())
        })
        .collect();
    found.sort();
    found
}
