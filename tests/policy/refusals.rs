//! What a wrong annotation says, at the pod and at the workload that makes it: one line, with the remedy.

use serde_json::{Value, json};

use super::evaluator::refusals;
use super::pods::{injected, pod};
use super::yaml::{documents, policy, text};

/// Changes of a good pod, by merge patch, each with the line that comes of it.
pub fn table() -> Vec<(Value, String)> {
    let table = documents(&text("tests/policy/refusals.yaml")).remove(0);
    let rows = table.as_array().expect("a list").iter();
    rows.map(|row| (row["change"].clone(), row["line"].as_str().expect("a line").to_owned()))
        .collect()
}

/// The line for a pod that asks and has not been given the agent.
pub const NOT_ADDED: &str = "segura-agent/inject: the agent was not added; the ConfigMap segura-agent in the namespace segura-system \
     must have url and image, and the MutatingAdmissionPolicyBinding segura-agent must cover the namespace of the pod";

fn changed(change: &Value) -> Value {
    let mut pod = pod("no-lists");
    json_patch::merge(&mut pod, change);
    pod
}

fn messages(object: &Value) -> Vec<String> {
    refusals(&policy("ValidatingAdmissionPolicy", "segura-agent"), object)
}

/// The workloads that make a pod, by kind.
fn workloads(pod: &Value) -> Vec<Value> {
    let template = json!({ "metadata": pod["metadata"], "spec": pod["spec"] });
    let simple =
        |kind: &str| json!({ "kind": kind, "metadata": {}, "spec": { "template": template } });
    let mut all: Vec<Value> =
        ["Deployment", "StatefulSet", "DaemonSet", "Job"].into_iter().map(simple).collect();
    all.push(json!({
        "kind": "CronJob", "metadata": {}, "spec": { "jobTemplate": { "spec": { "template": template } } },
    }));
    all
}

#[test]
fn a_wrong_annotation_refuses_the_pod_with_one_line_first() {
    for (change, line) in table() {
        // As the API server has it: after the mutation, whatever that made of it.
        let found = messages(&injected(&changed(&change)));
        assert_eq!(found.first(), Some(&line), "{change}");
        assert!(found[1..].iter().all(|more| more == NOT_ADDED), "{change}: {found:?}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn a_workload_gets_the_same_line_as_a_warning() {
    for (change, line) in table() {
        for workload in workloads(&changed(&change)) {
            assert_eq!(messages(&workload), [line.as_str()], "{}", workload["kind"]);
        }
    }
}

#[test]
fn a_valid_template_causes_no_warning() {
    for case in
        super::pods::cases().iter().filter(|case| case.pod != case.expected && case.name != "root")
    {
        for workload in workloads(&case.pod) {
            assert_eq!(
                messages(&workload),
                Vec::<String>::new(),
                "{}: {}",
                case.name,
                workload["kind"]
            );
        }
    }
}

#[test]
fn workloads_and_pods_without_our_annotations_are_not_checked() {
    let mut pod = changed(&json!({ "metadata": { "annotations": null } }));
    assert_eq!(messages(&pod), Vec::<String>::new());
    for workload in workloads(&pod) {
        assert_eq!(messages(&workload), Vec::<String>::new());
    }
    pod["metadata"]["annotations"] = json!({ "example.com/segura-agent": "x" });
    assert_eq!(messages(&pod), Vec::<String>::new());
}

#[test]
fn an_annotated_pod_without_the_agent_is_refused() {
    assert_eq!(messages(&pod("no-lists")), [NOT_ADDED]);
    assert_eq!(messages(&pod("untouched-opted-out")), Vec::<String>::new());
    assert_eq!(messages(&pod("untouched-mirror")), Vec::<String>::new());
}

#[test]
fn valid_annotations_are_accepted() {
    let good = [
        json!({ "metadata": { "annotations": { "segura-agent/output": "env, json,files" } } }),
        json!({ "metadata": { "annotations": { "segura-agent/source": "", "segura-agent/output": "" } } }),
        json!({ "metadata": { "annotations": {
            "segura-agent/inject": "binary", "segura-agent/identity": null, "example.com/team": "payments",
        } } }),
    ];
    for change in good {
        assert_eq!(messages(&injected(&changed(&change))), Vec::<String>::new(), "{change}");
    }
}

#[test]
fn every_spelling_of_loopback_is_accepted_and_no_other_host() {
    let url = |url: &str| {
        changed(&json!({ "metadata": { "annotations": { "segura-agent/notify-url": url } } }))
    };
    for good in [
        "http://localhost/",
        "http://127.0.0.1:8080/-/reload",
        "https://[::1]:8443/x",
        "http://127.1.2.3",
    ] {
        assert_eq!(messages(&injected(&url(good))), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com",
        "ftp://127.0.0.1/",
        "127.0.0.1:80",
    ] {
        assert_eq!(messages(&injected(&url(bad))).len(), 1, "{bad}");
    }
}
