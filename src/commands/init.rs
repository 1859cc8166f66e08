//! `init`: fetch the secrets once, publish them, end.

use super::runtime::{listen, prepare, run as block_on};
use crate::config::Config;
use crate::config::raw::Raw;
use crate::exit::{Exit, Failure};
use crate::lifecycle::start::{StartEdges, once};
use crate::os::clock::Machine;
use crate::os::incoming::Terminations;
use crate::store::Store;
use crate::vault::Dsm;

/// Publishes a set that nobody renews.
pub fn run(raw: Raw) -> Result<Exit, Failure> {
    let config = prepare(raw, Config::for_init)?;
    block_on(async || publish(&config, listen()?).await.map(|()| Exit::Done))
}

/// Runs to the end; a termination ends it early unless the set is out.
async fn publish(config: &Config, mut terminations: Terminations) -> Result<(), Failure> {
    let held = Store::hold(&config.output, "init");
    let store = held.map_err(|error| error.failure())?;
    let vault = Dsm { settings: &config.vault, pod: &config.pod };
    let edges = StartEdges { clock: &Machine, random: fastrand::Rng::new(), vault };
    once(config, store, edges, async || terminations.recv().await).await.map(drop)
}
