//! Every block by the parser of its own language, whether a reader takes it or not.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a block that is not as it should be fails the test"
)]

use std::fs;
use std::path::Path;

use saphyr::{LoadableYamlNode, Yaml};

use super::blocks::{self, Block};
use super::pod::{folder, found};
use crate::harness::Run;
use crate::harness::host::{bounded, skip};

/// Parses a Java file without looking for what it imports.
const JAVA: &str = r#"
import com.sun.source.util.JavacTask;
import javax.tools.*;
import java.util.List;

class Parse {
    public static void main(String[] args) throws Exception {
        var compiler = ToolProvider.getSystemJavaCompiler();
        var found = new DiagnosticCollector<JavaFileObject>();
        var files = compiler.getStandardFileManager(found, null, null).getJavaFileObjects(args[0]);
        ((JavacTask) compiler.getTask(null, null, found, null, null, files)).parse();
        found.getDiagnostics().forEach(System.err::println);
        System.exit(found.getDiagnostics().isEmpty() ? 0 : 1);
    }
}
"#;

#[test]
fn every_block_is_understood_by_its_languages_parser() {
    let dir = folder();
    fs::write(dir.path().join("Parse.java"), JAVA).unwrap();
    for block in blocks::blocks() {
        let name = block.id.replace('/', "-");
        let file = dir.path().join(&name);
        fs::write(&file, &block.text).unwrap();
        match block.language.as_str() {
            "yaml" => yaml(&block),
            "csharp" | "nginx" | "jinja" | "go-template" => balanced(&block),
            "js" => parse(&block, &["node", "--check"], &file),
            "python" => parse(&block, &["python3", "-c", PYTHON], &file),
            "go" => formatted(&block, &file),
            "java" => {
                let parser = dir.path().join("Parse.java").display().to_string();
                parse(&block, &["java", &parser], &file);
            }
            "sh" => parse(&block, &["sh", "-n"], &file),
            other => panic!("{}: nothing here understands {other:?}", block.place),
        }
    }
}

const PYTHON: &str = "import ast, sys; ast.parse(open(sys.argv[1], encoding='utf-8').read())";

/// All values of `env` are strings, as Kubernetes wants them.
fn yaml(block: &Block) {
    let documents = Yaml::load_from_str(&block.text);
    let documents = documents.unwrap_or_else(|error| panic!("{}: {error}", block.place));
    assert_eq!(documents.len(), 1, "{}", block.place);
    assert!(documents[0].as_mapping().is_some(), "{}: no mapping", block.place);
    if documents[0].contains_mapping_key("env") {
        blocks::env(&block.id);
    }
}

/// What its reader alone understands: nginx and the agent do so in tests of their own, .NET nowhere.
fn balanced(block: &Block) {
    let mut open = Vec::new();
    for character in block.text.chars() {
        match character {
            '(' | '[' | '{' => open.push(character),
            ')' | ']' | '}' => {
                let expected = match character {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                assert_eq!(open.pop(), Some(expected), "{}: a stray {character}", block.place);
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{}: {open:?} stays open", block.place);
    assert_eq!(block.text.matches('"').count() % 2, 0, "{}: a stray quote", block.place);
}

fn parse(block: &Block, program: &[&str], file: &Path) {
    // Not every Java compiles what it runs.
    let needed = if program[0] == "java" { "javac" } else { program[0] };
    if found(needed).is_none() {
        skip(&format!("the syntax of {}", block.id), &format!("there is no {needed}"));
        return;
    }
    let run = Run::of(bounded(program).arg(file).output().expect("timeout(1) is there"));
    assert_eq!(run.code, Some(0), "{}: {}", block.place, run.stderr);
}

/// gofmt parses, and would change nothing.
fn formatted(block: &Block, file: &Path) {
    let Some(gofmt) = found("gofmt") else {
        skip(&format!("the syntax of {}", block.id), "there is no gofmt");
        return;
    };
    let run =
        Run::of(bounded(&[&gofmt, "-e", "-d"]).arg(file).output().expect("timeout(1) is there"));
    assert_eq!(run.code, Some(0), "{}: {}", block.place, run.stderr);
    assert_eq!(run.stdout, "", "{}", block.place);
}
