//! What the recipes tell meshes: each kind, field and annotation is one of those that the meshes'
//! references have. Their own schemas are not at hand, so the names are listed here.

use std::collections::BTreeSet;

use saphyr::{LoadableYamlNode, Yaml};

use super::blocks;

/// Annotations of Istio and Linkerd, and fields of a pod, of ServiceEntry (`networking.istio.io/v1`)
/// and of CiliumNetworkPolicy (`cilium.io/v2`); lists left out, labels and annotations as they are.
const KNOWN: [&str; 24] = [
    "metadata.annotations.sidecar.istio.io/nativeSidecar",
    "metadata.annotations.traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "metadata.annotations.proxy.istio.io/config",
    "metadata.annotations.linkerd.io/inject",
    "metadata.annotations.config.beta.linkerd.io/proxy-enable-native-sidecar",
    "metadata.annotations.config.linkerd.io/skip-outbound-ports",
    "securityContext.runAsUser",
    "securityContext.runAsGroup",
    "apiVersion",
    "kind",
    "metadata.name",
    "spec.hosts",
    "spec.location",
    "spec.resolution",
    "spec.ports.number",
    "spec.ports.name",
    "spec.ports.protocol",
    "spec.endpointSelector.matchLabels.app.kubernetes.io/name",
    "spec.egress.toEndpoints.matchLabels.k8s:io.kubernetes.pod.namespace",
    "spec.egress.toEndpoints.matchLabels.k8s-app",
    "spec.egress.toPorts.ports.port",
    "spec.egress.toPorts.ports.protocol",
    "spec.egress.toPorts.rules.dns.matchPattern",
    "spec.egress.toFQDNs.matchName",
];

/// Every path that leads to a value, with the value.
fn leaves(node: &Yaml<'_>, path: &str, found: &mut Vec<(String, String)>) {
    if let Some(mapping) = node.as_mapping() {
        for (key, value) in mapping {
            let key = key.as_str().expect("a name");
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            leaves(value, &path, found);
        }
    } else if let Some(list) = node.as_vec() {
        list.iter().for_each(|entry| leaves(entry, path, found));
    } else {
        let text = node.as_str().map(str::to_owned);
        let number = node.as_integer().map(|number| number.to_string());
        found.push((path.to_owned(), text.or(number).expect("a string or a number")));
    }
}

fn read(id: &str) -> Vec<(String, String)> {
    let text = blocks::text(id);
    let mut found = Vec::new();
    let documents = Yaml::load_from_str(&text).expect("it is YAML");
    leaves(documents.first().expect("a document"), "", &mut found);
    found
}

#[test]
fn every_resource_for_a_mesh_is_of_a_known_kind() {
    let mut seen = BTreeSet::new();
    for id in [
        "mesh/istio-native.yaml",
        "mesh/istio-classic.yaml",
        "mesh/istio-user.yaml",
        "mesh/istio-hold.yaml",
        "mesh/service-entry.yaml",
        "mesh/linkerd.yaml",
        "mesh/cilium.yaml",
    ] {
        for (path, value) in read(id) {
            assert!(KNOWN.contains(&path.as_str()), "{id} has {path}");
            if path.ends_with("/config") {
                serde_json::from_str::<serde_json::Value>(&value).expect("it is JSON");
            }
            seen.insert(path);
        }
    }
    assert_eq!(seen.len(), KNOWN.len(), "no name is listed for nothing");
    let kind = |id: &str| {
        let fields = read(id);
        let field =
            |name: &str| fields.iter().find(|(path, _)| path == name).expect(name).1.clone();
        (field("apiVersion"), field("kind"))
    };
    let expected = |version: &str, kind: &str| (version.to_owned(), kind.to_owned());
    assert_eq!(kind("mesh/service-entry.yaml"), expected("networking.istio.io/v1", "ServiceEntry"));
    assert_eq!(kind("mesh/cilium.yaml"), expected("cilium.io/v2", "CiliumNetworkPolicy"));
}
