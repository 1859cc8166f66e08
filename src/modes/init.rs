//! `init`: obtain the secrets once, publish them, end.

use std::time::Duration;

use crate::config::Config;
use crate::events::Terminations;
use crate::exit::Failure;
use crate::model::{Generation, Outcome};
use crate::pass::origin;
use crate::start::{After, Start, adoptable, ended_by};
use crate::store::Store;

/// How long a replaced generation stays for readers in the middle of it.
const LINGER: Duration = Duration::from_secs(2);

/// Runs to the end; a termination ends it early unless the set is out.
pub async fn run(config: &Config, mut terminations: Terminations) -> Result<(), Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let mut store = Store::hold(&config.output, "init").map_err(|error| error.failure())?;
    let adopted = adoptable(&store, &origin);
    let mut start = Start::new(config, &mut store, &origin, After::Nothing);
    let outcome = match adopted {
        Some(adopted) => tokio::select! {
            outcome = start.adopt_or_renew(adopted) => outcome?,
            signal = terminations.recv() => return Err(ended_by(signal)),
        },
        None => start.obtain_unless(&mut terminations).await?.outcome,
    };
    if let Outcome::Published(generation) = outcome
        && generation > Generation(1)
    {
        tokio::select! {
            () = tokio::time::sleep(LINGER) => {}
            _ = terminations.recv() => {}
        }
        store.sweep();
    }
    Ok(())
}
