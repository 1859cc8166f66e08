//! YAML of this repository as JSON values: Kubernetes' own view of a manifest.

use std::fs;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// A path in this repository.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of this repository.
pub fn text(path: &str) -> String {
    fs::read_to_string(here(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a text.
pub fn documents(text: &str) -> Vec<Value> {
    Yaml::load_from_str(text).expect("YAML").iter().map(value).collect()
}

/// The one document of a kind and a name among those of `deploy/policy`.
pub fn policy(kind: &str, name: &str) -> Value {
    ["params", "mutating", "validating"]
        .iter()
        .flat_map(|file| documents(&text(&format!("deploy/policy/{file}.yaml"))))
        .find(|found| found["kind"] == kind && found["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Boolean(value)) => Value::from(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::String(value)) => Value::from(value.as_ref()),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Sequence(items) => items.iter().map(value).collect(),
        Yaml::Mapping(entries) => {
            let pair = |(key, found): (&Yaml<'_>, &Yaml<'_>)| {
                (key.as_str().expect("a key is a string").to_owned(), value(found))
            };
            Value::Object(entries.iter().map(pair).collect::<Map<_, _>>())
        }
        Yaml::Value(Scalar::FloatingPoint(_))
        | Yaml::Representation(..)
        | Yaml::Tagged(..)
        | Yaml::Alias(_)
        | Yaml::BadValue => panic!("not in a manifest: {yaml:?}"),
    }
}
