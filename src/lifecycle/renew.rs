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
use crate::config::settings::{FetchMode, OnAbsent};
use crate::exit::FailureClass;
use crate::lifecycle::fetch::Renewed;
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

/// How long all reads of a pass may take together.
const PASS: Duration = Duration::from_secs(60);
/// A pass that comes this much too late is worth a warning.
const LATE: Duration = Duration::from_secs(30);
/// A route that is missing for less is a gateway's bad minute.
const ROUTE_GRACE: Duration = Duration::from_secs(90);
/// Beyond the longest pass, a loop that turns may be silent this long.
const GRACE: Duration = Duration::from_secs(60);
/// The second of the first two reads, which shows whether reading provisions, is no later.
const SECOND_READ: Duration = Duration::from_secs(10);

/// Why a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time has come.
    Due,
    /// A file that the settings name has changed.
    Inputs,
    /// Something may have touched the output directory.
    Output,
    /// Readers of a replaced generation have had their time.
    Sweep,
}

/// A set that stands, as the start leaves it.
pub struct Handover {
    /// What is remembered of it.
    pub state: State,
    /// What is left of the login that brought it.
    pub token: Option<Token>,
    /// What has been said of it.
    pub remarked: Remarked,
}

/// The edges of renewal, which a simulation replaces.
pub struct Edges<'a, V> {
    /// The clocks.
    pub clock: &'a dyn Clock,
    /// The generator of every draw.
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
    on_absent: OnAbsent,
    current: Current<'a>,
    due: Due,
    known: Known,
    token: Option<Token>,
    /// A set that the directory did not take.
    unpublished: Option<Prepared>,
    report: Report,
    clock: &'a dyn Clock,
    watch: Box<dyn Hints + 'a>,
    vault: V,
}

impl<'a, V: Connect> Renewer<'a, V> {
    /// Goes on from the current set of `store`.
    pub fn new(
        config: &'a Config,
        on_absent: OnAbsent,
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
        let known = Known::new(&state, store.pending(&state.origin), now.boot);
        let mut renewer = Self {
            config,
            on_absent,
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
        renewer.save();
        renewer
    }

    /// Gives the state of the current set.
    pub fn state(&self) -> &State {
        self.current.state()
    }

    /// Nothing will be waited for any more; the process can then end at once.
    pub fn end(&mut self) {
        if self.report.notified().get() != self.current.state().notified {
            // It was notified while a pass was under way that did not come to its end.
            self.save();
        }
        self.watch.end();
    }

    /// Waits until there is something to do. Cancel-safe.
    pub async fn wait(&mut self) -> Why {
        let (alarm, why) = self.due.alarm();
        let alarm = async {
            match alarm {
                Alarm::At(at) => self.clock.until(at).await,
                Alarm::Never => pending().await,
            }
        };
        tokio::select! {
            () = alarm => why,
            hint = self.watch.changed() => match hint {
                Hint::Inputs => Why::Inputs,
                Hint::Output => Why::Output,
            },
        }
    }

    /// Makes one pass; says what came of it, if anything.
    pub async fn pass(&mut self, why: Why) -> Option<Publication> {
        match why {
            Why::Sweep => {
                self.sweep();
                None
            }
            Why::Output => self.heal(),
            Why::Due | Why::Inputs => {
                let at = self.clock.boot();
                self.warn_if_late(why, at);
                let scope = if why == Why::Inputs { Scope::All } else { self.scope(at) };
                if scope == Scope::Failed
                    && let Some(unpublished) = self.unpublished.take()
                {
                    self.due.retries();
                    return self.publish(at, unpublished);
                }
                self.unpublished = None;
                if self.watch.look() || why == Why::Inputs {
                    // It was given for what the files held before.
                    self.token = None;
                }
                let names = self.names(scope);
                let asked = self.fetch(&names, at).await;
                let requested = Requested { scope, names };
                self.conclude(why, &requested, asked)
            }
        }
    }

    /// Removes what was replaced, but not before readers in the middle of it have had their time.
    fn sweep(&mut self) {
        if self.due.sweeps_all(self.clock.boot()) {
            self.current.store().sweep();
        } else {
            self.current.store().sweep_but_the_last();
        }
    }

    /// Gives the note of the generation that was notified last.
    #[must_use]
    pub fn notified(&self) -> Rc<Cell<Generation>> {
        Rc::clone(self.report.notified())
    }

    /// Saves the generation that was notified last.
    pub fn save_notified(&mut self) {
        self.save();
    }

    /// Counts a notification that is complete, and saves its generation.
    pub fn count_notified(&mut self) {
        self.report.count(|counters| counters.notifications += 1);
        self.save();
    }

    /// A pass was given up because it did not end.
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

    /// Decides what a pass fetches that is made `at` because its time has come.
    fn scope(&self, at: Duration) -> Scope {
        match self.due.fetch_of_all(at) {
            FetchOfAll::Due => Scope::All,
            FetchOfAll::Later => Scope::Failed,
            // It is made for the set that could not be published.
            FetchOfAll::Unplanned if self.unpublished.is_some() => Scope::Failed,
            FetchOfAll::Unplanned => Scope::All,
        }
    }

    fn warn_if_late(&self, why: Why, at: Duration) {
        if why == Why::Due
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

    /// Composes the part of the state that tells of the loop.
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
        why: Why,
        requested: &Requested,
        asked: PassFetch,
    ) -> Option<Publication> {
        let at = self.clock.boot();
        let PassFetch { mut renewed, by_get, origin } = asked;
        self.refuse_less(&mut renewed);
        let gone = self.gone(at, why, &renewed);
        let Renewed { fresh, failed, cut } = renewed;
        let mut held_back: HeldBack =
            failed.iter().map(|(name, error)| (name.clone(), Failed::from(error))).collect();
        held_back.retain(|name, _| !gone.contains(name));
        let cut = cut.as_ref().map(Failed::from);
        let learned: BTreeSet<SecretName> = fresh.secrets.keys().cloned().collect();
        let new = self.known.learn(&fresh, at);
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
        if let Some(origin) = origin.filter(|_| !learned.is_empty()) {
            self.current.set_origin(origin);
        }
        let outcome = self.publish_sound(at, bundle, learned, held_back, cut.as_ref());
        for name in gone.iter().filter(|name| self.current.state().secret(name).is_none()) {
            tracing::warn!(
                identity = %name,
                "the vault has not listed this identity for a while: its published files are removed"
            );
        }
        let minted =
            if matches!(outcome, Some(Publication::Changed(_))) { new } else { BTreeSet::new() };
        self.count_reads(at, &by_get, &minted);
        outcome
    }

    /// Reads the application from now on if the first two reads have shown that reading provisions;
    /// `read` were read, `minted` brought a new version of other values.
    fn count_reads(
        &mut self,
        at: Duration,
        read: &BTreeSet<SecretName>,
        minted: &BTreeSet<SecretName>,
    ) {
        match self.known.count_reads(read, minted) {
            ReadEffect::Harmless => {}
            ReadEffect::Suspicious => {
                self.due.bring_forward(at + SECOND_READ);
                self.save();
            }
            ReadEffect::Provisions => {
                tracing::warn!(
                    "each of the first two reads brought a new version, so a read provisions at this vault; renewal reads the application from now on"
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
