//! Each manifest whose agent is a sidecar runs as a pod in its sandbox, by the setting that it has.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::harness::kubelet::manifest::{Manifest, containers};
use crate::harness::kubelet::{Pod, on_a_node};
use crate::harness::until;

/// An app that does nothing until it is ended.
const SERVER: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.2; done\n";
const HELD: &str = "the sandbox is on";
/// The manifests, the name that a controller would give their pod, and the line of the agent.
const MANIFESTS: [(&str, &str, &str); 7] = [
    ("base", "app-7d4b9c6f5-x2k4z", HELD),
    ("classic", "app-7d4b9c6f5-x2k4z", "the sandbox is off: SEGURA_SIGNAL_PROCESS rules it out"),
    ("cron-job", "app-29395935-x2k4z", HELD),
    ("historic", "app-7d4b9c6f5-x2k4z", HELD),
    ("job", "app-x2k4z", HELD),
    ("reader", "app-7d4b9c6f5-x2k4z", HELD),
    ("stateful-set", "app-0", HELD),
];

/// The state that the agent of a pod has published.
fn state(pod: &Pod<'_>) -> Value {
    let text = fs::read(pod.volume("segura").join(".segura.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[test]
fn every_manifest_runs_in_the_sandbox_that_it_asks_for() {
    let asks = |manifest: &Manifest| {
        let templates = manifest.templates().into_iter();
        let mut agents = templates.flat_map(|(_, template)| containers(template));
        agents.any(|container| container["env"].to_string().contains("SEGURA_SANDBOX"))
    };
    let asking: BTreeSet<String> =
        Manifest::all().into_iter().filter(asks).map(|manifest| manifest.name).collect();
    let played = MANIFESTS.iter().map(|(manifest, ..)| (*manifest).to_owned());
    assert_eq!(asking, played.collect::<BTreeSet<_>>());
    on_a_node("every_manifest_runs_in_the_sandbox_that_it_asks_for", SERVER, |node| {
        for (manifest, name, line) in MANIFESTS {
            let pod = node.pod(&Manifest::read(manifest), name);
            pod.start();
            pod.until_logged("segura-agent", line);
            let logs = || pod.logs("segura-agent");
            until(&format!("{manifest}: its set stands"), || state(&pod)["generation"] == 1);
            let first = state(&pod)["fetched_at"].clone();
            until(&format!("{manifest}: it renews"), || state(&pod)["fetched_at"] != first);
            assert_eq!(state(&pod)["failures"], 0, "{manifest}: {}", logs());
            assert!(!logs().contains("SEGURA_SANDBOX=off"), "{manifest}: {}", logs());
            pod.delete();
        }
    });
}
