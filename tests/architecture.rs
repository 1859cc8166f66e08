//! What `ARCHITECTURE.md` promises of the sources: who may import whom, and what is never so.

mod circles;
mod names;
mod variables;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::tree::{self, Source, agent};

/// No file of the agent grows beyond this.
const LONGEST: usize = 500;
/// Nothing happens in `main.rs` but the way in and the way out.
const LONGEST_MAIN: usize = 120;
/// One page.
const LONGEST_PAGE: usize = 100;

/// The wing that a source belongs to: the file of `src`, or the folder beside it.
fn wing(source: &Source) -> &str {
    let below = source.path.strip_prefix("src/").unwrap_or(&source.path);
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

/// What the agent is made of: without tests and comments.
fn code(source: &Source) -> String {
    let lines = source.without_tests().lines();
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The wings that the code names from the root of the crate.
fn imports(source: &Source) -> BTreeSet<String> {
    let code = code(source);
    let mut imports = BTreeSet::new();
    for root in ["crate::", "segura_agent::"] {
        for (at, _) in code.match_indices(root) {
            // `$crate`, or the end of a longer name.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c)) {
                continue;
            }
            imports.extend(first_names(&code[at + root.len()..]));
        }
    }
    imports
}

/// The names that follow `crate::`, one or several in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut depth, mut names, mut start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && c.is_alphabetic() => {
                names.push(name(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

/// Floors by wing, as the table of `ARCHITECTURE.md` has them.
fn floors() -> BTreeMap<String, u32> {
    let text = tree::text("ARCHITECTURE.md");
    let mut floors = BTreeMap::new();
    for row in text.lines() {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (Some(Ok(floor)), Some(wings)) = (cells.next().map(str::parse), cells.next()) else {
            continue;
        };
        for wing in wings.split(',').map(|wing| wing.trim().trim_matches('`')) {
            let before = floors.insert(wing.trim_end_matches('/').to_owned(), floor);
            assert_eq!(before, None, "{wing} is twice in the table");
        }
    }
    floors
}

#[test]
fn every_file_belongs_to_a_wing_of_the_table() {
    let wings: BTreeSet<String> = agent().iter().map(|source| wing(source).to_owned()).collect();
    let placed: BTreeSet<String> = floors().into_keys().collect();
    let lib = BTreeSet::from(["lib".to_owned()]);
    assert_eq!(wings.difference(&lib).cloned().collect::<BTreeSet<_>>(), placed);
}

#[test]
fn imports_point_down_only() {
    let floors = floors();
    let mut arrows = circles::between_wings(&agent());
    let main = agent().into_iter().find(|source| wing(source) == "main").expect("it is there");
    arrows.insert("main".to_owned(), imports(&main));
    let mut wrong = Vec::new();
    for (wing, heads) in &arrows {
        for head in heads {
            if floors.get(head).is_none_or(|floor| *floor >= floors[wing]) {
                wrong.push(format!("{wing} imports {head}"));
            }
        }
    }
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(arrows.len() > 10 && count > 50, "arrows are found: {arrows:?}");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn imports_are_found_in_every_spelling() {
    let text = "//! Head: crate::comment.\nuse crate::one::{A, B};\nuse crate::{two::{C, c}, three};\n\
                fn f() { crate::four::g(); segura_agent::five::h(); other_crate::six(); }\n\
                #[cfg(test)]\nmod tests { use crate::seven; }\n";
    let source = Source { path: "src/a/b.rs".to_owned(), text: text.to_owned() };
    let found: Vec<String> = imports(&source).into_iter().collect();
    assert_eq!(found, ["five", "four", "one", "three", "two"]);
    assert_eq!(wing(&source), "a");
}

/// Asserts that only some files of the agent hold any of `words`, and that those still do.
#[track_caller]
fn assert_only(words: &[&str], may: impl Fn(&Source) -> bool) {
    let sources = agent();
    for word in words {
        let (known, others): (Vec<_>, Vec<_>) =
            sources.iter().filter(|source| code(source).contains(word)).partition(|s| may(s));
        let others: Vec<&str> = others.into_iter().map(|source| source.path.as_str()).collect();
        assert_eq!(others, Vec::<&str>::new(), "{word}");
        assert!(!known.is_empty(), "{word} is nowhere: the test looks for what is gone");
    }
}

/// Asserts that some files of the agent hold none of `words`.
#[track_caller]
fn assert_none(words: &[&str], whose: impl Fn(&Source) -> bool) {
    let sources: Vec<Source> = agent().into_iter().filter(whose).collect();
    assert!(!sources.is_empty());
    for source in &sources {
        let code = code(source);
        let held: Vec<&&str> = words.iter().filter(|word| code.contains(**word)).collect();
        assert!(held.is_empty(), "{}: {held:?}", source.path);
    }
}

#[test]
fn only_main_reads_the_environment() {
    assert_only(&["std::env::vars_os", "std::env::args_os"], |source| wing(source) == "main");
    assert_none(&["std::env", "option_env!"], |source| wing(source) != "main");
    for source in agent().iter().filter(|source| wing(source) != "main") {
        let code = code(source);
        let mut grouped = code.lines().filter(|line| line.starts_with("use std::{"));
        assert!(grouped.all(|line| !line.contains("env")), "{}", source.path);
    }
}

#[test]
fn only_the_wire_knows_the_json_of_the_vault() {
    let names = [
        "\"access_token\"",
        "\"expires_in\"",
        "\"response\"",
        "\"mensagem\"",
        "\"erro\"",
        "\"cod_erro\"",
        "\"error_code\"",
        "\"error_description\"",
        "\"exception\"",
        "\"identificador\"",
        "\"secret_id\"",
        "\"secret_name\"",
        "\"expiration_date\"",
        "\"renew_cloud_time\"",
        "\"renew_credential_time\"",
    ];
    let knows = ["src/vault/wire", "src/vault/documents"];
    assert_only(&names, |source| knows.iter().any(|path| source.path.starts_with(path)));
}

/// Files and folders that decide, and do nothing.
const PURE: [&str; 6] = [
    "src/render",
    "src/lifecycle/schedule",
    "src/store/state.rs",
    "src/supervise/policy",
    "src/probes.rs",
    "src/probes/metrics.rs",
];

/// Whether a source is one of these files, or in one of these folders.
fn is_below(source: &Source, paths: &[&str]) -> bool {
    paths.iter().any(|path| {
        let rest = source.path.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    })
}

#[test]
fn pure_parts_do_no_io() {
    let effects = [
        "std::fs",
        "std::net",
        "std::process",
        "std::os",
        "tokio::",
        "rustix::",
        "nix::",
        "reqwest::",
        "tracing::",
        "clock::",
        "println!",
    ];
    assert_none(&effects, |source| is_below(source, &PURE));
    let effects = ["std::fs", "TcpStream", "tokio::", "rustix::", "nix::", "tracing::", "clock::"];
    assert_none(&effects, |source| is_below(source, &["src/config"]));
}

#[test]
fn each_edge_is_used_in_its_own_files() {
    assert_only(&["backoff::"], |source| is_below(source, &["src/lifecycle/schedule"]));
    assert_only(&["SystemTime::now", "ClockId::Boottime"], |source| {
        source.path == "src/os/clock.rs"
    });
    assert_only(&["reqwest::"], |source| wing(source) == "vault");
    assert_only(&["hickory_resolver"], |source| source.path == "src/vault/resolve.rs");
    assert_only(&["landlock::"], |source| source.path == "src/os/sandbox.rs");
    assert_only(&["envy::"], |source| source.path == "src/config/raw.rs");
    assert_only(&["flock(", "renameat(", "symlinkat("], |source| wing(source) == "store");
    assert_none(&["eprintln!", "println!", "dbg!"], |_| true);
    // Each of them escapes hidden characters.
    assert_only(&["std::io::stdout()"], |source| source.path == "src/commands/runtime.rs");
    let writes = ["src/commands/runtime.rs", "src/commands/secret/put.rs"];
    assert_only(&["std::io::stderr()"], |source| writes.contains(&source.path.as_str()));
    assert_none(&["thread::spawn", "spawn_blocking", "tokio::spawn"], |_| true);
}

#[test]
fn lifecycle_and_notify_get_their_edges_as_values() {
    let reached = ["clock::boot", "clock::wall", "clock::until", "Rng::new", "Watch::", "Client::"];
    assert_none(&reached, |source| wing(source) == "lifecycle");
    let reached =
        ["clock::boot", "clock::wall", "PidNamespace", "Handle::", "Reaper", "process::own"];
    assert_none(&reached, |source| wing(source) == "notify");
}

#[test]
fn paths_below_the_directory_are_opened_by_descriptor_alone() {
    let by_path = [
        "std::fs::read",
        "std::fs::write",
        "std::fs::create",
        "std::fs::remove",
        "std::fs::rename",
        "File::open",
        "File::create",
        "OpenOptions",
    ];
    assert_none(&by_path, |source| wing(source) == "store");
    assert_only(&["openat("], |source| {
        ["src/store/dir.rs", "src/os/opened.rs"].contains(&source.path.as_str())
    });
}

#[test]
fn files_that_others_may_have_made_are_opened_in_one_place() {
    // The kernel's own files, the agent's own binary, and what a person names on the command line.
    let may = ["src/os/process", "src/commands/install.rs", "src/commands/secret/documents.rs"];
    let by_path = ["File::open", "OpenOptions", "fs::read("];
    assert_only(&by_path, |source| may.iter().any(|path| source.path.starts_with(path)));
    let kernels = ["src/os/process", "src/os/swap.rs"];
    assert_none(&["read_to_string(", "from_system("], |source| {
        !kernels.iter().any(|path| source.path.starts_with(path))
    });
}

#[test]
fn every_file_begins_with_its_purpose_and_has_at_most_500_lines() {
    for source in tree::sources("src").iter().chain(&tree::sources("tests")) {
        let only_tests = source.path.ends_with("/tests.rs");
        let opens = source.text.starts_with("//! ");
        assert!(opens || only_tests, "{} opens with what it owns", source.path);
    }
    for source in agent() {
        let lines = source.text.lines().count();
        let longest = if wing(&source) == "main" { LONGEST_MAIN } else { LONGEST };
        assert!(lines <= longest, "{} has {lines} lines", source.path);
    }
}

#[test]
fn the_map_is_one_page() {
    let map = tree::text("ARCHITECTURE.md");
    assert!(map.lines().count() <= LONGEST_PAGE, "{} lines", map.lines().count());
}

#[test]
fn no_todo_is_left_and_only_slow_tests_are_ignored() {
    // Spelled so that this file holds none of them.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["to", "do!("]];
    for source in tree::sources("src").iter().chain(&tree::sources("tests")) {
        for word in words.map(|halves| halves.concat()) {
            assert!(!source.text.contains(&word), "{}: {word}", source.path);
        }
        // Only time excuses a test from every run.
        for (at, word) in source.text.match_indices("#[ignore") {
            let reason = &source.text[at + word.len()..];
            assert!(
                reason.starts_with(" = \"takes ") || reason.starts_with("\")"),
                "{}",
                source.path
            );
        }
    }
}

#[test]
fn no_secret_can_be_shown_compared_or_copied() {
    let secret = agent().into_iter().find(|source| source.path == "src/secret.rs").unwrap();
    let code = code(&secret);
    for ability in ["Display for", "Clone", "PartialEq", "Serialize for", "Deref", "AsRef"] {
        assert!(!code.contains(ability), "{ability}");
    }
    assert!(code.contains("fn drop"));
}
