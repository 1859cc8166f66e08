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
    /// Fails secrets of which a list holds fewer credentials than are published.
    pub(super) fn refuse_fewer(&self, renewed: &mut Renewed) {
        if self.known.route.lists_provisioned(&self.config.wanted)
            && let Some(published) = self.current.bundle()
        {
            renewed.refuse_fewer(&published);
        }
    }

    /// Publishes `bundle`, and holds back those of `sound` that can't be rendered; gives the
    /// generation that it published, if any.
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

    /// Publishes a set that could not be written before; gives the generation that it published, if
    /// any.
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
                // A later try can't render it either.
                self.unpublished = matches!(error, PublishError::Write(_)).then_some(set);
                self.failed(&HeldBack::new(), Some(&failed));
                None
            }
        }
    }

    /// Publishes a set without holding back any secret; gives the generation that it published, if
    /// any.
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

    /// Notes a publication, and plans the removal of the generation that it replaced.
    fn replaced(&mut self, at: Duration, replaced: Option<Replaced>) -> Option<Publication> {
        self.show();
        let Replaced { publication, swept } = replaced?;
        self.report.count(|counters| counters.publishes += 1);
        if !swept {
            self.due.replaced(at);
        }
        Some(publication)
    }

    /// Compares the published files with the current set, and restores those that another process
    /// has changed; gives the generation that it published, if any.
    pub(super) fn restore(&mut self) -> Option<Publication> {
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

    /// Publishes an empty set, which no start adopts.
    pub(super) fn unpublish(&mut self) {
        let mut state = self.current.state().clone();
        state.secrets.clear();
        self.stamp().apply(&mut state);
        match unpublish(&mut self.current, state) {
            Ok(replaced) => drop(self.replaced(self.clock.boot(), replaced)),
            Err(error) => {
                tracing::debug!(
                    error = chain(&error),
                    "the empty set can't be written; the published set is removed"
                )
            }
        }
    }
}
