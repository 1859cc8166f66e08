//! One version everywhere: what is built, what is labelled, what manifests name, what is told.

use std::fs;
use std::path::{Path, PathBuf};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("it is there")
}

/// The files below a folder that end so.
fn below(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            below(&path, end, found);
        } else if path.to_str().is_some_and(|path| path.ends_with(end)) {
            found.push(path);
        }
    }
}

#[test]
fn the_newest_change_is_of_this_version() {
    let changes = read("CHANGELOG.md");
    let mut versions = changes.lines().filter_map(|line| line.strip_prefix("## ["));
    let first = versions.find(|version| !version.starts_with("Unreleased]")).unwrap();
    assert!(first.starts_with(&format!("{VERSION}] - 20")), "{first}");
}

#[test]
fn the_image_is_labelled_with_this_version() {
    let label = format!("org.opencontainers.image.version=\"{VERSION}\"");
    assert!(read("Dockerfile").contains(&label));
    let parts: serde_json::Value = serde_json::from_str(&read("sbom.cdx.json")).unwrap();
    assert_eq!(parts["metadata"]["component"]["version"], VERSION);
}

#[test]
fn manifests_and_pages_name_the_image_of_this_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    below(&root.join("deploy"), ".yaml", &mut files);
    below(&root.join("deploy"), ".md", &mut files);
    below(&root.join("docs"), ".md", &mut files);
    let mut named = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (at, image) in text.match_indices("segura-agent:") {
            let tag = &text[at + image.len()..];
            if tag.starts_with(|first: char| first.is_ascii_digit()) {
                assert!(tag.starts_with(VERSION), "{}: segura-agent:{:.8}", file.display(), tag);
                named += 1;
            }
        }
    }
    assert!(named > 10, "{named} images are named");
}

#[test]
fn the_parts_that_are_listed_are_those_that_are_locked() {
    let parts: serde_json::Value = serde_json::from_str(&read("sbom.cdx.json")).unwrap();
    let locked = read("Cargo.lock");
    let parts = parts["components"].as_array().unwrap();
    assert!(parts.len() > 100, "{} parts", parts.len());
    for part in parts {
        let (name, version) = (part["name"].as_str().unwrap(), part["version"].as_str());
        match (name, version) {
            ("glibc", None) => {}
            ("rust-std", Some(version)) => {
                assert!(read("rust-toolchain.toml").contains(&format!("\"{version}\"")));
            }
            (name, version) => {
                let entry = format!("name = \"{name}\"\nversion = \"{}\"\n", version.unwrap());
                assert!(locked.contains(&entry), "{name} {version:?}");
            }
        }
    }
}
