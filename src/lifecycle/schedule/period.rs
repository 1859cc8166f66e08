//! The straight line through changes that were each seen to happen between two reads: which of them
//! lie a whole number of periods apart, and when the next is to be expected.

/// Seconds that a change may lie off its line: the vault's own delay, and the time that a read takes.
const SLACK: f64 = 1.0;
/// Seconds by which a period may differ from the minutes that the vault states, however short.
const HINT_SLACK: f64 = 0.12;
/// The part of a period that two clocks which are kept right may differ by.
const CLOCK_SLACK: f64 = 1e-6;
/// As many of the latest changes decide between lines, so that an old beat can't outvote a new one.
const RECENT: usize = 6;
/// What a beat that should have been seen, and wasn't, takes from a line's score.
const SKIPPED: f64 = 0.5;
/// Round periods in seconds, roundest first: a day, an hour, then parts of it.
const ROUND: [f64; 6] = [86_400.0, 3_600.0, 1_800.0, 600.0, 300.0, 60.0];

/// Changes after which a line that was taken for round, and isn't known yet, is not.
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

/// What a period may be, where the vault or roundness names it.
fn named(period: f64) -> Span {
    Span::around(period, HINT_SLACK + CLOCK_SLACK * period)
}

/// The only multiple in `range` of the roundest number that has any there.
fn round_in(range: Span) -> Option<f64> {
    let first = |unit: f64| (range.from / unit).ceil() * unit;
    let unit = ROUND.into_iter().find(|unit| first(*unit) <= range.to)?;
    let one = first(unit);
    (one + unit > range.to && one > 0.0).then_some(one)
}

/// The periods that a line may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Periods {
    /// The roundest that it can have.
    Round,
    /// Any.
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
    /// The line that explains the latest changes best, or none if there is too little to go by.
    ///
    /// `changes` are in order; `hint` is the period that the vault states, in seconds.
    pub(super) fn through(changes: &[Rotated], hint: Option<f64>) -> Option<Self> {
        let periods = if changes.len() <= TRUSTING { Periods::Round } else { Periods::Any };
        let hinted = hint.and_then(|hint| {
            let bases = changes.iter().rev().take(3);
            best(bases.map(|base| Self::from(*base, named(hint), periods)), changes)
        });
        if hinted.as_ref().is_some_and(|line| changes.len() < 4 || line.score(changes) >= 3.0) {
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

    /// A line of two changes that are one period apart, if that says anything of the period.
    fn of(first: Rotated, second: Rotated, periods: Periods) -> Option<Self> {
        let period = Span { from: second.after - first.by, to: second.by - first.after };
        (period.from > 0.2 * period.to).then(|| Self {
            members: vec![(0.0, first), (1.0, second)],
            period,
            periods,
        })
    }

    /// Takes in whatever of `changes` lies on the line.
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

    /// How well the line explains the latest of `changes`.
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

    /// Where number `number` must lie, slack included.
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

    /// Whether the line has been seen to go on: by the vault's word, or by a third change.
    pub(super) fn is_sure(&self, hint: Option<f64>) -> bool {
        self.members.len() > 2 || hint.is_some_and(|hint| self.period.shares(named(hint)) >= 0.0)
    }

    /// The period, by its roundest value where only one is left.
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

    /// Where the first change that is still to be expected after `now` lies, without slack: its ends
    /// may be the wrong way round by as much as changes are off their line.
    pub(super) fn next(&self, now: f64) -> Span {
        let period = self.period();
        let last = self.members.iter().map(|(number, _)| *number).fold(0.0, f64::max);
        let end = self.at(last + 1.0, period).to;
        let skipped = ((now - end) / period.to.max(1.0)).ceil().max(0.0);
        let span = self.at(last + 1.0 + skipped, period);
        Span { from: span.from + SLACK, to: span.to - SLACK }
    }
}

/// The line that explains most; of two that explain as much, the first.
fn best(lines: impl Iterator<Item = Trend>, changes: &[Rotated]) -> Option<Trend> {
    let gathered = lines.map(|line| line.gather(changes));
    gathered
        .reduce(|best, line| if line.score(changes) > best.score(changes) { line } else { best })
}
