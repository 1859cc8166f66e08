//! `docs/operations.md` names the metrics that the binary serves, alerts on nothing else, and quotes the
//! figures that other pages prove.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Page, spans};
use crate::harness::{Scene, host::skip, until};

const PREFIX: &str = "segura_agent_";

fn page() -> Page {
    Page::read("docs/operations.md")
}

/// The metrics of a sidecar that has something to say in each of them.
fn served() -> String {
    let mut scene = Scene::new();
    scene.vault.set_data("app", json!([{ "password": "one" }]));
    scene.set("SEGURA_IDENTITY", "secret-postman,app").set("SEGURA_RENEW_INTERVAL", "1s");
    scene.listen().set("SEGURA_MAX_STALE", "1h");
    let sidecar = scene.renewing_sidecar();
    scene.vault.remove_secret("app");
    until("one is held back", || scene.get("/metrics").1.contains("secret_held_back{"));
    let served = scene.get("/metrics").1;
    sidecar.stop();
    served
}

/// Words of ours in a text, as metrics are named.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(PREFIX)).collect()
}

#[test]
fn every_metric_has_its_row_and_no_unknown_one_is_named() {
    let (page, served) = (page(), served());
    let kinds = served.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeSet<&str> = kinds.filter_map(|line| line.split(' ').next()).collect();
    let rows: BTreeSet<&str> = page.rows("metric").into_iter().flat_map(spans).collect();
    assert_eq!(rows, served, "the table");
    let named = names(&page.text);
    assert!(named.is_subset(&served), "{:?}", named.difference(&served).collect::<Vec<_>>());
    assert!(served.len() >= 19, "{served:?}");
}

#[test]
fn every_outcome_of_a_pass_is_named() {
    let (page, served) = (page(), served());
    let passes = served.lines().filter(|line| line.starts_with("segura_agent_passes_total{"));
    let outcomes: BTreeSet<&str> = passes.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(outcomes.len() >= 7, "{outcomes:?}");
    let row = page.text.lines().find(|line| line.starts_with("| `segura_agent_passes_total`"));
    let cell = row.and_then(|row| row.split(" | ").nth(1)).expect("its row");
    let reported: BTreeSet<&str> =
        spans(cell).into_iter().filter(|word| *word != "outcome").collect();
    assert_eq!(reported, outcomes);
    for chosen in page.text.split("outcome=~\"").skip(1) {
        let chosen = chosen.split('"').next().unwrap_or_default();
        assert!(chosen.split('|').all(|word| outcomes.contains(word)), "{chosen}");
    }
}

/// Every YAML document of the page.
fn documents(page: &Page) -> Vec<String> {
    let yaml = page.fences().into_iter().filter(|fence| fence.kind == "yaml");
    yaml.map(|fence| fence.lines.join("\n")).collect()
}

/// The rules of a PrometheusRule.
fn rules<'a>(document: &'a Yaml<'a>) -> Vec<&'a Yaml<'a>> {
    let groups = document["spec"]["groups"].as_vec().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_vec().expect("rules")).collect()
}

#[test]
fn every_alert_is_complete_and_uses_known_metrics() {
    let page = page();
    let texts = documents(&page);
    let mut alerts = BTreeSet::new();
    for text in &texts {
        let read = Yaml::load_from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let document = read.first().expect("a document");
        if document.as_mapping_get("kind").and_then(Yaml::as_str) != Some("PrometheusRule") {
            continue;
        }
        for rule in rules(document) {
            let text = |value: &Yaml<'_>| value.as_str().map(str::to_owned);
            let name = text(&rule["alert"]).expect("a name");
            let expr = text(&rule["expr"]).expect("an expression");
            assert!(text(&rule["labels"]["severity"]).is_some(), "{name} has a severity");
            assert!(text(&rule["annotations"]["summary"]).is_some(), "{name} has a summary");
            let ours = !names(&expr).is_empty();
            let others = ["kube_pod_", "up{"].iter().any(|metric| expr.contains(metric));
            assert!(ours || others, "{name} rests on no metric: {expr}");
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                assert_eq!(expr.matches(open).count(), expr.matches(close).count(), "{name}");
            }
            assert!(alerts.insert(name.clone()), "{name} is there twice");
        }
    }
    assert!(texts.len() >= 3 && alerts.len() >= 6, "{alerts:?}");
}

/// A folder with the rules as Prometheus's own file, which is what stands under `spec`; or a line.
fn rule_file(test: &str) -> Option<TempDir> {
    if Command::new("promtool").arg("--version").output().is_err() {
        skip(test, "no promtool");
        return None;
    }
    let page = page();
    let folder = tempfile::tempdir().expect("a folder");
    let texts = documents(&page);
    let rule = texts.iter().find(|text| text.contains("kind: PrometheusRule")).expect("a rule");
    let (_, spec) = rule.split_once("\nspec:\n").expect("a spec");
    let spec: Vec<&str> =
        spec.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    fs::write(folder.path().join("rules.yaml"), spec.join("\n")).expect("the folder is ours");
    Some(folder)
}

#[track_caller]
fn promtool(folder: &TempDir, words: &[&str]) {
    let output = Command::new("promtool").args(words).current_dir(folder.path()).output();
    let output = output.expect("it was found before");
    let reported = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&reported));
}

#[test]
fn promtool_accepts_every_rule() {
    if let Some(folder) = rule_file("promtool_accepts_every_rule") {
        promtool(&folder, &["check", "rules", "rules.yaml"]);
    }
}

/// Agents of two hours: each with its number and a metric of a pod, by the minute.
fn series(agents: std::ops::Range<u32>, metrics: &[(&str, &str)]) -> Vec<Value> {
    let of = |agent: u32| {
        metrics.iter().map(move |(metric, values)| {
            let (name, labels) = metric.split_once('{').unwrap_or((metric, "}"));
            let name = if name == "up" { name.to_owned() } else { format!("{PREFIX}{name}") };
            json!({
                "series": format!("{name}{{namespace=\"shop\",pod=\"app-{agent}\",{labels}"),
                "values": values,
            })
        })
    };
    agents.flat_map(of).collect()
}

/// What fires after 100 minutes.
fn fires(series: Vec<Value>, alerts: &[(&str, u32)]) -> Value {
    let sample = |(name, count): &(&str, u32)| json!({ "labels": format!("{{alertname=\"{name}\"}}"), "value": count });
    json!({
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{
            "expr": "count by (alertname) (ALERTS{alertstate=\"firing\"})",
            "eval_time": "100m",
            "exp_samples": alerts.iter().map(sample).collect::<Vec<_>>(),
        }],
    })
}

#[test]
fn one_outage_raises_one_alert_and_a_failure_of_one_pod_names_that_pod() {
    let Some(folder) =
        rule_file("one_outage_raises_one_alert_and_a_failure_of_one_pod_names_that_pod")
    else {
        return;
    };
    let sound = [("info{version=\"1\"}", "1x120"), ("generation", "1x50 2x70")];
    let all = || series(0..20, &sound);
    let fails = |outcome: &str, agents| {
        let passes = format!("passes_total{{outcome=\"{outcome}\"}}");
        let held = "secret_held_back{identity=\"shop-db\"}";
        series(
            agents,
            &[
                (passes.as_str(), "0x10 1+1x110"),
                (held, "_x10 1x110"),
                ("last_success_age_seconds", "60x10 120+60x110"),
            ],
        )
    };
    let with = |more: Vec<Value>| [all(), more].concat();
    let own = [("SeguraHeldBack", 1), ("SeguraRefused", 1), ("SeguraSetStale", 1)];
    let reported = series(0..1, &[("delivery_failures_total", "0x51 1x69")]);
    let early = series(0..1, &[("delivery_failures_total", "0x5 1x115")]);
    let silent = series(0..1, &[("up{job=\"shop/segura-agent\"}", "1x50 0x70")]);
    let cases = [
        fires(all(), &[]),
        fires(with(fails("unreachable", 0..20)), &[("SeguraVaultAway", 1)]),
        fires(with(fails("refused", 0..20)), &[("SeguraVaultAway", 1)]),
        fires(with(fails("refused", 0..1)), &own),
        fires(with(reported), &[("SeguraTellingFails", 1)]),
        fires(with(early), &[]),
        fires(with(silent), &[("SeguraAgentSilent", 1)]),
    ];
    let test = json!({ "rule_files": ["rules.yaml"], "tests": cases });
    fs::write(folder.path().join("test.yaml"), test.to_string()).expect("the folder is ours");
    promtool(&folder, &["test", "rules", "test.yaml"]);
}

#[test]
fn request_figures_are_those_of_the_simulation() {
    let (page, rotation) = (page(), Page::read("docs/rotation.md"));
    let shares = rotation.rows("10,000 agents, `auto`");
    assert_eq!(shares.len(), 4, "{shares:?}");
    for row in shares {
        let line = rotation.text.lines().find(|line| line.starts_with(&format!("| {row} | ")));
        let share = line.and_then(|line| line.split(" | ").nth(1)).expect("a second cell");
        let share = share.trim_end_matches([' ', '|']);
        assert!(page.text.contains(share), "{row}: {share}");
    }
    // The interval and what it comes to on one day, by the table of fixed polling.
    for (every, written) in [("30 s", "`30s`"), ("2 min", "`auto`"), ("5 min", "`5m`")] {
        let line = rotation.text.lines().find(|line| line.starts_with(&format!("| {every} | ")));
        let day = line.and_then(|line| line.trim_end_matches(" |").rsplit(" | ").next());
        let day: f64 = day.and_then(|day| day.parse().ok()).expect("requests in a day");
        let row = page.text.lines().find(|line| line.starts_with(&format!("| {written}")));
        let reported =
            row.and_then(|row| row.split(" | ").nth(1)).map(|cell| cell.replace(',', ""));
        let reported: f64 = reported.and_then(|cell| cell.parse().ok()).expect("reads in a day");
        assert!((reported - day).abs() <= day / 100.0, "{written}: {reported}, simulated {day}");
    }
}
