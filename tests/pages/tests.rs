//! What is committed is what the code makes; bash and groff can read it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use segura_agent::config::variables::VARIABLES;

use super::all;
use crate::harness::host::skip;
use crate::harness::tree;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_committed_pages_are_those_that_the_code_generates() {
    let pages = all();
    for page in &pages {
        let committed = fs::read_to_string(root().join(&page.path)).unwrap_or_default();
        assert!(
            committed == page.text,
            "{}: write it again by `cargo run --example pages`",
            page.path
        );
    }
    let made: BTreeSet<&str> = pages.iter().map(|page| page.path.as_str()).collect();
    for folder in ["man", "completions"] {
        for path in tree::files(folder) {
            assert!(made.contains(path.as_str()), "{path} is made by nothing");
        }
    }
}

#[test]
fn every_variable_has_its_line_in_the_manual() {
    let manual = fs::read_to_string(root().join("man/segura-agent.1")).unwrap();
    for variable in VARIABLES {
        assert!(manual.contains(&format!("\\fB{}\\fR", variable.name)), "{}", variable.name);
    }
}

#[test]
fn man_reads_every_page_without_a_warning() {
    if Command::new("groff").arg("--version").output().is_err() {
        skip("man_reads_every_page_without_a_warning", "there is no groff");
        return;
    }
    for page in all().iter().filter(|page| page.path.starts_with("man/")) {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(root().join(&page.path));
        let output = groff.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", page.path);
    }
}

#[test]
fn bash_completes_the_commands_and_options_of_the_command_line() {
    let script = root().join("completions/segura-agent.bash");
    let completed = |words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.arg("--norc").arg("-c").arg(
            "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
             _segura__agent segura-agent \"${COMP_WORDS[COMP_CWORD]}\" x; printf '%s\\n' \"${COMPREPLY[@]}\"",
        );
        bash.arg("bash").arg(&script).args(words);
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    if Command::new("bash").arg("--version").output().is_err() {
        skip("bash_completes_the_commands_and_options_of_the_command_line", "there is no bash");
        return;
    }
    assert_eq!(completed(&["segura-agent", "side"]), "sidecar\n");
    assert_eq!(completed(&["segura-agent", "check", "st"]), "started\n");
    assert_eq!(completed(&["segura-agent", "init", "--dry"]), "--dry-run\n");
    assert!(!completed(&["segura-agent", ""]).contains("kubernetes"), "it is for old manifests");
}
