//! No files of a unit import each other in a circle.
//!
//! A file and the files in its folder are one here: what a file takes from the one above it, or that
//! one from it, is no arrow. All else is an arrow between the two neighbours, in the folder that both
//! share, that the files belong to. A name that the file above only passes on counts as taken from
//! where it is defined.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, agent, code};

/// The place of a file: `src/store/look.rs` is `store`, `look`.
type Module = Vec<String>;

/// Folders, and for each the arrows between neighbours in it.
type Arrows = BTreeMap<Module, BTreeMap<String, BTreeSet<String>>>;

/// A path that code spells, and the name that it is known by there.
struct Spelled<'a> {
    parts: Vec<&'a str>,
    name: &'a str,
}

/// Reads the tree of paths that `text` begins with, and gives back what follows.
fn tree<'a>(text: &'a str, above: &[&'a str], found: &mut Vec<Spelled<'a>>) -> &'a str {
    let mut parts = above.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            let mut inside = group.trim_start();
            loop {
                if let Some(after) = inside.strip_prefix('}') {
                    return after;
                }
                let after = tree(inside, &parts, found).trim_start();
                let next = after.strip_prefix(',').unwrap_or(after).trim_start();
                assert!(next.len() < inside.len(), "a group that can't be read: {group}");
                inside = next;
            }
        }
        let (part, after) = rest.split_at(word(rest));
        if part.is_empty() {
            break;
        }
        parts.push(part);
        rest = after;
        match after.strip_prefix("::") {
            Some(deeper) => rest = deeper,
            None => break,
        }
    }
    // `{self}` in a group is what stands before the group.
    if parts.len() > 1 {
        parts.pop_if(|last| *last == "self");
    }
    let mut name = parts.last().copied().unwrap_or_default();
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        let (new, after) = renamed.split_at(word(renamed));
        (name, rest) = (new, after);
    }
    if !parts.is_empty() {
        found.push(Spelled { parts, name });
    }
    rest.strip_prefix('*').unwrap_or(rest)
}

/// The length of the word that `text` begins with.
fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// The paths from `crate`, `super` and `self` that code spells anywhere.
fn rooted(code: &str) -> Vec<Spelled<'_>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            // `$crate`, a later part of a path, or the end of a longer name.
            if !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c)) {
                tree(&code[at..], &[], &mut found);
            }
        }
    }
    found
}

/// The paths of a file's `use` declarations.
fn used(code: &str) -> Vec<Spelled<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let declared = line.strip_prefix("pub").map_or(line, |rest| {
            let visible = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
            visible.map_or(rest, |(_, rest)| rest).trim_start()
        });
        if let Some(rest) = declared.strip_prefix("use ") {
            tree(&code[start + line.len() - rest.len()..], &[], &mut found);
        }
        start += line.len();
    }
    found
}

/// Files by their place, without tests and comments.
struct Files(BTreeMap<Module, String>);

impl Files {
    fn of(sources: &[Source]) -> Self {
        let module = |source: &Source| -> Option<Module> {
            let below = source.path.strip_prefix("src/")?.strip_suffix(".rs")?;
            let module = below.split('/').map(str::to_owned).collect();
            (!["main", "lib"].contains(&below)).then_some(module)
        };
        Self(sources.iter().filter_map(|s| Some((module(s)?, code(s)))).collect())
    }

    /// A path from the root of the crate, as code in `from` means it.
    fn absolute(&self, from: &Module, parts: &[&str]) -> Option<Module> {
        let owned = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        let (first, mut rest) = parts.split_first()?;
        let mut base = from.clone();
        match *first {
            "crate" => return Some(owned(rest)),
            "self" => {}
            "super" => {
                base.pop()?;
            }
            child => {
                base.push(child.to_owned());
                if !self.0.contains_key(&base) {
                    return None;
                }
            }
        }
        while let Some(("super", deeper)) = rest.split_first().map(|(one, rest)| (*one, rest)) {
            base.pop()?;
            rest = deeper;
        }
        base.extend(owned(rest) as Module);
        Some(base)
    }

    /// The file that defines what a path from the root names.
    fn home(&self, mut path: Module) -> Option<Module> {
        // As often as a name may be passed on.
        for _ in 0..8 {
            let (module, beyond, code) = (1..=path.len()).rev().find_map(|length| {
                let (module, beyond) = path.split_at(length);
                Some((module.to_vec(), beyond, self.0.get(module)?))
            })?;
            let passed_on = beyond.split_first().and_then(|(name, beyond)| {
                let spelled = used(code).into_iter().find(|spelled| spelled.name == name)?;
                let mut path = self.absolute(&module, &spelled.parts)?;
                path.extend(beyond.iter().cloned());
                Some(path)
            });
            match passed_on {
                Some(next) => path = next,
                None => return Some(module),
            }
        }
        None
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (from, code) in &self.0 {
            let spelled = rooted(code).into_iter().chain(used(code));
            let absolute = spelled.filter_map(|spelled| self.absolute(from, &spelled.parts));
            for to in absolute.filter_map(|path| self.home(path)) {
                let both = from.iter().zip(&to).take_while(|(one, other)| one == other);
                let shared: Module = both.map(|(one, _)| one.clone()).collect();
                if let (Some(tail), Some(head)) = (from.get(shared.len()), to.get(shared.len())) {
                    let folder = arrows.entry(shared).or_default();
                    folder.entry(tail.clone()).or_default().insert(head.clone());
                }
            }
        }
        arrows
    }

    /// One circle of each folder that has any.
    fn circles(&self) -> Vec<String> {
        let mut circles = Vec::new();
        for (folder, mut arrows) in self.arrows() {
            // Those that lead nowhere are in no circle, and then those that lead only to them.
            loop {
                let left: BTreeSet<String> = arrows.keys().cloned().collect();
                arrows.values_mut().for_each(|heads| heads.retain(|head| left.contains(head)));
                arrows.retain(|_, heads| !heads.is_empty());
                if arrows.len() == left.len() {
                    break;
                }
            }
            let Some((mut at, _)) = arrows.first_key_value() else { continue };
            let mut walked: Vec<&str> = Vec::new();
            while !walked.contains(&at.as_str()) {
                walked.push(at);
                at = arrows.get(at).and_then(BTreeSet::first).expect("each leads somewhere");
            }
            let circle = walked.into_iter().skip_while(|name| name != at);
            let circle: Vec<&str> = circle.chain([at.as_str()]).collect();
            circles.push(format!("{}: {}", folder.join("/"), circle.join(" -> ")));
        }
        circles
    }
}

/// The arrows between the wings, from everything that their files import.
pub(super) fn between_wings(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    Files::of(sources).arrows().remove(&Module::new()).unwrap_or_default()
}

#[test]
fn no_files_of_a_unit_import_each_other_in_a_circle() {
    let files = Files::of(&agent());
    let arrows = files.arrows();
    let count = |unit: &str| arrows[&vec![unit.to_owned()]].values().map(BTreeSet::len).sum();
    let (config, store): (usize, usize) = (count("config"), count("store"));
    assert!(config > 10 && store > 20, "arrows are found: {config}, {store}");
    assert_eq!(files.circles(), Vec::<String>::new());
}

/// The circles of files given by path and text.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let source = |(path, text): &(&str, &str)| Source {
        path: format!("src/{path}.rs"),
        text: (*text).to_owned(),
    };
    Files::of(&files.iter().map(source).collect::<Vec<_>>()).circles()
}

#[test]
fn a_circle_is_found_in_every_spelling() {
    let a_to_b = ("u/a", "use super::{C, b::{self, B as Other}};\n");
    for back in [
        "use super::a;\n",
        "use super::a::A;\n",
        "pub(super) use super::{\n    b,\n    a::{A, other::Deeper},\n};\n",
        "use crate::u::a::A;\n",
        "use crate::{other, u::{C, a}};\n",
        "fn f() { super::a::g::<u8>(); }\n",
        "fn f(x: crate::u::a::A) {}\n",
        // The file above passes it on, under another name as well.
        "use super::Passed;\n",
        "use crate::u::{Renamed as Again};\n",
    ] {
        let above = "mod a;\npub use a::{A as Renamed, Passed};\npub struct C;\n";
        let found = circles(&[("u", above), a_to_b, ("u/b", back)]);
        assert_eq!(found, ["u: a -> b -> a"], "{back}");
    }
    let three = [
        ("u", ""),
        ("u/a", "use super::b::B;\n"),
        ("u/b", "use super::c::C;\n"),
        ("u/c", "use super::a::A;\n"),
    ];
    assert_eq!(circles(&three), ["u: a -> b -> c -> a"]);
    let folders = [
        ("u/a", "mod deep;\n"),
        ("u/a/deep", "use super::super::b::other;\n"),
        ("u/b", "mod other;\n"),
        ("u/b/other", "use crate::u::a::A;\n"),
    ];
    assert_eq!(circles(&folders), ["u: a -> b -> a"], "a file belongs to the one above it");
    assert_eq!(circles(&[("a", "use crate::b;\n"), ("b", "use crate::a;\n")]).len(), 1);
}

#[test]
fn imports_without_a_circle_show_none() {
    let above = "mod a;\nmod b;\npub use a::A;\npub use b::B;\nuse std::fmt;\npub struct C;\n";
    for b in [
        "use super::{C, fmt};\n",
        "//! Like super::a.\nfn f() {}\n",
        "fn f() {}\n#[cfg(test)]\nmod tests { use super::super::a; }\n",
        "use std::super_::a;\nuse x::crate_::a;\n",
        "use super::a_longer;\n",
    ] {
        let found = circles(&[("u", above), ("u/a", "use super::{B, C};\n"), ("u/b", b)]);
        assert_eq!(found, Vec::<String>::new(), "{b}");
    }
}
