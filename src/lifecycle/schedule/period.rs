//! The trend of changes, each of which happened between two reads: finds those that are whole
//! numbers of periods apart, as a straight line of times over numbers, and the time of the next
//! one.

/// Seconds by which a change may lie off its line: the vault's own delay, and the duration of a
/// read.
const SLACK: f64 = 1.0;
/// Seconds by which a period of any length may differ from the minutes that the vault states.
const HINT_SLACK: f64 = 0.12;
/// The part of a period by which two synchronized clocks may differ.
const CLOCK_SLACK: f64 = 1e-6;
/// The number of latest changes that decide between lines, so that an old period can't outweigh a
/// new one.
const RECENT: usize = 6;
/// The part of a line's score that is lost for a change that it predicts and no read has found.
const SKIPPED: f64 = 0.5;
/// Round periods in seconds, roundest first: a day, an hour, then parts of it.
const ROUND: [f64; 6] = [86_400.0, 3_600.0, 1_800.0, 600.0, 300.0, 60.0];

/// The number of changes after which a line that is not sure yet is no longer assumed to have a
/// round period.
const TRUSTING: usize = 9;

/// A change that happened after the read at `after` and by the read at `by`, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rotated {
    pub(super) after: f64,
    pub(super) by: f64,
}

impl Rotated {
    fn middle(self) -> f64 {
        f64::midpoint(self.after, self.by)
    }
}

/// A closed range of seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Span {
    fn around(middle: f64, reach: f64) -> Self {
        Self { from: middle - reach, to: middle + reach }
    }

    pub(super) fn middle(self) -> f64 {
        f64::midpoint(self.from, self.to)
    }

    pub(super) fn width(self) -> f64 {
        self.to - self.from
    }

    /// The seconds that two spans share; negative if they are apart.
    fn shares(self, other: Self) -> f64 {
        self.to.min(other.to) - self.from.max(other.from)
    }
}

/// Gives the range of a period that the vault states or that is assumed to be round.
fn named(period: f64) -> Span {
    Span::around(period, HINT_SLACK + CLOCK_SLACK * period)
}

/// Gives the one multiple of the roundest number that has any in `range`; none if it has several.
fn round_in(range: Span) -> Option<f64> {
    let first = |unit: f64| (range.from / unit).ceil() * unit;
    let unit = ROUND.into_iter().find(|unit| first(*unit) <= range.to)?;
    let one = first(unit);
    (one + unit > range.to && one > 0.0).then_some(one)
}

/// The periods that a trend may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Periods {
    /// The roundest one that its changes allow.
    Round,
    /// Any period that its changes allow.
    Any,
}

/// Changes that lie on one line, each with its number, and the periods that all of them allow.
#[derive(Clone, Debug)]
pub(super) struct Trend {
    members: Vec<(f64, Rotated)>,
    period: Span,
    periods: Periods,
}

impl Trend {
    /// Finds the trend that explains the latest changes best; none if there are too few.
    ///
    /// `changes` are in order; `hint` is the period that the vault states, in seconds.
    pub(super) fn through(changes: &[Rotated], hint: Option<f64>) -> Option<Self> {
        let periods = if changes.len() <= TRUSTING { Periods::Round } else { Periods::Any };
        let hinted = hint.and_then(|hint| {
            let bases = changes.iter().rev().take(3);
            best(bases.map(|base| Self::from(*base, named(hint), periods)), changes)
        });
        if hinted.as_ref().is_some_and(|trend| changes.len() < 4 || trend.score(changes) >= 3.0) {
            return hinted;
        }
        let recent = changes.len().saturating_sub(RECENT);
        let pairs = changes.iter().enumerate().skip(recent).rev().flat_map(|(at, first)| {
            changes
                .iter()
                .skip(at + 1)
                .take(2)
                .filter_map(move |second| Self::of(*first, *second, periods))
        });
        let free = best(pairs, changes);
        [hinted, free].into_iter().flatten().reduce(|hinted, free| {
            if free.score(changes) > hinted.score(changes) { free } else { hinted }
        })
    }

    fn from(base: Rotated, period: Span, periods: Periods) -> Self {
        Self { members: vec![(0.0, base)], period, periods }
    }

    /// Makes a trend of two changes that are one period apart, if their times limit the period
    /// enough.
    fn of(first: Rotated, second: Rotated, periods: Periods) -> Option<Self> {
        let period = Span { from: second.after - first.by, to: second.by - first.after };
        (period.from > 0.2 * period.to).then(|| Self {
            members: vec![(0.0, first), (1.0, second)],
            period,
            periods,
        })
    }

    /// Adds those of `changes` that lie on the line.
    fn gather(mut self, changes: &[Rotated]) -> Self {
        let later = |base: f64| changes.iter().filter(move |change| change.middle() > base);
        let base = self.members.first().map_or(0.0, |(_, change)| change.middle());
        later(base).for_each(|change| self.join(*change));
        let earlier = changes.iter().rev().filter(|change| change.middle() < base);
        earlier.for_each(|change| self.join(*change));
        self
    }

    fn join(&mut self, change: Rotated) {
        let distance = |(_, member): &&(f64, Rotated)| (change.middle() - member.middle()).abs();
        let nearest = self.members.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let Some((number, member)) = nearest else { return };
        let steps = (change.middle() - member.middle()) / self.period.middle();
        let number = number + steps.signum() * steps.abs().round().max(1.0);
        let seen = Span { from: change.after, to: change.by };
        let taken = self.members.iter().any(|(other, known)| *other == number || *known == change);
        let likely = Span::around(self.period().middle(), 0.0);
        let beside = [number - 1.0, number + 1.0].map(|beside| self.at(beside, likely));
        let doubtful = beside.iter().any(|beside| beside.shares(seen) > 2.0 * SLACK);
        if taken || doubtful || self.at(number, self.period).shares(seen) < 0.0 {
            return;
        }
        let period = self.members.iter().fold(self.period, |period, (other, known)| {
            let (count, old, new) = if number > *other {
                (number - other, *known, change)
            } else {
                (other - number, change, *known)
            };
            Span {
                from: period.from.max((new.after - old.by - 2.0 * SLACK) / count),
                to: period.to.min((new.by - old.after + 2.0 * SLACK) / count),
            }
        });
        if period.from <= period.to {
            self.period = period;
            self.members.push((number, change));
        }
    }

    /// Computes how well the trend explains the latest of `changes`; more is better.
    fn score(&self, changes: &[Rotated]) -> f64 {
        let recent = changes.iter().rev().take(RECENT);
        let mut numbers: Vec<f64> = recent
            .filter_map(|change| self.members.iter().find(|(_, member)| member == change))
            .map(|(number, _)| *number)
            .collect();
        numbers.sort_by(f64::total_cmp);
        let count = numbers.iter().map(|_| 1.0).sum::<f64>();
        let span = numbers.last().zip(numbers.first()).map_or(0.0, |(last, first)| last - first);
        count - SKIPPED * (span + 1.0 - count)
    }

    /// Computes the range, slack included, in which change `number` must lie.
    fn at(&self, number: f64, period: Span) -> Span {
        let everywhere = Span { from: f64::NEG_INFINITY, to: f64::INFINITY };
        self.members.iter().fold(everywhere, |span, (known, change)| {
            let (a, b) = ((number - known) * period.from, (number - known) * period.to);
            Span {
                from: span.from.max(change.after + a.min(b) - SLACK),
                to: span.to.min(change.by + a.max(b) + SLACK),
            }
        })
    }

    /// Tells whether the trend is confirmed: by the period that the vault states, or by a third
    /// change.
    pub(super) fn is_sure(&self, hint: Option<f64>) -> bool {
        self.members.len() > 2 || hint.is_some_and(|hint| self.period.shares(named(hint)) >= 0.0)
    }

    /// Computes the period; the roundest possible value if that is a single one.
    pub(super) fn period(&self) -> Span {
        let fits = |round: &f64| self.at(0.0, Span::around(*round, 0.0)).width() >= 0.0;
        match round_in(self.period).filter(fits).filter(|_| self.periods == Periods::Round) {
            Some(round) => {
                let named = named(round);
                Span { from: named.from.max(self.period.from), to: named.to.min(self.period.to) }
            }
            None => self.period,
        }
    }

    /// Computes the range of the first change that is still to be expected after `now`, without
    /// slack: the range may be negative by as much as changes are off their line.
    pub(super) fn next(&self, now: f64) -> Span {
        let period = self.period();
        let last = self.members.iter().map(|(number, _)| *number).fold(0.0, f64::max);
        let end = self.at(last + 1.0, period).to;
        let skipped = ((now - end) / period.to.max(1.0)).ceil().max(0.0);
        let span = self.at(last + 1.0 + skipped, period);
        Span { from: span.from + SLACK, to: span.to - SLACK }
    }
}

/// Finds the trend with the highest score; of two with the same, the first.
fn best(trends: impl Iterator<Item = Trend>, changes: &[Rotated]) -> Option<Trend> {
    let gathered = trends.map(|trend| trend.gather(changes));
    gathered
        .reduce(|best, trend| if trend.score(changes) > best.score(changes) { trend } else { best })
}
