//! The times of the next pass, the next try and the next sweep, by the boot clock.

use std::time::Duration;

use super::{GRACE, LATE, Trigger};
use crate::config::settings::RenewInterval;
use crate::lifecycle::publish::{Failed, Heartbeat, HeldBack, Stamp, due};
use crate::lifecycle::schedule::{Alarm, Schedule, Seen, Wait};
use crate::model::{Bundle, Generation, Retry};
use crate::os::clock::Moment;
use crate::store::LINGER;
use crate::store::state::State;

/// The secrets that a pass fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All secrets.
    All,
    /// The secrets that failed before.
    Failed,
}

/// The next fetch of all secrets, seen at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchOfAll {
    /// It is due.
    Due,
    /// It is planned for later.
    Later,
    /// It has no planned time.
    Unplanned,
}

/// The plan: the times of fetches and sweeps, by the boot clock.
pub(super) struct Due {
    renew: RenewInterval,
    schedule: Schedule,
    /// The time of the next fetch of all secrets.
    all: Alarm,
    /// The time of the next fetch of failed secrets.
    retry: Option<Duration>,
    /// The time at which replaced generations are removed.
    sweep: Option<Duration>,
    /// The time at which a generation was last replaced.
    published: Duration,
}

impl Due {
    /// Plans the first pass and the first sweep of an agent that continues with `state`.
    pub(super) fn new(
        state: &State,
        renew: RenewInterval,
        random: fastrand::Rng,
        now: Moment,
    ) -> Self {
        Self {
            renew,
            schedule: Schedule::new(renew, random),
            all: due_of(state, renew, now),
            retry: None,
            sweep: Some(now.boot + LINGER),
            published: now.boot,
        }
    }

    /// Gives the time of the next fetch, of all secrets or of failed ones.
    fn next(&self) -> Alarm {
        self.retry.map_or(self.all, |retry| self.all.min(Alarm::At(retry)))
    }

    /// Gives the time to wake, and the reason.
    pub(super) fn alarm(&self) -> (Alarm, Trigger) {
        let next = self.next();
        match self.sweep.map(Alarm::At) {
            Some(sweep) if sweep < next => (sweep, Trigger::Sweep),
            Some(_) | None => (next, Trigger::Due),
        }
    }

    /// Computes the delay of a pass that is made `at`, if it is to be logged.
    pub(super) fn lateness(&self, at: Duration) -> Option<Duration> {
        let late = self.next().time().map(|next| at.saturating_sub(next));
        late.filter(|late| *late > LATE)
    }

    /// Tells whether all secrets are to be fetched `at` this time.
    pub(super) fn fetch_of_all(&self, at: Duration) -> FetchOfAll {
        match self.all {
            Alarm::At(all) if all <= at => FetchOfAll::Due,
            Alarm::At(_) => FetchOfAll::Later,
            Alarm::Never => FetchOfAll::Unplanned,
        }
    }

    /// Plans the next pass by the result of the one of `now`.
    pub(super) fn plan(
        &mut self,
        now: Moment,
        scope: Scope,
        fresh: &Bundle,
        held_back: &HeldBack,
        cut: Option<&Failed>,
    ) {
        let at = now.boot;
        let answered = cut.is_none() || !fresh.secrets.is_empty();
        if scope == Scope::All {
            self.all = if answered { self.after_answer(now, fresh) } else { Alarm::Never };
        }
        let retry_after =
            cut.into_iter().chain(held_back.values()).filter_map(Failed::retry_after).max();
        let passing = || held_back.values().find(|failed| failed.may_pass());
        let worst = cut.or_else(passing).map(|failed| match retry_after {
            Some(retry_after) => Retry::After(retry_after),
            None => failed.retry,
        });
        // No other request is sent to a vault that asked for a wait.
        self.all = self.all.map(|all| all.max(at + retry_after.unwrap_or_default()));
        match worst {
            Some(retry) => self.failed(at, retry),
            None => {
                self.retry = None;
                self.schedule.recovered();
            }
        }
    }

    /// Computes the time of the next fetch of all secrets, after one of `now` that was answered.
    fn after_answer(&mut self, now: Moment, fresh: &Bundle) -> Alarm {
        let Wait::For(due) = due(fresh, self.renew, now.wall) else {
            return Alarm::Never;
        };
        let seen = fresh.secrets.iter().map(|(name, set)| Seen {
            name,
            version: &set.version,
            renew: set.renew,
        });
        Alarm::At(now.boot + self.schedule.after_success(now.boot, seen, due))
    }

    /// Plans to retry a fetch that failed `at`.
    pub(super) fn failed(&mut self, at: Duration, retry: Retry) {
        self.retry = Some(at + self.schedule.after_failure(retry));
    }

    /// Notes that the planned retry is made now.
    pub(super) fn begin_retry(&mut self) {
        self.retry = None;
    }

    /// Resets the backoff after a success.
    pub(super) fn recovered(&mut self) {
        self.schedule.recovered();
    }

    /// Plans a fetch of all secrets `by` then at the latest, planned before or not.
    pub(super) fn fetch_by(&mut self, by: Duration) {
        self.all = self.all.min(Alarm::At(by));
    }

    /// Brings a planned fetch of all secrets forward to `by`; plans none if there was none.
    pub(super) fn bring_forward(&mut self, by: Duration) {
        self.all = self.all.map(|all| all.min(by));
    }

    /// Plans to remove the generation that was replaced `at` this time.
    pub(super) fn replaced(&mut self, at: Duration) {
        self.published = at;
        self.sweep = self.sweep.or(Some(at + LINGER));
    }

    /// Tells whether the generation that was replaced last may be removed as well; if not, plans
    /// another sweep for it.
    pub(super) fn sweeps_all(&mut self, at: Duration) -> bool {
        let lingers_until = self.published + LINGER;
        let all = at >= lingers_until;
        self.sweep = (!all).then_some(lingers_until);
        all
    }

    /// Composes the stamp of the state, for an agent whose passes take `longest` at most.
    pub(super) fn stamp(&self, notified: Generation, longest: Duration, now: Moment) -> Stamp {
        let next = self.next();
        let heartbeat = match next {
            Alarm::At(next) => Heartbeat::By(next + longest + GRACE),
            Alarm::Never => Heartbeat::Unbounded,
        };
        Stamp::new(notified, next, heartbeat, now)
    }
}

/// Computes the time at which a published set is due, by the present settings and the earlier plan.
fn due_of(state: &State, renew: RenewInterval, now: Moment) -> Alarm {
    let Moment { boot, wall } = now;
    let planned = if state.is_due(boot) {
        boot
    } else {
        state.boot_ms.next_due.map_or(boot, Duration::from_millis)
    };
    due(&Bundle::default(), renew, wall).end(boot).map(|latest| latest.min(planned))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::exit::FailureClass;
    use crate::model::SecretName;
    use crate::store::state::BootMillis;
    use crate::store::state::tests::state;

    const NOW: Duration = Duration::from_secs(1_000);

    fn now(boot: Duration) -> Moment {
        Moment { boot, wall: SystemTime::UNIX_EPOCH }
    }

    fn due(next_due: Option<u64>, every: Duration) -> Due {
        let boot_ms = BootMillis { fetched: 900_000, next_due, ..BootMillis::default() };
        let state = State { boot_ms, ..state() };
        Due::new(&state, RenewInterval::Every(every), fastrand::Rng::with_seed(7), now(NOW))
    }

    #[test]
    fn a_sweep_comes_first_and_waits_for_readers_of_the_generation_replaced_last() {
        let mut due = due(Some(1_060_000), Duration::from_secs(300));
        assert_eq!(due.alarm(), (Alarm::At(NOW + LINGER), Trigger::Sweep));
        due.replaced(NOW + LINGER / 2);
        assert!(!due.sweeps_all(NOW + LINGER));
        assert_eq!(due.alarm(), (Alarm::At(NOW + LINGER * 3 / 2), Trigger::Sweep));
        assert!(due.sweeps_all(NOW + LINGER * 3 / 2));
        assert_eq!(due.alarm(), (Alarm::At(Duration::from_secs(1_060)), Trigger::Due));
    }

    #[test]
    fn an_earlier_plan_holds_unless_the_settings_want_it_sooner() {
        for (planned, every, expected) in
            [(1_060_000, 300, 1_060), (1_600_000, 300, 1_300), (990_000, 300, 1_000)]
        {
            let due = due(Some(planned), Duration::from_secs(every));
            assert_eq!(due.next(), Alarm::At(Duration::from_secs(expected)), "{planned}");
        }
    }

    #[test]
    fn a_wait_that_the_vault_asked_for_holds_for_all_fetches() {
        let mut due = due(Some(1_000_000), Duration::from_secs(30));
        assert_eq!(due.fetch_of_all(NOW), FetchOfAll::Due);
        let wait = Duration::from_secs(120);
        let failed =
            Failed { retry: Retry::After(wait), ..Failed::said(FailureClass::Unreachable, "busy") };
        let db = SecretName::new("db").unwrap();
        due.plan(now(NOW), Scope::All, &Bundle::default(), &HeldBack::from([(db, failed)]), None);
        assert!(
            due.next() >= Alarm::At(NOW + wait) && due.next() != Alarm::Never,
            "{:?}",
            due.next()
        );
        assert_eq!(due.fetch_of_all(NOW + wait - Duration::from_secs(1)), FetchOfAll::Later);
    }

    #[test]
    fn only_a_pass_that_is_much_too_late_is_logged() {
        let due = due(Some(1_060_000), Duration::from_secs(300));
        let at = Duration::from_secs(1_060);
        assert_eq!(due.lateness(NOW), None);
        assert_eq!(due.lateness(at + LATE), None);
        let late = LATE + Duration::from_secs(1);
        assert_eq!(due.lateness(at + late), Some(late));
    }

    #[test]
    fn a_pass_that_was_cut_leaves_no_plan_to_bring_forward() {
        let mut due = due(Some(1_000_000), Duration::from_secs(300));
        let cut = Failed::said(FailureClass::Unreachable, "gone");
        due.plan(now(NOW), Scope::All, &Bundle::default(), &HeldBack::new(), Some(&cut));
        assert_eq!(due.fetch_of_all(NOW), FetchOfAll::Unplanned);
        due.bring_forward(NOW);
        assert_eq!(
            due.fetch_of_all(NOW),
            FetchOfAll::Unplanned,
            "an unplanned fetch is not brought forward"
        );
        due.fetch_by(NOW);
        assert_eq!(due.fetch_of_all(NOW), FetchOfAll::Due);
    }
}
