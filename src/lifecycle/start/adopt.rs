//! Adoption of a published set: serves one of the same origin, after one read if it is due.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{After, FirstSet, Start, stamp};
use crate::config::settings::{FetchMode, OnAbsent, Refresh};
use crate::exit::{Failure, FailureClass, chain};
use crate::lifecycle::fetch::{
    Posts, ReadRoute, Renewed, Replacement, is_to_be_replaced, lifetime, provision_again, reread,
    seen,
};
use crate::lifecycle::publish::{
    Candidate, Current, Failed, Fetched, HeldBack, Prepared, PublishError, Replaced, Stamp,
};
use crate::model::{Bundle, Outcome, SecretName, SecretSet};
use crate::store::state::{Origin, Settled, State};
use crate::store::{CurrentSet, Store};
use crate::vault::Connect;
use crate::vault::error::{Cause, FetchError};

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
        // A crash may have left these: they are published.
        self.store.drop_kept();
        if self.after == After::Nothing {
            self.first_fetch.posts.adopt(state);
            self.record_posts();
        }
        Ok(outcome)
    }

    /// Tells whether a published set has run out, and may be replaced by POSTs: every `TTL` beside
    /// a credential is over.
    fn has_run_out(&mut self, adopted: &Adopted) -> bool {
        let Adopted { bundle, state } = adopted;
        self.first_fetch.posts.adopt(state);
        let (wanted, now) = (&self.config.wanted, self.edges.clock.boot());
        is_to_be_replaced(bundle, state, wanted, &self.first_fetch.posts, now)
    }

    /// Makes room for POSTs that replace the adopted set in the time of the first heartbeat.
    pub(super) fn expect_replacement(&mut self, adopted: &Adopted) {
        if self.has_run_out(adopted) {
            let names = u32::try_from(adopted.bundle.secrets.len()).unwrap_or(u32::MAX);
            let vault = &self.config.vault;
            self.replacing = (vault.timeout + vault.provision_timeout).saturating_mul(names);
        }
    }

    /// Serves the adopted set; if it is due, reads once for a newer one.
    pub(super) async fn adopt_or_renew(
        &mut self,
        mut adopted: Adopted,
    ) -> Result<FirstSet, Failure> {
        match self.adopt(&mut adopted) {
            Ok(outcome) => {
                let served = FirstSet { outcome, state: adopted.state.clone(), token: None };
                self.renew_served(adopted, served).await
            }
            Err(error) => self.refetch(adopted, error).await,
        }
    }

    /// Reads once for a newer set than the one that is `served`, if it is due or has run out.
    pub(super) async fn renew_served(
        &mut self,
        adopted: Adopted,
        mut served: FirstSet,
    ) -> Result<FirstSet, Failure> {
        let is_due = served.state.is_due(self.edges.clock.boot()) && self.reads();
        if !is_due && !self.has_run_out(&adopted) {
            return Ok(served);
        }
        match self.read_newer(adopted).await {
            Ok(first_set) => Ok(first_set),
            Err(RenewError::Final(failure)) => Err(failure),
            Err(RenewError::Passing(failed)) => {
                tracing::warn!(
                    error = failed.text,
                    hint = failed.hint,
                    "the published set could not be renewed and stays"
                );
                self.remember_failure(&mut served.state, failed.class);
                Ok(served)
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
        let mut client = self.connect().map_err(RenewError::Final)?;
        let mut route = ReadRoute::new(adopted.state.refresh, Duration::ZERO);
        let wanted = &self.config.wanted;
        let mut renewed = reread(&mut client, wanted, &adopted.state.names(), &mut route).await;
        if route.lists_provisioned(wanted) {
            renewed.refuse_fewer(&adopted.bundle);
        }
        if self.has_run_out(&adopted) {
            self.provision_again(&mut client, &adopted, &mut renewed).await;
        }
        let Adopted { bundle, state } = adopted;
        let Renewed { fresh, mut failed, cut } = renewed;
        let nothing = fresh.secrets.is_empty();
        let last = cut.or_else(|| if nothing { failed.pop_first().map(|(_, e)| e) } else { None });
        if let Some(error) = last.iter().chain(failed.values()).find(|error| self.ends(error)) {
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

    /// Tells whether an error ends a start that has a set to serve. A refusal that no later try can
    /// change does so only if sets are not kept without the vault's word.
    fn ends(&self, error: &FetchError) -> bool {
        match self.config.on_absent {
            OnAbsent::Remove => error.is_final(),
            OnAbsent::Keep => matches!(error.cause, Cause::Setting { .. }),
        }
    }

    /// Sends a POST for each secret of a set that has run out, if the read has answered and brought
    /// nothing newer.
    async fn provision_again(
        &mut self,
        client: &mut V::Source,
        adopted: &Adopted,
        renewed: &mut Renewed,
    ) {
        let Adopted { bundle, state } = adopted;
        let now = self.edges.clock.boot();
        let is_over = |name: &SecretName, lifetime| now >= seen(state, name, now) + lifetime;
        renewed.refuse_bare(bundle, is_over);
        let due = |(name, set): (&SecretName, &SecretSet)| {
            let version = &state.secret(name)?.version;
            let brought_nothing = match renewed.fresh.secrets.get(name) {
                Some(fresh) => fresh.version == *version,
                None => renewed.failed.get(name).is_some_and(FetchError::is_absence),
            };
            let ran_out = lifetime(set).is_some() && brought_nothing;
            let replacement = || Replacement { name: name.clone(), version: version.clone() };
            (ran_out && self.first_fetch.posts.may_replace(name, version, now)).then(replacement)
        };
        let due: Vec<Replacement> = bundle.secrets.iter().filter_map(due).collect();
        let (store, origin, clock) = (&**self.store, self.origin, self.edges.clock);
        let posts = &mut self.first_fetch.posts;
        let record = |posts: &mut Posts| posts.save(store, origin, clock.boot());
        provision_again(client, &due, posts, now, renewed, record).await;
        for (name, set) in &renewed.fresh.secrets {
            posts.learn(name, &set.version);
        }
        self.record_posts();
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
