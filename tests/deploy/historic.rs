//! `deploy/historic`: a drop-in for the vendor's historic sidecar.

use serde_json::json;

use super::restricted::{assert_cannot_write, assert_restricted};
use super::{POD, SERVER, reads, until_reads};
use crate::harness::host::{mode, owner};
use crate::harness::kubelet::{manifest::Manifest, on_a_node};

const PASSWORD: &str = "/var/run/secrets/senhasegura/my-secret/password";

#[test]
fn an_old_manifest_with_our_image_publishes_in_the_historic_layout() {
    on_a_node("deploy/historic", SERVER, |node| {
        let pod = node.pod(&Manifest::read("historic"), POD);
        pod.start();
        assert_eq!(reads(&pod, PASSWORD), "first");
        node.scene.vault.set_data("my-secret", json!({"username": "shop", "password": "second"}));
        until_reads(&pod, PASSWORD, "second");
        let file = pod.volume("segura").join("my-secret/password");
        assert_eq!((mode(&file), owner(&file)), (0o444, Some((10001, 10001))));
        assert_eq!(mode(pod.volume("segura").join("my-secret")) & 0o777, 0o755);
        for container in ["app", "segura-agent"] {
            assert_restricted(&pod, container);
        }
        assert_cannot_write(&pod, "app", "/var/run/secrets/senhasegura/file");
        assert!(!pod.process("app").has().contains(&node.client_secret()));

        pod.kill("segura-agent");
        pod.run("segura-agent");
        node.scene.vault.set_data("my-secret", json!({"username": "shop", "password": "third"}));
        until_reads(&pod, PASSWORD, "third");
        pod.restart();
        assert_eq!(reads(&pod, PASSWORD), "third");
    });
}
