//! When to ask the vault next. Pure, and the only user of `backoff`: it states durations, never
//! instants, so whoever calls it owns the clock.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use crate::model::{Bundle, Retry, SecretSet};

/// No renewal is due sooner than this, whatever the vault says.
const SOONEST: Duration = Duration::from_secs(10);
/// Plain polling: what `auto` waits at most.
const POLL: Duration = Duration::from_secs(120);
/// An expiry date is a hint in an unknown time zone, and never shortens a wait below this.
const EXPIRY_FLOOR: Duration = Duration::from_secs(60);

/// `SEGURA_RENEW_INTERVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewInterval {
    /// From what the vault says of the secrets.
    Auto,
    /// Always this.
    Every(Duration),
    /// Never.
    Off,
}

/// When a set that was just fetched is due again; `None` is never.
///
/// `to_expiry` is what is left until a secret's expiry date, if it can be read.
pub fn due_in(
    bundle: &Bundle,
    interval: RenewInterval,
    to_expiry: impl Fn(&SecretSet) -> Option<Duration>,
) -> Option<Duration> {
    match interval {
        RenewInterval::Off => None,
        RenewInterval::Every(interval) => Some(interval),
        RenewInterval::Auto => {
            let hints = bundle.secrets.values().flat_map(|set| {
                let lifetime = shortest_ttl(set).map(|ttl| ttl * 2 / 3);
                let renewal = set.renew.map(|minutes| Duration::from_secs(60) * minutes);
                let expiry = to_expiry(set).map(|left| left.max(EXPIRY_FLOOR));
                [lifetime, renewal, expiry].into_iter().flatten()
            });
            Some(hints.min().unwrap_or(POLL).clamp(SOONEST, POLL))
        }
    }
}

/// The smallest `TTL` above ten seconds that stands beside other keys; the vault gives seconds.
fn shortest_ttl(set: &SecretSet) -> Option<Duration> {
    let seconds = set
        .items()
        .filter(|item| item.key == "TTL")
        .filter_map(|item| item.value.expose().trim().parse::<u32>().ok());
    seconds.map(|seconds| Duration::from_secs(seconds.into())).filter(|ttl| *ttl > SOONEST).min()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::bundle;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_set_is_due_by_its_shortest_hint() {
        for (ttl, renew, expiry, expected) in [
            ("", None, None, 120),
            ("3600", None, None, 120),
            ("90", None, None, 60),
            ("15", None, None, 10),
            ("10", None, None, 120),
            ("soon", None, None, 120),
            ("-5", None, None, 120),
            ("", Some(10), None, 120),
            ("", Some(1), None, 60),
            ("", None, Some(5), 60),
            ("30", None, Some(90), 20),
            ("", None, Some(0), 60),
        ] {
            let mut bundle = bundle(&[("s", &[&[("password", "x"), ("TTL", ttl)]])]);
            bundle.secrets.values_mut().for_each(|set| set.renew = renew);
            let due = due_in(&bundle, RenewInterval::Auto, |_| expiry.map(seconds));
            assert_eq!(due, Some(seconds(expected)), "{ttl:?} {renew:?} {expiry:?}");
        }
        let any = bundle(&[("s", &[&[("TTL", "15")]])]);
        let every = RenewInterval::Every(seconds(300));
        assert_eq!(due_in(&any, every, |_| None), Some(seconds(300)));
        assert_eq!(due_in(&any, RenewInterval::Off, |_| None), None);
    }

    #[test]
    fn waits_are_drawn_from_the_whole_of_steps_that_double() {
        let step = |n: u32| (Duration::from_millis(500) * 2_u32.pow(n)).min(seconds(30));
        let mut widest = [Duration::ZERO; 9];
        for seed in 0..2_000 {
            let mut tries = Tries::new(seconds(30), fastrand::Rng::with_seed(seed));
            for (n, widest) in (0..).zip(widest.iter_mut()) {
                let Next::In(wait) = tries.after_failure(Retry::Backoff) else { panic!("stopped") };
                assert!(wait < step(n), "{wait:?} is past step {n}");
                *widest = wait.max(*widest);
            }
        }
        for (n, widest) in (0..).zip(widest) {
            assert!(widest > step(n).mul_f64(0.95), "step {n} only reaches {widest:?}");
        }
    }

    #[test]
    fn the_vaults_wish_is_a_floor_and_never_stops() {
        let mut tries = Tries::new(seconds(30), fastrand::Rng::with_seed(7));
        let Next::In(wait) = tries.after_failure(Retry::After(seconds(45))) else { panic!() };
        assert!(wait >= seconds(45) && wait < seconds(46));
        assert_eq!(tries.after_failure(Retry::Never), Next::Stop);
    }

    #[test]
    fn success_starts_again_from_the_first_step() {
        let mut tries = Tries::new(seconds(300), fastrand::Rng::with_seed(7));
        for _ in 0..10 {
            tries.after_failure(Retry::Backoff);
        }
        tries.succeeded();
        let Next::In(wait) = tries.after_failure(Retry::Backoff) else { panic!() };
        assert!(wait < Duration::from_millis(500));
    }
}
