use super::*;
use crate::config::settings::MaxStale;
use crate::exit::FailureClass;
use crate::model::{Generation, SecretName};
use crate::store::state::tests::state;
use crate::store::state::{BootMillis, SecretState};

const NOW: Duration = Duration::from_secs(10_000);

/// A state that was fetched 12 s ago, by an agent whose next heartbeat is due in 30 s.
fn fresh() -> State {
    let boot_ms = BootMillis {
        fetched: 9_988_000,
        next_due: Some(10_042_500),
        changed: 9_000_000,
        silent_until: Some(10_030_000),
    };
    State { generation: Generation(3), boot_ms, ..state() }
}

fn facts(state: Option<&State>, agent: Agent) -> Facts<'_> {
    let whole = state.is_some();
    Facts { place: "/run/s", state, whole, agent, boot: NOW, max_stale: MaxStale::Never }
}

fn secret(identity: &str, error: Option<&str>) -> SecretState {
    SecretState {
        identity: SecretName::new(identity).unwrap(),
        secret_id: "1".to_owned(),
        name: identity.to_owned(),
        version: "1".to_owned(),
        engine: String::new(),
        expiration_date: String::new(),
        renew_minutes: None,
        seen: 0,
        error: error.map(ToOwned::to_owned),
    }
}

/// Asserts the lines of the answers to all three questions, in their order.
#[track_caller]
fn assert_answers(facts: Facts<'_>, lines: [&str; 3]) {
    let questions = [Question::Started, Question::Ready, Question::Live];
    for (question, line) in questions.into_iter().zip(lines) {
        let verdict = facts.verdict(question);
        assert_eq!(verdict.line, line);
        assert_eq!(verdict.holds, !line.starts_with("not "), "{line}");
    }
}

#[test]
fn a_set_that_is_renewed_is_started_ready_and_live() {
    let state = fresh();
    let lines = [
        "started: generation 3, fetched 12 s ago",
        "ready: generation 3, fetched 12 s ago",
        "live: generation 3, fetched 12 s ago",
    ];
    assert_answers(facts(Some(&state), Agent::Running), lines);
}

#[test]
fn without_a_set_an_agent_may_be_live_but_not_ready() {
    let lines = [
        "not started: no complete set is published in /run/s, and no agent is running",
        "not ready: no complete set is published in /run/s, and no agent is running",
        "not live: no agent is running for /run/s",
    ];
    assert_answers(facts(None, Agent::Gone), lines);
    for agent in [Agent::Starting, Agent::Running] {
        let lines = [
            "not started: no complete set is published in /run/s, and an agent is running",
            "not ready: no complete set is published in /run/s, and an agent is running",
            "live: the agent is starting",
        ];
        assert_answers(facts(None, agent), lines);
    }
}

#[test]
fn an_incomplete_set_is_neither_started_nor_ready() {
    let state = fresh();
    let lines = [
        "not started: no complete set is published in /run/s, and an agent is running",
        "not ready: no complete set is published in /run/s, and an agent is running",
        "live: generation 3, fetched 12 s ago",
    ];
    assert_answers(Facts { whole: false, ..facts(Some(&state), Agent::Running) }, lines);
}

#[test]
fn a_deprovisioned_set_is_neither_started_nor_ready() {
    let state = State { given_back: true, ..fresh() };
    let lines = [
        "not started: the set was deprovisioned, or the vault no longer has it",
        "not ready: the set was deprovisioned, or the vault no longer has it",
        "live: generation 3, fetched 12 s ago",
    ];
    assert_answers(facts(Some(&state), Agent::Running), lines);
}

#[test]
fn a_set_without_an_agent_is_only_started() {
    let state = fresh();
    let lines = [
        "started: generation 3, fetched 12 s ago",
        "not ready: no agent is running for /run/s; the set was fetched 12 s ago",
        "not live: no agent is running for /run/s; the set was fetched 12 s ago",
    ];
    assert_answers(facts(Some(&state), Agent::Gone), lines);
}

#[test]
fn an_agent_whose_heartbeat_is_overdue_is_neither_ready_nor_live() {
    let state = fresh();
    let facts = facts(Some(&state), Agent::Running);
    let in_time = Facts { boot: Duration::from_millis(10_029_999), ..facts };
    assert!(in_time.verdict(Question::Ready).holds && in_time.verdict(Question::Live).holds);
    let lines = [
        "started: generation 3, fetched 42 s ago",
        "not ready: the agent's loop is stuck: its heartbeat is 0 s overdue",
        "not live: the agent's loop is stuck: its heartbeat is 0 s overdue",
    ];
    assert_answers(Facts { boot: Duration::from_secs(10_030), ..facts }, lines);
}

#[test]
fn the_heartbeat_of_the_agent_before_does_not_count_at_a_start() {
    let state = fresh();
    let lines = [
        "started: generation 3, fetched 20 min ago; the agent is starting",
        "ready: generation 3, fetched 20 min ago; the agent is starting",
        "live: generation 3, fetched 20 min ago; the agent is starting",
    ];
    let boot = Duration::from_secs(11_200);
    assert_answers(Facts { boot, ..facts(Some(&state), Agent::Starting) }, lines);
}

#[test]
fn a_set_of_init_is_never_live() {
    let mut state = fresh();
    state.boot_ms.silent_until = None;
    let lines = [
        "started: generation 3, fetched 12 s ago",
        "ready: generation 3, fetched 12 s ago",
        "not live: init published the set in /run/s; nothing renews it",
    ];
    assert_answers(facts(Some(&state), Agent::Running), lines);
    let why =
        "no agent is running for /run/s: init fetched the set 12 s ago, and nothing renews it";
    let lines = [
        "started: generation 3, fetched 12 s ago",
        &format!("not ready: {why}"),
        &format!("not live: {why}"),
    ];
    assert_answers(facts(Some(&state), Agent::Gone), lines);
}

#[test]
fn a_set_over_max_stale_is_not_ready_and_its_agent_is_live() {
    let mut state = State { failures: 7, last_error: Some("unreachable".to_owned()), ..fresh() };
    let max_stale = MaxStale::After(Duration::from_secs(3_600));
    let suffix = "; last failure: unreachable, 7 in a row";
    for (fetched, stale) in [
        (6_400_000, None),
        (6_399_999, Some("the set is 60 min old, older than SEGURA_MAX_STALE=1h")),
        (2_000_000, Some("the set is 2 h old, older than SEGURA_MAX_STALE=1h")),
        // The clock of another boot was later.
        (10_000_001, Some("the set was fetched before the machine started; SEGURA_MAX_STALE=1h")),
    ] {
        state.boot_ms.fetched = fetched;
        let facts = Facts { max_stale, ..facts(Some(&state), Agent::Running) };
        let ready = facts.verdict(Question::Ready);
        assert_eq!(ready.holds, stale.is_none(), "{fetched}");
        if let Some(why) = stale {
            assert_eq!(ready.line, format!("not ready: {why}{suffix}"));
        }
        assert!(facts.verdict(Question::Live).holds && facts.verdict(Question::Started).holds);
        let never = Facts { max_stale: MaxStale::Never, ..facts };
        assert!(never.verdict(Question::Ready).holds, "{fetched}");
    }
}

#[test]
fn held_back_secrets_are_named() {
    let secrets = vec![
        secret("db", Some("refused")),
        secret("cache", None),
        secret("app/key", Some("two\nlines")),
    ];
    let state = State { secrets, ..fresh() };
    let verdict = facts(Some(&state), Agent::Running).verdict(Question::Ready);
    let suffix = "; held back: db (refused), app/key (two\\nlines)";
    assert_eq!(verdict.line, format!("ready: generation 3, fetched 12 s ago{suffix}"));
    assert!(verdict.holds);
}

#[test]
fn questions_have_one_word_each() {
    for word in Question::WORDS {
        assert_eq!(Question::parse(word).unwrap().as_str(), word);
    }
    assert_eq!(Question::parse("Ready"), None);
}

mod numbers {
    use std::collections::BTreeMap;

    use super::*;

    /// Parses a page, and asserts that HELP and TYPE of each metric come right before its samples.
    fn samples(page: &str) -> BTreeMap<String, f64> {
        let mut samples = BTreeMap::new();
        let (mut helped, mut typed) = (String::new(), String::new());
        let mut announced = Vec::new();
        assert!(page.ends_with('\n'));
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped = rest.split(' ').next().unwrap().to_owned();
                assert!(rest.len() > helped.len() + 1, "{line}");
                assert!(!announced.contains(&helped), "{helped} has one HELP line");
                announced.push(helped.clone());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, helped);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(["gauge", "counter"].contains(&kind), "{line}");
                name.clone_into(&mut typed);
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let name = sample.split('{').next().unwrap();
                assert_eq!(name, typed, "{line}");
                let plain = |c: char| c.is_ascii_lowercase() || c == '_';
                assert!(name.starts_with("segura_agent_") && name.chars().all(plain), "{line}");
                let before = samples.insert(sample.to_owned(), value.parse().unwrap());
                assert_eq!(before, None, "{sample}");
            }
        }
        samples
    }

    fn of(facts: &Facts<'_>, counters: &Counters) -> BTreeMap<String, f64> {
        samples(&exposition(facts, counters))
    }

    #[test]
    fn the_page_holds_every_known_number() {
        let secrets = vec![secret("db", Some("refused")), secret("cache", None)];
        let mut state = State { secrets, failures: 2, notified: Generation(2), ..fresh() };
        state.fetched_at = "2026-09-21T14:13:20Z".to_owned();
        let mut facts = facts(Some(&state), Agent::Running);
        facts.max_stale = MaxStale::After(Duration::from_secs(3_600));
        let mut counters = Counters::default();
        counters.passes_ok = 5;
        counters.publishes = 3;
        for class in ["unreachable", "write", "unreachable", "of the future"] {
            counters.failed(FailureClass::of(class));
        }
        let samples = of(&facts, &counters);
        let info = concat!("info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        for (sample, value) in [
            (info, 1.0),
            ("started", 1.0),
            ("ready", 1.0),
            ("live", 1.0),
            ("max_stale_seconds", 3_600.0),
            ("generation", 3.0),
            ("notified_generation", 2.0),
            ("secrets", 2.0),
            ("last_success_age_seconds", 12.0),
            ("last_success_timestamp_seconds", 1_790_000_000.0),
            ("next_due_in_seconds", 42.5),
            ("failures_in_row", 2.0),
            ("secret_held_back{identity=\"db\"}", 1.0),
            ("passes_total{outcome=\"ok\"}", 5.0),
            ("passes_total{outcome=\"unreachable\"}", 2.0),
            ("passes_total{outcome=\"refused\"}", 0.0),
            ("passes_total{outcome=\"nonsense\"}", 0.0),
            ("passes_total{outcome=\"settings\"}", 0.0),
            ("passes_total{outcome=\"render\"}", 0.0),
            ("passes_total{outcome=\"write\"}", 1.0),
            ("passes_total{outcome=\"other\"}", 1.0),
            ("publishes_total", 3.0),
            ("deliveries_total", 0.0),
            ("delivery_failures_total", 0.0),
            ("provisions_total", 0.0),
            ("reads_total", 0.0),
        ] {
            let found = samples.get(&format!("segura_agent_{sample}"));
            assert_eq!(found, Some(&value), "{sample}");
        }
        assert_eq!(samples.len(), 26, "{samples:?}");
    }

    #[test]
    fn unknown_numbers_are_left_out() {
        let samples = of(&facts(None, Agent::Starting), &Counters::default());
        assert_eq!(samples["segura_agent_live"], 1.0);
        assert_eq!(samples["segura_agent_ready"], 0.0);
        assert!(!samples.contains_key("segura_agent_generation"), "{samples:?}");
        let mut state = fresh();
        state.boot_ms = BootMillis { fetched: 99_000_000, ..BootMillis::default() };
        let samples = of(&facts(Some(&state), Agent::Running), &Counters::default());
        assert_eq!(samples["segura_agent_generation"], 3.0);
        for name in ["last_success_age_seconds", "next_due_in_seconds"] {
            assert!(!samples.contains_key(&format!("segura_agent_{name}")), "{samples:?}");
        }
    }

    #[test]
    fn a_due_time_that_has_passed_is_negative() {
        let state = fresh();
        let late = Facts { boot: Duration::from_secs(10_050), ..facts(Some(&state), Agent::Gone) };
        let samples = of(&late, &Counters::default());
        assert_eq!(samples["segura_agent_next_due_in_seconds"], -7.5);
    }

    #[test]
    fn labels_are_escaped() {
        let state = State { secrets: vec![secret(r#"a"b\c d}"#, Some("x"))], ..fresh() };
        let samples = of(&facts(Some(&state), Agent::Running), &Counters::default());
        let name = r#"segura_agent_secret_held_back{identity="a\"b\\c d}"}"#;
        assert_eq!(samples.get(name), Some(&1.0), "{samples:?}");
    }
}
