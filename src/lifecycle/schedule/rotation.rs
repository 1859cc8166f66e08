//! The rotation of one secret: its period is learned from reads, tracked, and forgotten once
//! changes are missed. It proposes the times of reads; their cost is the schedule's concern.

use std::collections::VecDeque;

use super::period::{Rotated, Span, Trend};

/// The number of latest changes that a period is learned from.
const REMEMBERED: usize = 12;
/// Seconds to which the next change must be known before a rotation is tracked.
const TRACKED_WIDTH: f64 = 2.0;
/// Seconds around the expected time within which a change is the expected one.
const TOLERANCE: f64 = 5.0;
/// The score of missed changes at which a rotation is no longer tracked.
const MOST_MISSED: f64 = 2.0;
/// The part of a missed change that an expected one makes up for. It is small because a change that
/// now comes long before its expected time is often first read at that time.
const FOUND_WEIGHT: f64 = 0.15;
/// The part of a missed change that one counts for which was read too late to tell its time.
const LATE_READ_WEIGHT: f64 = 0.5;
/// Periods after which a change no longer predicts the next, unless the rotation is tracked.
const RECENT: f64 = 5.0;
/// Seconds from an expected change to its read, and the most that are added at random, so that
/// agents which share a secret don't read it together.
const READ_DELAY: f64 = 0.2;
const READ_SPREAD: f64 = 1.3;
/// Seconds between reads while a change is overdue.
const OVERDUE_POLL: f64 = 2.0;
/// Seconds by which the next change is expected earlier after the first that was on time.
const STEP_EARLIER: f64 = 0.009;
/// The number of changes on time after which that step has doubled. It grows with the square of
/// their number, so that a rotation that comes ever earlier is tracked.
const STEP_GROWTH: f64 = 10.0;
/// The number of changes on time that a newly tracked rotation begins with, so that a drift shows
/// soon.
const FIRST_ON_TIME: f64 = 10.0;
/// Seconds that are added to the time at which a late change was found.
const STEP_LATER: f64 = 0.9;
/// Periods between two late changes at which the period that they show has half of the weight,
/// which is the most.
const HALF_WEIGHT: f64 = 10.0;
/// The least number of periods between two late changes that show a period, and the number from
/// which a longer distance shows it no better.
const LEAST_PERIODS: f64 = 6.0;
const ENOUGH_PERIODS: f64 = 24.0;

/// The rotation of one secret, as far as it is known. Times are seconds of any one clock.
#[derive(Debug)]
pub(super) struct Rotation {
    version: u64,
    read: f64,
    hint: Option<f64>,
    changes: VecDeque<Rotated>,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Learning(Option<Trend>),
    Tracking(Track),
}

impl Rotation {
    /// Begins with the first read of a secret.
    pub(super) fn new(at: f64, version: u64, hint: Option<f64>) -> Self {
        let changes = VecDeque::with_capacity(REMEMBERED);
        Self { version, read: at, hint, changes, mode: Mode::Learning(None) }
    }

    /// Gives the time of the last read.
    pub(super) fn last_read(&self) -> f64 {
        self.read
    }

    /// Adds a read, and tells whether the version changed. `hint` is the period that the vault
    /// states.
    pub(super) fn read(
        &mut self,
        at: f64,
        version: u64,
        hint: Option<f64>,
        random: &mut fastrand::Rng,
    ) -> bool {
        let change = (version != self.version).then_some(Rotated { after: self.read, by: at });
        self.version = version;
        self.read = at;
        if hint != self.hint {
            self.hint = hint;
            self.mode = Mode::Learning(None);
        }
        if let Some(change) = change {
            if self.changes.len() == REMEMBERED {
                self.changes.pop_front();
            }
            self.changes.push_back(change);
        }
        match &mut self.mode {
            Mode::Tracking(track) => match track.read(at, change, random) {
                RotationVerdict::Kept => {}
                RotationVerdict::Lost => {
                    let since = at - RECENT * track.period;
                    self.changes.retain(|change| change.by > since);
                    self.learn(at, random);
                }
            },
            Mode::Learning(_) if change.is_some() => self.learn(at, random),
            Mode::Learning(_) => {}
        }
        change.is_some()
    }

    fn learn(&mut self, at: f64, random: &mut fastrand::Rng) {
        let trend = Trend::through(self.changes.make_contiguous(), self.hint);
        self.mode = match trend {
            Some(trend) if trend.is_sure(self.hint) && trend.next(at).width() <= TRACKED_WIDTH => {
                Mode::Tracking(Track::new(trend.next(at), trend.period(), random))
            }
            trend => Mode::Learning(trend),
        };
    }

    /// Proposes the read that would tell most, if it is worth one; `gap` is the wait of plain
    /// polling.
    pub(super) fn propose(&self, now: f64, gap: f64) -> Option<Proposal> {
        match &self.mode {
            Mode::Tracking(track) => (track.period > 0.95 * gap)
                .then(|| Proposal { at: track.next_read(now), reserve: 0.0 }),
            Mode::Learning(trend) => {
                let trend = trend.as_ref()?;
                let period = trend.period().middle();
                let last = self.changes.back()?.by;
                let span = trend.next(now);
                let from = span.from.max(now);
                let useful = period > 0.95 * gap
                    && now - last < RECENT * period
                    && span.width() < 2.0 * gap
                    && span.to > now;
                let reserve = if span.from < now { 1.0 } else { 0.0 };
                useful.then(|| Proposal { at: Span { from, to: span.to }.middle(), reserve })
            }
        }
    }
}

/// The time of a proposed read, and the credit that it must leave for others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proposal {
    pub(super) at: f64,
    pub(super) reserve: f64,
}

enum RotationVerdict {
    Kept,
    Lost,
}

/// A rotation whose period and next time are known.
///
/// A read at the expected time tells only if the change had happened. So the expected time is moved
/// by steps: a little earlier after each change that was on time, a good deal later after a late
/// one. It settles at a time at which few reads are too early, whatever the jitter of the rotation.
#[derive(Debug)]
struct Track {
    /// The time of the next expected change.
    next: f64,
    period: f64,
    /// The time from the expected change to its read.
    delay: f64,
    /// The number of periods since the last late change.
    since: f64,
    /// The time of an earlier late change, or of the first expected one, and the periods since.
    late: (f64, f64),
    /// The score of missed changes.
    missed: f64,
}

impl Track {
    fn new(next: Span, period: Span, random: &mut fastrand::Rng) -> Self {
        let mut track = Self {
            next: next.middle() + 0.25 * next.width().max(0.0),
            period: period.middle(),
            delay: 0.0,
            since: FIRST_ON_TIME,
            late: (next.middle(), 0.0),
            missed: 0.0,
        };
        track.draw(random);
        track
    }

    fn draw(&mut self, random: &mut fastrand::Rng) {
        self.delay = READ_DELAY + READ_SPREAD * random.f64();
    }

    fn next_read(&self, now: f64) -> f64 {
        let read = self.next + self.delay;
        if now < read { read } else { now + OVERDUE_POLL }
    }

    fn read(
        &mut self,
        at: f64,
        change: Option<Rotated>,
        random: &mut fastrand::Rng,
    ) -> RotationVerdict {
        match change {
            Some(change) if change.by <= self.next - TOLERANCE => return RotationVerdict::Kept,
            Some(change) if change.after < self.next + TOLERANCE => {
                let seen = change.by < self.next + 3.0 * TOLERANCE;
                let missed = if seen { -FOUND_WEIGHT } else { LATE_READ_WEIGHT };
                self.missed = (self.missed + missed).max(0.0);
                self.correct(change);
            }
            None if at < self.next + TOLERANCE => return RotationVerdict::Kept,
            Some(_) | None => self.missed += 1.0,
        }
        let periods = ((at - self.next - TOLERANCE) / self.period).ceil().max(1.0);
        self.next += periods * self.period;
        self.since += periods;
        self.late.1 += periods;
        self.draw(random);
        if self.missed < MOST_MISSED { RotationVerdict::Kept } else { RotationVerdict::Lost }
    }

    fn correct(&mut self, change: Rotated) {
        let (after, by) = (change.after - self.next, change.by - self.next);
        if after >= self.delay {
            self.correct_period(change.after);
            self.since = 0.0;
            self.next += after - READ_DELAY + STEP_LATER;
        } else if by < 0.0 {
            self.next += by - READ_DELAY;
        } else if by < READ_DELAY + READ_SPREAD + 1.0 {
            self.next -= STEP_EARLIER * (1.0 + (self.since / STEP_GROWTH).powi(2));
        }
    }

    /// Corrects the period by the time between a late change and an earlier one.
    fn correct_period(&mut self, late: f64) {
        let (before, count) = self.late;
        if count >= LEAST_PERIODS {
            let shown = (late - before) / count;
            let shown = shown.clamp(0.9 * self.period, 1.1 * self.period);
            let weight = (count / (count + HALF_WEIGHT)).min(0.5);
            self.period += weight * (shown - self.period);
        }
        if count >= ENOUGH_PERIODS {
            self.late = (late, 0.0);
        }
    }
}
