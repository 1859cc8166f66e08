//! The renewal schedule in virtual time: what it finds, when, and what it costs.

mod herd;
mod page;
mod simulation;

use std::time::Duration;

use herd::{Herd, INTERVAL, peak, rate};
use segura_agent::config::settings::RenewInterval;
use segura_agent::lifecycle::schedule::{Schedule, Seen};
use segura_agent::model::SecretName;
use simulation::{Case, Figures, LATENCY, Pattern, Poll};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;
const PERIODS: [f64; 4] = [10.0 * MINUTE, HOUR, 6.0 * HOUR, DAY];
const POLLS: [Poll; 5] =
    [Poll::Auto, Poll::Every(10.0), Poll::Every(30.0), Poll::Every(300.0), Poll::Every(600.0)];
/// Rotations after which a beat is known.
const LEARNING: u32 = 9;
/// Requests that an agent may spend before it has seen a rotation.
const CREDIT: f64 = 2.0;

fn case(pattern: Pattern, period: f64, poll: Poll, hint: bool) -> Case {
    // As many as a second or so of simulation affords.
    let polls = period / poll.interval();
    let (agents, rotations) = match () {
        () if polls < 200.0 => (16, 120),
        () if polls < 800.0 => (6, 120),
        () if polls < 3_000.0 => (2, 90),
        () => (1, 45),
    };
    Case { pattern, period, poll, hint, outage: 0.0, learning: LEARNING, agents, rotations }
}

/// Every period and interval of a pattern, hinted and not.
fn cases(pattern: Pattern) -> impl Iterator<Item = Case> {
    let pairs = PERIODS.into_iter().flat_map(|period| POLLS.map(|poll| (period, poll)));
    pairs
        .flat_map(move |(period, poll)| [true, false].map(|hint| case(pattern, period, poll, hint)))
}

/// Runs a case and asserts what holds of every one: no more is asked than plain polling would, one
/// for each change found, and what an agent starts with; and no wait is longer than an interval.
#[track_caller]
fn run(case: Case) -> Figures {
    let figures = case.run();
    let agents = case.agents as f64;
    let most = figures.plain + figures.found + CREDIT * agents;
    // The jitter of plain waits evens out only on average, and a life ends within an interval.
    let tolerance = 0.05 * figures.plain.sqrt() + agents;
    assert!(figures.requests <= most + tolerance, "{case:?}: {} > {most}", figures.requests);
    let longest = 1.01 * case.poll.interval() + 1e-6;
    assert!(figures.longest <= longest, "{case:?}: waits {}", figures.longest);
    // A change off the beat is found within that, and the answer's way.
    assert!(figures.manual <= longest + 2.0 * LATENCY, "{case:?}: {}", figures.manual);
    figures
}

#[track_caller]
fn assert_prompt(case: Case, figures: &Figures, most: f64) {
    let (median, late) = (figures.percentile(50), figures.percentile(95));
    assert!(median <= 2.0 && late <= most, "{case:?}: {median:.2} {late:.2}");
    assert!(figures.delays.len() > 10, "{case:?}");
}

/// Asserts that changes are read promptly wherever polls can tell one rotation from the next.
#[track_caller]
fn assert_learned(pattern: Pattern) {
    for case in cases(pattern) {
        let figures = run(case);
        if case.period > case.poll.interval() {
            assert_prompt(case, &figures, 5.0);
        }
        // A starting credit is spent once; the bound is on what a rotation costs from then on.
        let rotations = figures.rotations;
        let extra = (figures.requests - figures.plain - CREDIT * case.agents as f64) / rotations;
        assert!(extra <= 1.0, "{case:?}: {extra} a rotation");
    }
}

#[test]
fn an_exact_rotation_is_read_within_two_seconds() {
    assert_learned(Pattern::Exact);
}

#[test]
fn a_growing_rotation_period_is_followed() {
    assert_learned(Pattern::Drifting(0.1));
}

#[test]
fn a_shrinking_rotation_period_is_followed() {
    assert_learned(Pattern::Drifting(-0.1));
}

#[test]
fn a_rotation_with_jitter_is_read_within_two_seconds() {
    assert_learned(Pattern::Jittered(1.0));
}

#[test]
fn an_interval_as_long_as_the_rotation_learns_from_the_vaults_hints() {
    let same = case(Pattern::Exact, 600.0, Poll::Every(600.0), true);
    let case = Case { learning: 20, ..same };
    assert_prompt(case, &run(case), 5.0);
}

#[test]
fn a_rotation_period_off_the_whole_minute_is_learned_more_slowly() {
    for period in PERIODS.map(|period| period + 17.3) {
        for poll in POLLS {
            let case = Case { learning: 30, ..case(Pattern::Exact, period, poll, false) };
            let figures = run(case);
            if period > 2.0 * poll.interval() {
                let most = if poll.interval() <= 30.0 { 5.0 } else { f64::INFINITY };
                assert_prompt(case, &figures, most);
            }
        }
    }
}

#[test]
fn changes_by_hand_are_read_in_time_and_leave_the_rotation_period() {
    for case in cases(Pattern::Manual) {
        let case = Case { learning: 20, ..case };
        let figures = run(case);
        assert!(figures.manual > 0.0, "{case:?}: there are some");
        // Where a poll in thirty or more is the beat's: one that was too early asks again in 10 s.
        if case.period >= 30.0 * case.poll.interval() {
            assert_prompt(case, &figures, 10.5);
        }
    }
}

#[test]
fn secrets_without_a_rotation_cost_no_more_than_plain_polling() {
    let patterns = [Pattern::Jumping(30), Pattern::Stopping, Pattern::Irregular, Pattern::Never];
    for case in patterns.into_iter().flat_map(cases) {
        // Many small lives say as much as a long one.
        if case.period / case.poll.interval() > 800.0 {
            continue;
        }
        let figures = run(Case { learning: 0, ..case });
        let plain = case.poll.interval();
        let (median, late) = (figures.percentile(50), figures.percentile(95));
        assert!(median <= 0.55 * plain && late <= 1.01 * plain, "{case:?}: {median} {late}");
        if case.pattern == Pattern::Never {
            assert!(figures.requests <= figures.plain + 2.0 * case.agents as f64, "{case:?}");
        }
    }
}

#[test]
fn a_rotation_that_shifted_is_learned_again() {
    for poll in [Poll::Auto, Poll::Every(30.0), Poll::Every(300.0)] {
        let case = case(Pattern::Jumping(30), HOUR, poll, true);
        assert!(run(case).percentile(50) <= 2.0, "{case:?}");
    }
}

#[test]
fn a_rotation_period_is_kept_through_outages() {
    for poll in POLLS {
        let beat = case(Pattern::Exact, 6.0 * HOUR, poll, false);
        let case = Case { outage: 1_500.0, ..beat };
        assert_prompt(case, &case.run(), 5.0);
    }
}

#[test]
fn secrets_with_different_rotation_periods_are_all_followed() {
    let periods = [600.0, 1_500.0, 3_600.0];
    let names = ["a", "b", "c"].map(|name| SecretName::new(name).expect("it is a name"));
    let interval = RenewInterval::Every(Duration::from_secs(60));
    let mut schedule = Schedule::new(interval, fastrand::Rng::with_seed(1));
    let (mut now, mut known, mut delays) = (0.0, [0.0; 3], Vec::new());
    while now < 100.0 * HOUR {
        let versions = periods.map(|period| (now / period + 0.37).floor());
        now += LATENCY;
        for ((version, known), period) in versions.iter().zip(&mut known).zip(periods) {
            if version > known && now > 20.0 * period {
                delays.push(now - (version - 0.37) * period);
            }
            *known = *version;
        }
        let texts = versions.map(|version| version.to_string());
        let seen =
            names.iter().zip(&texts).map(|(name, version)| Seen { name, version, renew: None });
        let due = Duration::from_secs(60);
        let wait = schedule.after_success(Duration::from_secs_f64(now), seen, due);
        now += wait.as_secs_f64();
    }
    delays.sort_by(f64::total_cmp);
    assert!(delays.len() > 800 && delays[delays.len() / 2] <= 2.0, "{:?}", delays.len());
    assert!(delays[delays.len() * 9 / 10] <= 5.0, "{:?}", delays[delays.len() * 9 / 10]);
}

#[test]
fn ten_thousand_agents_are_no_herd() {
    let seconds = Herd { outage: (3_600, 4_200), period: None, end: 9_600 }.run();
    assert!(peak(&seconds[..3_600]) <= 3.0, "after the start: {}", peak(&seconds[..3_600]));
    assert!(peak(&seconds[4_200..]) <= 3.0, "after the outage: {}", peak(&seconds[4_200..]));
    // Plain polling's rate is 1; what differs is where the window cuts waits.
    for window in [&seconds[1_800..3_600], &seconds[6_000..]] {
        assert!(rate(window) <= 1.001, "{} in {INTERVAL}", rate(window));
    }
}
