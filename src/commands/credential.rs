//! `credential`: sends documents of PAM Core to the vault.

use super::args::CredentialCommand;
use super::secret::own::Lookup;
use super::secret::put::{self, PutScope};
use crate::config::raw::Raw;
use crate::exit::{Exit, Failure};
use crate::vault::documents::About;

/// Writes the credentials of a file; `variable` looks up the variables that its documents name.
#[cold]
pub fn run(raw: Raw, command: &CredentialCommand, variable: &Lookup<'_>) -> Result<Exit, Failure> {
    let CredentialCommand::Put(documents) = command;
    put::run(raw, About::Credentials, PutScope::Whole, documents, variable)
}
