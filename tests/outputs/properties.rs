//! The `.properties` file, read back by a parser of its own and, where there is one, by Java's.

use std::fs;

use super::json::{document, joined, published};
use super::readers::{PROPERTIES, pairs};
use super::values::{Values, assert_same};
use crate::harness::host::{bounded, skip};

/// Reads the file as bytes and as UTF-8 text, which Java takes in two ways.
const JAVA: &str = r#"
import java.io.*; import java.nio.charset.StandardCharsets; import java.util.*;
public class Read {
    public static void main(String[] args) throws Exception {
        var bytes = new Properties(); var text = new Properties();
        try (var in = new FileInputStream(args[0])) { bytes.load(in); }
        try (var in = new FileReader(args[0], StandardCharsets.UTF_8)) { text.load(in); }
        if (!bytes.equals(text)) throw new IllegalStateException("the encoding matters");
        var out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (var name : bytes.stringPropertyNames())
            out.print(name + "\0" + bytes.getProperty(name) + "\0");
        out.flush();
    }
}
"#;

#[test]
fn every_string_is_read_back_by_a_parser_of_properties() {
    let mut document = document(5_000);
    // This parser knows no surrogate pairs; the others do.
    let beyond = |text: &str| text.chars().any(|character| u32::from(character) > 0xffff);
    document.retain(|identity, _| !beyond(identity));
    for values in document.values_mut() {
        values.retain(|key, value| !beyond(key) && !beyond(value));
    }
    let scene = published(&document, "properties");
    let file = fs::File::open(scene.path("secrets.properties")).unwrap();
    let read: Values = java_properties::read(file).unwrap().into_iter().collect();
    assert_same("java-properties", &read, &joined(&document, "."));
}

#[test]
fn every_string_is_read_back_by_python() {
    let document = document(5_000);
    let scene = published(&document, "properties");
    let file = scene.path("secrets.properties");
    PROPERTIES.reads("properties file", &file, &joined(&document, "."));
}

#[test]
fn every_string_is_read_back_by_java() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("Read.java");
    fs::write(&source, JAVA).unwrap();
    let document = document(5_000);
    let scene = published(&document, "properties");
    let mut java = bounded(&["java"]);
    let output = java.arg(&source).arg(scene.path("secrets.properties")).output().unwrap();
    if output.status.code() == Some(127) {
        return skip("properties file", "there is no Java");
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_same("java", &pairs("java", &output.stdout), &joined(&document, "."));
}
