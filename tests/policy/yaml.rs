//! The documents of the admission policies.

use serde_json::Value;

pub use crate::harness::kubernetes::documents;
pub use crate::harness::tree::text;

/// The one document of a kind and a name among those of `deploy/policy`.
pub fn policy(kind: &str, name: &str) -> Value {
    ["params", "mutating", "validating"]
        .iter()
        .flat_map(|file| documents(&text(&format!("deploy/policy/{file}.yaml"))))
        .find(|found| found["kind"] == kind && found["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}
