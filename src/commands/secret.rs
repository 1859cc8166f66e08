//! `secret`: sends documents to the vault, and shows secrets.

pub mod documents;
pub mod own;
pub mod put;
pub mod table;

use super::args::{SecretCommand, Shown};
use super::runtime::{print, reach, run as block_on};
use crate::config::raw::Raw;
use crate::config::settings::Vault;
use crate::exit::{Exit, Failure};
use crate::model::{PodIdentity, SecretName};
use crate::vault::documents::About;
use crate::vault::error::Cause;
use crate::vault::{Client, Source};
use own::Lookup;
use put::PutScope;
use table::Style;

/// Writes, lists or shows secrets; `variable` looks up the variables that documents name.
#[cold]
pub fn run(raw: Raw, command: SecretCommand, variable: &Lookup<'_>) -> Result<Exit, Failure> {
    let style = |shown: &Shown| Style { format: shown.output, values: shown.show_values };
    let text = match command {
        SecretCommand::Put { documents, merge } => {
            let scope = if merge { PutScope::Merge } else { PutScope::Whole };
            return put::run(raw, About::Secrets, scope, &documents, variable);
        }
        SecretCommand::List { shown } => {
            let vault = reach(raw)?;
            block_on(async || list(&vault, style(&shown)).await)?
        }
        SecretCommand::Get { identity, shown } => {
            let name = SecretName::new(identity).map_err(|problem| {
                let message = format!("cannot understand the command line: IDENTITY {problem}");
                Failure::said(Exit::Usage, message)
            })?;
            let vault = reach(raw)?;
            block_on(async || get(&vault, &name, style(&shown)).await)?
        }
    };
    Ok(print(&text))
}

/// Shows every secret of the authorization.
async fn list(vault: &Vault, style: Style) -> Result<String, Failure> {
    let bundle = client(vault)?.read_secrets().await.map_err(|error| error.failure())?;
    bundle.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    Ok(table::list(&bundle, style))
}

/// The remedy for an identity that the vault does not know.
const UNKNOWN: &str = "check IDENTITY against `segura-agent secret list`, and SEGURA_URL";

/// Shows one secret.
async fn get(vault: &Vault, name: &SecretName, style: Style) -> Result<String, Failure> {
    let mut client = client(vault)?;
    let set = client.read_secret(name).await.map_err(|error| {
        let failure = error.failure();
        // The general hint names variables of pods, which this command does not read.
        let is_unknown = matches!(error.cause, Cause::Rejected { .. } | Cause::Absent(_));
        if is_unknown { failure.hint(Some(UNKNOWN)) } else { failure }
    })?;
    client.remarks().iter().for_each(|remark| tracing::warn!("{remark}"));
    Ok(table::one(name, &set, style))
}

/// Makes a client without a pod: secrets that are handled by hand belong to the authorization.
fn client(vault: &Vault) -> Result<Client<'_>, Failure> {
    Client::new(vault, PodIdentity::default()).map_err(|error| error.failure())
}
