//! The sidecar: a set that is kept fresh, through whatever the vault, the pod and the node do.

mod adopt;
mod failure;
mod inputs;
mod probes;
mod readers;
mod renewal;
mod termination;

use std::fs;

use crate::dev_vault::requests::{APPLICATION, DEPROVISION, LOGIN, PROVISION, READ};
use crate::{
    dev_vault::{Options, Provisioned},
    harness::{POD, SEED, Scene, until},
};

/// Something that happens to a scene.
type Change = fn(&Scene);

/// A set that `init` has left to be renewed every second; the vault's list of requests is empty.
fn left_by_init() -> Scene {
    with(Options::default(), |_| {})
}

fn with(options: Options, change: impl FnOnce(&mut Scene)) -> Scene {
    let mut scene = Scene::with(options);
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    change(&mut scene);
    scene.init().exits(0);
    scene.vault.clear_requests();
    scene
}

/// The account that a pod holds of a secret.
#[track_caller]
fn account_of(scene: &Scene, identity: &str, pod: &str) -> Provisioned {
    let mut accounts = scene.vault.provisioned(identity);
    accounts.retain(|account| account.pod_name == pod);
    accounts.pop().expect("the pod has an account")
}

fn password(scene: &Scene) -> String {
    account_of(scene, SEED, POD).password
}

/// Waits until the account's password is what is published.
#[track_caller]
fn wait_until_fresh(scene: &Scene) {
    let password = password(scene);
    until("the password is published", || scene.read("secret-postman/password") == password);
}

/// Waits until the sidecar has seen that reading alone changes nothing: a new version in each of its
/// first two reads would look to it as if reading provisioned.
#[track_caller]
fn wait_until_trusted(scene: &Scene) {
    let reads = scene.count(READ);
    until("it has read twice", || scene.count(READ) >= reads + 2);
}

/// Changes the bytes of the authority's file, and nothing else: the agent looks again.
pub fn poke(scene: &Scene) {
    let file = scene.vault.ca_file();
    let mut pem = fs::read(&file).expect("it is there");
    pem.push(b'\n');
    let next = file.with_extension("next");
    fs::write(&next, pem).expect("the vault's directory is ours");
    fs::rename(next, file).expect("the vault's directory is ours");
}
