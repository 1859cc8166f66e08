//! Manifests as Kubernetes sees them, and as kustomize builds them.

use std::fs;
use std::path::Path;
use std::process::Command;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// The documents of a manifest, empty ones left out.
pub fn documents(text: &str) -> Vec<Value> {
    // Kubernetes reads YAML 1.1, whose octal numbers have no `o`.
    let text = text.replace("Mode: 0", "Mode: 0o");
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    documents.iter().map(value).filter(|value| !value.is_null()).collect()
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

/// An entry of a list by its name.
pub fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry["name"] == name)
}

/// What a kustomization builds, without a warning; nothing if there is no kubectl.
#[track_caller]
pub fn kustomize(folder: &Path) -> Option<String> {
    // kubectl keeps a cache in its home.
    let home = tempfile::tempdir().expect("a directory");
    let mut kubectl = Command::new("kubectl");
    let output = kubectl.arg("kustomize").arg(folder).env("HOME", home.path()).output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Copies a folder and all below it, so that a kustomization can stand beside.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("it is new");
    for entry in fs::read_dir(from).expect("it is a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("it is a file");
        }
    }
}
