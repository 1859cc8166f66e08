//! `init`: fetch the secrets once, publish them, end.

use super::runtime::{begin, invalid, listen, mounts, run as block_on, warn};
use crate::config::Config;
use crate::config::raw::Raw;
use crate::exit::{Exit, Failure};
use crate::lifecycle::start::{StartEdges, once};
use crate::os::clock::Machine;
use crate::os::harden;
use crate::os::incoming::Terminations;
use crate::store::Store;
use crate::vault::Dsm;

/// Publishes a set that nobody renews.
pub fn run(raw: Raw) -> Result<Exit, Failure> {
    harden::limit();
    begin(&raw);
    let mounts = mounts(&raw);
    let config = Config::for_init(raw, mounts).map_err(|problems| invalid(&problems))?;
    warn(&config.warnings);
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
