//! `kubernetes …`: the command line in manifests for the vendor's historic sidecar.

use std::path::Path;

use super::args::Historic;
use super::runtime::{TerminationLog, begin};
use super::{init, sidecar};
use crate::config::raw::Raw;
use crate::exit::{Exit, Failure};

/// Runs `sidecar` or `init` in place of the historic command.
#[cold]
pub fn run(
    raw: Raw,
    command: &Historic,
    config: Option<&Path>,
    log: &TerminationLog,
) -> Result<Exit, Failure> {
    let (registered, name) = match command {
        Historic::Sidecar(registered) => (registered, "sidecar"),
        Historic::InitContainer { registered, kind } if kind == "inject-template" => {
            (registered, "init")
        }
        Historic::InitContainer { kind, .. } => {
            let message = format!(
                "cannot run `kubernetes init-container --type {kind}`: the agent registers no application and hands out no credentials"
            );
            let hint = "use `init`, with SEGURA_CLIENT_ID and SEGURA_CLIENT_SECRET of the application's authorization";
            return Err(Failure::said(Exit::Usage, message).hint(Some(hint)));
        }
    };
    let has_options = registered.app_name.is_some()
        || registered.system.is_some()
        || registered.environment.is_some();
    begin(&raw);
    if config.is_some() {
        tracing::warn!(
            "the file of --config is not read: set its SENHASEGURA_ variables in the environment"
        );
    }
    if has_options {
        tracing::warn!(
            "options of the historic sidecar have no effect: the authorization selects the application; run `{name}` without options"
        );
    }
    if name == "init" { init::run(raw) } else { sidecar::run(raw, log) }
}
