//! From secrets to published files, once: render, publish, remember.

use std::time::{Duration, SystemTime};

use crate::clock;
use crate::exit::{Exit, Failure};
use crate::model::{Bundle, Generation, Outcome, SecretSet};
use crate::render::{Layout, RenderError, render};
use crate::schedule::{RenewInterval, due_in};
use crate::state::{BootMillis, Origin, SecretState, Settled, State, millis};
use crate::store::{Store, WriteError};

/// Why a set could not be published; what stood still stands.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The secrets can't be rendered as the settings want.
    #[error("cannot render the secrets")]
    Render(#[source] RenderError),
    /// The directory does not take it.
    #[error(transparent)]
    Write(WriteError),
}

impl PublishError {
    /// How a start ends that gives up on it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Render(error) => {
                let exit = match error {
                    RenderError::Variable { .. } | RenderError::Disagreement { .. } => {
                        Exit::Settings
                    }
                    RenderError::Clash { .. } | RenderError::Nul { .. } => Exit::Nonsense,
                };
                Failure::new(exit, self).hint(Some(error.hint()))
            }
            Self::Write(error) => error.failure(),
        }
    }
}

/// What publishing takes besides the secrets.
#[derive(Debug)]
pub struct Publisher<'a> {
    /// Where to.
    pub store: &'a mut Store,
    /// In which form.
    pub layout: &'a Layout,
    /// When the set is due again.
    pub renew: RenewInterval,
    /// Whose set it is.
    pub origin: &'a Origin,
}

impl Publisher<'_> {
    /// Publishes secrets that the vault has just given.
    pub fn fetched(
        &mut self,
        bundle: &Bundle,
        before: Option<&State>,
        settled: Settled,
    ) -> Result<Outcome, PublishError> {
        let (wall, boot) = (clock::wall(), clock::boot());
        let due = due_in(bundle, self.renew, |set| to_expiry(set, wall));
        let mut state = State {
            generation: Generation::default(),
            notified: before.map(|state| state.notified).unwrap_or_default(),
            secrets: bundle.secrets.iter().map(|(name, set)| SecretState::of(name, set)).collect(),
            fetched_at: clock::stamp(wall),
            changed_at: before.map(|state| state.changed_at.clone()).unwrap_or_default(),
            next_due: due.map(|due| clock::stamp(wall + due)),
            failures: 0,
            last_error: None,
            boot_ms: BootMillis {
                fetched: millis(boot),
                next_due: due.map(|due| millis(boot + due)),
            },
            origin: self.origin.clone(),
            refresh: settled,
            given_back: false,
        };
        self.publish(bundle, &mut state, wall)
    }

    /// Publishes a set that stands already: the same again, unless files or settings have changed.
    pub fn adopted(&mut self, bundle: &Bundle, state: &mut State) -> Result<Outcome, PublishError> {
        self.publish(bundle, state, clock::wall())
    }

    fn publish(
        &mut self,
        bundle: &Bundle,
        state: &mut State,
        now: SystemTime,
    ) -> Result<Outcome, PublishError> {
        for remark in &bundle.remarks {
            tracing::warn!("{remark}");
        }
        let rendering = render(bundle, self.layout).map_err(PublishError::Render)?;
        for (identity, keys) in &rendering.collisions {
            tracing::warn!(
                %identity,
                keys,
                "entries disagree: the last one's value stands under the key, each under its number"
            );
        }
        let outcome =
            self.store.publish(&rendering.files, state, now).map_err(PublishError::Write)?;
        // The generation holds its own copy, so a state that can't be written loses nothing.
        if let Err(error) = self.store.save(state) {
            tracing::warn!(error = crate::exit::chain(&error), "the state is behind");
        }
        let generation = outcome.generation();
        let files = rendering.files.keys().filter(|name| !name.is_hidden()).count();
        match outcome {
            Outcome::Published(_) => tracing::info!(%generation, files, "published"),
            Outcome::Unchanged(_) => tracing::info!(%generation, files, "unchanged"),
        }
        Ok(outcome)
    }
}

/// What is left until a secret's expiry date, in whatever time zone the vault may mean.
fn to_expiry(set: &SecretSet, now: SystemTime) -> Option<Duration> {
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
