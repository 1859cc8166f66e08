//! `deploy/classic`: an init container, and a sidecar that signals the app in the shared PID namespace.

use super::restricted::{assert_cannot_write, assert_restricted, assert_without_credentials};
use super::{POD, PROVISION, SERVER, changed, password, rotated, shown, times, until_quiet};
use crate::harness::kubelet::{manifest::Manifest, on_a_node};
use crate::harness::lines;
use crate::harness::until;

#[test]
fn the_app_gets_its_signal_for_each_rotation() {
    on_a_node("deploy/classic: the app gets its signal", SERVER, |node| {
        let pod = node.pod(&Manifest::read("classic"), POD);
        pod.start();
        let first = password(node);
        pod.until_logged("app", &format!("started: <{first}>"));
        let second = rotated(node);
        pod.until_logged("app", &format!("notified: <{second}>"));
        let third = rotated(node);
        pod.until_logged("app", &format!("notified: <{third}>"));
        assert_eq!(
            node.scene.count(PROVISION),
            1,
            "the sidecar takes over what the init container had"
        );
        for container in ["app", "segura-agent"] {
            assert_restricted(&pod, container);
        }
        assert_cannot_write(&pod, "app", "/run/secrets/segura/file");
        assert_without_credentials(&pod, "app", &node.client_secret());
    });
}

#[test]
fn the_app_sees_the_agents_process_but_not_its_memory_or_environment() {
    on_a_node("deploy/classic: what the app sees of the agent", SERVER, |node| {
        let pod = node.pod(&Manifest::read("classic"), POD);
        pod.start();
        pod.until_logged("segura-agent", lines::ADOPTED);
        let agent = "agent=$(pidof segura-agent)";
        assert_eq!(shown(&pod, &format!("{agent}; cat /proc/$agent/comm")), "segura-agent\n");
        for hidden in ["environ", "root/etc/segura/client-secret", "fd/0", "mem"] {
            let script = format!("{agent}; cat /proc/$agent/{hidden} 2>&1 >/dev/null");
            let said = shown(&pod, &script);
            assert!(said.contains("Permission denied"), "{hidden}: {said}");
        }
    });
}

#[test]
fn only_missed_changes_are_notified_after_a_restart() {
    on_a_node("deploy/classic: restarts", SERVER, |node| {
        let pod = node.pod(&Manifest::read("classic"), POD);
        pod.start();
        pod.until_logged("app", "started: ");
        until_quiet(node);
        pod.kill("segura-agent");
        let second = changed(node);
        pod.run("segura-agent");
        pod.until_logged("app", &format!("notified: <{second}>"));

        pod.kill("app");
        pod.run("app");
        until("the app starts again", || times(&pod, "app", "started: ") == 2);
        pod.until_logged("app", &format!("started: <{second}>"));
        let third = rotated(node);
        pod.until_logged("app", &format!("notified: <{third}>"));
        pod.restart();
        pod.until_logged("app", &format!("started: <{third}>"));
        let fourth = rotated(node);
        pod.until_logged("app", &format!("notified: <{fourth}>"));
        assert_eq!(node.scene.count(PROVISION), 1);
        pod.stop();
        assert_eq!((&*pod.code("app"), &*pod.code("segura-agent")), ("42", "0"));
    });
}
