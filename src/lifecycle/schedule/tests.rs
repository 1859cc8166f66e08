use super::period::{Rotated, Trend};
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
        assert_eq!(due, Wait::For(seconds(expected)), "{ttl:?} {renew:?} {expiry:?}");
    }
    let any = bundle(&[("s", &[&[("TTL", "15")]])]);
    let every = RenewInterval::Every(seconds(300));
    assert_eq!(due_in(&any, every, |_| None), Wait::For(seconds(300)));
    assert_eq!(due_in(&any, RenewInterval::Off, |_| None), Wait::Forever);
}

#[test]
fn waits_are_random_parts_of_steps_that_double() {
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
fn a_wait_that_the_vault_asked_for_is_the_least_and_never_stops_retries() {
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

fn schedule(interval: RenewInterval, seed: u64) -> Schedule {
    Schedule::new(interval, fastrand::Rng::with_seed(seed))
}

/// A pass that read one secret.
fn pass<'a>(name: &'a SecretName, version: &'a str, renew: RenewMinutes) -> [Seen<'a>; 1] {
    [Seen { name, version, renew }]
}

#[test]
fn failed_renewals_are_retried_without_end_by_steps_up_to_five_minutes() {
    let mut widest = Duration::ZERO;
    let mut narrowest = Duration::MAX;
    for seed in 0..100 {
        let mut schedule = schedule(RenewInterval::Auto, seed);
        for number in 0..200_u32 {
            let wait = schedule.after_failure(Retry::Backoff);
            let step = Duration::from_millis(500) * 2_u32.pow(number.min(10));
            assert!(wait <= step.min(seconds(300)), "{number}: {wait:?}");
            if number > 10 {
                widest = wait.max(widest);
                narrowest = wait.min(narrowest);
            }
        }
    }
    assert!(widest > seconds(295) && narrowest < seconds(5), "{narrowest:?} {widest:?}");
}

#[test]
fn a_final_failure_is_retried_too_and_a_wait_that_the_vault_asked_for_is_kept() {
    let name = SecretName::new("db").unwrap();
    let mut schedule = schedule(RenewInterval::Auto, 7);
    let never: Vec<Duration> = (0..1_000).map(|_| schedule.after_failure(Retry::Never)).collect();
    assert!(never.iter().all(|wait| *wait <= seconds(300)));
    assert!(never.iter().any(|wait| *wait > seconds(280)));
    let wait = schedule.after_failure(Retry::After(seconds(900)));
    assert!(wait >= seconds(900) && wait <= seconds(901));
    for _ in 0..10 {
        schedule.after_failure(Retry::Backoff);
    }
    schedule.after_success(Duration::ZERO, pass(&name, "1", None), seconds(120));
    schedule.recovered();
    assert!(schedule.after_failure(Retry::Backoff) <= Duration::from_millis(500));
}

#[test]
fn plain_waits_are_an_interval_on_average_and_never_under_the_floor() {
    let name = SecretName::new("db").unwrap();
    for (interval, due, least, most, mean) in [
        (RenewInterval::Auto, 120, 118.8, 121.2, 120.0),
        (RenewInterval::Auto, 10, 10.0, 10.2, 10.1),
        (RenewInterval::Every(seconds(600)), 600, 594.0, 606.0, 600.0),
        (RenewInterval::Every(seconds(1)), 1, 1.0, 1.02, 1.01),
    ] {
        let mut schedule = schedule(interval, 7);
        let mut at = Duration::ZERO;
        let mut wait = || {
            let wait = schedule.after_success(at, pass(&name, "1", None), seconds(due));
            at += wait;
            wait.as_secs_f64()
        };
        wait();
        let waits: Vec<f64> = (0..2_000).map(|_| wait()).collect();
        assert!(waits.iter().all(|wait| (least..=most).contains(wait)), "{interval:?}");
        let found = waits.iter().sum::<f64>() / 2_000.0;
        assert!((found / mean - 1.0).abs() < 0.001, "{interval:?}: {found}");
    }
}

#[test]
fn first_waits_are_spread_and_keep_the_floor() {
    let name = SecretName::new("db").unwrap();
    for (interval, due, least) in [
        (RenewInterval::Auto, 120, 30),
        (RenewInterval::Auto, 20, 10),
        (RenewInterval::Auto, 10, 10),
        (RenewInterval::Every(seconds(600)), 600, 150),
        (RenewInterval::Every(seconds(1)), 1, 1),
    ] {
        let due = seconds(due);
        let mut waits = Vec::new();
        for seed in 0..500 {
            let seen = pass(&name, "1", None);
            let first = schedule(interval, seed).after_success(Duration::ZERO, seen, due);
            let published = first_due(due, interval, &mut fastrand::Rng::with_seed(seed));
            waits.extend([first, published]);
        }
        let range = seconds(least)..=due.mul_f64(1.03);
        assert!(waits.iter().all(|wait| range.contains(wait)), "{interval:?}");
        let width = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
        assert!(width >= (due - seconds(least)).mul_f64(0.95), "{interval:?}: {width:?}");
    }
}

#[test]
fn a_secret_that_was_not_read_keeps_its_rotation_and_only_a_stale_one_makes_room() {
    let mut schedule = schedule(RenewInterval::Auto, 7);
    let names: Vec<SecretName> =
        (0..70).map(|number| SecretName::new(format!("s{number}")).unwrap()).collect();
    let mut read = |at: u64, names: &[SecretName]| {
        let seen = names.iter().map(|name| Seen { name, version: "1", renew: None });
        schedule.after_success(seconds(at), seen, seconds(120));
        schedule.rotations.keys().cloned().collect::<Vec<_>>()
    };
    let known = read(0, &names);
    assert_eq!(known.len(), WATCHED);
    assert_eq!(read(120, &names[69..]), known);
    let later = read(100_000, &names[69..]);
    assert_eq!(later.len(), WATCHED);
    assert!(later.contains(&names[69]));
}

/// Changes by the times of the reads before and after each.
fn changes(ends: &[(f64, f64)]) -> Vec<Rotated> {
    ends.iter().map(|(after, by)| Rotated { after: *after, by: *by }).collect()
}

#[test]
fn trends_are_found_through_changes_of_one_period() {
    let steady = [(0.0, 30.0), (590.0, 620.0), (1_185.0, 1_215.0), (1_800.0, 1_830.0)];
    let manual = [(0.0, 30.0), (590.0, 620.0), (700.0, 730.0), (1_200.0, 1_230.0)];
    let missed = [(0.0, 30.0), (600.0, 630.0), (1_800.0, 1_830.0), (2_400.0, 2_430.0)];
    let odd = [(0.0, 10.0), (617.0, 627.0), (1_230.0, 1_240.0), (1_850.0, 1_860.0)];
    for (ends, hint, now, at, period) in [
        (&steady[..], Some(600.0), 1_830.0, 2_400.0..=2_415.0, 600.0..=600.0),
        (&steady[..], None, 1_830.0, 2_400.0..=2_415.0, 600.0..=600.0),
        (&steady[..1], Some(600.0), 30.0, 600.0..=630.0, 600.0..=600.0),
        (&steady[..], None, 5_000.0, 5_400.0..=5_415.0, 600.0..=600.0),
        (&manual[..], Some(600.0), 1_230.0, 1_800.0..=1_830.0, 600.0..=600.0),
        (&manual[..], None, 1_230.0, 1_800.0..=1_830.0, 600.0..=600.0),
        (&missed[..], None, 2_430.0, 3_000.0..=3_030.0, 600.0..=600.0),
        (&odd[..], None, 1_860.0, 2_460.0..=2_485.0, 612.0..=622.0),
        (&odd[..], Some(3_600.0), 1_860.0, 2_460.0..=2_485.0, 612.0..=622.0),
    ] {
        let changes = changes(ends);
        let line = Trend::through(&changes, hint).unwrap_or_else(|| panic!("none in {ends:?}"));
        let (next, found) = (line.next(now), line.period().middle());
        assert!(at.contains(&next.middle()), "{ends:?} {hint:?}: {next:?}");
        assert!(*period.start() - 0.2 <= found && found <= *period.end() + 0.2, "{found} {hint:?}");
    }
    assert!(Trend::through(&changes(&[(0.0, 30.0)]), None).is_none());
    assert!(Trend::through(&changes(&[(0.0, 600.0), (600.0, 1_200.0)]), None).is_none());
}

#[test]
fn a_rotation_is_tracked_through_one_missed_change_and_forgotten_after_two() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut rotation = Rotation::new(0.0, 0, Some(600.0));
    for number in 1..=6_u32 {
        let at = 600.0 * f64::from(number);
        rotation.read(at - 0.5, u64::from(number) - 1, Some(600.0), &mut random);
        assert!(rotation.read(at + 0.5, number.into(), Some(600.0), &mut random));
    }
    let next_read =
        |rotation: &Rotation, now: f64| rotation.propose(now, 120.0).map(|proposal| proposal.at);
    let next = next_read(&rotation, 3_700.0).unwrap();
    assert!((4_200.0..4_203.0).contains(&next), "{next}");
    let overdue = next_read(&rotation, next + 0.1).unwrap();
    assert!(overdue - next < 3.0, "{overdue}");
    rotation.read(4_230.0, 6, Some(600.0), &mut random);
    assert!((4_800.0..4_803.0).contains(&next_read(&rotation, 4_230.0).unwrap()));
    for now in [4_830.0, 5_430.0, 6_030.0, 6_630.0, 7_230.0, 7_830.0, 8_430.0] {
        rotation.read(now, 6, Some(600.0), &mut random);
    }
    assert_eq!(next_read(&rotation, 8_430.0), None);
}
