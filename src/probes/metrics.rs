//! The metrics page, in the Prometheus text format 0.0.4. It holds no value of a secret.

use std::cell::Cell;
use std::fmt::{Display, Write};
use std::rc::Rc;
use std::time::Duration;

use super::{Facts, Question};
use crate::config::settings::MaxStale;
use crate::exit::FailureClass;
use crate::store::state::millis;

/// The label of failures of a class that this version does not know.
const OTHER: &str = "other";

/// The work of the agent since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Passes that the vault answered, changed or not.
    pub passes_ok: u64,
    /// Passes that failed, by class in the order of [`FailureClass::ALL`], then those of no known
    /// class.
    failed: [u64; FailureClass::ALL.len() + 1],
    /// Generations that were published.
    pub publishes: u64,
    /// Changes that the main process was notified of.
    pub notifications: u64,
    /// Attempts to notify the main process that failed; the notifier counts them.
    pub notification_failures: Rc<Cell<u64>>,
    /// Requests to provision (POST).
    pub provisions: u64,
    /// Requests to read.
    pub reads: u64,
}

impl Counters {
    /// Counts a failed pass by the class of its failure.
    pub fn failed(&mut self, class: Option<FailureClass>) {
        let all = FailureClass::ALL;
        let at = all.iter().position(|known| Some(*known) == class).unwrap_or(all.len());
        if let Some(count) = self.failed.get_mut(at) {
            *count = count.saturating_add(1);
        }
    }

    fn passes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        // Each label is exported from the start: `rate()` of a new series misses its first increase
        // (Prometheus docs, "Instrumentation", avoid missing metrics).
        let classes = FailureClass::ALL.map(FailureClass::label).into_iter().chain([OTHER]);
        [("ok", self.passes_ok)].into_iter().chain(classes.zip(self.failed))
    }
}

/// Writes the page of `/metrics`.
pub fn exposition(facts: &Facts<'_>, counters: &Counters) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    page.gauge("info", "The agent and its version.");
    page.labelled("info", "version", env!("CARGO_PKG_VERSION"), 1);
    for question in [Question::Started, Question::Ready, Question::Live] {
        let help = match question {
            Question::Started => "1 if a complete set is published, of any age, else 0.",
            Question::Ready => {
                "1 if a complete set is published and renewed and no older than SEGURA_MAX_STALE, else 0."
            }
            Question::Live => "1 if the agent's loop runs, 0 if it is stuck.",
        };
        let holds = facts.verdict(question).holds;
        page.one_gauge(question.as_str(), help, u8::from(holds));
    }
    if let MaxStale::After(max) = facts.max_stale {
        page.one_gauge("max_stale_seconds", "SEGURA_MAX_STALE.", max.as_secs_f64());
    }
    page.state(facts);
    page.counters(counters);
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let head =
            format!("# HELP segura_agent_{name} {help}\n# TYPE segura_agent_{name} {kind}\n");
        self.0.push_str(&head);
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, "gauge", help);
    }

    fn one_gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help);
        writeln!(self.0, "segura_agent_{name} {value}").ok();
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        writeln!(self.0, "segura_agent_{name} {value}").ok();
    }

    fn labelled(&mut self, name: &str, label: &str, text: &str, value: impl Display) {
        // The three characters that a label value escapes (Prometheus docs, "Exposition formats").
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        writeln!(self.0, "segura_agent_{name}{{{label}=\"{text}\"}} {value}").ok();
    }

    fn state(&mut self, facts: &Facts<'_>) {
        let Some(state) = facts.state else {
            return;
        };
        let now = millis(facts.boot);
        self.one_gauge("generation", "Number of the current generation.", state.generation);
        let help = "Number of the generation that the main process was last notified of.";
        self.one_gauge("notified_generation", help, state.notified);
        self.one_gauge("secrets", "Number of published secrets.", state.secrets.len());
        if let Some(age) = facts.age(state) {
            let help = "Seconds since the vault last confirmed the set, by the boot clock.";
            self.one_gauge("last_success_age_seconds", help, age.as_secs_f64());
        }
        if let Ok(at) = humantime::parse_rfc3339(&state.fetched_at)
            && let Ok(at) = at.duration_since(std::time::UNIX_EPOCH)
        {
            let help = "Unix time at which the vault last confirmed the set, by the wall clock.";
            self.one_gauge("last_success_timestamp_seconds", help, at.as_secs());
        }
        if let Some(due) = state.boot_ms.next_due {
            let help = "Seconds until the set is due again; negative if it is overdue.";
            self.one_gauge("next_due_in_seconds", help, signed_seconds(due, now));
        }
        let help = "Failed renewal passes since the last success.";
        self.one_gauge("failures_in_row", help, state.failures);
        let mut held = state.secrets.iter().filter(|secret| secret.error.is_some()).peekable();
        if held.peek().is_some() {
            let help = "1 for a secret that is held back: its last good version stays published.";
            self.gauge("secret_held_back", help);
        }
        for secret in held {
            self.labelled("secret_held_back", "identity", secret.identity.as_str(), 1);
        }
    }

    fn counters(&mut self, counters: &Counters) {
        self.head("passes_total", "counter", "Renewal passes by result.");
        for (outcome, count) in counters.passes() {
            self.labelled("passes_total", "outcome", outcome, count);
        }
        for (name, help, value) in [
            ("publishes_total", "Generations published after the start.", counters.publishes),
            (
                "deliveries_total",
                "Changes that the main process was notified of.",
                counters.notifications,
            ),
            (
                "delivery_failures_total",
                "Failed tries to notify the main process.",
                counters.notification_failures.get(),
            ),
            ("provisions_total", "Requests to provision after the start.", counters.provisions),
            ("reads_total", "Requests to read.", counters.reads),
        ] {
            self.counter(name, help, value);
        }
    }
}

fn signed_seconds(to: u64, from: u64) -> f64 {
    let seconds = Duration::from_millis(to.abs_diff(from)).as_secs_f64();
    if to < from { -seconds } else { seconds }
}
