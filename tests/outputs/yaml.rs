//! The YAML file, read back by YAML 1.1 (PyYAML, libyaml) and YAML 1.2 (saphyr) alike.

use saphyr::{LoadableYamlNode, Yaml};

use super::json::{Document, document, flat, published};
use super::readers::{LIBYAML, PYYAML};
use super::values::{Values, assert_same};

/// What a YAML 1.2 parser makes of a file.
fn saphyr(file: &str) -> Values {
    let documents = Yaml::load_from_str(file).expect("it is YAML");
    assert_eq!(documents.len(), 1);
    let string = |node: &Yaml<'_>| node.as_str().expect("nothing but strings").to_owned();
    let secrets = documents.first().and_then(|document| document.as_mapping());
    let secrets = secrets.expect("a mapping by identity").iter().map(|(identity, values)| {
        let values = values.as_mapping().expect("a mapping by key").iter();
        let values = values.map(|(key, value)| (string(key), string(value)));
        (string(identity), values.collect())
    });
    flat(&secrets.collect::<Document>())
}

#[test]
fn every_string_is_read_back_by_yaml_1_2() {
    let document = document(5_000);
    let scene = published(&document, "yaml");
    assert_same("saphyr", &saphyr(&scene.read("secrets.yaml")), &flat(&document));
}

#[test]
fn every_string_is_read_back_by_yaml_1_1() {
    let document = document(5_000);
    let scene = published(&document, "yaml");
    LIBYAML.reads("yaml file", &scene.path("secrets.yaml"), &flat(&document));
}

#[test]
fn every_string_is_read_back_by_yaml_1_1_in_python() {
    // Slow, so there are fewer.
    let document = document(500);
    let scene = published(&document, "yaml");
    PYYAML.reads("yaml file", &scene.path("secrets.yaml"), &flat(&document));
}
