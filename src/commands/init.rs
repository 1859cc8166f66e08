//! `init`: fetches the secrets once, publishes them, and ends.

use super::runtime::{listen, prepare, run as block_on};
use crate::config::Config;
use crate::config::raw::Raw;
use crate::exit::{Exit, Failure};
use crate::lifecycle::start::{StartEdges, once};
use crate::os::clock::Machine;
use crate::os::incoming::Terminations;
use crate::store::Store;
use crate::vault::Dsm;

/// Publishes a set without renewal.
pub fn run(raw: Raw) -> Result<Exit, Failure> {
    let config = prepare(raw, Config::for_init)?;
    block_on(async || publish(&config, listen()?).await.map(|()| Exit::Done))
}

/// Publishes the set; a termination signal ends it early, unless the set is published.
async fn publish(config: &Config, mut terminations: Terminations) -> Result<(), Failure> {
    let held = Store::hold(&config.output, "init");
    let store = held.map_err(|error| error.failure())?;
    let vault = Dsm { settings: &config.vault, pod: &config.pod };
    let edges = StartEdges { clock: &Machine, random: fastrand::Rng::new(), vault };
    once(config, store, edges, async || terminations.recv().await).await.map(drop)
}
