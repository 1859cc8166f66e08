//! The components for clusters without the policy, as `kubectl kustomize` applies them to a workload of each kind.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::yaml::{documents, text};
use crate::harness::host::skip;
use crate::harness::kubernetes::{copy, kustomize, named};
use crate::harness::tree::package;

/// Where each kind keeps its pods.
const KINDS: [(&str, &str); 5] = [
    ("Deployment", "/spec/template/spec"),
    ("StatefulSet", "/spec/template/spec"),
    ("DaemonSet", "/spec/template/spec"),
    ("Job", "/spec/template/spec"),
    ("CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// What a kustomization builds; skips aloud without kubectl.
fn built(dir: &Path) -> Option<Vec<Value>> {
    let built = kustomize(dir);
    if built.is_none() {
        skip("policy::components", "there is no kubectl");
    }
    built.map(|text| documents(&text))
}

/// A kustomization of the workloads with a component: what goes in, and what comes out.
fn applied(mode: &str) -> Option<(Vec<Value>, Vec<Value>)> {
    let dir = tempfile::tempdir().expect("a directory");
    let component = format!("inject-{mode}");
    copy(&package().join("deploy/components").join(&component), &dir.path().join(&component));
    let workloads = text("tests/policy/workloads.yaml").replace("MODE", mode);
    fs::write(dir.path().join("workloads.yaml"), &workloads).expect("written");
    let kustomization = format!(
        "resources: [workloads.yaml]\ncomponents: [{component}]\nconfigMapGenerator:\n  \
         - name: segura-settings\n    literals: [\"SEGURA_URL=https://vault.example.com\"]\n"
    );
    fs::write(dir.path().join("kustomization.yaml"), kustomization).expect("written");
    Some((documents(&workloads), built(dir.path())?))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().map_or_else(Vec::new, |list| {
        list.iter().map(|item| item["name"].as_str().expect("a name")).collect()
    })
}

/// The pod of a workload before and after, by its kind.
fn pods<'a>(before: &'a [Value], after: &'a [Value], kind: &str, path: &str) -> [&'a Value; 2] {
    [before, after].map(|all| {
        let of_kind =
            |found: &&Value| found["kind"] == kind && found["metadata"]["name"] != "other";
        let found = all.iter().find(of_kind).expect("a workload of each kind");
        found.pointer(path).expect("a pod")
    })
}

fn right(mode: &str) {
    let Some((before, after)) = applied(mode) else { return };
    let settings = after.iter().find(|found| found["kind"] == "ConfigMap").expect("generated");
    for (kind, path) in KINDS {
        let [old, new] = pods(&before, &after, kind, path);
        let mut expected = vec!["segura-agent"];
        expected.extend(names(&old["initContainers"]));
        assert_eq!(
            names(&new["initContainers"]),
            expected,
            "{kind}: first, and the others as they were"
        );

        let agent = &new["initContainers"][0];
        assert_eq!(agent["args"], json!([mode]), "{kind}");
        assert_eq!(agent["restartPolicy"] == "Always", mode == "sidecar", "{kind}");
        assert_eq!(agent["startupProbe"].is_object(), mode == "sidecar", "{kind}");
        assert_eq!(
            agent["envFrom"][0]["configMapRef"]["name"], settings["metadata"]["name"],
            "{kind}"
        );

        for container in old["containers"].as_array().expect("containers") {
            let name = container["name"].as_str().expect("a name");
            let found = named(&new["containers"], name).expect("it is there still");
            assert_eq!(found["image"], container["image"], "{kind}");
            let mount =
                json!({ "name": "segura", "mountPath": "/run/secrets/segura", "readOnly": true });
            let mounts = found["volumeMounts"].as_array().cloned().unwrap_or_default();
            assert_eq!(mounts.contains(&mount), name == "app", "{kind}: {name}");
            let had = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            assert!(had.iter().all(|had| mounts.contains(had)), "{kind}: {name}");
        }
        let segura = named(&new["volumes"], "segura").expect("the volume");
        assert_eq!(segura["emptyDir"], json!({ "medium": "Memory", "sizeLimit": "8Mi" }), "{kind}");
        let pair = named(&new["volumes"], "segura-authorization").expect("the volume");
        assert_eq!(pair["secret"]["defaultMode"], 0o444, "{kind}");
        for name in names(&old["volumes"]) {
            assert_eq!(named(&new["volumes"], name), named(&old["volumes"], name), "{kind}");
        }
    }
    let other =
        |all: &[Value]| all.iter().find(|found| found["metadata"]["name"] == "other").cloned();
    assert_eq!(other(&after), other(&before), "what does not ask is left alone");
}

#[test]
fn each_kind_of_workload_gets_the_sidecar() {
    right("sidecar");
}

#[test]
fn each_kind_of_workload_gets_the_init_container() {
    right("init");
}

#[test]
fn a_component_and_the_policy_add_the_same_agent() {
    let case =
        super::pods::cases().into_iter().find(|case| case.name == "no-lists").expect("a case");
    let policy = &case.expected["spec"]["initContainers"][0];
    let Some((before, after)) = applied("sidecar") else { return };
    let [_, pod] = pods(&before, &after, "Deployment", "/spec/template/spec");
    let component = &pod["initContainers"][0];
    for key in ["image", "args", "restartPolicy", "startupProbe", "resources", "volumeMounts"] {
        assert_eq!(component[key], policy[key], "{key}");
    }
    let base = documents(&text("deploy/base/deployment.yaml"));
    let base = &base[0]["spec"]["template"]["spec"]["initContainers"][0];
    for key in ["image", "args", "restartPolicy", "startupProbe", "resources", "volumeMounts"] {
        assert_eq!(base[key], policy[key], "deploy/base, {key}");
    }
    // The policy knows the pod, and names the user; what the settings' ConfigMap says to a component is a variable to it.
    let mut context = policy["securityContext"].clone();
    for key in ["runAsUser", "runAsGroup"] {
        context.as_object_mut().expect("an object").remove(key);
    }
    assert_eq!(component["securityContext"], context);
    let env = names(&policy["env"]);
    let left: Vec<&str> = names(&component["env"]);
    assert!(left.iter().all(|name| env.contains(name)), "{left:?} in {env:?}");
}

#[test]
fn the_policies_are_installed_together() {
    let Some(found) = built(&package().join("deploy/policy")) else { return };
    let kind = |found: &Value| found["kind"].as_str().expect("a kind").to_owned();
    let mut kinds: Vec<String> = found.iter().map(kind).collect();
    assert_eq!(kinds[0], "Namespace", "before what lies in it");
    kinds.sort_unstable();
    let expected = [
        "ConfigMap",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "Namespace",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(kinds, expected);
}
