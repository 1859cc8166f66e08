//! Verdicts and metrics made of the state: started, ready, live, and the numbers. Pure.

mod metrics;
pub mod server;
mod text;

use std::time::Duration;

use crate::config::settings::MaxStale;
use crate::store::state::{Agent, State, millis};
pub use metrics::{Counters, exposition};
use text::{ago, one_line, rounded, setting};

/// The question of a probe: one for each of Kubernetes' startup, readiness and liveness probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A complete set is published, of any age.
    Started,
    /// As [`Question::Started`]; and an agent is running whose loop is not stuck, and the set is no
    /// older than `SEGURA_MAX_STALE`.
    Ready,
    /// An agent is running whose loop is not stuck. The age of the set does not count: the kubelet
    /// restarts a container that is not live, and a restart does not bring the vault back
    /// (Kubernetes docs, "Liveness, Readiness, and Startup Probes").
    Live,
}

impl Question {
    /// The words that [`parse`](Self::parse) knows.
    pub const WORDS: [&str; 3] = ["started", "ready", "live"];

    /// Parses a question by its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Started, Self::Ready, Self::Live]
            .into_iter()
            .find(|question| question.as_str() == word)
    }

    /// The word of a question.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Live => "live",
        }
    }
}

/// The facts that a verdict is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The place of the set, in words.
    pub place: &'a str,
    /// The state of the set, if there is one.
    pub state: Option<&'a State>,
    /// The published set is complete.
    pub whole: bool,
    /// The agent that renews the set.
    pub agent: Agent,
    /// The present time by the boot clock.
    pub boot: Duration,
    /// `SEGURA_MAX_STALE`.
    pub max_stale: MaxStale,
}

/// An agent's own state and counters, for its probe server.
#[derive(Debug, Default)]
pub struct Board {
    /// The state of the published set, once one is published.
    pub state: Option<State>,
    /// The work of the agent since its start.
    pub counters: Counters,
}

/// The answer to a question, with its reason, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer is yes.
    pub holds: bool,
    /// The line, without a newline; it holds no value of a secret.
    pub line: String,
}

impl Verdict {
    /// Makes the answer no, or unknown, for the reason `why`.
    pub fn no(question: Question, why: &str) -> Self {
        Self { holds: false, line: one_line(&format!("not {}: {why}", question.as_str())) }
    }
}

impl Facts<'_> {
    /// Answers a question.
    pub fn verdict(&self, question: Question) -> Verdict {
        let reason = match question {
            Question::Started => self.not_started(),
            Question::Ready => self.not_started().or_else(|| self.not_ready()),
            Question::Live => self.not_live(),
        };
        match reason {
            Some(why) => Verdict::no(question, &format!("{why}{}", self.failures())),
            None => {
                let line = format!("{}: {}{}", question.as_str(), self.summary(), self.problems());
                Verdict { holds: true, line: one_line(&line) }
            }
        }
    }

    fn not_started(&self) -> Option<String> {
        if self.state.is_some_and(|state| state.given_back) {
            return Some("the set was deprovisioned, or the vault no longer has it".to_owned());
        }
        if self.whole && self.state.is_some() {
            return None;
        }
        let agent = match self.agent {
            Agent::Gone => "no agent is running",
            Agent::Starting | Agent::Running => "an agent is running",
        };
        Some(format!("no complete set is published in {}, and {agent}", self.place))
    }

    fn not_ready(&self) -> Option<String> {
        self.no_agent().or_else(|| self.stuck()).or_else(|| self.too_old())
    }

    fn not_live(&self) -> Option<String> {
        let never_renewed = || {
            let is_so = self.agent == Agent::Running
                && self.state.is_some_and(|state| state.boot_ms.silent_until.is_none());
            is_so.then(|| format!("init published the set in {}; nothing renews it", self.place))
        };
        self.no_agent().or_else(never_renewed).or_else(|| self.stuck())
    }

    fn no_agent(&self) -> Option<String> {
        if self.agent != Agent::Gone {
            return None;
        }
        let why = format!("no agent is running for {}", self.place);
        Some(match self.state {
            None => why,
            Some(state) if state.boot_ms.silent_until.is_none() => {
                let ago = ago(self.age(state));
                format!("{why}: init fetched the set {ago}, and nothing renews it")
            }
            Some(state) => format!("{why}; the set was {}", self.fetched(state)),
        })
    }

    /// The reason why the loop counts as stuck. Only a running agent's own state counts: the state
    /// of an agent that is starting holds the heartbeat of the agent before it.
    fn stuck(&self) -> Option<String> {
        let until = self.state.filter(|_| self.agent == Agent::Running)?.boot_ms.silent_until?;
        let silent = millis(self.boot).checked_sub(until)?;
        let silent = rounded(Duration::from_millis(silent));
        Some(format!("the agent's loop is stuck: its heartbeat is {silent} overdue"))
    }

    fn too_old(&self) -> Option<String> {
        let MaxStale::After(max) = self.max_stale else { return None };
        let state = self.state?;
        let limit = format!("SEGURA_MAX_STALE={}", setting(max));
        match self.age(state) {
            Some(age) if age <= max => None,
            Some(age) => Some(format!("the set is {} old, older than {limit}", rounded(age))),
            None => Some(format!("the set was fetched before the machine started; {limit}")),
        }
    }

    /// The age of the set; `None` if the set is of another boot.
    fn age(&self, state: &State) -> Option<Duration> {
        millis(self.boot).checked_sub(state.boot_ms.fetched).map(Duration::from_millis)
    }

    fn fetched(&self, state: &State) -> String {
        format!("fetched {}", ago(self.age(state)))
    }

    fn summary(&self) -> String {
        match self.state {
            Some(state) if self.agent != Agent::Starting => {
                format!("generation {}, {}", state.generation, self.fetched(state))
            }
            Some(state) => {
                let (generation, fetched) = (state.generation, self.fetched(state));
                format!("generation {generation}, {fetched}; the agent is starting")
            }
            None => "the agent is starting".to_owned(),
        }
    }

    fn failures(&self) -> String {
        let Some(state) = self.state.filter(|state| state.failures > 0) else {
            return String::new();
        };
        let class = state.last_error.as_deref().unwrap_or("of no known class");
        format!("; last failure: {class}, {} in a row", state.failures)
    }

    fn problems(&self) -> String {
        let mut problems = self.failures();
        let secrets = self.state.map(|state| state.secrets.as_slice()).unwrap_or_default();
        let held = secrets.iter().filter_map(|secret| Some((secret, secret.error.as_deref()?)));
        for (nth, (secret, why)) in held.enumerate() {
            problems.push_str(if nth == 0 { "; held back: " } else { ", " });
            problems.push_str(secret.identity.as_str());
            problems.push_str(&format!(" ({why})"));
        }
        problems
    }
}

#[cfg(test)]
mod tests;
