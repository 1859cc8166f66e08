//! The table of pods: each file of `tests/policy/pods` is a pod as it is asked for, and the pod as it comes to be, or
//! one document alone where nothing is to be done.

use std::fs;

use segura_agent::config::variables::VARIABLES;
use serde_json::{Value, json};

use super::evaluator::{mutated, refusals};
use super::rules;
use super::yaml::{documents, policy};
use crate::harness::host::mode;
use crate::harness::tree::package;
use crate::harness::{SEED, Scene};

/// What one file says.
pub struct Case {
    pub name: String,
    pub pod: Value,
    pub expected: Value,
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("a directory of ours").path();
        let text = fs::read_to_string(&path).expect("a file of ours");
        let mut found = documents(&text);
        let expected = if found.len() > 1 { found.remove(1) } else { found[0].clone() };
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Case { name, pod: found.remove(0), expected }
    };
    fs::read_dir(package().join("tests/policy/pods")).expect("the table").map(read).collect()
}

/// The parameters as they are installed, changed by a merge patch of their data.
pub fn params(change: &Value) -> Value {
    let mut params = policy("ConfigMap", "segura-agent");
    json_patch::merge(&mut params["data"], change);
    params
}

/// A pod of the table.
pub fn pod(name: &str) -> Value {
    cases().into_iter().find(|case| case.name == name).expect("a pod of the table").pod
}

/// What becomes of a pod, with the parameters as they are installed.
pub fn injected(pod: &Value) -> Value {
    mutated(&policy("MutatingAdmissionPolicy", "segura-agent"), &params(&json!({})), pod)
}

#[test]
fn each_pod_is_mutated_as_recorded() {
    let cases = cases();
    assert!(cases.len() >= 19, "the table is there");
    for case in cases {
        let found = injected(&case.pod);
        assert_eq!(found, case.expected, "{}: {found:#}", case.name);
    }
}

#[test]
fn a_mutated_pod_is_not_mutated_again() {
    for case in cases() {
        assert_eq!(injected(&case.expected), case.expected, "{}", case.name);
    }
}

#[test]
fn each_mutated_pod_meets_the_rules_and_is_admitted() {
    let validating = policy("ValidatingAdmissionPolicy", "segura-agent");
    for case in cases().iter().filter(|case| case.pod != case.expected && case.name != "root") {
        rules::assert_rules(&case.name, &case.pod, &case.expected);
        assert_eq!(refusals(&validating, &case.expected), Vec::<String>::new(), "{}", case.name);
    }
}

#[test]
fn everything_in_the_pod_stays_in_it() {
    for case in cases() {
        rules::assert_nothing_removed(&case.name, &case.pod, &injected(&case.pod));
    }
}

/// A pod of the table, changed by a merge patch, with the agent.
fn varied(name: &str, change: &Value) -> Value {
    let mut pod = pod(name);
    json_patch::merge(&mut pod, change);
    injected(&pod)
}

#[test]
fn the_agent_waits_only_for_proxies_that_are_native_sidecars() {
    let mut pod = pod("istio-native");
    pod["spec"]["initContainers"][1].as_object_mut().expect("a container").remove("restartPolicy");
    assert_eq!(injected(&pod)["spec"]["initContainers"][0]["name"], "segura-agent");
}

#[test]
fn a_pod_with_host_pid_shares_no_pid_namespace() {
    let found = varied("job", &json!({ "spec": { "hostPID": true } }));
    assert_eq!(found["spec"]["shareProcessNamespace"], Value::Null);
    assert_eq!(found["spec"]["initContainers"][0]["name"], "segura-agent");
}

#[test]
fn an_empty_annotation_counts_as_absent() {
    let empty = ["identity", "settings", "templates", "secret", "containers", "signal-process"];
    let empty = empty.map(|name| (format!("segura-agent/{name}"), json!("")));
    let annotations = json!(empty.into_iter().collect::<serde_json::Map<_, _>>());
    let mut found = varied("no-lists", &json!({ "metadata": { "annotations": annotations } }));
    let absent = json!({ "metadata": { "annotations": { "segura-agent/identity": null } } });
    let mut expected = varied("no-lists", &absent);
    found["metadata"] = Value::Null;
    expected["metadata"] = Value::Null;
    assert_eq!(found, expected);
}

#[test]
fn settings_without_an_agent_have_no_effect() {
    let settings =
        json!({ "metadata": { "annotations": { "segura-agent/settings": "app-segura" } } });
    let found = varied("binary", &settings);
    assert_eq!(found["spec"]["initContainers"].as_array().expect("a list").len(), 1);
    assert_eq!(found["spec"]["initContainers"][0]["envFrom"], Value::Null);
}

/// The agent's container of a pod that was changed.
fn environment(pod: &Value) -> Vec<Value> {
    let init = pod["spec"]["initContainers"].as_array().expect("a list");
    let agent = init.iter().find(|container| container["name"] == "segura-agent");
    agent.map_or_else(Vec::new, |agent| agent["env"].as_array().expect("a list").clone())
}

#[test]
fn every_variable_is_known_to_the_agent() {
    let known = |entry: &Value| VARIABLES.iter().any(|variable| entry["name"] == variable.name);
    for case in
        cases().iter().filter(|case| case.pod != case.expected && case.name != "mesh-came-later")
    {
        let unknown: Vec<_> =
            environment(&case.expected).into_iter().filter(|e| !known(e)).collect();
        assert_eq!(unknown, Vec::<Value>::new(), "{}", case.name);
    }
}

#[test]
fn the_agent_accepts_the_injected_modes() {
    let mut scene = Scene::new();
    for entry in environment(&injected(&pod("no-lists"))) {
        let name = entry["name"].as_str().expect("a name");
        if name.ends_with("_MODE") {
            scene.set(name, entry["value"].as_str().expect("a value"));
        }
    }
    scene.init().exits(0);
    assert_eq!(mode(scene.path(&format!("{SEED}/2/password"))), 0o444);
    assert_eq!(mode(scene.path(SEED)), 0o755);
}

#[test]
fn a_private_ca_is_set_by_a_parameter() {
    let mutating = policy("MutatingAdmissionPolicy", "segura-agent");
    let pod = pod("no-lists");
    let found = mutated(&mutating, &params(&json!({ "ca-config-map": "segura-ca" })), &pod);
    rules::assert_rules("ca-config-map", &pod, &found);
    let agent = &found["spec"]["initContainers"][0];
    let env = agent["env"].as_array().expect("a list");
    assert!(env.contains(&json!({ "name": "SEGURA_CA_FILE", "value": "/etc/segura-ca/ca.crt" })));
    let volumes = found["spec"]["volumes"].as_array().expect("a list");
    assert!(
        volumes.contains(&json!({ "name": "segura-ca", "configMap": { "name": "segura-ca" } }))
    );
}

#[test]
fn all_parameters_are_used_and_all_but_image_and_url_have_defaults() {
    let mutating = policy("MutatingAdmissionPolicy", "segura-agent");
    let pod = pod("no-lists");
    let changes = json!({
        "url": "https://other.example.com", "image": "registry.example.com/agent:1", "secret": "pair",
        "volume-size": "1Mi", "memory-limit": "34Mi", "memory-request": "8Mi", "cpu-request": "5m",
    });
    let found = mutated(&mutating, &params(&changes), &pod);
    let agent = &found["spec"]["initContainers"][0];
    assert_eq!(agent["image"], "registry.example.com/agent:1");
    assert_eq!(agent["env"][0]["value"], "https://other.example.com");
    let resources =
        json!({ "requests": { "cpu": "5m", "memory": "8Mi" }, "limits": { "memory": "34Mi" } });
    assert_eq!(agent["resources"], resources);
    assert_eq!(found["spec"]["volumes"][0]["emptyDir"]["sizeLimit"], "1Mi");
    assert_eq!(found["spec"]["volumes"][1]["secret"]["secretName"], "pair");

    let least =
        json!({ "data": { "url": "https://vault.example.com", "image": "segura-agent:0.1.0" } });
    assert_eq!(
        mutated(&mutating, &least, &pod),
        injected(&pod),
        "the defaults are those installed"
    );
}

#[test]
fn incomplete_parameters_inject_nothing_and_the_pod_is_refused() {
    let mutating = policy("MutatingAdmissionPolicy", "segura-agent");
    let validating = policy("ValidatingAdmissionPolicy", "segura-agent");
    let pod = pod("no-lists");
    let wanting = [
        json!({}),
        json!({ "data": { "url": "https://vault.example.com" } }),
        json!({ "data": { "url": "", "image": "segura-agent:0.1.0" } }),
    ];
    for params in wanting {
        assert_eq!(mutated(&mutating, &params, &pod), pod);
    }
    let refusals = refusals(&validating, &pod);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].contains("the agent was not added"), "{refusals:?}");
}
