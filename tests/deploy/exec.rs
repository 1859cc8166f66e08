//! `deploy/exec` and `deploy/reader`: the app is run by the agent's binary.

use super::restricted::{assert_cannot_write, assert_restricted, assert_without_credentials};
use super::{POD, PROVISION, SERVER, password, rotated, times};
use crate::harness::kubelet::{manifest::Manifest, on_a_node};
use crate::harness::lines;
use crate::harness::until;

#[test]
fn a_wrapped_app_is_restarted_with_new_values_and_ends_with_its_own_code() {
    on_a_node("deploy/exec", SERVER, |node| {
        let pod = node.pod(&Manifest::read("exec"), POD);
        pod.start();
        let first = password(node);
        pod.until_logged("app", &format!("started: <{first}> <{first}>"));
        let second = rotated(node);
        pod.until_logged("app", &format!("started: <{second}> <{second}>"));
        assert_eq!(times(&pod, "app", "stopped by TERM"), 1, "{}", pod.logs("app"));
        assert_restricted(&pod, "app");
        assert_cannot_write(&pod, "app", "/opt/segura/file");

        // The container restarts: the agent adopts what its volume holds.
        pod.kill("app");
        pod.run("app");
        until("it starts again", || times(&pod, "app", &format!("started: <{second}>")) == 2);
        pod.restart();
        pod.until_logged("app", &format!("started: <{second}>"));
        assert_eq!(node.scene.count(PROVISION), 1);
        pod.stop();
        assert_eq!(pod.code("app"), "42", "{}", pod.logs("app"));
    });
}

#[test]
fn a_wrapped_app_has_the_entries_but_not_the_settings_of_the_agent() {
    on_a_node("deploy/exec: the environment", SERVER, |node| {
        let pod = node.pod(&Manifest::read("exec"), POD);
        pod.start();
        pod.until_logged("app", "started: ");
        // The app's own process, a child of the agent's.
        assert_eq!(
            super::shown(&pod, "set -- $(pidof server); grep PPid /proc/$1/status"),
            "PPid:\t1\n"
        );
        let environment = "set -- $(pidof server); tr '\\0' '\\n' < /proc/$1/environ";
        let shown = super::shown(&pod, environment);
        assert!(shown.contains("PASSWORD="), "{shown}");
        assert!(!shown.contains("SEGURA_CLIENT"), "{shown}");
        assert!(!shown.contains("SEGURA_URL"), "{shown}");
    });
}

#[test]
fn a_reader_has_each_rotation_in_its_environment_and_no_credential() {
    on_a_node("deploy/reader", SERVER, |node| {
        let pod = node.pod(&Manifest::read("reader"), POD);
        pod.start();
        let first = password(node);
        pod.until_logged("app", &format!("started: <{first}> <{first}>"));
        pod.until_logged("app", lines::READS);
        let second = rotated(node);
        pod.until_logged("app", &format!("started: <{second}> <{second}>"));
        for container in ["app", "segura-agent"] {
            assert_restricted(&pod, container);
        }
        for file in ["/run/secrets/segura/file", "/opt/segura/file"] {
            assert_cannot_write(&pod, "app", file);
        }
        assert_without_credentials(&pod, "app", &node.client_secret());

        // Each of the two restarts by itself, and neither provisions.
        pod.kill("segura-agent");
        pod.run("segura-agent");
        pod.until_started("segura-agent");
        let third = rotated(node);
        pod.until_logged("app", &format!("started: <{third}> <{third}>"));
        pod.kill("app");
        pod.run("app");
        until("it starts again", || times(&pod, "app", &format!("started: <{third}>")) == 2);
        assert_eq!(node.scene.count(PROVISION), 1);
        pod.stop();
        assert_eq!((&*pod.code("app"), &*pod.code("segura-agent")), ("42", "0"));
    });
}
