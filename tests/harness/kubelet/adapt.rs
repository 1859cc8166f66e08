//! From a manifest to what podman 4.3 plays. [`ADAPTATIONS`] is all in which a pod of the tests is not
//! as the manifest has it on a cluster; what is not named there is played as it is written.
//!
//! Podman reads neither `runAsNonRoot` nor `seccompProfile`, and has a default of its own for the
//! latter: tests look at the processes themselves for both.

#![expect(clippy::indexing_slicing, reason = "what a JSON value lacks is null, and panics nowhere")]

use std::path::Path;

use serde_json::{Value, json};

use super::manifest::{containers, publishes};
use crate::harness::kubernetes::named;

/// Where the certificate authority is mounted, as by `deploy/components/private-ca`.
const CA: &str = "segura-ca";

/// What a pod finds around it: what a cluster would give it.
pub struct Around<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub namespace: &'a str,
    /// The vault.
    pub url: &'a str,
    /// The authorization's pair, as the Secret `segura-authorization` has it.
    pub client: [(&'a str, &'a str); 2],
    /// A folder for each volume, by its name.
    pub volumes: &'a Path,
    /// The port of the host that is free for the app.
    pub port: u16,
}

/// One way in which the pod that is played differs from the manifest.
pub struct Adaptation {
    pub name: &'static str,
    pub reason: &'static str,
    /// Does it, to a pod.
    pub apply: fn(&mut Value, &Around<'_>),
}

const fn adaptation(
    name: &'static str,
    reason: &'static str,
    apply: fn(&mut Value, &Around<'_>),
) -> Adaptation {
    Adaptation { name, reason, apply }
}

/// All of them, in the order in which they are applied.
pub const ADAPTATIONS: &[Adaptation] = &[
    adaptation(
        "the controller",
        "podman knows no Job, StatefulSet or CronJob: one pod of the template is played, named as its controller names it",
        controller,
    ),
    adaptation(
        "the vault",
        "the manifest's is an example: dev-vault's URL, and its authority as components/private-ca has it",
        vault,
    ),
    adaptation(
        "short intervals",
        "renewal every second and restarts without splay: tests don't wait for minutes",
        short_intervals,
    ),
    adaptation(
        "the network",
        "the vault listens on the host's loopback: hostNetwork, and a free port in SEGURA_NOTIFY_URL, given to the app as PORT",
        network,
    ),
    adaptation(
        "references in env",
        "podman knows fieldRef of the name alone, and Secrets of its own: fieldRef and secretKeyRef are resolved; fileKeyRef is once the init containers are done, and the pod is then played again with the rest of its containers",
        references,
    ),
    adaptation(
        "volumes",
        "podman has no memory volume, no sizeLimit, no fsGroup, no defaultMode: hostPaths of folders that are mounted, sized, owned and filled by the kubelet's rules",
        volumes,
    ),
    adaptation("fsGroup", "podman ignores it: it is one of supplementalGroups", group),
    adaptation(
        "the order of containers",
        "podman knows no native sidecar: all are containers, which are started and stopped in the kubelet's order",
        order,
    ),
    adaptation(
        "probes",
        "podman refuses them on init containers, and has no timer without systemd: `podman exec` runs them",
        probes,
    ),
    adaptation("restarts", "podman would restart by itself: the test says when", |pod, _| {
        pod["spec"]["restartPolicy"] = json!("Never")
    }),
    adaptation("images", "they come from no registry", |pod, _| {
        each(pod, |container| container["imagePullPolicy"] = json!("Never"))
    }),
];

/// The pod that is played for a workload's template.
pub fn adapted(template: &Value, around: &Around<'_>) -> Value {
    let mut pod = template.clone();
    for adaptation in ADAPTATIONS {
        (adaptation.apply)(&mut pod, around);
    }
    pod
}

/// The group of a pod's volumes.
pub fn fs_group(pod: &Value) -> Option<u32> {
    let group = pod["spec"]["securityContext"]["fsGroup"].as_u64()?;
    u32::try_from(group).ok()
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    named(&container["env"], name)
}

fn each(pod: &mut Value, mut act: impl FnMut(&mut Value)) {
    for list in ["initContainers", "containers"] {
        pod["spec"][list].as_array_mut().into_iter().flatten().for_each(&mut act);
    }
}

/// Sets a variable of a container, in the place of one of its name.
fn set(container: &mut Value, name: &str, value: &str) {
    push(container, "env", json!({"name": name, "value": value}));
}

/// Adds to a list that may not be there yet, in the place of an entry of its name.
fn push(parent: &mut Value, list: &str, entry: Value) {
    if parent[list].is_null() {
        parent[list] = json!([]);
    }
    if let Some(list) = parent[list].as_array_mut() {
        list.retain(|old| old["name"] != entry["name"]);
        list.push(entry);
    }
}

fn controller(pod: &mut Value, around: &Around<'_>) {
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(around.name);
}

fn vault(pod: &mut Value, around: &Around<'_>) {
    each(pod, |container| {
        for name in ["SEGURA_URL", "SENHASEGURA_URL"] {
            if variable(container, name).is_some() {
                set(container, name, around.url);
            }
        }
        if publishes(container) {
            set(container, "SEGURA_CA_FILE", "/etc/segura-ca/ca.crt");
            let mount = json!({"name": CA, "mountPath": "/etc/segura-ca", "readOnly": true});
            push(container, "volumeMounts", mount);
        }
    });
    authority(pod);
}

/// Adds the volume of the certificate authority.
pub fn authority(pod: &mut Value) {
    push(&mut pod["spec"], "volumes", json!({"name": CA, "configMap": {"name": CA}}));
}

fn short_intervals(pod: &mut Value, _: &Around<'_>) {
    each(pod, |container| {
        if publishes(container) {
            set(container, "SEGURA_RENEW_INTERVAL", "1s");
        }
        if container["command"].to_string().contains("\"exec\"") {
            set(container, "SEGURA_RESTART_SPLAY", "0s");
        }
    });
}

fn network(pod: &mut Value, around: &Around<'_>) {
    pod["spec"]["hostNetwork"] = json!(true);
    let mut is_told = false;
    each(pod, |container| {
        if let Some(url) = variable(container, "SEGURA_NOTIFY_URL") {
            let url = url["value"].to_string().replace(":8080", &format!(":{}", around.port));
            set(container, "SEGURA_NOTIFY_URL", url.trim_matches('"'));
            is_told = true;
        }
    });
    if is_told {
        each(pod, |container| {
            if container["name"] == "app" {
                set(container, "PORT", &around.port.to_string());
            }
        });
    }
}

fn references(pod: &mut Value, around: &Around<'_>) {
    each(pod, |container| {
        for entry in container["env"].as_array_mut().into_iter().flatten() {
            let from = &entry["valueFrom"];
            let field = from["fieldRef"]["fieldPath"].as_str().map(|path| match path {
                "metadata.name" => around.name,
                "metadata.uid" => around.uid,
                "metadata.namespace" => around.namespace,
                _ => "",
            });
            let key = &from["secretKeyRef"]["key"];
            let secret = around.client.into_iter().find(|(name, _)| key == name);
            let value = field.or_else(|| secret.map(|(_, value)| value));
            if let Some(value) = value {
                *entry = json!({"name": entry["name"], "value": value});
            }
        }
    });
}

fn volumes(pod: &mut Value, around: &Around<'_>) {
    for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
        let path = around.volumes.join(volume["name"].as_str().unwrap_or_default());
        *volume = json!({"name": volume["name"], "hostPath": {"path": path, "type": "Directory"}});
    }
}

fn group(pod: &mut Value, _: &Around<'_>) {
    if let Some(group) = fs_group(pod) {
        pod["spec"]["securityContext"]["supplementalGroups"] = json!([group]);
    }
}

fn order(pod: &mut Value, _: &Around<'_>) {
    let all: Vec<Value> = containers(pod).cloned().collect();
    pod["spec"]["containers"] = json!(all);
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("initContainers");
    }
}

fn probes(pod: &mut Value, _: &Around<'_>) {
    each(pod, |container| {
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            if let Some(container) = container.as_object_mut() {
                container.remove(probe);
            }
        }
    });
}
