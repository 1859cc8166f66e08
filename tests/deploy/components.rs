//! `deploy/components/`: composed with kubectl as a user would, and played.

use super::{PASSWORD, POD, SERVER, password, reads, rotated};
use crate::harness::host::skip;
use crate::harness::kubelet::manifest::{Manifest, containers};
use crate::harness::kubelet::{Node, on_a_node};
use crate::harness::kubernetes::named;

/// Runs a test with a manifest and its components; skips aloud without kubectl.
fn composed(name: &str, components: &[&str], run: impl Fn(&Node, &Manifest) + Sync) {
    let test = format!("deploy/components/{}", components.join(", "));
    match Manifest::composed(name, components) {
        Some(manifest) => on_a_node(&test, SERVER, |node| run(node, &manifest)),
        None => skip(&test, "there is no kubectl"),
    }
}

#[test]
fn the_agent_as_root_signals_an_app_of_another_user() {
    composed("classic", &["signal-as-root"], |node, manifest| {
        let mut manifest = manifest.clone();
        // The user that the component is for: the app's own.
        let containers = &mut manifest.documents[0]["spec"]["template"]["spec"]["containers"];
        let app = containers.as_array_mut().unwrap().iter_mut().find(|own| own["name"] == "app");
        app.unwrap()["securityContext"]["runAsUser"] = 20002.into();
        let pod = node.pod(&manifest, POD);
        pod.start();
        pod.until_logged("app", &format!("started: <{}>", password(node)));
        let second = rotated(node);
        pod.until_logged("app", &format!("notified: <{second}>"));
        assert_eq!(pod.process("app").status("Uid"), "20002 20002 20002 20002");
        let agent = pod.process("segura-agent");
        assert_eq!(agent.status("Uid"), "0 0 0 0");
        // CAP_KILL, and no other.
        assert_eq!(agent.status("CapBnd"), "0000000000000020");
        assert_eq!(agent.status("NoNewPrivs"), "1");
    });
}

#[test]
fn the_vaults_own_authority_is_trusted_by_each_private_ca_component() {
    for (name, component) in
        [("base", "private-ca"), ("exec", "private-ca-exec"), ("classic", "private-ca-classic")]
    {
        composed(name, &[component], |node, manifest| {
            let pod = node.pod(manifest, POD);
            pod.start();
            pod.until_logged("app", "started: ");
            assert_eq!(reads(&pod, PASSWORD), password(node));
        });
    }
}

#[test]
fn each_private_ca_component_reaches_every_agent_of_its_manifests() {
    for (component, manifests) in [
        (
            "private-ca",
            &["base", "init", "reader", "file-key-ref", "job", "cron-job", "stateful-set"][..],
        ),
        ("private-ca-classic", &["classic", "historic"]),
        ("private-ca-exec", &["exec"]),
    ] {
        for name in manifests {
            let Some(manifest) = Manifest::composed(name, &[component]) else {
                return skip("deploy/components: who is reached", "there is no kubectl");
            };
            let (_, template) = manifest.workload();
            assert!(named(&template["spec"]["volumes"], "segura-ca").is_some(), "{name}");
            for container in containers(template) {
                let urls = ["SEGURA_URL", "SENHASEGURA_URL"];
                let asks = urls.iter().any(|url| named(&container["env"], url).is_some());
                let file = named(&container["env"], "SEGURA_CA_FILE");
                let mount = named(&container["volumeMounts"], "segura-ca");
                let label = format!("{name}: {}", container["name"]);
                assert_eq!((file.is_some(), mount.is_some()), (asks, asks), "{label}");
            }
        }
    }
}

#[test]
fn the_network_policy_selects_the_pods_of_its_manifest() {
    let Some(manifest) = Manifest::composed("base", &["network-policy"]) else {
        return skip("deploy/components/network-policy", "there is no kubectl");
    };
    let mut policies = manifest.documents.iter().filter(|own| own["kind"] == "NetworkPolicy");
    let selector = &policies.next().unwrap()["spec"]["podSelector"]["matchLabels"];
    assert_eq!(*selector, manifest.workload().1["metadata"]["labels"]);
}
