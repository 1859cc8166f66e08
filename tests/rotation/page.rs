//! Holds `docs/rotation.md` to the simulation: its tables are these lines and no others.

use std::fs;
use std::path::Path;

use super::herd::{Herd, peak};
use super::simulation::{Case, Figures, Pattern, Poll};
use super::{DAY, HOUR, MINUTE, case};

/// The page holds what is simulated between these.
const FROM: &str = "<!-- simulated: from here -->\n";
const TO: &str = "<!-- simulated: to here -->\n";

fn length(seconds: f64) -> String {
    match seconds {
        _ if seconds >= DAY => format!("{} d", seconds / DAY),
        _ if seconds >= HOUR => format!("{} h", seconds / HOUR),
        _ if seconds >= MINUTE => format!("{} min", seconds / MINUTE),
        _ => format!("{seconds} s"),
    }
}

fn words(case: &Case) -> (String, String, &'static str) {
    let pattern = match case.pattern {
        Pattern::Exact if case.period % MINUTE > 0.0 => "no whole minute".to_owned(),
        Pattern::Exact => "exact".to_owned(),
        Pattern::Drifting(drift) => format!("drifts {drift:+} s"),
        Pattern::Jittered(reach) => format!("jitter ±{reach} s"),
        Pattern::Manual => "and by hand".to_owned(),
        Pattern::Jumping(every) => format!("jumps, every {every}th"),
        Pattern::Stopping => "stops".to_owned(),
        Pattern::Irregular => "irregular".to_owned(),
        Pattern::Never => "never".to_owned(),
    };
    let poll = match case.poll {
        Poll::Auto => "`auto`".to_owned(),
        Poll::Every(interval) | Poll::Fixed(interval) => length(interval),
    };
    (pattern, poll, if case.hint { "yes" } else { "no" })
}

/// Two percentiles of the delay, where anything changes.
fn delays(figures: &Figures) -> String {
    if figures.delays.is_empty() {
        return "– | –".to_owned();
    }
    format!("{:.1} | {:.1}", figures.percentile(50), figures.percentile(95))
}

fn learned() -> String {
    use Poll::{Auto, Every};
    let rows = [
        (Pattern::Exact, 10.0 * MINUTE, Auto, true),
        (Pattern::Exact, 10.0 * MINUTE, Auto, false),
        (Pattern::Exact, 10.0 * MINUTE, Every(30.0), false),
        (Pattern::Exact, 10.0 * MINUTE, Every(300.0), false),
        (Pattern::Exact, HOUR, Auto, false),
        (Pattern::Exact, HOUR, Every(30.0), false),
        (Pattern::Exact, HOUR, Every(600.0), false),
        (Pattern::Exact, 6.0 * HOUR, Auto, false),
        (Pattern::Exact, DAY, Auto, true),
        (Pattern::Exact, DAY, Every(600.0), false),
        (Pattern::Exact, HOUR + 17.3, Every(30.0), false),
        (Pattern::Drifting(0.1), HOUR, Auto, true),
        (Pattern::Drifting(-0.1), HOUR, Auto, true),
        (Pattern::Jittered(1.0), HOUR, Auto, true),
        (Pattern::Jittered(2.0), HOUR, Auto, true),
        (Pattern::Manual, HOUR, Auto, true),
        (Pattern::Manual, HOUR, Every(30.0), false),
        (Pattern::Jumping(30), HOUR, Auto, true),
        (Pattern::Stopping, HOUR, Auto, true),
        (Pattern::Irregular, HOUR, Auto, false),
        (Pattern::Never, HOUR, Auto, false),
    ];
    let rows = rows.map(|(pattern, period, poll, hint)| {
        let mut case = case(pattern, period, poll, hint);
        if pattern == Pattern::Manual || period % MINUTE > 0.0 {
            case.learning = 20;
        }
        let figures = case.run();
        let (pattern, poll, hint) = words(&case);
        let period = length(period - period % MINUTE);
        let (delays, rate, plain) = (delays(&figures), figures.rate(), figures.plain_rate());
        format!("| {pattern} | {period} | {poll} | {hint} | {delays} | {rate:.1} | {plain:.1} |\n")
    });
    let head = "| the secret changes | every | interval | stated | median, s | 95 %, s | \
                requests a rotation | plain polling's |\n|---|---|---|---|---|---|---|---|\n";
    format!("{head}{}", rows.concat())
}

fn fixed() -> String {
    let rows = [30.0, 120.0, 300.0].map(|interval| {
        let poll = Poll::Fixed(interval);
        let delays = delays(&case(Pattern::Exact, HOUR + 17.3, poll, false).run());
        let rates = [10.0 * MINUTE, HOUR, 6.0 * HOUR, DAY].map(|period| {
            let rotations =
                Case { agents: 1, rotations: 10, ..case(Pattern::Never, period, poll, false) };
            format!("{:.1}", rotations.run().rate())
        });
        format!("| {} | {delays} | {} |\n", length(interval), rates.join(" | "))
    });
    let head = "| fixed polling every | median, s | 95 %, s | requests in 10 min | in 1 h | \
                in 6 h | in 1 d |\n|---|---|---|---|---|---|---|\n";
    format!("{head}{}", rows.concat())
}

fn herd() -> String {
    let seconds = Herd { outage: (3_600, 4_200), period: None, end: 9_600 }.run();
    let known = Herd { outage: (0, 0), period: Some(600.0), end: 9_600 }.run();
    let (start, rest) = seconds.split_at(3_600);
    let (away, back) = rest.split_at(600);
    let rows = [
        ("after all started at once", peak(start)),
        ("while the vault is down for 10 minutes", peak(away)),
        ("after the outage", peak(back)),
        ("all on one secret, whose rotation period is known", peak(known.split_at(7_200).1)),
    ];
    let rows = rows.map(|(when, peak)| format!("| {when} | {peak:.1} % |\n"));
    let head = "| 10,000 agents, `auto` | at most, in one second |\n|---|---|\n";
    format!("{head}{}", rows.concat())
}

#[test]
fn the_page_holds_the_simulated_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rotation.md");
    let page = fs::read_to_string(path).expect("the page is there");
    let held = page.split_once(FROM).and_then(|(_, rest)| rest.split_once(TO));
    let held = held.map(|(held, _)| held).expect("it has its marks");
    let expected = format!("\n{}\n{}\n{}\n", learned(), fixed(), herd());
    assert!(held == expected, "docs/rotation.md is to hold:\n{FROM}{expected}{TO}");
}
