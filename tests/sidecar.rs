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
    dev_vault::Options,
    harness::{Scene, host::replace},
};

/// Something that happens to a scene.
type Change = fn(&Scene);

/// A set that `init` has left to be renewed every second; the vault's list of requests is empty.
fn left_by_init() -> Scene {
    Scene::after_init(Options::default(), |_| {})
}

/// Changes the bytes of the authority's file, and nothing else: the agent looks again.
pub fn poke(scene: &Scene) {
    let file = scene.vault.ca_file();
    let mut pem = fs::read(&file).expect("it is there");
    pem.push(b'\n');
    replace(file, pem);
}
