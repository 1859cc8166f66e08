//! Renewal: the time of each fetch, the set that is made of the result, the report of it.
//!
//! A failure never touches the current set: each identity keeps its last good version until a newer
//! one is sound, and a set is replaced as a whole or not at all.

mod due;
mod fetch;
mod known;
mod memory;
mod publish;
mod report;
mod run;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use crate::config::Config;
use crate::config::settings::{FetchMode, Refresh};
use crate::exit::FailureClass;
use crate::lifecycle::fetch::{Posts, Renewed, is_to_be_replaced};
pub use crate::lifecycle::publish::Publication;
use crate::lifecycle::publish::{Current, Failed, HeldBack, Prepared, Remarked, Stamp};
use crate::lifecycle::schedule::Alarm;
use crate::model::{Bundle, Generation, SecretName};
use crate::os::clock::{Clock, Moment};
use crate::os::watch::{Hint, Hints};
use crate::probes::Board;
use crate::store::Store;
use crate::store::state::State;
use crate::vault::{Connect, Token};
use due::{Due, FetchOfAll, Scope};
use fetch::PassFetch;
use known::{Known, ReadEffect};
use report::Report;
pub use run::renew;

/// The longest time of all reads of one pass together.
const PASS: Duration = Duration::from_secs(60);
/// The delay of a pass above which it is logged.
const LATE: Duration = Duration::from_secs(30);
/// A route that is missing for a shorter time is taken for a passing fault of the gateway.
const ROUTE_GRACE: Duration = Duration::from_secs(90);
/// The time, beyond the longest pass, after which a heartbeat counts as overdue.
const GRACE: Duration = Duration::from_secs(60);
/// The longest wait before the second read, which shows if reads provision at this vault: DSM's
/// page "GET | Provision" says that it creates a secret.
const SECOND_READ: Duration = Duration::from_secs(10);

/// The cause of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A fetch is due.
    Due,
    /// A file that the settings name has changed.
    Inputs,
    /// The output directory may have been changed.
    Output,
    /// A replaced generation is to be removed.
    Sweep,
}

/// The current set, as the start hands it over.
pub struct Handover {
    /// Its state.
    pub state: State,
    /// The token that it was fetched with, if it is still valid.
    pub token: Option<Token>,
    /// The remarks on it that have been logged.
    pub remarked: Remarked,
}

/// The edges of renewal, which a simulation replaces.
pub struct Edges<'a, V> {
    /// The clocks.
    pub clock: &'a dyn Clock,
    /// The generator of every random number.
    pub random: fastrand::Rng,
    /// The hints of changed files.
    pub watch: Box<dyn Hints + 'a>,
    /// The source of the secrets.
    pub vault: V,
}

/// The secrets that a pass fetches.
struct Requested {
    scope: Scope,
    names: Vec<SecretName>,
}

/// The renewal of one set.
pub struct Renewer<'a, V> {
    config: &'a Config,
    current: Current<'a>,
    due: Due,
    known: Known,
    token: Option<Token>,
    /// A set that could not be written to the directory.
    unpublished: Option<Prepared>,
    report: Report,
    clock: &'a dyn Clock,
    watch: Box<dyn Hints + 'a>,
    vault: V,
}

impl<'a, V: Connect> Renewer<'a, V> {
    /// Continues with the current set of `store`.
    pub fn new(
        config: &'a Config,
        store: &'a mut Store,
        set: Handover,
        edges: Edges<'a, V>,
        board: Rc<RefCell<Board>>,
    ) -> Self {
        let Handover { state, token, remarked } = set;
        let report = Report::new(state.notified, board);
        let Edges { clock, random, watch, vault } = edges;
        let now = clock.now();
        let due = Due::new(&state, config.renew, random, now);
        let posts = Posts::new(store.pending(&state.origin), now.boot);
        let known = Known::new(&state, posts, now.boot);
        let mut renewer = Self {
            config,
            current: Current::new(store, &config.layout, state, remarked, clock),
            due,
            known,
            token,
            unpublished: None,
            report,
            clock,
            watch,
            vault,
        };
        if renewer.has_run_out(now.boot) {
            renewer.due.fetch_by(now.boot);
        }
        renewer.save();
        renewer
    }

    /// Tells whether the current set has run out, and may be replaced by POSTs.
    fn has_run_out(&self, now: Duration) -> bool {
        let (state, wanted) = (self.current.state(), &self.config.wanted);
        wanted.source == FetchMode::Provision
            && self.current.bundle().is_some_and(|published| {
                is_to_be_replaced(&published, state, wanted, &self.known.posts, now)
            })
    }

    /// Gives the state of the current set.
    pub fn state(&self) -> &State {
        self.current.state()
    }

    /// Ends the watch, after which no wait follows and the process can end at once. Saves a
    /// notification that completed during an unfinished pass.
    pub fn end(&mut self) {
        if self.report.notified().get() != self.current.state().notified {
            self.save();
        }
        self.watch.end();
    }

    /// Waits until a pass is to be made, and gives its cause. Cancel-safe.
    pub async fn wait(&mut self) -> Trigger {
        let (alarm, trigger) = self.due.alarm();
        let alarm = async {
            match alarm {
                Alarm::At(at) => self.clock.until(at).await,
                Alarm::Never => pending().await,
            }
        };
        tokio::select! {
            () = alarm => trigger,
            hint = self.watch.changed() => match hint {
                Hint::Inputs => Trigger::Inputs,
                Hint::Output => Trigger::Output,
            },
        }
    }

    /// Makes one pass; gives the generation that it published, if any.
    ///
    /// Cancel-safe with one exception: the fate of a POST under way is unknown afterwards, which
    /// the next pass settles by a read.
    pub async fn pass(&mut self, trigger: Trigger) -> Option<Publication> {
        match trigger {
            Trigger::Sweep => {
                self.sweep();
                None
            }
            Trigger::Output => self.restore(),
            Trigger::Due | Trigger::Inputs => {
                let at = self.clock.boot();
                self.warn_if_late(trigger, at);
                let scope = if trigger == Trigger::Inputs { Scope::All } else { self.scope(at) };
                if scope == Scope::Failed
                    && let Some(unpublished) = self.unpublished.take()
                {
                    self.due.begin_retry();
                    return self.publish(at, unpublished);
                }
                self.unpublished = None;
                if self.watch.look() || trigger == Trigger::Inputs {
                    // It was issued for the credentials that the files held before.
                    self.token = None;
                }
                if trigger == Trigger::Due && scope == Scope::All && self.posts() {
                    self.known.begin_due_pass();
                }
                let names = self.names(scope);
                let fetched = self.fetch(&names, at).await;
                let requested = Requested { scope, names };
                self.conclude(trigger, &requested, fetched)
            }
        }
    }

    /// Removes replaced generations, except the last one while readers may still be in the middle
    /// of it.
    fn sweep(&mut self) {
        if self.due.sweeps_all(self.clock.boot()) {
            self.current.store().sweep();
        } else {
            self.current.store().sweep_but_the_last();
        }
    }

    /// Gives the cell that holds the generation of which the main process was notified last.
    #[must_use]
    pub fn notified(&self) -> Rc<Cell<Generation>> {
        Rc::clone(self.report.notified())
    }

    /// Saves the generation of which the main process was notified last.
    pub fn save_notified(&mut self) {
        self.save();
    }

    /// Counts a notification that is complete, and saves its generation.
    pub fn count_notified(&mut self) {
        self.report.count(|counters| counters.notifications += 1);
        self.save();
    }

    /// Records a pass that was given up because it did not end.
    pub fn abandoned(&mut self) {
        let failed = Failed::said(
            FailureClass::Unreachable,
            "a renewal pass took too long and was given up",
        );
        let requested = Requested { scope: Scope::All, names: self.names(Scope::All) };
        self.plan(
            self.clock.boot(),
            &requested,
            &Bundle::default(),
            &HeldBack::new(),
            Some(&failed),
        );
        self.failed(&HeldBack::new(), Some(&failed));
    }

    fn names(&self, scope: Scope) -> Vec<SecretName> {
        self.known.names(self.current.state(), &self.config.wanted, scope)
    }

    /// Decides the scope of a pass that is due `at` this time.
    fn scope(&self, at: Duration) -> Scope {
        match self.due.fetch_of_all(at) {
            FetchOfAll::Due => Scope::All,
            FetchOfAll::Later => Scope::Failed,
            // The pass is made for the set that could not be published.
            FetchOfAll::Unplanned if self.unpublished.is_some() => Scope::Failed,
            FetchOfAll::Unplanned => Scope::All,
        }
    }

    /// Tells whether each due pass posts.
    fn posts(&self) -> bool {
        let wanted = &self.config.wanted;
        wanted.source == FetchMode::Provision && wanted.refresh == Refresh::Post
    }

    fn warn_if_late(&self, trigger: Trigger, at: Duration) {
        if trigger == Trigger::Due
            && let Some(late) = self.due.lateness(at)
        {
            let late = humantime::format_duration(Duration::from_secs(late.as_secs()));
            tracing::warn!(%late, "this renewal pass is late: the agent or its node was suspended");
        }
    }

    /// Plans the next fetch, and its scope.
    fn plan(
        &mut self,
        at: Duration,
        requested: &Requested,
        fresh: &Bundle,
        held_back: &HeldBack,
        cut: Option<&Failed>,
    ) {
        let Requested { scope, names } = requested;
        self.known.note_failing(names, fresh, held_back, cut);
        let now = Moment { boot: at, wall: self.clock.wall() };
        self.due.plan(now, *scope, fresh, held_back, cut);
    }

    /// Composes the part of the state that describes this agent.
    fn stamp(&self) -> Stamp {
        self.due.stamp(self.report.notified().get(), self.longest_pass(), self.clock.now())
    }

    /// Computes the time within which a pass ends, however many identities hang.
    pub fn longest_pass(&self) -> Duration {
        let names = self.current.state().secrets.len().max(self.config.wanted.identities.len());
        let names = u32::try_from(names).unwrap_or(u32::MAX);
        let mut each = Duration::from_secs(1);
        if self.config.wanted.source == FetchMode::Provision {
            each += self.config.vault.provision_timeout;
        }
        PASS + each.saturating_mul(names)
    }

    /// Merges the fetched secrets with the current set, and publishes the result.
    fn conclude(
        &mut self,
        trigger: Trigger,
        requested: &Requested,
        fetched: PassFetch,
    ) -> Option<Publication> {
        let at = self.clock.boot();
        let PassFetch { mut renewed, by_get, origin } = fetched;
        self.refuse_fewer(&mut renewed);
        let gone = self.gone(at, trigger, &renewed);
        let Renewed { fresh, failed, cut } = renewed;
        let mut held_back: HeldBack =
            failed.iter().map(|(name, error)| (name.clone(), Failed::from(error))).collect();
        held_back.retain(|name, _| !gone.contains(name));
        let cut = cut.as_ref().map(Failed::from);
        let fetched: BTreeSet<SecretName> = fresh.secrets.keys().cloned().collect();
        let new = self.known.learn(&fresh, at);
        self.record_posts();
        self.plan(at, requested, &fresh, &held_back, cut.as_ref());
        if fresh.secrets.is_empty() && gone.is_empty() {
            self.failed(&held_back, cut.as_ref());
            return None;
        }
        let bundle = match self.current.merge(fresh, &gone) {
            Ok(bundle) => bundle,
            Err(failed) => {
                self.failed(&held_back, Some(&failed));
                return None;
            }
        };
        if let Some(origin) = origin.filter(|_| !fetched.is_empty()) {
            self.current.set_origin(origin);
        }
        let outcome = self.publish_sound(at, bundle, fetched, held_back, cut.as_ref());
        for name in gone.iter().filter(|name| self.current.state().secret(name).is_none()) {
            tracing::warn!(
                identity = %name,
                "the vault no longer lists this identity: the agent removes its published files"
            );
        }
        let changed =
            if matches!(outcome, Some(Publication::Changed(_))) { new } else { BTreeSet::new() };
        self.count_reads(at, &by_get, &changed);
        outcome
    }

    /// Counts the secrets that were `read`, of which those `changed` brought a new version of other
    /// values. If the first two reads show that reads provision, later ones read the application.
    fn count_reads(
        &mut self,
        at: Duration,
        read: &BTreeSet<SecretName>,
        changed: &BTreeSet<SecretName>,
    ) {
        match self.known.count_reads(read, changed) {
            ReadEffect::Harmless => {}
            ReadEffect::Suspicious => {
                self.due.bring_forward(at + SECOND_READ);
                self.save();
            }
            ReadEffect::Provisions => {
                tracing::warn!(
                    "each of the first two reads gave a new version: this vault provisions at each read. Renewal now reads the application"
                );
                self.known.route.settle();
                self.current.set_refresh(self.known.route.settled());
                self.save();
            }
        }
    }

    /// Records a pass that fetched nothing; the current set stays.
    fn failed(&mut self, held_back: &HeldBack, cut: Option<&Failed>) {
        let class = cut.or_else(|| held_back.values().next()).map(|failed| failed.class);
        self.current.failed(held_back, class);
        let at = self.clock.boot();
        self.report.failed(at, held_back, cut, class);
        self.save();
    }

    fn save(&mut self) {
        let stamp = self.stamp();
        self.current.save(&stamp);
        self.show();
    }

    fn show(&self) {
        self.report.show(self.current.state());
    }

    /// Gives the counter of failures to notify.
    fn notify_failures(&self) -> Rc<Cell<u64>> {
        self.report.notify_failures()
    }
}

#[cfg(test)]
mod tests;
