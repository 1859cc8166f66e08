//! When to ask again, and what is remembered of it.

use std::time::Duration;

use super::{GRACE, PASS, Questions, Renewer};
use crate::model::{Bundle, Retry, SecretName};
use crate::pass::{Failed, HeldBack, Stamp, due};
use crate::schedule::{RenewInterval, Seen};
use crate::settings::Source as Way;
use crate::state::{State, millis};

impl Renewer<'_> {
    /// Decides when to ask again.
    pub(super) fn plan(
        &mut self,
        at: Duration,
        questions: &Questions,
        fresh: &Bundle,
        held_back: &HeldBack,
        cut: Option<&Failed>,
    ) {
        let Questions { all, names } = questions;
        let answered = cut.is_none() || !fresh.secrets.is_empty();
        if *all && answered {
            let seen = fresh.secrets.iter().map(|(name, set)| Seen {
                name,
                version: &set.version,
                renew: set.renew,
            });
            let wait = self.schedule.after_success(at, seen, due(fresh, self.config.renew));
            self.due = wait.map(|wait| at + wait);
        } else if *all {
            self.due = None;
        }
        let passing = |failed: &&Failed| failed.retry != Retry::Never;
        let fails = |name: &&SecretName| match cut {
            // Some were not even asked for.
            Some(_) => !fresh.secrets.contains_key(*name),
            None => held_back.get(*name).is_some_and(|failed| passing(&failed)),
        };
        self.failing = names.iter().filter(fails).cloned().collect();
        let retry_after =
            cut.into_iter().chain(held_back.values()).filter_map(Failed::retry_after).max();
        let worst =
            cut.or_else(|| held_back.values().find(passing)).map(|failed| match retry_after {
                Some(retry_after) => Retry::After(retry_after),
                None => failed.retry,
            });
        // A vault that asked for a wait is asked for nothing else meanwhile.
        self.due = self.due.map(|due| due.max(at + retry_after.unwrap_or_default()));
        self.retry = worst.map(|retry| at + self.schedule.after_failure(retry));
        if worst.is_none() {
            self.schedule.recovered();
        }
    }

    /// What is due when, and until when silence is no bad sign.
    pub(super) fn stamp(&self) -> Stamp {
        let wake = [self.due, self.retry].into_iter().flatten().min();
        let silent = wake.map_or(u64::MAX, |wake| millis(wake + self.longest_pass() + GRACE));
        Stamp::new(self.notified.get(), wake, Some(silent))
    }

    /// However many identities hang, a pass ends within this.
    pub fn longest_pass(&self) -> Duration {
        let names = self.current.state().secrets.len().max(self.config.wanted.identities.len());
        let names = u32::try_from(names).unwrap_or(u32::MAX);
        let mut each = Duration::from_secs(1);
        if self.config.wanted.source == Way::Provision {
            each += self.config.vault.provision_timeout;
        }
        PASS + each.saturating_mul(names)
    }
}

/// When a set that stands is due, by the settings as they are now and what was planned before.
pub(super) fn due_of(state: &State, renew: RenewInterval, now: Duration) -> Option<Duration> {
    let planned = if state.is_due(now) {
        now
    } else {
        state.boot_ms.next_due.map_or(now, Duration::from_millis)
    };
    let latest = match renew {
        RenewInterval::Off => return None,
        RenewInterval::Every(interval) => interval,
        RenewInterval::Auto => due(&Bundle::default(), renew)?,
    };
    Some(planned.min(now + latest))
}
