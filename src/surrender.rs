//! What stands is given back to the vault, and is taken away with it.

use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::model::Bundle;
use crate::pass::{Publisher, Remarked, origin};
use crate::schedule::RenewInterval;
use crate::state::{Origin, State};
use crate::store::Store;
use crate::vault::Client;
use crate::vault::error::Fate;

/// Gives back every secret of the set that stands in `store`, one line each for `show`.
///
/// What was given back, or may have been, must not be read or adopted any more. What could not be is
/// remembered, for another try.
pub async fn surrender(
    config: &Config,
    store: &mut Store,
    mut show: impl FnMut(String),
) -> Result<(), Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let Some(mut state) = store.remembered().filter(|state| !state.secrets.is_empty()) else {
        show("nothing stands that could be given back".to_owned());
        return Ok(());
    };
    if let Some(differs) = state.origin.difference(&origin) {
        let told = format!("cannot give back the set that stands: it is of another {differs}");
        let failure = Failure::said(Exit::Settings, told);
        let hint = "run it with the settings of the agent that has published it";
        return Err(failure.hint(Some(hint)));
    }
    let pod = config.pod.clone();
    let mut client = Client::new(&config.vault, pod).map_err(|error| error.failure())?;
    let mut failed: Option<Failure> = None;
    let mut barred = false;
    let mut gone = state.given_back;
    let mut left = Vec::new();
    for secret in std::mem::take(&mut state.secrets) {
        let (identity, id) = (secret.identity.clone(), secret.secret_id.clone());
        if id.is_empty() {
            tracing::warn!(%identity, "has no id to be given back by");
        }
        let given =
            if barred || id.is_empty() { None } else { Some(client.give_back_by_id(&id).await) };
        match given {
            Some(Ok(())) => {
                gone = true;
                show(format!("given back  {identity}"));
                continue;
            }
            Some(Err(error)) => {
                gone |= error.fate() == Fate::Unknown;
                barred = error.is_everyones();
                tracing::warn!(%identity, error = chain(&error), "could not be given back");
                failed.get_or_insert_with(|| error.failure());
            }
            None => {}
        }
        show(format!("failed      {identity}  id={id}"));
        left.push(secret);
    }
    if gone {
        state.secrets = left;
        withdraw(config, store, &origin, state);
    }
    failed.map_or(Ok(()), Err)
}

/// Takes away what stands; what is left to be given back stays in `state`.
fn withdraw(config: &Config, store: &mut Store, origin: &Origin, mut state: State) {
    state.given_back = true;
    let layout = config.layout.without_outputs();
    let taken = Publisher {
        store,
        layout: &layout,
        renew: RenewInterval::Off,
        origin,
        silent_until: None,
        remarked: &mut Remarked::default(),
    }
    .publish(&Bundle::default(), &mut state);
    if taken.is_err() {
        store.remove();
    }
    store.sweep();
}
