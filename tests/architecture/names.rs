//! A type's name says which type is meant: one name, one type.

use std::collections::BTreeMap;

use super::{Source, agent, code};

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
        for name in defined(&code(source)) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts.into_iter().filter(|(_, count)| *count > 1).collect()
}

#[test]
fn no_name_is_given_to_two_types() {
    let sources = agent();
    let all = sources.iter().map(|source| defined(&code(source)).len()).sum::<usize>();
    assert!(all > 250, "types are found: {all}");
    assert_eq!(shared(&sources), [], "name them otherwise");
}

#[test]
fn types_are_found_in_every_spelling() {
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
