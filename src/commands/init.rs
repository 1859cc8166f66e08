//! `init`: obtain the secrets once, publish them, end; or show what would be published.

use crate::commands::dry_run::planned;
use crate::config::Config;
use crate::exit::Failure;
use crate::lifecycle::start::{ended_by, once};
use crate::os::clock::Machine;
use crate::os::signal::incoming::Terminations;
use crate::store::{Plan, Store};

/// Runs to the end; a termination ends it early unless the set is out.
pub async fn run(config: &Config, mut terminations: Terminations) -> Result<(), Failure> {
    let held = Store::hold(config.output.as_ref(), "init");
    let store = held.map_err(|error| error.failure())?;
    let random = fastrand::Rng::new();
    once(config, store, &Machine, random, async || terminations.recv().await).await.map(drop)
}

/// Shows what would be published, and provisions, locks and writes nothing.
pub async fn dry_run(config: &Config, mut terminations: Terminations) -> Result<Plan, Failure> {
    tokio::select! {
        plan = planned(config) => plan,
        signal = terminations.recv() => Err(ended_by(signal)),
    }
}
