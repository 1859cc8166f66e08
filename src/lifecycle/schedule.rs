//! When to ask the vault next. Pure, and the only user of `backoff`: it states durations, never
//! instants, so whoever calls it owns the clock.

mod period;
mod rotation;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use crate::config::settings::RenewInterval;
use crate::model::{Bundle, Item, RenewMinutes, Retry, SecretName, SecretSet};

use rotation::Beat;

/// No renewal is due sooner than this, whatever the vault says.
const SOONEST: Duration = Duration::from_secs(10);
/// Plain polling: what `auto` waits at most.
const POLL: Duration = Duration::from_secs(120);
/// An expiry date is a hint in an unknown time zone, and never shortens a wait below this.
const EXPIRY_FLOOR: Duration = Duration::from_secs(60);

/// No wait of an explicit interval is shorter than this.
const SOONEST_EXPLICIT: Duration = Duration::from_secs(1);
/// The longest step between tries of a renewal.
const LONGEST_STEP: Duration = Duration::from_secs(300);
/// The part of an interval that a plain wait may be shorter or longer by.
const JITTER: f64 = 0.01;
/// The part of an interval that the first wait is no shorter than.
const FIRST: f64 = 0.25;
/// As many secrets are watched for a beat; the others are polled.
const WATCHED: usize = 64;
/// Early requests that a start has to spend.
const CREDIT: f64 = 2.0;
/// Early requests that can be saved up.
const SAVINGS: f64 = 4.0;
/// Seconds after which a secret that was no longer read makes room for another.
const FORGOTTEN: f64 = 86_400.0;
/// What is kept for the next beats when waits are spread.
const RESERVE: f64 = 2.0;

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It ends after this.
    For(Duration),
    /// It never ends.
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
/// An earlier one is less, and none is later than never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// It is due at this time.
    At(Duration),
    /// It is never due.
    Never,
}

impl Alarm {
    /// Changes the time of what is due at any.
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
/// `to_expiry` is what is left until a secret's expiry date, if it can be read.
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

/// The smallest `TTL` above ten seconds.
fn shortest_ttl(set: &SecretSet) -> Option<Duration> {
    set.items().filter_map(Item::lifetime).filter(|ttl| *ttl > SOONEST).min()
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this.
    In(Duration),
    /// Trying again can't help.
    Stop,
}

/// Waits between tries: exponential, with full jitter on every step, the first included.
///
/// `backoff`'s own jitter reaches past its maximum and can't be seeded, so its factor is zero and
/// the draw is ours (full jitter: a uniform part of the step).
#[derive(Debug)]
pub struct Tries {
    steps: ExponentialBackoff,
    random: fastrand::Rng,
}

impl Tries {
    /// Steps that double from half a second to `longest`, drawn from by `random`.
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

    /// How long to wait after a failure.
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

/// What one read said of a secret's freshness.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Whose it is.
    pub name: &'a SecretName,
    /// The version that was read.
    pub version: &'a str,
    /// How often the vault says that it renews it.
    pub renew: RenewMinutes,
}

/// A first wait, of an agent that has just published what is due in `due`: any from a quarter of it,
/// so that agents which started together part.
pub fn first_due(due: Duration, interval: RenewInterval, random: &mut fastrand::Rng) -> Duration {
    let least = soonest(interval).max(due.mul_f64(FIRST));
    least + due.saturating_sub(least).mul_f64(random.f64())
}

/// No wait is shorter than this.
fn soonest(interval: RenewInterval) -> Duration {
    match interval {
        RenewInterval::Auto => SOONEST,
        RenewInterval::Every(_) | RenewInterval::Off => SOONEST_EXPLICIT,
    }
}

/// The draw of a wait that parts agents which read at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    /// None: they have parted.
    None,
    /// The first wait, since they may have started together.
    Start,
    /// The wait after a change, since they may have waited for it together.
    Change,
}

impl Spread {
    /// Gives the part of an interval that the wait is no shorter than, and the credit that it must
    /// leave.
    fn part_and_reserve(self) -> Option<(f64, f64)> {
        match self {
            Self::None => None,
            Self::Start => Some((FIRST, 0.0)),
            Self::Change => Some((0.5, RESERVE)),
        }
    }
}

/// The waits between passes: plain polling, in which some polls are brought forward to fall right
/// after a change that is expected.
///
/// No poll is put off, and those brought forward are paid for: retries aside, there are never more
/// requests than plain polling's, one for every pass that found a change, and two.
#[derive(Debug)]
pub struct Schedule {
    soonest: f64,
    beats: BTreeMap<SecretName, Beat>,
    /// What polls may still come forward by, in intervals.
    credit: f64,
    started: bool,
    tries: Tries,
    random: fastrand::Rng,
}

impl Schedule {
    /// Of a process that has read nothing yet.
    pub fn new(interval: RenewInterval, mut random: fastrand::Rng) -> Self {
        Self {
            soonest: soonest(interval).as_secs_f64(),
            beats: BTreeMap::new(),
            credit: CREDIT,
            started: false,
            tries: Tries::new(LONGEST_STEP, random.fork()),
            random,
        }
    }

    /// Computes the wait after a pass that the vault answered.
    ///
    /// `at` is when it answered, by any clock that goes on while the machine sleeps; `due` is the wait
    /// of plain polling, by [`due_in`]. A secret that is not among `seen` keeps the beat that it has.
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
            self.credit = (self.credit + 1.0).min(SAVINGS);
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

    /// The wait after a pass that failed: retries never stop.
    pub fn after_failure(&mut self, retry: Retry) -> Duration {
        match self.tries.after_failure(retry) {
            Next::In(wait) => wait,
            Next::Stop => LONGEST_STEP.mul_f64(self.random.f64()),
        }
    }

    /// Nothing fails any more: the next failure is retried from the first step.
    pub fn recovered(&mut self) {
        self.tries.succeeded();
    }

    /// Tells a secret's beat of a read; says whether its version changed.
    fn read(&mut self, at: f64, seen: Seen<'_>) -> bool {
        let mut version = DefaultHasher::new();
        seen.version.hash(&mut version);
        let version = version.finish();
        let hint = seen.renew.filter(|minutes| *minutes > 0);
        let hint = hint.map(|minutes| 60.0 * f64::from(minutes));
        if let Some(beat) = self.beats.get_mut(seen.name) {
            return beat.read(at, version, hint, &mut self.random);
        }
        if self.beats.len() >= WATCHED {
            let stalest =
                self.beats.iter().min_by(|(_, a), (_, b)| a.last_read().total_cmp(&b.last_read()));
            let gone = stalest.filter(|(_, beat)| at - beat.last_read() > FORGOTTEN);
            let Some(gone) = gone.map(|(name, _)| name.clone()) else { return false };
            self.beats.remove(&gone);
        }
        self.beats.insert(seen.name.clone(), Beat::new(at, version, hint));
        false
    }

    /// The wait from `now`, at most one interval and its jitter.
    fn wait(&mut self, now: f64, interval: f64, spread: Spread) -> f64 {
        let shortest = (interval * (1.0 - JITTER)).max(self.soonest);
        let plain = shortest + 2.0 * JITTER * interval * self.random.f64();
        let wish = self.wish(now, interval);
        if wish <= interval * (1.0 + JITTER) {
            self.credit -= price(interval, wish);
            return wish;
        }
        let mut wait = plain;
        if let Some((part, reserve)) = spread.part_and_reserve() {
            let least = self.soonest.max(part * interval);
            let drawn = least + (interval - least).max(0.0) * self.random.f64();
            if self.credit >= price(interval, drawn) + reserve {
                wait = drawn;
            }
        }
        // A plain poll right before the beat would leave no room for the one on it.
        let room = wish - self.soonest;
        if wait > room && room > self.soonest && self.credit >= price(interval, room) {
            wait = room;
        }
        if wait < plain {
            self.credit -= price(interval, wait);
        }
        wait
    }

    /// The wait until the first poll on a beat that can be paid for; infinite where there is none.
    fn wish(&self, now: f64, interval: f64) -> f64 {
        if interval < 2.0 * self.soonest {
            return f64::INFINITY;
        }
        let wishes = self.beats.values().filter_map(|beat| beat.wish(now, interval));
        let waits = wishes.filter_map(|wish| {
            let wait = (wish.at - now).max(self.soonest);
            (self.credit >= price(interval, wait) + wish.reserve).then_some(wait)
        });
        waits.fold(f64::INFINITY, f64::min)
    }
}

/// What a poll after `wait` costs: the part of an interval that it comes forward by.
fn price(interval: f64, wait: f64) -> f64 {
    ((interval - wait) / interval).max(0.0)
}

#[cfg(test)]
mod tests;
