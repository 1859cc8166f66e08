//! `deprovision`: deprovisions one secret of this pod, or the whole set.

use super::runtime::{prepare, print, run as block_on, show};
use crate::config::Config;
use crate::config::raw::Raw;
use crate::config::settings::Vault;
use crate::exit::{Exit, Failure};
use crate::lifecycle::deprovision;
use crate::model::PodIdentity;
use crate::os::clock::Machine;
use crate::store::Store;
use crate::vault::{Client, Dsm};

/// Deprovisions the secret of this id; without one, the set in the output directory.
#[cold]
pub fn run(raw: Raw, secret_id: Option<&str>) -> Result<Exit, Failure> {
    let Some(id) = secret_id else {
        let config = prepare(raw, Config::for_deprovision)?;
        return block_on(async || whole_set(&config).await).map(|()| Exit::Done);
    };
    let (vault, pod) = prepare(raw, Vault::of_pod)?;
    block_on(async || one(&vault, pod, id).await).map(|text| print(&text))
}

/// Deprovisions the secret of this id, which `pod` holds.
async fn one(vault: &Vault, pod: PodIdentity, id: &str) -> Result<String, Failure> {
    let mut client = Client::new(vault, pod).map_err(|error| error.failure())?;
    deprovision::by_id(&mut client, id).await.map_err(|error| error.failure())?;
    Ok(format!("given back  id={id}\n"))
}

/// Deprovisions the set in the output directory, which no running agent may hold.
async fn whole_set(config: &Config) -> Result<(), Failure> {
    let held = Store::hold(&config.output, "deprovision");
    let mut store = held.map_err(|error| {
        let hint = "stop that agent first, or pass a SECRET_ID: then the directory stays as it is";
        let failure = error.failure();
        if error.is_held() { failure.hint(Some(hint)) } else { failure }
    })?;
    let vault = Dsm { settings: &config.vault, pod: &config.pod };
    deprovision::by_hand(config, &mut store, &Machine, &vault, show).await
}
