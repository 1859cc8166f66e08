//! The times of fetches. Pure, and the only user of `backoff`: it states durations, never instants,
//! so that the caller owns the clock.

mod period;
mod rotation;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use crate::config::settings::RenewInterval;
use crate::model::{Bundle, Item, RenewMinutes, Retry, SecretName, SecretSet};

use rotation::Rotation;

/// The shortest wait before a renewal under `auto`, whatever the vault says.
const SOONEST: Duration = Duration::from_secs(10);
/// Plain polling: the longest wait before a renewal under `auto`, as the vendor's historic sidecar
/// has it.
const POLL: Duration = Duration::from_secs(120);
/// The shortest wait that an expiry date leads to: it is a hint in an unknown time zone.
const EXPIRY_FLOOR: Duration = Duration::from_secs(60);

/// The shortest wait under an explicit interval.
const SOONEST_EXPLICIT: Duration = Duration::from_secs(1);
/// The longest step between tries of a renewal.
const LONGEST_STEP: Duration = Duration::from_secs(300);
/// The part of an interval by which a plain wait may be shorter or longer.
const JITTER: f64 = 0.01;
/// The shortest first wait, as part of an interval.
const FIRST: f64 = 0.25;
/// The most secrets whose rotation is learned; the others are polled.
const WATCHED: usize = 64;
/// Credit for early polls at a start. An early poll costs the part of an interval that it is early
/// by.
const CREDIT: f64 = 2.0;
/// The most credit for early polls.
const MOST_CREDIT: f64 = 4.0;
/// Seconds without a read after which the rotation of a secret is forgotten in favour of another's.
const FORGOTTEN: f64 = 86_400.0;
/// The credit that a spread wait leaves for polls after rotations.
const RESERVE: f64 = 2.0;

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The wait ends after this time.
    For(Duration),
    /// The wait never ends.
    Forever,
}

impl Wait {
    /// Changes the length of a wait that ends.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Duration) -> Duration) -> Self {
        match self {
            Self::For(wait) => Self::For(change(wait)),
            Self::Forever => Self::Forever,
        }
    }

    /// Computes the end of a wait that begins `now`.
    pub fn end(self, now: Duration) -> Alarm {
        match self {
            Self::For(wait) => Alarm::At(now + wait),
            Self::Forever => Alarm::Never,
        }
    }
}

/// A time at which something is due, by any clock that goes on while the machine sleeps.
///
/// An earlier time is less, and `Never` is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// It is due at this time.
    At(Duration),
    /// It is never due.
    Never,
}

impl Alarm {
    /// Changes the time of an alarm that has one.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Duration) -> Duration) -> Self {
        match self {
            Self::At(at) => Self::At(change(at)),
            Self::Never => Self::Never,
        }
    }

    /// Gives the time, if there is one.
    pub fn time(self) -> Option<Duration> {
        match self {
            Self::At(at) => Some(at),
            Self::Never => None,
        }
    }
}

/// Computes the wait after which a set that was just fetched is due again.
///
/// `to_expiry` gives the time until a secret's expiry date, if the date can be read.
pub fn due_in(
    bundle: &Bundle,
    interval: RenewInterval,
    to_expiry: impl Fn(&SecretSet) -> Option<Duration>,
) -> Wait {
    match interval {
        RenewInterval::Off => Wait::Forever,
        RenewInterval::Every(interval) => Wait::For(interval),
        RenewInterval::Auto => {
            let hints = bundle.secrets.values().flat_map(|set| {
                let lifetime = shortest_ttl(set).map(|ttl| ttl * 2 / 3);
                let renewal = set.renew.map(|minutes| Duration::from_secs(60) * minutes);
                let expiry = to_expiry(set).map(|left| left.max(EXPIRY_FLOOR));
                [lifetime, renewal, expiry].into_iter().flatten()
            });
            Wait::For(hints.min().unwrap_or(POLL).clamp(SOONEST, POLL))
        }
    }
}

/// Gives the smallest `TTL` above ten seconds: the vendor's historic sidecar means to ignore
/// shorter ones as well.
fn shortest_ttl(set: &SecretSet) -> Option<Duration> {
    set.items().filter_map(Item::lifetime).filter(|ttl| *ttl > SOONEST).min()
}

/// The step after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another try after this time.
    In(Duration),
    /// No other try: it could not succeed.
    Stop,
}

/// The waits between tries: exponential, with full jitter (a uniformly random part) on every step,
/// the first included.
///
/// The jitter of `backoff` exceeds its maximum and can't be seeded, so its factor is zero and the
/// random part is drawn here.
#[derive(Debug)]
pub struct Tries {
    steps: ExponentialBackoff,
    random: fastrand::Rng,
}

impl Tries {
    /// Begins with a step of half a second; steps double up to `longest`.
    pub fn new(longest: Duration, random: fastrand::Rng) -> Self {
        let first = Duration::from_millis(500).min(longest);
        let steps = ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: longest,
            // The default gives up after 15 minutes of a clock that is not Tokio's.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { steps, random }
    }

    /// Computes the wait after a failure; a wait that the vault asked for is the least.
    pub fn after_failure(&mut self, retry: Retry) -> Next {
        let least = match retry {
            Retry::Never => return Next::Stop,
            Retry::Backoff => Duration::ZERO,
            Retry::After(least) => least,
        };
        let step = self.steps.next_backoff().unwrap_or(self.steps.max_interval);
        Next::In(least.saturating_add(step.mul_f64(self.random.f64())))
    }

    /// Starts again from the first step.
    pub fn succeeded(&mut self) {
        self.steps.reset();
    }
}

/// The version of a secret in one read.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The identity of the secret.
    pub name: &'a SecretName,
    /// The version that was read.
    pub version: &'a str,
    /// The interval at which the vault renews the secret, if it states one.
    pub renew: RenewMinutes,
}

/// Computes the first wait of an agent whose set is due in `due`: a random time from a quarter of
/// it, so that agents which started together don't fetch together.
pub fn first_due(due: Duration, interval: RenewInterval, random: &mut fastrand::Rng) -> Duration {
    let least = soonest(interval).max(due.mul_f64(FIRST));
    least + due.saturating_sub(least).mul_f64(random.f64())
}

/// Gives the shortest wait under `interval`.
fn soonest(interval: RenewInterval) -> Duration {
    match interval {
        RenewInterval::Auto => SOONEST,
        RenewInterval::Every(_) | RenewInterval::Off => SOONEST_EXPLICIT,
    }
}

/// The spread of a wait, so that agents which read at the same time don't read together again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    /// No spread: agents read at different times already.
    None,
    /// The first wait, since agents may have started together.
    Start,
    /// The wait after a rotation, since agents may have waited for it together.
    Change,
}

impl Spread {
    /// Gives the shortest wait, as part of an interval, and the credit that it must leave.
    fn part_and_reserve(self) -> Option<(f64, f64)> {
        match self {
            Self::None => None,
            Self::Start => Some((FIRST, 0.0)),
            Self::Change => Some((0.5, RESERVE)),
        }
    }
}

/// The waits between passes: plain polling, in which some polls are made earlier, right after an
/// expected rotation.
///
/// No poll is delayed, and early ones cost credit: without retries, there are at most as many
/// passes as in plain polling, plus one for every pass that found a change, plus two.
#[derive(Debug)]
pub struct Schedule {
    soonest: f64,
    rotations: BTreeMap<SecretName, Rotation>,
    /// The time by which polls may still be early, in intervals.
    credit: f64,
    started: bool,
    tries: Tries,
    random: fastrand::Rng,
}

impl Schedule {
    /// Begins without any read.
    pub fn new(interval: RenewInterval, mut random: fastrand::Rng) -> Self {
        Self {
            soonest: soonest(interval).as_secs_f64(),
            rotations: BTreeMap::new(),
            credit: CREDIT,
            started: false,
            tries: Tries::new(LONGEST_STEP, random.fork()),
            random,
        }
    }

    /// Computes the wait after a pass that the vault answered.
    ///
    /// `at` is the time of the answer, by any clock that goes on while the machine sleeps; `due` is
    /// the wait of plain polling, by [`due_in`]. The rotation of a secret that is not among `seen`
    /// stays.
    pub fn after_success<'a>(
        &mut self,
        at: Duration,
        seen: impl IntoIterator<Item = Seen<'a>>,
        due: Duration,
    ) -> Duration {
        let at = at.as_secs_f64();
        let mut changed = false;
        for seen in seen {
            changed |= self.read(at, seen);
        }
        if changed {
            self.credit = (self.credit + 1.0).min(MOST_CREDIT);
        }
        let spread = match (self.started, changed) {
            (false, _) => Spread::Start,
            (true, true) => Spread::Change,
            (true, false) => Spread::None,
        };
        let wait = self.wait(at, due.as_secs_f64().max(self.soonest), spread);
        self.started = true;
        Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_STEP)
    }

    /// Computes the wait after a failed pass: retries never stop.
    pub fn after_failure(&mut self, retry: Retry) -> Duration {
        match self.tries.after_failure(retry) {
            Next::In(wait) => wait,
            Next::Stop => LONGEST_STEP.mul_f64(self.random.f64()),
        }
    }

    /// Resets the backoff: the next failure is retried from the first step.
    pub fn recovered(&mut self) {
        self.tries.succeeded();
    }

    /// Adds a read to a secret's rotation; tells whether its version changed.
    fn read(&mut self, at: f64, seen: Seen<'_>) -> bool {
        let mut version = DefaultHasher::new();
        seen.version.hash(&mut version);
        let version = version.finish();
        let hint = seen.renew.filter(|minutes| *minutes > 0);
        let hint = hint.map(|minutes| 60.0 * f64::from(minutes));
        if let Some(rotation) = self.rotations.get_mut(seen.name) {
            return rotation.read(at, version, hint, &mut self.random);
        }
        if self.rotations.len() >= WATCHED {
            let stalest = self
                .rotations
                .iter()
                .min_by(|(_, a), (_, b)| a.last_read().total_cmp(&b.last_read()));
            let stale = stalest.filter(|(_, rotation)| at - rotation.last_read() > FORGOTTEN);
            let Some(stale) = stale.map(|(name, _)| name.clone()) else { return false };
            self.rotations.remove(&stale);
        }
        self.rotations.insert(seen.name.clone(), Rotation::new(at, version, hint));
        false
    }

    /// Computes the wait from `now`, at most one interval and its jitter.
    fn wait(&mut self, now: f64, interval: f64, spread: Spread) -> f64 {
        let shortest = (interval * (1.0 - JITTER)).max(self.soonest);
        let plain = shortest + 2.0 * JITTER * interval * self.random.f64();
        let early = self.early_wait(now, interval);
        if early <= interval * (1.0 + JITTER) {
            self.credit -= cost(interval, early);
            return early;
        }
        let mut wait = plain;
        if let Some((part, reserve)) = spread.part_and_reserve() {
            let least = self.soonest.max(part * interval);
            let drawn = least + (interval - least).max(0.0) * self.random.f64();
            if self.credit >= cost(interval, drawn) + reserve {
                wait = drawn;
            }
        }
        // A plain poll right before the rotation would be too close to the one right after it.
        let latest = early - self.soonest;
        if wait > latest && latest > self.soonest && self.credit >= cost(interval, latest) {
            wait = latest;
        }
        if wait < plain {
            self.credit -= cost(interval, wait);
        }
        wait
    }

    /// Computes the wait until the first poll after an expected rotation for which there is credit;
    /// infinite if there is none.
    fn early_wait(&self, now: f64, interval: f64) -> f64 {
        if interval < 2.0 * self.soonest {
            return f64::INFINITY;
        }
        let proposals =
            self.rotations.values().filter_map(|rotation| rotation.propose(now, interval));
        let waits = proposals.filter_map(|proposal| {
            let wait = (proposal.at - now).max(self.soonest);
            (self.credit >= cost(interval, wait) + proposal.reserve).then_some(wait)
        });
        waits.fold(f64::INFINITY, f64::min)
    }
}

/// Computes the cost of a poll after `wait`: the part of an interval that it is early by.
fn cost(interval: f64, wait: f64) -> f64 {
    ((interval - wait) / interval).max(0.0)
}

#[cfg(test)]
mod tests;
