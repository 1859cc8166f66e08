//! Publication of fetched sets, and the handling of those that can't be published.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Publication, Renewer};
use crate::exit::chain;
use crate::lifecycle::deprovision::unpublish;
use crate::lifecycle::fetch::Renewed;
use crate::lifecycle::publish::{
    Candidate, Failed, Fetched, HeldBack, Prepared, PublishError, Replaced,
};
use crate::model::{Bundle, SecretName};
use crate::store::state::State;
use crate::vault::Connect;

impl<V: Connect> Renewer<'_, V> {
    /// Fails what a list has less of than is published.
    pub(super) fn refuse_less(&self, renewed: &mut Renewed) {
        if self.known.route.lists_provisioned(&self.config.wanted)
            && let Some(published) = self.current.bundle()
        {
            renewed.refuse_less(&published);
        }
    }

    /// Publishes `bundle`; those of `sound` that can't be rendered are held back.
    pub(super) fn publish_sound(
        &mut self,
        at: Duration,
        bundle: Bundle,
        sound: BTreeSet<SecretName>,
        held_back: HeldBack,
        cut: Option<&Failed>,
    ) -> Option<Publication> {
        let fetched = Fetched {
            at,
            refresh: self.known.route.settled(),
            cut: cut.map(|failed| failed.class),
            stamp: self.stamp(),
        };
        let set = Candidate { bundle, sound, held_back };
        let (set, published) = self.current.publish_sound(set, &fetched);
        let published = published.map(|replaced| self.replaced(at, replaced));
        self.published(at, set, cut, published)
    }

    /// Publishes a set that was kept in memory; says what came of it, if anything.
    pub(super) fn publish(&mut self, at: Duration, mut set: Prepared) -> Option<Publication> {
        let published = self.write(at, &set.set.bundle, &mut set.state);
        self.published(at, set, None, published)
    }

    fn published(
        &mut self,
        at: Duration,
        set: Prepared,
        cut: Option<&Failed>,
        published: Result<Option<Publication>, PublishError>,
    ) -> Option<Publication> {
        match published {
            Ok(publication) => {
                if !self.known.is_unsure() {
                    self.current.store().clear_pending();
                }
                let last_error = self.current.state().last_error.as_deref();
                if last_error.is_none() {
                    self.due.recovered();
                }
                let Candidate { held_back, sound, .. } = &set.set;
                self.report.published(at, held_back, cut, sound, last_error);
                publication
            }
            Err(error) => {
                let failed = Failed::from(&error);
                self.due.failed(at, failed.retry);
                // What can't be rendered will be no better later.
                self.unpublished = matches!(error, PublishError::Write(_)).then_some(set);
                self.failed(&HeldBack::new(), Some(&failed));
                None
            }
        }
    }

    /// Publishes a set as it is; says what came of it, if anything.
    fn write(
        &mut self,
        at: Duration,
        bundle: &Bundle,
        state: &mut State,
    ) -> Result<Option<Publication>, PublishError> {
        self.stamp().apply(state);
        let replaced = self.current.publish(bundle, state)?;
        Ok(self.replaced(at, replaced))
    }

    /// Takes note of a publication, and of what it has replaced, if anything.
    fn replaced(&mut self, at: Duration, replaced: Option<Replaced>) -> Option<Publication> {
        self.show();
        let Replaced { publication, swept } = replaced?;
        self.report.count(|counters| counters.publishes += 1);
        if !swept {
            self.due.replaced(at);
        }
        Some(publication)
    }

    /// Looks at what is published, and puts back what something else has changed.
    pub(super) fn heal(&mut self) -> Option<Publication> {
        let at = self.clock.boot();
        self.current.store().recheck();
        let Some(bundle) = self.current.bundle() else {
            tracing::warn!(
                "published files were changed by another process and can't be restored; fetching again"
            );
            let soon = self.current.state().boot_ms.fetched.saturating_add(10_000);
            self.due.fetch_by(at.max(Duration::from_millis(soon)));
            return None;
        };
        let mut state = self.current.state().clone();
        match self.write(at, &bundle, &mut state) {
            Ok(None) => None,
            Ok(publication) => {
                tracing::warn!("restored published files that another process had changed");
                publication
            }
            Err(error) => {
                let Failed { text, hint, .. } = Failed::from(&error);
                tracing::warn!(
                    error = text,
                    hint,
                    "published files were changed by another process; restoring them failed and is tried again"
                );
                None
            }
        }
    }

    /// Publishes a set of nothing, which no start adopts.
    pub(super) fn unpublish(&mut self) {
        let mut state = self.current.state().clone();
        state.secrets.clear();
        self.stamp().apply(&mut state);
        match unpublish(&mut self.current, state) {
            Ok(replaced) => drop(self.replaced(self.clock.boot(), replaced)),
            Err(error) => {
                tracing::debug!(error = chain(&error), "nothing more can be written; it is removed")
            }
        }
    }
}
