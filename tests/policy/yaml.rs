//! The policies and what stands beside them, by their paths in this repository.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use crate::harness::kubernetes::documents;

/// A path in this repository.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of this repository.
pub fn text(path: &str) -> String {
    fs::read_to_string(here(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The one document of a kind and a name among those of `deploy/policy`.
pub fn policy(kind: &str, name: &str) -> Value {
    ["params", "mutating", "validating"]
        .iter()
        .flat_map(|file| documents(&text(&format!("deploy/policy/{file}.yaml"))))
        .find(|found| found["kind"] == kind && found["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}
