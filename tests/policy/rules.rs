//! What holds of every pod that the agent has been injected into, however it came in.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::kubelet::manifest::containers;

const MESH: [&str; 4] = ["istio-init", "istio-proxy", "linkerd-init", "linkerd-proxy"];

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn name(value: &Value) -> &str {
    value["name"].as_str().expect("a name")
}

fn is_ours(container: &Value) -> bool {
    ["segura-agent", "segura-install"].contains(&name(container))
}

/// Names are unique where the API server wants them to be, and each mount has its volume.
fn well_formed(case: &str, pod: &Value) {
    let names: Vec<&str> = containers(pod).map(name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{case}: {names:?}");
    let volumes: Vec<&str> = list(&pod["spec"], "volumes").iter().map(name).collect();
    assert_eq!(volumes.iter().collect::<BTreeSet<_>>().len(), volumes.len(), "{case}: {volumes:?}");
    for container in containers(pod) {
        let mounts = list(container, "volumeMounts");
        let paths: BTreeSet<_> = mounts.iter().map(|mount| mount["mountPath"].as_str()).collect();
        assert_eq!(paths.len(), mounts.len(), "{case}: {mounts:?}");
        for mount in mounts.iter().filter(|mount| name(mount).starts_with("segura")) {
            assert!(volumes.contains(&name(mount)), "{case}: {mount}");
            assert_eq!(mount["subPath"], Value::Null, "{case}: a subPath is frozen");
        }
    }
    for (key, of) in [("env", "env"), ("envFrom", "envFrom")] {
        let env: Vec<_> =
            containers(pod).filter(|c| is_ours(c)).flat_map(|c| list(c, key)).collect();
        let distinct: BTreeSet<String> =
            env.iter().map(|entry| entry["name"].to_string()).collect();
        assert!(key == "envFrom" || distinct.len() == env.len(), "{case}: {of} {env:?}");
    }
}

/// The Pod Security Standard `restricted`, of the containers that are ours, whatever the pod says of itself.
fn restricted(case: &str, container: &Value) {
    let context = &container["securityContext"];
    assert_eq!(context["runAsNonRoot"], true, "{case}");
    assert!(context["runAsUser"].as_i64().is_some_and(|user| user > 0), "{case}: {context}");
    assert!(context["runAsGroup"].as_i64().is_some(), "{case}: {context}");
    assert_eq!(context["allowPrivilegeEscalation"], false, "{case}");
    assert_eq!(context["readOnlyRootFilesystem"], true, "{case}");
    assert_eq!(context["capabilities"], serde_json::json!({ "drop": ["ALL"] }), "{case}");
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{case}");
    assert!(container["resources"]["limits"]["memory"].is_string(), "{case}");
    assert_eq!(container["resources"]["limits"]["cpu"], Value::Null, "{case}");
}

/// Other containers only read the files, and the credential is in the agent's own container alone.
fn read_only(case: &str, before: &Value, pod: &Value) {
    for container in containers(pod).filter(|container| !is_ours(container)) {
        let old = containers(before).find(|old| old["name"] == container["name"]);
        let had = list(old.expect("none but ours is new"), "volumeMounts");
        for mount in list(container, "volumeMounts").iter().filter(|mount| !had.contains(mount)) {
            assert_eq!(mount["readOnly"], true, "{case}: {mount}");
            assert_ne!(name(mount), "segura-authorization", "{case}: {mount}");
        }
        let untouched = list(container, "volumeMounts").len() == had.len();
        assert!(!MESH.contains(&name(container)) || untouched, "{case}: the mesh reads nothing");
    }
}

/// The agent comes after the last proxy that is a native sidecar, and before the containers that get
/// its files.
fn in_order(case: &str, pod: &Value) {
    let init = list(&pod["spec"], "initContainers");
    let at = |wanted: &str| init.iter().position(|container| name(container) == wanted);
    let first = at("segura-install").or_else(|| at("segura-agent")).expect("one of ours");
    for (index, container) in init.iter().enumerate() {
        let native = container["restartPolicy"] == "Always" && MESH.contains(&name(container));
        assert!(!native || index < first, "{case}: {} comes first", name(container));
    }
    if let (Some(install), Some(agent)) = (at("segura-install"), at("segura-agent")) {
        assert_eq!(install + 1, agent, "{case}");
    }
}

/// Everything that holds of a pod that was changed.
pub fn assert_rules(case: &str, before: &Value, pod: &Value) {
    well_formed(case, pod);
    if before["metadata"]["annotations"]["segura-agent/injected"].is_null() {
        containers(pod).filter(|container| is_ours(container)).for_each(|c| restricted(case, c));
        let volumes = list(&pod["spec"], "volumes");
        let secrets = volumes.iter().find(|volume| name(volume) == "segura");
        assert!(secrets.is_none_or(|volume| volume["emptyDir"]["medium"] == "Memory"), "{case}");
    }
    read_only(case, before, pod);
    in_order(case, pod);
}

/// Whether all of `old` is in `new`: entries of an object by key, elements of a list in their order.
fn contains(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, old)| new.get(key).is_some_and(|new| contains(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            let mut rest = new.iter();
            old.iter().all(|old| rest.any(|new| contains(new, old)))
        }
        _ => new == old,
    }
}

/// Nothing is taken out of a pod; only what is ours may move.
pub fn assert_nothing_removed(case: &str, before: &Value, pod: &Value) {
    let mut before = before.clone();
    if let Some(init) = before.pointer_mut("/spec/initContainers").and_then(Value::as_array_mut) {
        init.retain(|container| !is_ours(container));
    }
    assert!(contains(pod, &before), "{case}: {pod:#}");
}
