//! What people do from the command line: documents to the vault, secrets shown, secrets given back.

use crate::commands::doctor::examine;
use crate::commands::secret::put::{Line, put};
use crate::commands::secret::table::{self, Style};
use crate::config::Config;
use crate::config::settings::{Tell, Vault};
use crate::exit::{Exit, Failure};
use crate::lifecycle::deprovision;
use crate::model::{PodIdentity, SecretName};
use crate::os::clock::Machine;
use crate::store::Store;
use crate::vault::documents::{About, Flawed, Request};
use crate::vault::{Client, Source};

/// Writes documents to the vault; without one they are only proven.
pub async fn write(
    vault: Option<&Vault>,
    about: About,
    documents: Vec<Result<Request, Flawed>>,
    show: impl FnMut(Line),
) -> Result<Exit, Failure> {
    let mut client = vault.map(client).transpose()?;
    Ok(put(about, documents, client.as_mut(), show).await)
}

/// Every secret of the authorization.
pub async fn list(vault: &Vault, style: Style) -> Result<String, Failure> {
    let bundle = client(vault)?.read_secrets().await.map_err(|error| error.failure())?;
    for remark in &bundle.remarks {
        tracing::warn!("{remark}");
    }
    Ok(table::list(&bundle, style))
}

/// One secret.
pub async fn get(vault: &Vault, name: &SecretName, style: Style) -> Result<String, Failure> {
    let set = client(vault)?.read_secret(name).await.map_err(|error| error.failure())?;
    Ok(table::one(name, &set, style))
}

/// Gives back the secret of this id, which `pod` was provisioned.
pub async fn give_back(vault: &Vault, pod: PodIdentity, id: &str) -> Result<String, Failure> {
    let mut client = Client::new(vault, pod).map_err(|error| error.failure())?;
    deprovision::by_id(&mut client, id).await.map_err(|error| error.failure())?;
    Ok(format!("given back  id={id}\n"))
}

/// Gives back what stands in the output directory, which no living agent may hold.
pub async fn give_all_back(config: &Config, show: impl FnMut(String)) -> Result<(), Failure> {
    let held = Store::hold(config.output.as_ref(), "deprovision");
    let mut store = held.map_err(|error| {
        let hint =
            "end that agent first, or say the SECRET_ID: then the vault is told and nothing else";
        let failure = error.failure();
        if error.is_held() { failure.hint(Some(hint)) } else { failure }
    })?;
    deprovision::by_hand(config, &mut store, &Machine, show).await
}

/// Walks the whole path.
pub async fn doctor(
    config: &Config,
    tell: Tell,
    mut show: impl FnMut(String),
) -> Result<Exit, Failure> {
    Ok(examine(config, tell, |step| show(step.line())).await)
}

fn client(vault: &Vault) -> Result<Client<'_>, Failure> {
    Client::new(vault, PodIdentity::default()).map_err(|error| error.failure())
}
