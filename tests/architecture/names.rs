//! A type's name says which type is meant: one name, one type.

use std::collections::BTreeMap;

use super::{Source, agent};

/// Names that several types still have, and how many types. A type that gets a name of its own
/// shortens the list; nothing is added to it.
const SHARED: &[(&str, usize)] = &[
    // An answer of the probes; one of the vault.
    ("Answer", 2),
    // A rotation between two reads; a restart or end of the command; a change of a planned file.
    ("Change", 3),
    // The claims of a service account's token; the paths that outputs claim.
    ("Claims", 2),
    // A command of the command line; the command of `exec`; the one that notifies.
    ("Command", 3),
    // The end of a child; the effect of a request.
    ("Fate", 2),
    // Templates of the directory; the kind of thing under a name.
    ("Found", 2),
    // The environment's word on the pod; a document's file.
    ("Given", 2),
    // How children are waited for; a kind of JSON value; a kind of document field.
    ("Kind", 3),
    // A line of `secret apply`; one of the log; a straight line through changes.
    ("Line", 3),
    // What renewal knows of a secret; a set that is published in memory.
    ("Memory", 2),
    // A secret as templates see it; mode, owner and size of a planned file.
    ("Meta", 2),
    // After a failure; after a group has ended.
    ("Next", 2),
    // A folder on the way through a generation; an open list or map of a document.
    ("Open", 2),
    // Where published sets are read; what an output directory is to its visitor.
    ("Place", 2),
    // A fault of settings; one of documents.
    ("Problem", 2),
    // Warnings of the environment; an error text of the vault.
    ("Said", 2),
    // A read of a secret's freshness; the generation of another agent's directory.
    ("Seen", 2),
    // A set as the start leaves it to renewal; as readers get it.
    ("Set", 2),
    // A value on the command line; a table of secrets.
    ("Shown", 2),
    // The start of a process; that of a mode.
    ("Start", 2),
    // A token between clients; a token's answer.
    ("Token", 2),
    // Of the doctor, the probes, the envelope, the rotation.
    ("Verdict", 4),
    // An answer to a write; an entry in the bundle; a writing of a PID file.
    ("Written", 3),
];

/// The names of the types that code defines, in order; associated types are none.
fn defined(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in code.lines() {
        let indented = line.starts_with(' ');
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        let (Some(kind), Some(rest)) = (words.next(), words.next()) else { continue };
        if ["struct", "enum", "trait"].contains(&kind) || (kind == "type" && !indented) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            names.push(&rest[..end.unwrap_or(rest.len())]);
        }
    }
    names
}

fn shared(sources: &[Source]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources {
        for name in defined(&source.code()) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts.into_iter().filter(|(_, count)| *count > 1).collect()
}

#[test]
fn no_name_is_given_to_two_types() {
    let sources = agent();
    let all = sources.iter().map(|source| defined(&source.code()).len()).sum::<usize>();
    assert!(all > 250, "types are found: {all}");
    let known: Vec<(String, usize)> =
        SHARED.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let found = shared(&sources);
    let new: Vec<_> = found.iter().filter(|name| !known.contains(name)).collect();
    assert!(new.is_empty(), "name them otherwise: {new:?}");
    let gone: Vec<_> = known.iter().filter(|name| !found.contains(name)).collect();
    assert!(gone.is_empty(), "take them from the list: {gone:?}");
}

#[test]
fn types_are_found_however_they_are_written() {
    let code = "struct A;\npub struct B(u8);\npub(super) enum C { D }\npub(crate) trait E: F {}\n\
                type G<'a> = &'a A;\nimpl H for I {\n    type J = A;\n}\nfn f() {\n    struct K<'a>(&'a A);\n}\n\
                // struct L;\nuse m::N as O;\n";
    assert_eq!(defined(code), ["A", "B", "C", "E", "G", "K"]);
    let source = |text: &str| Source { path: "src/a.rs".to_owned(), text: text.to_owned() };
    let tests = "struct P;\n#[cfg(test)]\nmod tests {\n    struct P;\n}\n";
    assert_eq!(shared(&[source(tests)]), []);
    let twice = [source("enum P {}\n"), source("pub(super) struct P;\n")];
    assert_eq!(shared(&twice), [("P".to_owned(), 2)]);
}
