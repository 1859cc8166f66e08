//! The lines of a put: results for scripts, warnings and a summary for people. Pure.

use std::collections::VecDeque;

use crate::exit::{Exit, Failure};
use crate::logging::escape::one_line;
use crate::os::signal::Signal;
use crate::vault::documents::{DataShape, Flawed, Request, StatedPeriod};
use crate::vault::wire::Period;
use crate::vault::{StoredSecret, Written};

/// The extent of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutScope {
    /// The document is the whole secret.
    Whole,
    /// The document changes what it names.
    Merge,
}

/// The secret that a put replaces.
#[derive(Debug)]
pub(super) enum Before {
    /// The put replaces nothing that matters: it is one of a credential, whose fields stay.
    Unneeded,
    /// There is no such secret.
    New,
    /// This secret.
    Stored(StoredSecret),
    /// It can't be read, for this reason.
    Unknown(String),
}

/// Keys that a put removes, and the periods of renewal that it switches off.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    keys: Vec<String>,
    off: Vec<(&'static str, Period)>,
}

impl Loss {
    /// The loss that a request will bring.
    pub(super) fn expected(before: &Before, request: &Request) -> Self {
        let Before::Stored(stored) = before else { return Self::default() };
        let is_gone = |key: &&String| !request.keys.contains(key);
        let keys = stored.keys.iter().filter(is_gone).filter(|_| request.has_data());
        let is_off = |name| request.periods.get(name).is_none_or(|s| *s != StatedPeriod::On);
        Self { keys: keys.cloned().collect(), off: switched(stored, is_off) }
    }

    /// The loss that a request has brought, by the vault's answer as far as that says it.
    pub(super) fn brought(before: &Before, request: &Request, written: &Written) -> Self {
        let expected = Self::expected(before, request);
        let Before::Stored(stored) = before else { return expected };
        let keys = written.keys.as_ref().map_or(expected.keys, |keys| {
            stored.keys.iter().filter(|key| !keys.contains(key)).cloned().collect()
        });
        let expects = |name| expected.off.iter().any(|(off, _)| *off == name);
        let is_off =
            |name| written.periods.get(name).map_or_else(|| expects(name), |p| *p == Period::Off);
        Self { keys, off: switched(stored, is_off) }
    }
}

/// The stored periods that are on, of those that `is_off` names.
fn switched(
    stored: &StoredSecret,
    is_off: impl Fn(&'static str) -> bool,
) -> Vec<(&'static str, Period)> {
    let on = stored.periods.iter().filter(|(_, period)| **period != Period::Off);
    on.map(|(name, period)| (*name, *period)).filter(|(name, _)| is_off(name)).collect()
}

/// The place of a document, for messages: its number, counted from 1, and its name.
pub(super) fn place(number: usize, name: &str) -> String {
    format!("document {number}, {}", one_line(name))
}

/// The warning before a put that loses something, or may.
pub(super) fn notice(
    before: &Before,
    request: &Request,
    scope: PutScope,
    place: &str,
) -> Option<String> {
    match before {
        Before::Unneeded => None,
        Before::New if !request.has_data() => Some(format!(
            "warning: {place}: the vault has no such secret, and the document has no data for it"
        )),
        Before::New if scope == PutScope::Merge => {
            Some(format!("note: {place}: the vault lists no such secret to merge into: it is new"))
        }
        Before::New => None,
        Before::Stored(stored) => {
            let loss = Loss::expected(before, request);
            let mut parts = Vec::new();
            if !loss.keys.is_empty() {
                // DSM's page shows keys that a document by kind has left in place.
                let removes =
                    if request.shape == DataShape::ByKind { "may remove" } else { "removes" };
                parts.push(format!("{removes} the keys {}", one_line(&loss.keys.join(", "))));
            }
            if !loss.off.is_empty() {
                let off: Vec<String> = loss.off.iter().map(period).collect();
                parts.push(format!("switches off {}", off.join(", ")));
            }
            let mut hidden = request.unstated();
            hidden.retain(|name| !stored.periods.contains_key(name));
            if !hidden.is_empty() {
                let hidden = hidden.join(", ");
                parts.push(format!("switches off {hidden}, which the vault does not show"));
            }
            let version = if stored.version.is_empty() { "-" } else { &stored.version };
            let lost = parts.join(" and ");
            let said = !parts.is_empty();
            said.then(|| {
                format!("warning: {place}: this put {lost} (version {})", one_line(version))
            })
        }
        Before::Unknown(why) if scope == PutScope::Merge => {
            Some(format!("note: {place}: what --merge keeps is not known: {}", one_line(why)))
        }
        Before::Unknown(why) => {
            let mut parts = Vec::new();
            if request.has_data() {
                parts.push("removes each key that the document does not name".to_owned());
            }
            let unstated = request.unstated();
            if !unstated.is_empty() {
                parts.push(format!("switches off {}", unstated.join(", ")));
            }
            let lost = parts.join(" and ");
            let said = !parts.is_empty();
            said.then(|| {
                format!(
                    "note: {place}: this put {lost}; what the vault stores of them is not known: {}",
                    one_line(why)
                )
            })
        }
    }
}

fn period((name, period): &(&'static str, Period)) -> String {
    match period {
        Period::Minutes(minutes) => format!("{name} ({minutes} minutes)"),
        Period::On | Period::Off => (*name).to_owned(),
    }
}

/// Formats `written  NAME  id=…  version=…  keys=…  replaced=…  off=…`; words and order are stable.
pub(super) fn line(became: &str, written: &Written, request: &Request, loss: &Loss) -> String {
    let mut line = format!("{became:<7}  {}", one_line(&request.name));
    let mut add = |key: &str, value: &str| line += &format!("  {key}={}", one_line(value));
    if !written.id.is_empty() {
        add("id", &written.id);
    }
    if let Some(version) = &written.version {
        add("version", version);
    }
    if let Some(identifier) = &written.identifier {
        add("identifier", identifier);
    }
    let keys = written.keys.as_ref().unwrap_or(&request.keys);
    if !keys.is_empty() {
        add("keys", &keys.join(","));
    }
    if !loss.keys.is_empty() {
        add("replaced", &loss.keys.join(","));
    }
    if !loss.off.is_empty() {
        let off: Vec<&str> = loss.off.iter().map(|(name, _)| *name).collect();
        add("off", &off.join(","));
    }
    line
}

/// Makes a failure of the problems of the document of this number.
pub(super) fn invalid(number: usize, flawed: &Flawed) -> Failure {
    let name = flawed.name.as_ref().map(|name| format!(", {},", one_line(name)));
    let name = name.unwrap_or_default();
    Failure::said(Exit::Settings, format!("document {number}{name} is invalid"))
        .listing(&flawed.problems)
}

/// The documents that are done and those that are left, for the summary and for a signal.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The names of those that are written or, in a dry run, valid.
    done: Vec<String>,
    /// The number of those that failed.
    failed: usize,
    /// The name of the one that is being sent.
    sending: Option<String>,
    /// The names of the others, in order.
    left: VecDeque<String>,
}

impl Progress {
    /// Begins with the names of all documents, in order.
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { left: names.into(), ..Self::default() }
    }

    /// Records that the next document is being sent.
    pub(super) fn sends(&mut self) {
        self.sending = self.left.pop_front();
    }

    /// Records that the document has succeeded.
    pub(super) fn succeeded(&mut self) {
        let name = self.take();
        self.done.push(name);
    }

    /// Records that the document has failed; gives its name.
    pub(super) fn failed(&mut self) -> String {
        self.failed += 1;
        self.take()
    }

    fn take(&mut self) -> String {
        self.sending.take().or_else(|| self.left.pop_front()).unwrap_or_default()
    }

    /// The names of the documents that have no result yet.
    pub(super) fn open(&self) -> impl Iterator<Item = &String> {
        self.sending.iter().chain(&self.left)
    }

    /// Formats `2 written, 1 failed`; none for a single document, whose line says it.
    pub(super) fn summary(&self, became: &str) -> Option<String> {
        let done = self.done.len();
        let several = done + self.failed > 1;
        several.then(|| format!("{done} {became}, {} failed", self.failed))
    }

    /// Says after a signal what is written, what may be, and what is not sent.
    pub(super) fn interrupted(&self, signal: Signal, became: &str) -> String {
        let names = |names: Vec<&str>| {
            if names.is_empty() {
                "none".to_owned()
            } else {
                one_line(&names.join(", ")).into_owned()
            }
        };
        let done = names(self.done.iter().map(String::as_str).collect());
        let mut text = format!("segura-agent: ended by {signal}: {became}: {done}");
        if let Some(sending) = &self.sending {
            text += &format!("; may be written: {}", one_line(sending));
        }
        let left = names(self.left.iter().map(String::as_str).collect());
        text += &format!("; failed: {}; not sent: {left}", self.failed);
        if self.sending.is_some() {
            text += "\nhint: the vault may have stored it: read it there before you send it again";
        }
        text
    }
}
