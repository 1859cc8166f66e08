//! Reports of renewal: log lines, metrics, the last notification. One warning is logged when a
//! failure begins, one line when it is over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crate::exit::FailureClass;
use crate::lifecycle::publish::{Failed, HeldBack};
use crate::model::{Generation, SecretName};
use crate::probes::{Board, Counters};
use crate::store::state::State;

/// The reports of renewal, and their data.
pub(super) struct Report {
    failures: Failures,
    /// The generation of which the main process was notified last; that may happen while a pass is
    /// under way.
    notified: Rc<Cell<Generation>>,
    /// The board that probes and metrics are answered from.
    board: Rc<RefCell<Board>>,
}

impl Report {
    /// Begins with `notified`, the generation of which the main process was notified last.
    pub(super) fn new(notified: Generation, board: Rc<RefCell<Board>>) -> Self {
        Self { failures: Failures::default(), notified: Rc::new(Cell::new(notified)), board }
    }

    /// Gives the cell that holds the generation of which the main process was notified last.
    pub(super) fn notified(&self) -> &Rc<Cell<Generation>> {
        &self.notified
    }

    /// Shows a state to probes and metrics.
    pub(super) fn show(&self, state: &State) {
        self.board.borrow_mut().state = Some(state.clone());
    }

    /// Changes the counters by `count`.
    pub(super) fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.board.borrow_mut().counters);
    }

    /// Gives the counter of failures to notify.
    pub(super) fn notify_failures(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.board.borrow().counters.notification_failures)
    }

    /// Reports a pass that published the `sound` secrets. `last_error` is the label of the class of
    /// a failure in it, if there was one.
    pub(super) fn published(
        &mut self,
        at: Duration,
        held_back: &HeldBack,
        cut: Option<&Failed>,
        sound: &BTreeSet<SecretName>,
        last_error: Option<&str>,
    ) {
        self.failures.report(at, held_back, cut, sound);
        self.count(|counters| match last_error {
            Some(class) => counters.failed(FailureClass::of(class)),
            None => counters.passes_ok += 1,
        });
    }

    /// Reports a pass that could not publish a set.
    pub(super) fn failed(
        &mut self,
        at: Duration,
        held_back: &HeldBack,
        cut: Option<&Failed>,
        class: Option<FailureClass>,
    ) {
        self.count(|counters| counters.failed(class));
        self.failures.report(at, held_back, cut, &BTreeSet::new());
    }
}

/// Failures that were reported and are not over yet.
#[derive(Debug, Default)]
struct Failures {
    /// The time of the first failure of whole passes, and their number.
    all: Option<(Duration, u64)>,
    /// The identities that are held back.
    names: BTreeSet<SecretName>,
}

impl Failures {
    /// Logs failures that are new, and those of earlier passes that are over; `sound` secrets were
    /// fetched.
    fn report(
        &mut self,
        at: Duration,
        held_back: &HeldBack,
        cut: Option<&Failed>,
        sound: &BTreeSet<SecretName>,
    ) {
        match cut {
            Some(failed) => self.begin(at, failed),
            None if sound.is_empty() => {}
            None => self.end(at),
        }
        for (name, failed) in held_back {
            let (error, hint) = (&failed.text, failed.hint);
            if self.names.insert(name.clone()) {
                tracing::warn!(
                    identity = %name,
                    error,
                    hint,
                    "held back: its last good version stays published"
                );
            } else {
                tracing::debug!(identity = %name, error, "still held back");
            }
        }
        let over = |name: &SecretName| sound.contains(name) && !held_back.contains_key(name);
        for name in self.names.extract_if(.., over) {
            tracing::info!(identity = %name, "no longer held back");
        }
    }

    fn begin(&mut self, at: Duration, failed: &Failed) {
        let (error, hint) = (&failed.text, failed.hint);
        match &mut self.all {
            Some((_, passes)) => {
                *passes = passes.saturating_add(1);
                tracing::debug!(error, "renewal still fails");
            }
            None => {
                self.all = Some((at, 1));
                tracing::warn!(
                    error,
                    hint,
                    "renewal fails; the published set stays, and the agent keeps trying"
                );
            }
        }
    }

    fn end(&mut self, at: Duration) {
        if let Some((since, passes)) = self.all.take() {
            let lasted = at.saturating_sub(since).as_secs();
            let lasted = humantime::format_duration(Duration::from_secs(lasted));
            tracing::info!(%lasted, passes, "renewal works again");
        }
    }
}
