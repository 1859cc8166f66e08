//! What the state says to those who ask: started, ready, live, and the numbers. Pure.

mod metrics;
pub mod server;
mod text;

use std::time::Duration;

use crate::config::settings::MaxStale;
use crate::store::state::{Agent, State, millis};
pub use metrics::{Counters, exposition};
use text::{ago, plain, setting, spelled};

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A whole set stands, of any age.
    Started,
    /// And an agent is alive whose loop turns, and the set is not over `SEGURA_MAX_STALE`.
    Ready,
    /// An agent is alive, and its loop turns. The age of the set has no say: a vault that is down
    /// must not get the agent restarted.
    Live,
}

impl Question {
    /// The words that [`parse`](Self::parse) knows.
    pub const WORDS: [&str; 3] = ["started", "ready", "live"];

    /// Reads a question.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Started, Self::Ready, Self::Live].into_iter().find(|known| known.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Live => "live",
        }
    }
}

/// Everything that a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where the set stands, in words.
    pub place: &'a str,
    /// What is remembered of it.
    pub state: Option<&'a State>,
    /// All of the set is there.
    pub whole: bool,
    /// Who renews it.
    pub agent: Agent,
    /// Now, by the boot clock.
    pub boot: Duration,
    /// `SEGURA_MAX_STALE`.
    pub max_stale: MaxStale,
}

/// What an agent knows of itself, for those who ask it.
#[derive(Debug, Default)]
pub struct Board {
    /// What is remembered of the set that stands, once one does.
    pub state: Option<State>,
    /// What the agent has done.
    pub counters: Counters,
}

/// An answer, and why, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was asked is so.
    pub holds: bool,
    /// Without a newline; it holds no value of a secret.
    pub line: String,
}

impl Verdict {
    /// What was asked can't be so, or can't be known, because of this.
    pub fn no(question: Question, why: &str) -> Self {
        Self { holds: false, line: plain(&format!("not {}: {why}", question.as_str())) }
    }
}

impl Facts<'_> {
    /// Answers a question.
    pub fn verdict(&self, question: Question) -> Verdict {
        let against = match question {
            Question::Started => self.against_started(),
            Question::Ready => self.against_started().or_else(|| self.against_ready()),
            Question::Live => self.against_live(),
        };
        match against {
            Some(why) => Verdict::no(question, &format!("{why}{}", self.failures())),
            None => {
                let line = format!("{}: {}{}", question.as_str(), self.known(), self.troubles());
                Verdict { holds: true, line: plain(&line) }
            }
        }
    }

    fn against_started(&self) -> Option<String> {
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

    fn against_ready(&self) -> Option<String> {
        self.against_alive().or_else(|| self.against_turning()).or_else(|| self.against_fresh())
    }

    fn against_live(&self) -> Option<String> {
        let nothing_renews = || {
            let is_so = self.agent == Agent::Running
                && self.state.is_some_and(|state| state.boot_ms.silent_until.is_none());
            is_so.then(|| format!("init published the set in {}; nothing renews it", self.place))
        };
        self.against_alive().or_else(nothing_renews).or_else(|| self.against_turning())
    }

    fn against_alive(&self) -> Option<String> {
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
            Some(state) => format!("{why}, where the set was {}", self.fetched(state)),
        })
    }

    /// The silence of an agent before this one says nothing of this one.
    fn against_turning(&self) -> Option<String> {
        let until = self.state.filter(|_| self.agent == Agent::Running)?.boot_ms.silent_until?;
        let silent = millis(self.boot).checked_sub(until)?;
        let silent = spelled(Duration::from_millis(silent));
        Some(format!("the agent's loop is stuck: its heartbeat is {silent} overdue"))
    }

    fn against_fresh(&self) -> Option<String> {
        let MaxStale::After(max) = self.max_stale else { return None };
        let state = self.state?;
        let limit = format!("SEGURA_MAX_STALE={}", setting(max));
        match self.age(state) {
            Some(age) if age <= max => None,
            Some(age) => Some(format!("the set is {} old, older than {limit}", spelled(age))),
            None => Some(format!("the set was fetched before the machine started; {limit}")),
        }
    }

    /// How old the set is, unless it is of another boot.
    fn age(&self, state: &State) -> Option<Duration> {
        millis(self.boot).checked_sub(state.boot_ms.fetched).map(Duration::from_millis)
    }

    fn fetched(&self, state: &State) -> String {
        format!("fetched {}", ago(self.age(state)))
    }

    fn known(&self) -> String {
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

    fn troubles(&self) -> String {
        let mut troubles = self.failures();
        let secrets = self.state.map(|state| state.secrets.as_slice()).unwrap_or_default();
        let held = secrets.iter().filter_map(|secret| Some((secret, secret.error.as_deref()?)));
        for (nth, (secret, why)) in held.enumerate() {
            troubles.push_str(if nth == 0 { "; held back: " } else { ", " });
            troubles.push_str(secret.identity.as_str());
            troubles.push_str(&format!(" ({why})"));
        }
        troubles
    }
}

#[cfg(test)]
mod tests;
