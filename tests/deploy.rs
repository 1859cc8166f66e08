//! The manifests of `deploy/`, as they are written: their rules, and each of them as a pod.

mod classic;
mod components;
mod exec;
mod historic;
mod init;
mod jobs;
mod memory;
mod restricted;
mod rules;
mod sidecar;

use crate::dev_vault::requests::{DEPROVISION, PROVISION, READ};
use crate::harness::kubelet::{Node, Pod};
use crate::harness::until;

/// An app that shows its secret when it starts and when it is notified, and ends with its own code.
const SERVER: &str = r#"#!/bin/sh
show() {
    echo "$1: <$(cat /run/secrets/segura/my-secret/password)> <$password$PASSWORD$DB_PASSWORD>"
}
trap 'show notified' HUP
trap 'echo stopped by TERM; exit 42' TERM
[ -z "$PORT" ] || nc -ll -p "$PORT" -e /app/reload &
show started
while :; do sleep 0.2; done
"#;
/// The pod of a Deployment.
const POD: &str = "app-7d4b9c6f5-x2k4z";
/// The file that the app of most manifests reads.
const PASSWORD: &str = "/run/secrets/segura/my-secret/password";

/// The password of the last account that was provisioned, once there is one.
#[track_caller]
fn password(node: &Node) -> String {
    let accounts = || node.scene.vault.provisioned("my-secret");
    until("one is provisioned", || !accounts().is_empty());
    accounts().last().expect("one was provisioned").password.clone()
}

/// Has the vault rotate the secret once a read has brought nothing new, and gives the new password: an
/// agent whose first reads all bring something new takes them for provisioning.
#[track_caller]
fn rotated(node: &Node) -> String {
    until_quiet(node);
    changed(node)
}

/// Waits for one more read; the one under way may have been the one that brought the last change.
#[track_caller]
fn until_quiet(node: &Node) {
    let reads = || node.scene.count(READ);
    let enough = reads() + 1;
    until("the agent reads again", || reads() >= enough);
}

/// Has the vault rotate the secret now, and gives the new password.
#[track_caller]
fn changed(node: &Node) -> String {
    let old = password(node);
    node.scene.vault.rotate();
    let new = password(node);
    assert_ne!(old, new);
    new
}

/// What a script prints in the app's container.
fn shown(pod: &Pod<'_>, script: &str) -> String {
    let output = pod.exec("app", &["/bin/sh", "-c", script]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the app's container reads from a file.
fn reads(pod: &Pod<'_>, file: &str) -> String {
    shown(pod, &format!("cat {file}"))
}

/// Waits until the app's container reads this from the file.
#[track_caller]
fn until_reads(pod: &Pod<'_>, file: &str, content: &str) {
    until("the app reads what is published", || reads(pod, file) == content);
}

/// How many times the log of a container has this.
fn times(pod: &Pod<'_>, container: &str, part: &str) -> usize {
    pod.logs(container).matches(part).count()
}
