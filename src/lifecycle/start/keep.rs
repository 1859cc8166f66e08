//! Keeping what was provisioned and can't be published yet: a crash loop provisions once.
//!
//! Once a start has failed, the secrets that have come are kept in the agent's own folder, and the
//! next start tries them first. What is kept is not deprovisioned by a failure or a signal: a
//! startup probe that ends each start would make each start provision.

use std::time::Duration;

use super::{FirstSet, Start, adoptable, ended_by};
use crate::config::settings::FetchMode;
use crate::exit::{Failure, chain};
use crate::lifecycle::fetch::{ReadRoute, reread};
use crate::model::{Bundle, SecretName, SecretSet};
use crate::os::signal::Signal;
use crate::store::state::SecretState;
use crate::store::{Keeping, KeptNote};
use crate::vault::{Connect, Source};

impl<V: Connect> Start<'_, V> {
    /// Continues with the secrets that an agent before this one has kept, if they are wanted still.
    pub(super) fn resume(&mut self) {
        let Some(kept) = self.store.kept() else {
            return;
        };
        if kept.note.given_back {
            return self.store.drop_kept();
        }
        if let Some(differs) = kept.note.origin.difference_of_pod(self.origin) {
            tracing::warn!(
                differs,
                "secrets that were provisioned and never published have another origin and are dropped: their accounts may still exist in the vault"
            );
            return self.store.drop_kept();
        }
        let published = self.store.remembered();
        let published = published
            .filter(|state| state.origin.difference_of_pod(self.origin).is_none())
            .map(|state| state.boot_ms.changed)
            .filter(|changed| *changed != u64::MAX);
        if published.is_some_and(|at| kept.note.secrets.iter().any(|secret| secret.seen < at)) {
            // Version 0.1.0, which does not know of them, has published a set since.
            return self.store.drop_kept();
        }
        let seen = kept.note.secrets.clone();
        let seen = |name: &SecretName| {
            let secret = seen.iter().find(|secret| secret.identity == *name);
            let seen = Duration::from_millis(secret.map_or(0, |secret| secret.seen));
            // A time of an earlier boot is unknown by this clock.
            if seen > self.edges.clock.boot() { Duration::ZERO } else { seen }
        };
        let mut bundle = kept.into_bundle();
        let wanted = &self.config.wanted.identities;
        for (name, _) in bundle.secrets.extract_if(.., |name, _| !wanted.contains(name)) {
            tracing::warn!(
                identity = %name,
                "it was provisioned and never published, and SEGURA_IDENTITY no longer names it: its account may still exist in the vault"
            );
        }
        tracing::info!(
            identities = names_in(&bundle),
            "trying the secrets first that an earlier start has kept"
        );
        self.durable = bundle.secrets.keys().cloned().collect();
        self.first_fetch.resume(bundle, seen);
    }

    /// Keeps the secrets that have come, while another identity has failed.
    pub(super) fn keep_done(&mut self) {
        let done = self.first_fetch.take_done();
        self.keep(&done);
        self.first_fetch.put_done(done);
    }

    /// Keeps the secrets of a set that could not be published, for the next start.
    pub(super) fn keep(&mut self, bundle: &Bundle) {
        let is_kept = bundle.secrets.keys().eq(&self.durable);
        if self.config.wanted.source != FetchMode::Provision || is_kept {
            return;
        }
        let now = self.edges.clock.boot();
        let seen = |name: &SecretName| self.first_fetch.seen(name, now);
        let secrets = bundle.secrets.iter();
        let secrets = secrets.map(|(name, set)| SecretState::of(name, set, None, seen(name)));
        let note =
            KeptNote { origin: self.origin.clone(), secrets: secrets.collect(), given_back: false };
        match self.store.keep(&note, bundle) {
            Ok(Keeping::UntilPublished) => {
                tracing::info!(
                    identities = names_in(bundle),
                    "kept what was provisioned: the next start tries it first"
                );
                self.durable = bundle.secrets.keys().cloned().collect();
            }
            Ok(Keeping::InProcess) => {}
            Err(error) => {
                let error = chain(&error);
                self.remarked.report([format!(
                    "what was provisioned could not be kept for the next start: {error}"
                )]);
            }
        }
    }

    /// Reads the secrets of a set that an earlier start has kept and that can't be rendered; tells
    /// whether the answer holds any of them.
    pub(super) async fn reread_kept(
        &mut self,
        source: &mut impl Source,
        bundle: &mut Bundle,
    ) -> bool {
        let wanted = &self.config.wanted;
        let names: Vec<SecretName> = self.first_fetch.kept().iter().cloned().collect();
        if names.is_empty() {
            return false;
        }
        let mut renewed = reread(source, wanted, &names, &mut ReadRoute::default()).await;
        renewed.refuse_fewer(bundle);
        let now = self.edges.clock.boot();
        let mut any = false;
        for name in names {
            let Some(set) = renewed.fresh.secrets.remove(&name) else {
                continue;
            };
            let before = bundle.secrets.insert(name.clone(), set);
            let version = |set: &SecretSet| set.version.clone();
            if before.as_ref().map(version) != bundle.secrets.get(&name).map(version) {
                self.first_fetch.saw(name, now);
            }
            any = true;
        }
        if any {
            // They take the place of the kept ones, if they can't be rendered either.
            self.durable.clear();
        }
        any
    }

    /// Serves a first set of kept secrets; if it is due, reads once for a newer one, as of an
    /// adopted set.
    pub(super) async fn renew_kept(
        &mut self,
        first_set: FirstSet,
        ended: impl Future<Output = Signal>,
    ) -> Result<FirstSet, Failure> {
        if self.first_fetch.kept().is_empty() {
            return Ok(first_set);
        }
        let Some(published) = adoptable(self.store, self.origin) else {
            return Ok(first_set);
        };
        tokio::select! {
            first_set = self.renew_served(published, first_set) => first_set,
            signal = ended => Err(ended_by(signal)),
        }
    }
}

fn names_in(bundle: &Bundle) -> String {
    let names: Vec<&str> = bundle.secrets.keys().map(SecretName::as_str).collect();
    names.join(", ")
}
