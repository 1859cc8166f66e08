//! One agent and one vault in virtual time: changes that follow a pattern, and the polls they meet.

use std::time::Duration;

use segura_agent::config::settings::RenewInterval;
use segura_agent::lifecycle::schedule::{Schedule, Seen};
use segura_agent::model::{Retry, SecretName};

/// Seconds from a request to its answer; the vault reads its version half-way.
pub const LATENCY: f64 = 0.05;

/// How a secret changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// Every period, to the instant.
    Exact,
    /// Every period and so many seconds, while the vault states the period alone.
    Drifting(f64),
    /// Within so many seconds of a beat.
    Jittered(f64),
    /// On a beat, and in two rotations of five by hand as well.
    Manual,
    /// At a period whose phase shifts after so many rotations.
    Jumping(u32),
    /// On a beat that ends half-way.
    Stopping,
    /// Whenever it pleases, once a period on average.
    Irregular,
    /// Not at all.
    Never,
}

/// What the agent polls by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Poll {
    /// `auto`: 120 seconds, no wait under 10.
    Auto,
    /// An explicit interval, in seconds.
    Every(f64),
    /// No schedule at all: this many seconds after each answer.
    Fixed(f64),
}

impl Poll {
    /// The interval in seconds.
    pub fn interval(self) -> f64 {
        match self {
            Self::Auto => 120.0,
            Self::Every(interval) | Self::Fixed(interval) => interval,
        }
    }

    fn setting(self) -> (RenewInterval, Duration) {
        let due = Duration::from_secs_f64(self.interval());
        match self {
            Self::Auto => (RenewInterval::Auto, due),
            Self::Every(_) | Self::Fixed(_) => (RenewInterval::Every(due), due),
        }
    }
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// How the secret changes.
    pub pattern: Pattern,
    /// Seconds between changes.
    pub period: f64,
    /// How the agent polls.
    pub poll: Poll,
    /// Whether the vault states the period.
    pub hint: bool,
    /// Seconds that the vault answers nothing, once every 20 periods.
    pub outage: f64,
    /// Rotations that an agent is given to learn before delays count.
    pub learning: u32,
    /// Agents, each with its own phase.
    pub agents: u64,
    /// Rotations that each of them lives through.
    pub rotations: u32,
}

/// What came out, over all agents.
#[derive(Debug, Default)]
pub struct Figures {
    /// Seconds from each change on the beat to its being read, once learned; sorted.
    pub delays: Vec<f64>,
    /// The longest such delay of a change off the beat, from the start.
    pub manual: f64,
    /// Requests in all.
    pub requests: f64,
    /// What plain polling would have asked in that time.
    pub plain: f64,
    /// Passes that found a change.
    pub found: f64,
    /// The longest wait after a pass that was answered.
    pub longest: f64,
    /// Periods lived through.
    pub rotations: f64,
}

impl Figures {
    /// The delay that so many percent don't exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.delays.len() * percent / 100).min(self.delays.len().saturating_sub(1));
        self.delays.get(at).copied().unwrap_or_default()
    }

    /// Requests a rotation.
    pub fn rate(&self) -> f64 {
        self.requests / self.rotations
    }

    /// What plain polling asks a rotation.
    pub fn plain_rate(&self) -> f64 {
        self.plain / self.rotations
    }
}

/// Instants of change in order, each with whether it belongs to the beat.
struct Changes {
    all: Vec<(f64, bool)>,
    /// The first that is not part of the learning.
    learned: f64,
}

impl Case {
    fn changes(&self, random: &mut fastrand::Rng) -> Changes {
        let mut all = Vec::new();
        let mut beat = self.period * random.f64();
        let mut learned = f64::INFINITY;
        for number in 0..self.rotations {
            let mut step = self.period;
            let mut off = 0.0;
            match self.pattern {
                Pattern::Exact => {}
                Pattern::Drifting(drift) => step += drift,
                Pattern::Jittered(reach) => off = reach * (2.0 * random.f64() - 1.0),
                Pattern::Manual if random.f64() < 0.4 => {
                    all.push((beat + self.period * random.f64(), false));
                }
                Pattern::Manual => {}
                Pattern::Jumping(every) if number % every == every - 1 => {
                    step *= 1.0 + random.f64();
                }
                Pattern::Jumping(_) => {}
                Pattern::Stopping if number > self.rotations / 2 => break,
                Pattern::Stopping => {}
                Pattern::Irregular => step *= -(1.0 - random.f64()).ln(),
                Pattern::Never => break,
            }
            if number == self.learning {
                learned = beat;
            }
            all.push((beat + off, true));
            beat += step;
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        Changes { all, learned }
    }

    /// Lets every agent live its life.
    pub fn run(&self) -> Figures {
        let mut figures = Figures::default();
        for seed in 0..self.agents {
            self.live(fastrand::Rng::with_seed(seed + 1), &mut figures);
        }
        figures.delays.sort_by(f64::total_cmp);
        figures
    }

    fn live(&self, mut random: fastrand::Rng, figures: &mut Figures) {
        let name = SecretName::new("db").expect("it is a name");
        let changes = self.changes(&mut random);
        let end = self.period * f64::from(self.rotations);
        let (interval, due) = self.poll.setting();
        let renew = self.hint.then(|| (1..=1440).find(|n| 60.0 * f64::from(*n) >= self.period));
        let mut schedule = Schedule::new(interval, random.fork());
        let (mut now, mut read) = (0.0, 0);
        while now < end {
            figures.requests += 1.0;
            let seen = now + LATENCY / 2.0;
            let down = now % (20.0 * self.period) > 20.0 * self.period - self.outage;
            now += LATENCY;
            if down {
                now += schedule.after_failure(Retry::Backoff).as_secs_f64();
                continue;
            }
            let before = read;
            while let Some((at, on_beat)) = changes.all.get(read).filter(|(at, _)| *at <= seen) {
                if !*on_beat {
                    figures.manual = figures.manual.max(now - at);
                } else if *at >= changes.learned {
                    figures.delays.push(now - at);
                }
                read += 1;
            }
            figures.found += if read > before { 1.0 } else { 0.0 };
            let version = read.to_string();
            let pass = [Seen { name: &name, version: &version, renew: renew.flatten() }];
            schedule.recovered();
            let wait = schedule.after_success(Duration::from_secs_f64(now), pass, due);
            let wait = match self.poll {
                Poll::Fixed(interval) => interval,
                Poll::Auto | Poll::Every(_) => wait.as_secs_f64(),
            };
            figures.longest = figures.longest.max(wait);
            now += wait;
        }
        figures.plain += end / (self.poll.interval() + LATENCY);
        figures.rotations += f64::from(self.rotations);
    }
}
