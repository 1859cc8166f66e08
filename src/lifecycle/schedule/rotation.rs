//! The beat on which one secret changes: learned from reads, held while it lasts, let go when it is
//! missed. It only ever wishes; what a wish may cost is not its concern.

use std::collections::VecDeque;

use super::period::{Rotated, Span, Trend};

/// Changes that are remembered to find a beat in.
const REMEMBERED: usize = 12;
/// A beat is known once its next change is known to so many seconds.
const KNOWN: f64 = 2.0;
/// Seconds around a beat in which a change is the beat's.
const REACH: f64 = 5.0;
/// Beats without a change, at which the beat is let go.
const PATIENCE: f64 = 2.0;
/// The part of such a beat that one with a change makes up for. It is small because a change that
/// now comes long before its beat is often first read on it.
const AMENDS: f64 = 0.15;
/// The part of such a beat that one counts for whose change was read too late to tell.
const DOUBT: f64 = 0.5;
/// Beats after which a change no longer says when to expect the next, unless the beat is known.
const RECENT: f64 = 5.0;
/// A read on the beat falls this many seconds after it, and so many more at most, so that agents
/// which share a secret don't ask as one.
const SOONEST: f64 = 0.2;
const SPREAD: f64 = 1.3;
/// Seconds between reads while a change is overdue.
const AGAIN: f64 = 2.0;
/// Seconds that a beat which was on time is expected earlier, the first time.
const EARLIER: f64 = 0.009;
/// After as many beats on time that step has doubled; it grows with their square, so that a beat
/// which comes ever earlier is followed.
const HASTE: f64 = 10.0;
/// Beats on time that a beat which was just found is credited with, to see soon whether it drifts.
const EAGER: f64 = 10.0;
/// Seconds that a beat which was late is expected later than it was seen to be.
const LATER: f64 = 0.9;
/// Beats between two late ones after which half of the period that they show is believed; no more
/// than half ever is.
const BELIEF: f64 = 10.0;
/// Beats between two late ones that show a period at all, and that show it as well as any.
const SHORT: f64 = 6.0;
const LONG: f64 = 24.0;

/// What is known of one secret's beat. Times are seconds of any one clock.
#[derive(Debug)]
pub(super) struct Beat {
    version: u64,
    read: f64,
    hint: Option<f64>,
    changes: VecDeque<Rotated>,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Learning(Option<Trend>),
    Locked(Lock),
}

impl Beat {
    /// The first read of a secret, whose version says nothing yet.
    pub(super) fn new(at: f64, version: u64, hint: Option<f64>) -> Self {
        let changes = VecDeque::with_capacity(REMEMBERED);
        Self { version, read: at, hint, changes, mode: Mode::Learning(None) }
    }

    /// When the secret was last read.
    pub(super) fn last_read(&self) -> f64 {
        self.read
    }

    /// Takes in a read, and says whether the version changed. `hint` is the vault's own period.
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
            Mode::Locked(lock) => match lock.read(at, change, random) {
                RotationVerdict::Kept => {}
                RotationVerdict::Lost => {
                    let since = at - RECENT * lock.period;
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
        let line = Trend::through(self.changes.make_contiguous(), self.hint);
        self.mode = match line {
            Some(line) if line.is_sure(self.hint) && line.next(at).width() <= KNOWN => {
                Mode::Locked(Lock::new(line.next(at), line.period(), random))
            }
            line => Mode::Learning(line),
        };
    }

    /// When a read would tell most; `gap` is the wait of plain polling.
    pub(super) fn wish(&self, now: f64, gap: f64) -> Option<Wish> {
        match &self.mode {
            Mode::Locked(lock) => {
                (lock.period > 0.95 * gap).then(|| Wish { at: lock.wish(now), reserve: 0.0 })
            }
            Mode::Learning(line) => {
                let line = line.as_ref()?;
                let period = line.period().middle();
                let last = self.changes.back()?.by;
                let span = line.next(now);
                let from = span.from.max(now);
                let useful = period > 0.95 * gap
                    && now - last < RECENT * period
                    && span.width() < 2.0 * gap
                    && span.to > now;
                let reserve = if span.from < now { 1.0 } else { 0.0 };
                useful.then(|| Wish { at: Span { from, to: span.to }.middle(), reserve })
            }
        }
    }
}

/// A read that is wished for, and the credit that it must leave to others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) at: f64,
    pub(super) reserve: f64,
}

enum RotationVerdict {
    Kept,
    Lost,
}

/// A beat that is known.
///
/// Reads on the beat tell no more than whether it had come. So it is followed as a staircase: a
/// little earlier after each that was on time, a good deal later after one that was not, which
/// settles where few reads are too early, whatever the beat's own jitter.
#[derive(Debug)]
struct Lock {
    /// When the next change is expected.
    next: f64,
    period: f64,
    /// How long after that it is read.
    delay: f64,
    /// Beats since the last that was late.
    since: f64,
    /// When an earlier one was late, or the beat was found, and the beats since.
    late: (f64, f64),
    skipped: f64,
}

impl Lock {
    fn new(next: Span, period: Span, random: &mut fastrand::Rng) -> Self {
        let mut lock = Self {
            next: next.middle() + 0.25 * next.width().max(0.0),
            period: period.middle(),
            delay: 0.0,
            since: EAGER,
            late: (next.middle(), 0.0),
            skipped: 0.0,
        };
        lock.draw(random);
        lock
    }

    fn draw(&mut self, random: &mut fastrand::Rng) {
        self.delay = SOONEST + SPREAD * random.f64();
    }

    fn wish(&self, now: f64) -> f64 {
        let read = self.next + self.delay;
        if now < read { read } else { now + AGAIN }
    }

    fn read(
        &mut self,
        at: f64,
        change: Option<Rotated>,
        random: &mut fastrand::Rng,
    ) -> RotationVerdict {
        match change {
            Some(change) if change.by <= self.next - REACH => return RotationVerdict::Kept,
            Some(change) if change.after < self.next + REACH => {
                let seen = change.by < self.next + 3.0 * REACH;
                let skipped = if seen { -AMENDS } else { DOUBT };
                self.skipped = (self.skipped + skipped).max(0.0);
                self.correct(change);
            }
            None if at < self.next + REACH => return RotationVerdict::Kept,
            Some(_) | None => self.skipped += 1.0,
        }
        let beats = ((at - self.next - REACH) / self.period).ceil().max(1.0);
        self.next += beats * self.period;
        self.since += beats;
        self.late.1 += beats;
        self.draw(random);
        if self.skipped < PATIENCE { RotationVerdict::Kept } else { RotationVerdict::Lost }
    }

    fn correct(&mut self, change: Rotated) {
        let (after, by) = (change.after - self.next, change.by - self.next);
        if after >= self.delay {
            self.believe(change.after);
            self.since = 0.0;
            self.next += after - SOONEST + LATER;
        } else if by < 0.0 {
            self.next += by - SOONEST;
        } else if by < SOONEST + SPREAD + 1.0 {
            self.next -= EARLIER * (1.0 + (self.since / HASTE).powi(2));
        }
    }

    /// Corrects the period by what lies between a late beat and an earlier one.
    fn believe(&mut self, late: f64) {
        let (before, count) = self.late;
        if count >= SHORT {
            let shown = (late - before) / count;
            let shown = shown.clamp(0.9 * self.period, 1.1 * self.period);
            let belief = (count / (count + BELIEF)).min(0.5);
            self.period += belief * (shown - self.period);
        }
        if count >= LONG {
            self.late = (late, 0.0);
        }
    }
}
