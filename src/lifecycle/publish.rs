//! Publication of a set: renders its secrets, publishes the files, saves the state.

mod admit;
mod current;
mod difference;
mod failed;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::config::settings::RenewInterval;
use crate::exit::{Exit, Failure, FailureClass, chain};
use crate::lifecycle::schedule::{Alarm, Wait, due_in};
use crate::model::{Bundle, Generation, Outcome, SecretSet};
use crate::os::clock::{self, Clock, Moment};
use crate::render::{Layout, RenderError, Rendering, render};
use crate::store::state::{BootMillis, Origin, SecretState, Settled, State, millis};
use crate::store::{Store, WriteError};
use crate::vault;
use crate::vault::error::FetchError;
use admit::{admit, failing_templates};
pub use current::{Candidate, Current, Fetched, Prepared, Publication, Replaced};
pub use failed::{Failed, HeldBack};

/// The most remarks that are logged, so that a vault with ever new faults can't flood the log.
const MOST_REMARKS: usize = 1_000;

/// A failure to publish a set; the current one stays.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The secrets can't be rendered as the settings want.
    #[error("cannot render the secrets")]
    Render(#[source] RenderError),
    /// The set can't be written to the directory.
    #[error(transparent)]
    Write(WriteError),
}

impl PublishError {
    /// Gives its class, for the state and for metrics.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Render(_) => FailureClass::Render,
            Self::Write(_) => FailureClass::Write,
        }
    }

    /// Gives the failure of a start that gives up because of it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Render(error) => {
                let exit = match error {
                    RenderError::Variable { .. }
                    | RenderError::Disagreement { .. }
                    | RenderError::Env { .. }
                    | RenderError::ShellsOwn { .. }
                    | RenderError::Property { .. }
                    | RenderError::Template { .. }
                    | RenderError::TooLong { .. } => Exit::Settings,
                    RenderError::Clash { .. }
                    | RenderError::Nul { .. }
                    | RenderError::NotBase64 { .. }
                    | RenderError::NotText { .. }
                    | RenderError::TooMuch => Exit::Malformed,
                };
                Failure::new(exit, self).hint(Some(error.hint()))
            }
            Self::Write(error) => error.failure(),
        }
    }
}

/// Gives the origin of the set that the configuration describes; reads the files that it names as
/// they are now.
pub fn origin(config: &Config) -> Result<Origin, FetchError> {
    let mut identities: Vec<String> =
        config.wanted.identities.iter().map(ToString::to_string).collect();
    identities.sort_unstable();
    Ok(Origin {
        url: config.vault.url.to_string(),
        client: vault::client_digest(&config.vault)?,
        source: config.wanted.source.as_str().to_owned(),
        identities,
        pod_name: config.pod.name.clone(),
        pod_uid: config.pod.uid.clone(),
        namespace: config.pod.namespace.clone(),
    })
}

/// The agent's next heartbeat: it rewrites the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// No heartbeat is expected: no agent renews the set.
    None,
    /// The next heartbeat comes by this time of the boot clock.
    By(Duration),
    /// An agent holds the set and has nothing to do, so that silence is no fault.
    Unbounded,
}

impl Heartbeat {
    /// Gives the time until which silence is no fault, as the state has it: milliseconds of the
    /// boot clock.
    pub fn silent_until(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::By(at) => Some(millis(at)),
            Self::Unbounded => Some(u64::MAX),
        }
    }
}

/// The part of the state that describes the agent which renews the set.
#[derive(Clone, Debug)]
pub struct Stamp {
    notified: Generation,
    next_due: Option<String>,
    boot_next_due: Option<u64>,
    heartbeat: Heartbeat,
}

impl Stamp {
    /// Notes the generation of which the main process was notified last, the time at which the set
    /// is `due`, by the boot clock, and the agent's next heartbeat. It is `now`.
    pub fn new(notified: Generation, due: Alarm, heartbeat: Heartbeat, now: Moment) -> Self {
        let due = due.time();
        let left = due.map(|due| due.saturating_sub(now.boot));
        let next_due = left.map(|left| clock::stamp(now.wall + left));
        Self { notified, next_due, boot_next_due: due.map(millis), heartbeat }
    }

    /// Writes the stamp into a state.
    pub fn apply(&self, state: &mut State) {
        state.notified = self.notified;
        state.next_due.clone_from(&self.next_due);
        state.boot_ms.next_due = self.boot_next_due;
        state.boot_ms.silent_until = self.heartbeat.silent_until();
    }
}

/// Composes the state of a first set, which was fetched `now`.
pub fn first(
    bundle: &Bundle,
    origin: &Origin,
    refresh: Settled,
    stamp: &Stamp,
    now: Moment,
) -> State {
    let secrets = bundle.secrets.iter();
    let secrets = secrets.map(|(name, set)| SecretState::of(name, set, None, now.boot));
    let mut state = State {
        generation: Generation::default(),
        notified: Generation::default(),
        secrets: secrets.collect(),
        fetched_at: clock::stamp(now.wall),
        changed_at: String::new(),
        next_due: None,
        failures: 0,
        last_error: None,
        boot_ms: BootMillis { fetched: millis(now.boot), ..BootMillis::default() },
        origin: origin.clone(),
        refresh,
        given_back: false,
        left_out: Vec::new(),
    };
    stamp.apply(&mut state);
    state
}

/// The parameters of a publication besides the secrets.
#[derive(Debug)]
pub struct Publisher<'a> {
    /// The store that the set is published in.
    pub store: &'a mut Store,
    /// The form of the files.
    pub layout: &'a Layout,
    /// The remarks on earlier sets, which are not logged again.
    pub remarked: &'a mut Remarked,
    /// The clocks for the times in the state.
    pub clock: &'a dyn Clock,
}

/// The remarks on published sets that have been logged.
#[derive(Debug, Default)]
pub struct Remarked(BTreeSet<String>);

impl Remarked {
    /// Logs doubts about secrets that are published all the same, each once.
    pub fn report(&mut self, remarks: impl IntoIterator<Item = impl AsRef<str>>) {
        for remark in remarks {
            let remark = remark.as_ref();
            if self.is_new(remark) {
                tracing::warn!("{remark}");
            }
        }
    }

    /// Remembers a remark; false if it was remembered before, or there are too many.
    fn is_new(&mut self, remark: &str) -> bool {
        self.0.len() < MOST_REMARKS && self.0.insert(remark.to_owned())
    }
}

impl Publisher<'_> {
    /// Publishes `bundle` and `state`, and completes the state with the result. The current set
    /// stays as it is, unless its files, the settings or the values have changed.
    pub fn publish(&mut self, bundle: &Bundle, state: &mut State) -> Result<Outcome, PublishError> {
        let rendering = rendered(bundle, self.layout, state).map_err(PublishError::Render)?;
        let published = self.store.publish(&rendering.files, state, self.clock.wall());
        let outcome = published.map_err(PublishError::Write)?;
        if let Outcome::Published(_) = outcome {
            // No process can have read the set before now.
            state.boot_ms.changed = millis(self.clock.boot());
        }
        // The generation holds a copy of the state, so that a failure to write it loses nothing.
        if let Err(error) = self.store.save(state) {
            let error = chain(&error);
            if self.remarked.is_new(&error) {
                tracing::warn!(
                    error,
                    "the state file could not be written and is behind the published set"
                );
            }
        }
        self.remarked.report(bundle.remarks.iter().chain(&rendering.remarks));
        let generation = outcome.generation();
        let files = rendering.files.keys().filter(|name| !name.is_hidden()).count();
        match outcome {
            Outcome::Published(_) => {
                self.remarked.report(self.store.idle_rules(&rendering.files));
                self.remarked.report(state.left_out.iter().map(|file| {
                    format!(
                        "the template {file} is not rendered: the vault no longer has a secret or key that it names"
                    )
                }));
                tracing::info!(%generation, files, "published");
            }
            Outcome::Unchanged(_) => tracing::debug!(%generation, files, "unchanged"),
        }
        Ok(outcome)
    }
}

/// Renders a set. A template that was left out of an earlier set, as `state` says, is left out
/// again if it still can't be rendered; `state` then lists it.
fn rendered<'a>(
    bundle: &'a Bundle,
    layout: &Layout,
    state: &mut State,
) -> Result<Rendering<'a>, RenderError> {
    let before = std::mem::take(&mut state.left_out);
    let mut reduced = None;
    loop {
        let flaw = match render(bundle, reduced.as_ref().unwrap_or(layout)) {
            Err(RenderError::Template { flaw }) => flaw,
            rendering => return rendering,
        };
        let file = flaw.file();
        if !before.iter().any(|before| before == file) {
            return Err(RenderError::Template { flaw });
        }
        state.left_out.push(file.to_owned());
        reduced = Some(reduced.as_ref().unwrap_or(layout).without_template(file));
    }
}

/// Computes the wait after which a set that was read now, at `wall`, is due again.
pub fn due(bundle: &Bundle, interval: RenewInterval, wall: SystemTime) -> Wait {
    due_in(bundle, interval, |set| to_expiry(set, wall))
}

/// Computes the time until a secret's expiry date, read as UTC; none if the date can't be read.
fn to_expiry(set: &SecretSet, now: SystemTime) -> Option<Duration> {
    // DSM's pages show several formats, and name no time zone.
    let text = set.expiration.trim();
    if text.len() < 10 {
        return None;
    }
    let us = |text: &str| {
        let mut parts = text.split('/');
        let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
        Some(format!("{year}-{month}-{day}T00:00:00Z"))
    };
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.trim_start_matches(['T', ' ']).trim_end_matches('Z');
    let iso = if time.is_empty() {
        format!("{date}T00:00:00Z")
    } else {
        format!("{date}T{}Z", time.get(..8)?)
    };
    let moment = humantime::parse_rfc3339(&us(date).unwrap_or(iso)).ok()?;
    Some(moment.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::bundle;

    #[test]
    fn expiry_dates_are_hints_in_any_spelling() {
        let now = humantime::parse_rfc3339("2022-08-18T11:00:00Z").unwrap();
        for (text, seconds) in [
            ("2022-08-18 11:10:00", Some(600)),
            ("2022-08-18T11:10:00Z", Some(600)),
            ("2022-08-18T11:10:00.000+02:00", Some(600)),
            ("2022-08-19", Some(13 * 3600)),
            ("08/19/2022", Some(13 * 3600)),
            ("2020-01-01 00:00:00", Some(0)),
            ("", None),
            ("never ever", None),
            ("9999-99-99 99:99:99", None),
            ("2022-08-18 é1:10:00", None),
        ] {
            let mut bundle = bundle(&[("s", &[&[("k", "v")]])]);
            let set = bundle.secrets.values_mut().next().unwrap();
            set.expiration = text.to_owned();
            assert_eq!(to_expiry(set, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
