//! `deploy/job` and `deploy/cron-job`: the app ends while its sidecar still runs.

use super::restricted::{assert_cannot_write, assert_restricted, assert_without_credentials};
use super::{DEPROVISION, PROVISION, password, rotated};
use crate::harness::kubelet::{manifest::Manifest, on_a_node};

/// Work that is done once it has seen a rotation.
const TASK: &str = r#"#!/bin/sh
read_it() { cat /run/secrets/segura/my-secret/password; }
first=$(read_it)
echo "started: <$first>"
while [ "$(read_it)" = "$first" ]; do sleep 0.2; done
echo "done: <$(read_it)>"
"#;

/// Plays a pod of a Job to its end.
fn ends_and_deprovisions(manifest: &str, name: &str) {
    on_a_node(&format!("deploy/{manifest}"), TASK, |node| {
        let pod = node.pod(&Manifest::read(manifest), name);
        pod.start();
        let first = password(node);
        pod.until_logged("app", &format!("started: <{first}>"));
        for container in ["app", "segura-agent"] {
            assert_restricted(&pod, container);
        }
        assert_cannot_write(&pod, "app", "/run/secrets/segura/file");
        assert_without_credentials(&pod, "app", &node.client_secret());

        let second = rotated(node);
        assert_eq!(pod.code("app"), "0", "{}", pod.logs("app"));
        pod.until_logged("app", &format!("done: <{second}>"));
        assert!(pod.is_running("segura-agent"), "it ends after the app");
        assert_eq!(node.scene.count(DEPROVISION), 0);
        // The Job is done with its app; the kubelet then ends the sidecar.
        pod.stop();
        assert_eq!(pod.code("segura-agent"), "0", "{}", pod.logs("segura-agent"));
        assert_eq!((node.scene.count(PROVISION), node.scene.count(DEPROVISION)), (1, 1));
        assert!(node.scene.vault.provisioned("my-secret").is_empty(), "no account stays behind");
    });
}

#[test]
fn a_job_ends_with_its_app_and_deprovisions_its_secrets() {
    ends_and_deprovisions("job", "app-x2k4z");
}

#[test]
fn each_run_of_a_cron_job_ends_with_its_app_and_deprovisions_its_secrets() {
    ends_and_deprovisions("cron-job", "app-29395935-x2k4z");
}
