//! One version everywhere: in the package, the image's label, the manifests and the pages.

use crate::harness::tree::{self, text};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn the_newest_change_is_of_this_version() {
    let changes = text("CHANGELOG.md");
    let mut versions = changes.lines().filter_map(|line| line.strip_prefix("## ["));
    let first = versions.find(|version| !version.starts_with("Unreleased]")).unwrap();
    assert!(first.starts_with(&format!("{VERSION}] - 20")), "{first}");
}

#[test]
fn the_image_is_labelled_with_this_version() {
    let label = format!("org.opencontainers.image.version=\"{VERSION}\"");
    assert!(text("Dockerfile").contains(&label));
    let parts: serde_json::Value = serde_json::from_str(&text("sbom.cdx.json")).unwrap();
    assert_eq!(parts["metadata"]["component"]["version"], VERSION);
}

#[test]
fn manifests_and_pages_name_the_image_of_this_version() {
    let mut named = 0;
    // What has changed may name what was before.
    let is_kept = |path: &&String| {
        *path != "CHANGELOG.md" && (path.ends_with(".md") || path.ends_with(".yaml"))
    };
    for path in tree::published().iter().filter(is_kept) {
        let page = text(path);
        for (at, image) in page.match_indices("segura-agent:") {
            let tag = &page[at + image.len()..];
            if tag.starts_with(|first: char| first.is_ascii_digit()) {
                assert!(tag.starts_with(VERSION), "{}: segura-agent:{:.8}", path, tag);
                named += 1;
            }
        }
    }
    assert!(named > 10, "{named} images are named");
}

#[test]
fn the_sbom_lists_the_packages_of_the_lock_file() {
    let parts: serde_json::Value = serde_json::from_str(&text("sbom.cdx.json")).unwrap();
    let locked = text("Cargo.lock");
    let parts = parts["components"].as_array().unwrap();
    assert!(parts.len() > 100, "{} parts", parts.len());
    for part in parts {
        let (name, version) = (part["name"].as_str().unwrap(), part["version"].as_str());
        match (name, version) {
            ("glibc", None) => {}
            ("rust-std", Some(version)) => {
                assert!(text("rust-toolchain.toml").contains(&format!("\"{version}\"")));
            }
            (name, version) => {
                let entry = format!("name = \"{name}\"\nversion = \"{}\"\n", version.unwrap());
                assert!(locked.contains(&entry), "{name} {version:?}");
            }
        }
    }
}
