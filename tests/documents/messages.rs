//! `docs/troubleshooting.md` quotes what the agent says, to the letter, and leaves nothing out.

use crate::harness::lines;
use std::collections::BTreeSet;

use segura_agent::exit::Exit;

use super::sources::{Source, sources};
use super::{Page, spans};

/// Tables whose first column holds messages are headed by this.
const HEAD: &str = "message";
/// What a fatal error begins with.
const OURS: &str = "segura-agent: ";
/// A format string with less text of its own would match anything.
const LEAST: usize = 6;

fn page() -> Page {
    Page::read("docs/troubleshooting.md")
}

/// Every message that the page quotes.
fn quoted() -> BTreeSet<String> {
    let page = page();
    let rows = page.rows(HEAD);
    rows.into_iter().flat_map(spans).map(str::to_owned).collect()
}

/// What the agent can say.
struct Said {
    all: BTreeSet<String>,
    /// Those with placeholders, and text enough of their own.
    formats: Vec<String>,
}

impl Said {
    fn of(sources: &[Source]) -> Self {
        let literals = sources.iter().flat_map(|source| &source.literals);
        let lines = literals.flat_map(|literal| literal.text.lines());
        let all: BTreeSet<String> =
            lines.map(|line| line.strip_prefix(OURS).unwrap_or(line).to_owned()).collect();
        let enough = |text: &&String| text.replace('…', "").trim().len() >= LEAST;
        let formats = all.iter().filter(|text| text.contains('…')).filter(enough).cloned();
        Self { formats: formats.collect(), all }
    }

    /// Whether this is a message of the agent, or a chain of them, each the cause of the one before.
    fn holds(&self, message: &str) -> bool {
        message == "…"
            || self.all.contains(message)
            || self.formats.iter().any(|format| self.fits(message, format))
            || message.match_indices(": ").any(|(at, _)| {
                let (first, rest) = (&message[..at], &message[at + 2..]);
                first != "…" && self.holds(first) && self.holds(rest)
            })
    }

    /// Whether a format can make this text: each placeholder is `…`, or a literal such as a verb.
    fn fits(&self, text: &str, format: &str) -> bool {
        let Some((before, after)) = format.split_once('…') else {
            return text == format;
        };
        let Some(rest) = text.strip_prefix(before) else {
            return false;
        };
        let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
        ends.skip(1).any(|end| {
            let (filled, left) = rest.split_at(end);
            (filled == "…" || self.all.contains(filled)) && self.fits(left, after)
        })
    }
}

/// Every message of a chain, alone and with those that follow.
fn links(chain: &str) -> Vec<&str> {
    let joints: Vec<usize> = chain.match_indices(": ").map(|(at, _)| at).collect();
    let starts: Vec<usize> = [0].into_iter().chain(joints.iter().map(|at| at + 2)).collect();
    let ends: Vec<usize> = joints.into_iter().chain([chain.len()]).collect();
    let from =
        |start: usize| ends.iter().filter(move |end| **end > start).map(move |end| (start, *end));
    starts.into_iter().flat_map(from).map(|(start, end)| &chain[start..end]).collect()
}

#[test]
fn every_quoted_message_is_in_the_sources() {
    let said = Said::of(&sources());
    let quoted = quoted();
    let foreign: Vec<&String> = quoted.iter().filter(|message| !said.holds(message)).collect();
    assert!(foreign.is_empty(), "nothing in src says {foreign:#?}");
    assert!(quoted.len() >= 100, "only {} are quoted", quoted.len());
}

#[test]
fn every_log_line_that_tests_wait_for_is_in_the_sources() {
    let sources = sources();
    let literals = || sources.iter().flat_map(|source| &source.literals);
    for (name, sentence) in lines::ALL {
        let found = literals().any(|literal| literal.text.contains(sentence.trim_matches('"')));
        assert!(found, "nothing in src says {name}: {sentence:?}; see tests/harness/lines.rs");
    }
    assert!(lines::ALL.len() < 40, "a state, a code or a metric is better to wait for");
}

#[test]
fn a_quote_that_is_not_in_the_sources_is_found() {
    let said = Said::of(&sources());
    assert!(said.holds("cannot log in to the vault at …: the authorization is inactive: …"));
    assert!(said.holds("cannot publish to …: it is on a disk, not on tmpfs or ramfs"));
    for message in [
        "cannot log in at …",
        "cannot log in to the vault at …: the authorization was inactive: …",
        "renewal fails",
        "cannot frobnicate …: it is on a disk, not on tmpfs or ramfs",
    ] {
        assert!(!said.holds(message), "{message}");
    }
}

/// Calls whose literals are told: the message, and not the fields beside it.
const CALLS: [&str; 5] =
    ["tracing::warn!(", "Failure::said(", "remarks.push(", "warnings.push(", "Failed::said("];
/// Files whose errors each have a row.
const ERRORS: [&str; 5] = [
    "src/os/opened.rs",
    "src/vault/error.rs",
    "src/store.rs",
    "src/render/error.rs",
    "src/model.rs",
];
/// What people run by hand tells beside its result; docs/vault.md is about that.
const BY_HAND: [&str; 7] = [
    "src/vault/documents",
    "src/commands/secret",
    "src/commands/credential.rs",
    "src/commands/deprovision.rs",
    "src/commands/doctor.rs",
    "src/commands/dry_run.rs",
    "src/render/template",
];

/// What the command line's own rules leave nobody to be told.
const NEVER: [&str; 1] = ["cannot understand the command"];

/// Texts that have to be explained.
fn complaints(sources: &[Source]) -> BTreeSet<String> {
    let mut complaints = BTreeSet::new();
    let by_hand = |source: &&Source| !BY_HAND.iter().any(|path| source.path.starts_with(path));
    for source in sources.iter().filter(by_hand) {
        for call in CALLS {
            let reported = source.within(call).into_iter().flatten();
            complaints.extend(reported.filter(|l| !source.is_field(l)).map(|l| l.text.clone()));
        }
        if ERRORS.contains(&source.path.as_str()) {
            let reported = source.within("#[error(").into_iter().flatten();
            complaints.extend(reported.map(|l| l.text.clone()));
        }
        if source.path.starts_with("src/notify/") {
            let reported = source.within("format!(").into_iter().flatten();
            complaints.extend(
                reported.map(|l| l.text.clone()).filter(|text| !text.starts_with("would ")),
            );
        }
    }
    // Names of variables, words that fill a placeholder, and hints that are a line of their own.
    complaints.retain(|text| text.contains(' ') && text.chars().any(char::is_alphabetic));
    complaints.retain(|text| !NEVER.contains(&text.as_str()));
    complaints
}

#[test]
fn every_message_of_the_agent_has_its_row() {
    let sources = sources();
    let (said, quoted, complaints) = (Said::of(&sources), quoted(), complaints(&sources));
    let reported: BTreeSet<&str> = quoted.iter().flat_map(|message| links(message)).collect();
    let is = |message: &str, text: &str| {
        let filled = message.strip_suffix(text).is_some_and(|before| before.ends_with("… "));
        filled || said.fits(message, text)
    };
    let explained = |text: &&String| reported.iter().any(|message| is(message, text));
    let missing: Vec<&String> = complaints.iter().filter(|text| !explained(text)).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md does not explain {missing:#?}");
    assert!(complaints.len() >= 90, "only {} were found", complaints.len());
}

#[test]
fn every_exit_code_has_its_section() {
    let sources = sources();
    let exit = sources.iter().find(|source| source.path == "src/exit.rs").expect("it is there");
    let (_, body) = exit.code.split_once("fn code(").expect("a function");
    let (body, _) = body.split_once("fn class(").expect("the next one");
    let fixed = body
        .lines()
        .filter_map(|line| line.split_once("=> ")?.1.trim_end_matches(',').parse().ok());
    let mut codes: BTreeSet<u8> = fixed.collect();
    assert!(codes.contains(&Exit::Refused.code()), "they are found: {codes:?}");
    // Those of the signals that end a start, and of SEGURA_CHANGE_EXIT_CODE.
    codes.extend([Exit::Signalled(2).code(), Exit::Signalled(15).code(), 75]);
    codes.remove(&Exit::Done.code());
    let page = page();
    let headings = page.headings();
    for code in codes {
        let named = |heading: &str| {
            let (numbers, _) = heading.split_once(':').unwrap_or((heading, ""));
            numbers.split(", ").any(|number| number == code.to_string())
        };
        assert!(headings.iter().any(|heading| named(heading)), "{code} has no section");
    }
}
