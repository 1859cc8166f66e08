//! `deploy/base` and `deploy/stateful-set`: the agent as a native sidecar.

use super::restricted::{assert_cannot_write, assert_restricted, assert_without_credentials};
use super::{
    PASSWORD, POD, PROVISION, SERVER, changed, password, reads, rotated, times, until_quiet,
    until_reads,
};
use crate::harness::kubelet::{manifest::Manifest, on_a_node};
use crate::harness::lines;

#[test]
fn the_app_has_its_secret_before_it_starts_and_sees_each_rotation() {
    on_a_node("deploy/base: the app has its secret", SERVER, |node| {
        let pod = node.pod(&Manifest::read("base"), POD);
        pod.start();
        let first = password(node);
        pod.until_logged("app", &format!("started: <{first}>"));
        assert_eq!(reads(&pod, PASSWORD), first);
        let second = rotated(node);
        until_reads(&pod, PASSWORD, &second);
        assert_eq!(node.scene.count(PROVISION), 1);
        let account = node.scene.vault.provisioned("my-secret").pop().unwrap();
        let label = (&*account.pod_name, &*account.namespace, &*account.deploy);
        assert_eq!(label, (POD, "shop", "app"));

        for container in ["app", "segura-agent"] {
            assert_restricted(&pod, container);
        }
        assert_cannot_write(&pod, "app", "/run/secrets/segura/file");
        assert_without_credentials(&pod, "app", &node.client_secret());
    });
}

#[test]
fn the_app_is_notified_by_the_post_that_the_manifest_proposes() {
    on_a_node("deploy/base: the app is notified by a POST", SERVER, |node| {
        let text = Manifest::read("base").text;
        let proposed = text
            .replace("# - name: SEGURA_NOTIFY_URL", "- name: SEGURA_NOTIFY_URL")
            .replace("#   value: http://127.0.0.1", "  value: http://127.0.0.1");
        assert_ne!(proposed, text);
        let pod = node.pod(&Manifest::of("base", &proposed), POD);
        pod.start();
        pod.until_logged("app", "started: ");
        let second = rotated(node);
        pod.until_logged("app", &format!("notified by POST /-/reload: <{second}>"));
    });
}

#[test]
fn a_killed_sidecar_adopts_its_published_set() {
    on_a_node("deploy/base: the sidecar restarts", SERVER, |node| {
        let pod = node.pod(&Manifest::read("base"), POD);
        pod.start();
        let first = password(node);
        until_quiet(node);
        pod.kill("segura-agent");
        assert_eq!(reads(&pod, PASSWORD), first, "the current set stays current");
        // What it missed meanwhile is fetched, not provisioned.
        let second = changed(node);
        pod.run("segura-agent");
        pod.until_started("segura-agent");
        until_reads(&pod, PASSWORD, &second);
        pod.until_logged("segura-agent", lines::ADOPTED);
        assert_eq!(node.scene.count(PROVISION), 1);
        assert!(pod.is_running("app"), "{}", pod.logs("app"));
    });
}

#[test]
fn a_restarted_app_reads_the_current_set() {
    on_a_node("deploy/base: the app restarts", SERVER, |node| {
        let pod = node.pod(&Manifest::read("base"), POD);
        pod.start();
        pod.until_logged("app", "started: ");
        let second = rotated(node);
        until_reads(&pod, PASSWORD, &second);
        pod.kill("app");
        pod.run("app");
        pod.until_logged("app", &format!("started: <{second}>"));
        assert_eq!(node.scene.count(PROVISION), 1);
    });
}

#[test]
fn a_new_sandbox_adopts_even_without_a_vault_and_a_new_pod_is_provisioned() {
    on_a_node("deploy/base: the pod restarts", SERVER, |node| {
        let pod = node.pod(&Manifest::read("base"), POD);
        pod.start();
        let first = password(node);
        pod.until_logged("app", "started: ");
        node.scene.vault.go_down();
        pod.restart();
        pod.until_logged("app", &format!("started: <{first}>"));
        node.scene.vault.come_back();
        let second = rotated(node);
        until_reads(&pod, PASSWORD, &second);
        assert_eq!(node.scene.count(PROVISION), 1);

        pod.stop();
        assert_eq!((&*pod.code("app"), &*pod.code("segura-agent")), ("42", "0"));
        pod.delete();
        let other = node.pod(&Manifest::read("base"), "app-7d4b9c6f5-b9vxd");
        other.start();
        other.until_logged("app", &format!("started: <{}>", password(node)));
        assert_eq!(node.scene.count(PROVISION), 2);
    });
}

#[test]
fn the_app_does_not_start_until_the_vault_has_answered() {
    on_a_node("deploy/base: the vault is down", SERVER, |node| {
        node.scene.vault.go_down();
        let pod = node.pod(&Manifest::read("base"), POD);
        std::thread::scope(|scope| {
            let start = scope.spawn(|| pod.start());
            pod.until_logged("segura-agent", "\"WARN\"");
            assert_eq!(times(&pod, "app", "started: "), 0);
            node.scene.vault.come_back();
            start.join().unwrap();
        });
        pod.until_logged("app", &format!("started: <{}>", password(node)));
    });
}

#[test]
fn a_recreated_pod_of_a_stateful_set_gets_an_account_of_its_own() {
    on_a_node("deploy/stateful-set", SERVER, |node| {
        let manifest = Manifest::read("stateful-set");
        let pods = ["app-0", "app-1"].map(|name| node.pod(&manifest, name));
        for pod in &pods {
            pod.start();
            pod.until_logged("app", &format!("started: <{}>", password(node)));
        }
        let second = rotated(node);
        until_reads(&pods[1], PASSWORD, &second);
        assert_ne!(reads(&pods[0], PASSWORD), second);
        assert_restricted(&pods[0], "segura-agent");
        assert_without_credentials(&pods[0], "app", &node.client_secret());
        let [old, other] = pods;
        old.delete();

        // The controller's next pod has the name, another UID and new volumes.
        let new = node.pod(&manifest, "app-0");
        new.start();
        let accounts = node.scene.vault.provisioned("my-secret");
        let names: Vec<&str> = accounts.iter().map(|account| &*account.pod_name).collect();
        assert_eq!(names.iter().filter(|name| **name == "app-1").count(), 1, "{names:?}");
        assert!(accounts.iter().all(|account| account.deploy == "app"));
        let own = accounts.iter().rfind(|account| account.pod_name == "app-0").unwrap();
        new.until_logged("app", &format!("started: <{}>", own.password));
        assert!(other.is_running("app"));
    });
}
