//! Adoption of a published set: serves one of the same origin, after one read if it is due.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{After, FirstSet, Start, stamp};
use crate::config::settings::{FetchMode, Refresh};
use crate::exit::{Failure, FailureClass, chain};
use crate::lifecycle::fetch::{ReadRoute, Renewed, reread};
use crate::lifecycle::publish::{
    Candidate, Current, Failed, Fetched, HeldBack, Prepared, PublishError, Replaced, Stamp,
};
use crate::model::{Bundle, Outcome};
use crate::store::state::{Origin, Settled, State};
use crate::store::{CurrentSet, Store};
use crate::vault::Connect;

/// The published set, whose origin is that of the configuration.
#[derive(Debug)]
pub struct Adopted {
    bundle: Bundle,
    /// Its state.
    pub state: State,
}

/// Gives the published set if it can be adopted: it has the given origin and was not deprovisioned.
pub fn adoptable(store: &Store, origin: &Origin) -> Option<Adopted> {
    let CurrentSet { state, entries } = store.current_set()?;
    if state.given_back {
        tracing::info!("the published set was deprovisioned or removed; fetching a new one");
        return None;
    }
    if let Some(differs) = state.origin.difference(origin) {
        tracing::info!(differs, "the published set has another origin; fetching a new one");
        return None;
    }
    let bundle = state.bundle(entries);
    Some(Adopted { bundle, state })
}

impl<V: Connect> Start<'_, V> {
    /// Publishes the adopted set as it is, so that its files fit the present settings.
    pub(super) fn adopt(&mut self, adopted: &mut Adopted) -> Result<Outcome, PublishError> {
        let Adopted { bundle, state } = adopted;
        let due = state.is_due(self.edges.clock.boot());
        tracing::info!(generation = %state.generation, due, "adopted the published set");
        state.boot_ms.silent_until = self.heartbeat().silent_until();
        let outcome = self.publisher().publish(bundle, state)?;
        if self.after == After::Nothing {
            // The set is published, so that no provisioning of an earlier agent is pending.
            self.store.clear_pending();
        }
        Ok(outcome)
    }

    /// Serves the adopted set; if it is due, reads once for a newer one.
    pub(super) async fn adopt_or_renew(
        &mut self,
        mut adopted: Adopted,
    ) -> Result<FirstSet, Failure> {
        let outcome = match self.adopt(&mut adopted) {
            Ok(outcome) => outcome,
            Err(error) => return self.refetch(adopted, error).await,
        };
        let mut state = adopted.state.clone();
        if !state.is_due(self.edges.clock.boot()) || !self.reads() {
            return Ok(FirstSet { outcome, state, token: None });
        }
        match self.read_newer(adopted).await {
            Ok(first_set) => Ok(first_set),
            Err(RenewError::Final(failure)) => Err(failure),
            Err(RenewError::Passing(failed)) => {
                tracing::warn!(
                    error = failed.text,
                    "the published set could not be renewed and stays"
                );
                self.remember_failure(&mut state, failed.class);
                Ok(FirstSet { outcome, state, token: None })
            }
        }
    }

    /// Fetches a set that can't be rendered with the present settings: the vault may have a version
    /// that can.
    pub(super) async fn refetch(
        &mut self,
        adopted: Adopted,
        error: PublishError,
    ) -> Result<FirstSet, Failure> {
        if !matches!(error, PublishError::Render(_)) || !self.reads() {
            return Err(error.failure());
        }
        tracing::warn!(
            error = chain(&error),
            "the published set does not fit the present settings; fetching again"
        );
        match self.read_newer(adopted).await {
            Ok(first_set) => Ok(first_set),
            Err(RenewError::Final(failure)) => Err(failure),
            Err(RenewError::Passing(_)) => Err(error.failure()),
        }
    }

    /// Tells whether a set can be read without provisioning.
    fn reads(&self) -> bool {
        self.config.wanted.source != FetchMode::Provision
            || self.config.wanted.refresh != Refresh::Post
    }

    async fn read_newer(&mut self, adopted: Adopted) -> Result<FirstSet, RenewError> {
        let Adopted { bundle, state } = adopted;
        let wanted = &self.config.wanted;
        let mut client = self.connect().map_err(RenewError::Final)?;
        let mut route = ReadRoute::new(state.refresh, Duration::ZERO);
        let mut renewed = reread(&mut client, wanted, &state.names(), &mut route).await;
        if route.lists_provisioned(wanted) {
            renewed.refuse_fewer(&bundle);
        }
        let Renewed { fresh, mut failed, cut } = renewed;
        let nothing = fresh.secrets.is_empty();
        let last = cut.or_else(|| if nothing { failed.pop_first().map(|(_, e)| e) } else { None });
        if let Some(error) = last.iter().chain(failed.values()).find(|error| error.is_final()) {
            return Err(RenewError::Final(error.failure()));
        }
        if let Some(error) = last {
            return Err(RenewError::Passing(Failed::from(&error)));
        }
        // From here on the set is read back from the store.
        drop(bundle);
        let failed = failed.iter().map(|(name, error)| (name.clone(), Failed::from(error)));
        let (renew, heartbeat, now) = (self.config.renew, self.heartbeat(), self.edges.clock.now());
        let remarked = std::mem::take(&mut self.remarked);
        let mut current =
            Current::new(self.store, &self.config.layout, state, remarked, self.edges.clock);
        let random = &mut self.edges.random;
        let stamp = |bundle: &Bundle, state: &State| {
            stamp(bundle, renew, state.notified, heartbeat, now, random)
        };
        let refresh = route.settled();
        let replaced = replace(&mut current, fresh, failed.collect(), refresh, now.boot, stamp);
        let (state, remarked) = current.end();
        self.remarked = remarked;
        let outcome = match replaced.map_err(RenewError::Passing)? {
            Some(_) => Outcome::Published(state.generation),
            None => Outcome::Unchanged(state.generation),
        };
        Ok(FirstSet { outcome, state, token: self.edges.vault.end(client) })
    }

    fn remember_failure(&self, state: &mut State, class: FailureClass) {
        state.failures = state.failures.saturating_add(1);
        state.last_error = Some(class.label().to_owned());
        self.save(state);
    }
}

/// Publishes `fresh` in place of the current set, as a renewal does.
fn replace(
    current: &mut Current<'_>,
    fresh: Bundle,
    held_back: HeldBack,
    refresh: Settled,
    at: Duration,
    stamp: impl FnOnce(&Bundle, &State) -> Stamp,
) -> Result<Option<Replaced>, Failed> {
    let sound = fresh.secrets.keys().cloned().collect();
    let bundle = current.merge(fresh, &BTreeSet::new())?;
    let stamp = stamp(&bundle, current.state());
    let fetched = Fetched { at, refresh, cut: None, stamp };
    let set = Candidate { bundle, sound, held_back };
    let (Prepared { set, .. }, replaced) = current.publish_sound(set, &fetched);
    let replaced = replaced.map_err(|error| Failed::from(&error))?;
    for (name, failed) in &set.held_back {
        let error = &failed.text;
        tracing::warn!(identity = %name, error, "held back: its last good version stays published");
    }
    Ok(replaced)
}

/// A failure to renew an adopted set.
enum RenewError {
    /// No later try can succeed.
    Final(Failure),
    /// A later try may succeed.
    Passing(Failed),
}
