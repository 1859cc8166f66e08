//! `init`: obtain the secrets once, publish them, end.

use crate::config::Config;
use crate::events::Terminations;
use crate::exit::Failure;
use crate::start::once;
use crate::store::Store;

/// Runs to the end; a termination ends it early unless the set is out.
pub async fn run(config: &Config, mut terminations: Terminations) -> Result<(), Failure> {
    let held = Store::hold(config.output.as_ref(), "init");
    let store = held.map_err(|error| error.failure())?;
    once(config, store, async || terminations.recv().await).await.map(drop)
}
