//! `deploy/init` and `deploy/file-key-ref`: the secret is obtained once.

use super::restricted::{assert_cannot_write, assert_restricted, assert_without_credentials};
use super::{PASSWORD, POD, PROVISION, SERVER, changed, password, reads};
use crate::harness::kubelet::{manifest::Manifest, on_a_node};

#[test]
fn an_init_container_publishes_once_and_never_renews() {
    on_a_node("deploy/init", SERVER, |node| {
        let pod = node.pod(&Manifest::read("init"), POD);
        pod.start();
        let first = password(node);
        pod.until_logged("app", &format!("started: <{first}>"));
        assert_restricted(&pod, "app");
        assert_cannot_write(&pod, "app", "/run/secrets/segura/file");
        assert_without_credentials(&pod, "app", &node.client_secret());

        changed(node);
        pod.kill("app");
        pod.run("app");
        assert_eq!(reads(&pod, PASSWORD), first);
        // Only a new sandbox runs it again: it adopts the published set, and reads a due one.
        pod.restart();
        pod.until_logged("app", "started: ");
        assert_eq!(node.scene.count(PROVISION), 1);
    });
}

#[test]
fn the_kubelet_makes_variables_of_the_env_file() {
    on_a_node("deploy/file-key-ref", SERVER, |node| {
        let pod = node.pod(&Manifest::read("file-key-ref"), POD);
        pod.start();
        let first = password(node);
        pod.until_logged("app", &format!("started: <> <{first}>"));
        assert!(!pod.process("app").has().contains("/run/secrets/segura"), "it has no volume");
        assert_restricted(&pod, "app");
        assert_without_credentials(&pod, "app", &node.client_secret());
    });
}
