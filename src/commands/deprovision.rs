//! `deprovision`: gives back what this pod was provisioned, one secret or the whole set.

use std::path::Path;

use super::runtime::{begin, invalid, mounts, print, run as block_on, show, warn};
use crate::config::raw::Raw;
use crate::config::settings::Vault;
use crate::config::{Config, Reach};
use crate::exit::{Exit, Failure};
use crate::inputs::pod::{Mounted, SERVICE_ACCOUNT};
use crate::lifecycle::deprovision;
use crate::model::PodIdentity;
use crate::os::clock::Machine;
use crate::os::harden;
use crate::store::Store;
use crate::vault::{Client, Dsm};

/// Deprovisions the secret of this id; without one, the set in the output directory.
#[cold]
pub fn run(raw: Raw, secret_id: Option<&str>) -> Result<Exit, Failure> {
    harden::limit();
    begin(&raw);
    let Some(id) = secret_id else {
        let mounts = mounts(&raw);
        let config = Config::for_deprovision(raw, mounts).map_err(|problems| invalid(&problems))?;
        warn(&config.warnings);
        return block_on(async || whole_set(&config).await).map(|()| Exit::Done);
    };
    let account = Mounted::read(Path::new(SERVICE_ACCOUNT));
    let (reach, pod) = Reach::of_pod(raw, account).map_err(|problems| invalid(&problems))?;
    warn(&reach.warnings);
    block_on(async || one(&reach.vault, pod, id).await).map(|text| print(&text))
}

/// Deprovisions the secret of this id, which `pod` was provisioned.
async fn one(vault: &Vault, pod: PodIdentity, id: &str) -> Result<String, Failure> {
    let mut client = Client::new(vault, pod).map_err(|error| error.failure())?;
    deprovision::by_id(&mut client, id).await.map_err(|error| error.failure())?;
    Ok(format!("given back  id={id}\n"))
}

/// Deprovisions the set in the output directory, which no living agent may hold.
async fn whole_set(config: &Config) -> Result<(), Failure> {
    let held = Store::hold(&config.output, "deprovision");
    let mut store = held.map_err(|error| {
        let hint =
            "end that agent first, or say the SECRET_ID: then the vault is told and nothing else";
        let failure = error.failure();
        if error.is_held() { failure.hint(Some(hint)) } else { failure }
    })?;
    let vault = Dsm { settings: &config.vault, pod: &config.pod };
    deprovision::by_hand(config, &mut store, &Machine, &vault, show).await
}
