//! Ten thousand agents that start together, and a vault that is away for a while.

use std::time::Duration;

use segura_agent::config::settings::RenewInterval;
use segura_agent::lifecycle::schedule::{Schedule, Seen};
use segura_agent::model::{Retry, SecretName};

use super::simulation::LATENCY;

/// Agents.
pub const AGENTS: u32 = 10_000;
/// The interval of every one, in seconds.
pub const INTERVAL: f64 = 120.0;

/// What befalls the herd, in whole seconds since its start.
#[derive(Clone, Copy, Debug)]
pub struct Herd {
    /// From when to when every pass fails.
    pub outage: (u32, u32),
    /// Seconds between changes of the one secret that all of them read.
    pub period: Option<f64>,
    /// When the observation ends.
    pub end: u32,
}

impl Herd {
    /// Requests in every second; the one that each agent starts with is not among them.
    pub fn run(&self) -> Vec<u32> {
        let mut seconds = vec![0; self.end as usize];
        let name = SecretName::new("db").expect("it is a name");
        for seed in 0..u64::from(AGENTS) {
            let random = fastrand::Rng::with_seed(seed);
            let mut schedule = Schedule::new(RenewInterval::Auto, random);
            let mut now = LATENCY;
            loop {
                let (from, to) = self.outage;
                let wait = if now > f64::from(from) && now < f64::from(to) {
                    schedule.after_failure(Retry::Backoff)
                } else {
                    let rotations = self.period.map_or(0.0, |period| (now / period).floor());
                    let version = rotations.to_string();
                    let pass = [Seen { name: &name, version: &version, renew: None }];
                    let due = Duration::from_secs_f64(INTERVAL);
                    let at = Duration::from_secs_f64(now);
                    schedule.recovered();
                    schedule.after_success(at, pass, due)
                };
                now += wait.as_secs_f64();
                let second = usize::try_from(Duration::from_secs_f64(now).as_secs());
                let second = second.ok().and_then(|second| seconds.get_mut(second));
                let Some(second) = second else { break };
                *second += 1;
                now += LATENCY;
            }
        }
        seconds
    }
}

/// The most that any second of these sees, in percent of the agents.
pub fn peak(seconds: &[u32]) -> f64 {
    100.0 * f64::from(seconds.iter().max().copied().unwrap_or_default()) / f64::from(AGENTS)
}

/// Requests of an agent in an interval, on average.
pub fn rate(seconds: &[u32]) -> f64 {
    let requests: f64 = seconds.iter().map(|second| f64::from(*second)).sum();
    let intervals = seconds.iter().map(|_| 1.0).sum::<f64>() / (INTERVAL + LATENCY);
    requests / f64::from(AGENTS) / intervals
}
