//! What every manifest of `deploy/` has to be, held to its text without any cluster.

#![expect(clippy::indexing_slicing, reason = "what a JSON value lacks is null, and panics nowhere")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use segura_agent::config::variables::VARIABLES;
use serde_json::{Value, json};

use crate::harness::host::skip;
use crate::harness::kubelet::adapt::ADAPTATIONS;
use crate::harness::kubelet::manifest::{Manifest, containers, deploy, publishes};
use crate::harness::kubelet::volumes::mebibytes;
use crate::harness::kubernetes::named;

/// What a memory limit has for the agent itself; see `deploy/base`.
const AGENT_MEMORY: usize = 32;
/// The default of `SEGURA_STARTUP_TIMEOUT`, in seconds.
const STARTUP_TIMEOUT: u64 = 120;
/// Why a manifest may do what others must not, in words of its own text.
const EXCEPTIONS: &[(&str, Rule, &str)] =
    &[("historic", Rule::SecretByFile, "The vendor's own names, and nothing else of ours")];

/// What a manifest can be spared for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    SecretByFile,
}

/// Runs a check on the template of each workload, by the manifest's name.
#[track_caller]
fn each(check: impl Fn(&Manifest, &Value)) {
    let all = Manifest::all();
    assert!(all.len() >= 10, "deploy/ has {} manifests", all.len());
    for manifest in &all {
        for (_, template) in manifest.templates() {
            check(manifest, template);
        }
    }
}

/// Runs a check on each container of each workload.
#[track_caller]
fn each_container(check: impl Fn(&str, &Value)) {
    each(|manifest, template| {
        for container in containers(template) {
            check(&format!("{}: {}", manifest.name, container["name"]), container);
        }
    });
}

fn is_spared(manifest: &Manifest, rule: Rule) -> bool {
    let mut exceptions = EXCEPTIONS.iter();
    exceptions.any(|(name, spared, why)| {
        *name == manifest.name && *spared == rule && manifest.text.contains(why)
    })
}

/// Whether a container runs the agent's image.
fn is_agent(container: &Value) -> bool {
    container["image"].as_str().is_some_and(|image| image.starts_with("segura-agent:"))
}

/// Whether a container's words are a command of the agent.
fn does(container: &Value, command: &str) -> bool {
    let words = [&container["command"], &container["args"]];
    words.iter().any(|words| words.as_array().is_some_and(|words| words.contains(&json!(command))))
}

fn is_native_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

/// The mounts of a volume, each with its container.
fn mounts<'a>(
    template: &'a Value,
    volume: &'a str,
) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    containers(template).flat_map(move |container| {
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        mounts.filter(move |mount| mount["name"] == volume).map(move |mount| (container, mount))
    })
}

#[test]
fn secrets_lie_in_memory_with_a_limit_and_the_binary_does_not() {
    each(|manifest, template| {
        let name = &manifest.name;
        let volumes = &template["spec"]["volumes"];
        let segura = named(volumes, "segura").expect("the volume of the outputs");
        assert_eq!(segura["emptyDir"]["medium"], "Memory", "{name}");
        assert_eq!(segura["emptyDir"]["sizeLimit"], "8Mi", "{name}");
        let installs = containers(template).any(|container| does(container, "install"));
        let binary = named(volumes, "segura-binary");
        assert_eq!(binary.is_some(), installs, "{name}");
        if let Some(binary) = binary {
            assert_eq!(binary["emptyDir"], json!({"sizeLimit": "16Mi"}), "{name}");
        }
    });
}

#[test]
fn only_the_publisher_can_write_and_no_container_mounts_a_single_file() {
    each(|manifest, template| {
        for (volume, may) in [
            ("segura", publishes as fn(&Value) -> bool),
            ("segura-binary", |container| does(container, "install")),
            ("segura-authorization", |_| false),
        ] {
            for (container, mount) in mounts(template, volume) {
                let label = format!("{}: {} of {}", manifest.name, volume, container["name"]);
                assert_eq!(mount["readOnly"] == true, !may(container), "{label}");
            }
        }
        assert!(!template.to_string().contains("\"subPath"), "{}", manifest.name);
    });
}

#[test]
fn pods_share_a_group_and_meet_the_restricted_profile() {
    each(|manifest, template| {
        let name = &manifest.name;
        let pod = &template["spec"]["securityContext"];
        let expected = json!({
            "runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(*pod, expected, "{name}");
        assert_eq!(template["spec"]["automountServiceAccountToken"], false, "{name}");
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            assert_eq!(template["spec"][forbidden], Value::Null, "{name}: {forbidden}");
        }
        let kinds = ["emptyDir", "secret", "configMap", "projected", "downwardAPI"];
        for volume in template["spec"]["volumes"].as_array().into_iter().flatten() {
            let allowed = kinds.iter().filter(|kind| volume[**kind].is_object()).count();
            assert_eq!(allowed, 1, "{name}: {volume}");
        }
    });
    each_container(|name, container| {
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], expected, "{name}");
        assert!(!container["ports"].to_string().contains("hostPort"), "{name}");
    });
}

#[test]
fn manifests_outside_of_the_restricted_profile_say_so() {
    let folders = fs::read_dir(deploy().join("components")).unwrap();
    let files = folders.map(|folder| folder.unwrap().path().join("kustomization.yaml"));
    let texts = files.map(|file| fs::read_to_string(file).unwrap());
    let rooted: Vec<String> = texts.filter(|text| text.contains("runAsUser: 0")).collect();
    assert_eq!(rooted.len(), 1, "signal-as-root alone");
    let said = "outside the Pod Security Standard `restricted`";
    assert!(rooted.iter().all(|text| text.contains(said)));
}

#[test]
fn the_pid_namespace_is_shared_only_where_a_process_is_signalled() {
    each(|manifest, template| {
        let signals = containers(template)
            .any(|container| named(&container["env"], "SEGURA_SIGNAL_PROCESS").is_some());
        let shared = template["spec"]["shareProcessNamespace"] == true;
        assert_eq!(shared, signals, "{}", manifest.name);
    });
}

#[test]
fn the_agent_gets_the_name_and_namespace_of_the_pod() {
    each_container(|name, container| {
        if !publishes(container) {
            return;
        }
        let env = &container["env"];
        let historic = named(env, "SENHASEGURA_URL").is_some();
        let prefix = if historic { "POD" } else { "SEGURA_POD" };
        let namespace = if historic { "POD_NAMESPACE" } else { "SEGURA_NAMESPACE" };
        for (variable, field) in [
            (format!("{prefix}_NAME"), "metadata.name"),
            (format!("{prefix}_UID"), "metadata.uid"),
            (namespace.to_owned(), "metadata.namespace"),
        ] {
            let entry = named(env, &variable).unwrap_or(&Value::Null);
            assert_eq!(entry["valueFrom"]["fieldRef"]["fieldPath"], field, "{name}: {variable}");
        }
        assert_eq!(named(env, "DEPLOY_NAME").unwrap()["value"], "app", "{name}");
    });
}

#[test]
fn the_client_secret_is_a_file_mounted_by_the_agent_alone() {
    each(|manifest, template| {
        let name = &manifest.name;
        if is_spared(manifest, Rule::SecretByFile) {
            return;
        }
        let volume = named(&template["spec"]["volumes"], "segura-authorization").unwrap();
        let expected = json!({"secretName": "segura-authorization", "defaultMode": 0o440});
        assert_eq!(volume["secret"], expected, "{name}");
        assert!(!template.to_string().contains("secretKeyRef"), "{name}");
        for container in containers(template) {
            let mut mounts = mounts(template, "segura-authorization");
            let mounted = mounts.find(|(own, _)| own["name"] == container["name"]);
            assert_eq!(mounted.is_some(), publishes(container), "{name}: {}", container["name"]);
            for (variable, file) in [
                ("SEGURA_CLIENT_ID_FILE", "/etc/segura/client-id"),
                ("SEGURA_CLIENT_SECRET_FILE", "/etc/segura/client-secret"),
            ] {
                let value = named(&container["env"], variable).map(|entry| &entry["value"]);
                let expected = mounted.is_some().then(|| json!(file));
                assert_eq!(value, expected.as_ref(), "{name}: {}", container["name"]);
            }
        }
    });
}

#[test]
fn memory_limits_leave_room_for_the_volumes_in_memory() {
    each(|manifest, template| {
        let volume = named(&template["spec"]["volumes"], "segura").unwrap();
        let size = mebibytes(volume["emptyDir"]["sizeLimit"].as_str().unwrap());
        for container in containers(template) {
            let label = format!("{}: {}", manifest.name, container["name"]);
            let resources = &container["resources"];
            if !is_agent(container) && !publishes(container) {
                continue;
            }
            let memory = |kind: &str| mebibytes(resources[kind]["memory"].as_str().expect(kind));
            assert!(memory("limits") >= AGENT_MEMORY + size, "{label}: {resources}");
            assert!(memory("requests") <= memory("limits"), "{label}: {resources}");
            assert!(resources["requests"]["cpu"].is_string(), "{label}: {resources}");
            assert_eq!(
                resources["limits"]["cpu"],
                Value::Null,
                "{label}: it slows the start alone"
            );
        }
    });
}

#[test]
fn a_native_sidecar_has_time_to_start_and_no_other_probe() {
    each_container(|name, container| {
        for probe in ["readinessProbe", "livenessProbe"] {
            assert!(!is_agent(container) || container[probe].is_null(), "{name}: {probe}");
        }
        let probe = &container["startupProbe"];
        assert_eq!(probe.is_object(), is_native_sidecar(container), "{name}");
        if probe.is_object() {
            let expected = json!(["/segura-agent", "check", "started"]);
            assert_eq!(probe["exec"]["command"], expected, "{name}");
            let number = |field: &str| probe[field].as_u64().expect(field);
            let time = number("periodSeconds") * number("failureThreshold");
            assert!(time > STARTUP_TIMEOUT, "{name}: {time} s");
            assert_eq!(named(&container["env"], "SEGURA_STARTUP_TIMEOUT"), None, "{name}");
        }
    });
    let default = VARIABLES.iter().find(|known| known.name == "SEGURA_STARTUP_TIMEOUT").unwrap();
    assert_eq!(default.default, format!("{}m", STARTUP_TIMEOUT / 60));
}

#[test]
fn every_variable_is_known_and_every_image_is_of_this_version() {
    let known: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    each_container(|name, container| {
        for entry in container["env"].as_array().into_iter().flatten() {
            let variable = entry["name"].as_str().unwrap();
            let ours = variable.starts_with("SEGURA_");
            assert!(!ours || known.contains(variable), "{name}: {variable}");
        }
        if is_agent(container) {
            let image = format!("segura-agent:{}", env!("CARGO_PKG_VERSION"));
            assert_eq!(container["image"], image, "{name}");
        }
    });
}

/// What an agent's container is, but for what its mode changes: its name, its place, its words, and
/// the settings that the mode is for.
fn common(container: &Value) -> Value {
    let mut common = container.clone();
    let modes = [
        "SEGURA_DEPROVISION",
        "SEGURA_ENV_DIALECT",
        "SEGURA_NOTIFY_URL",
        "SEGURA_OUTPUT",
        "SEGURA_SANDBOX",
        "SEGURA_SIGNAL",
        "SEGURA_SIGNAL_PROCESS",
    ];
    if let Some(fields) = common.as_object_mut() {
        for field in ["name", "args", "restartPolicy", "startupProbe"] {
            fields.remove(field);
        }
    }
    if let Some(env) = common["env"].as_array_mut() {
        env.retain(|entry| !modes.iter().any(|mode| entry["name"] == *mode));
    }
    common
}

#[test]
fn every_sidecar_is_in_a_sandbox_as_far_as_there_is_one() {
    each_container(|name, container| {
        let value = named(&container["env"], "SEGURA_SANDBOX").map(|entry| &entry["value"]);
        let expected = does(container, "sidecar").then(|| json!("auto"));
        assert_eq!(value, expected.as_ref(), "{name}: of no effect but in a sidecar");
    });
    let all = Manifest::all();
    let templates = all.iter().flat_map(Manifest::templates).map(|(_, template)| template);
    let sidecars = templates.flat_map(containers).filter(|container| does(container, "sidecar"));
    assert!(sidecars.count() >= 7, "sidecars are found");
}

#[test]
fn the_agents_containers_differ_only_by_their_mode() {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for manifest in Manifest::all() {
        for (_, template) in manifest.templates() {
            for container in containers(template) {
                if is_agent(container) && named(&container["env"], "SEGURA_URL").is_some() {
                    let label = format!("{}: {}", manifest.name, container["name"]);
                    seen.entry(common(container).to_string()).or_default().push(label);
                }
            }
        }
    }
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[test]
fn kubectl_builds_the_manifests_as_they_are_written() {
    for manifest in Manifest::all() {
        let Some(built) = Manifest::built(&manifest.name) else {
            return skip("deploy: kubectl kustomize", "there is no kubectl");
        };
        let sorted = |documents: &[Value]| {
            let texts =
                documents.iter().map(|document| (document["kind"].to_string(), document.clone()));
            texts.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(sorted(&built.documents), sorted(&manifest.documents), "{}", manifest.name);
    }
}

#[test]
fn every_adaptation_has_a_reason() {
    let names: BTreeSet<&str> = ADAPTATIONS.iter().map(|adaptation| adaptation.name).collect();
    assert_eq!(names.len(), ADAPTATIONS.len());
    for adaptation in ADAPTATIONS {
        assert!(adaptation.reason.len() > 20, "{}", adaptation.name);
    }
}
