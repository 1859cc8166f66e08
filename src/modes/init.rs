//! `init`: obtain the secrets once, publish them, end.

use std::time::Duration;

use crate::config::Config;
use crate::events::Terminations;
use crate::exit::Failure;
use crate::model::{Generation, Outcome};
use crate::start::{Start, adoptable, origin};
use crate::store::Store;

/// How long a replaced generation stays for readers in the middle of it.
const LINGER: Duration = Duration::from_secs(2);

/// Runs to the end; a termination ends it early unless the set is out.
pub async fn run(config: &Config, mut terminations: Terminations) -> Result<(), Failure> {
    let origin = origin(config)?;
    let holder = format!(
        "init, pid {}, in {}",
        std::process::id(),
        rustix::system::uname().nodename().to_string_lossy()
    );
    let mut store = Store::open(&config.output, &holder).map_err(|error| error.failure())?;
    let readers = store.readers();
    tracing::info!(dir = %store.path().display(), "published files will be readable by {readers}");
    let adopted = adoptable(&store, &origin);
    let mut start = Start::new(config, &mut store, &origin);
    let outcome = match adopted {
        Some(adopted) => tokio::select! {
            outcome = start.adopt(adopted) => outcome?,
            signal = terminations.recv() => return Err(ended(signal.number())),
        },
        None => obtain(&mut start, &mut terminations).await?,
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

async fn obtain(
    start: &mut Start<'_>,
    terminations: &mut Terminations,
) -> Result<Outcome, Failure> {
    start.prove()?;
    let mut client = start.client()?;
    let obtained = tokio::select! {
        obtained = start.obtain(&mut client) => obtained,
        signal = terminations.recv() => Err(ended(signal.number())),
    };
    if obtained.is_err() {
        start.give_back(&mut client).await;
    }
    obtained
}

fn ended(signal: i32) -> Failure {
    Failure::signalled(u8::try_from(signal).unwrap_or_default())
}
