//! Connections to the vault as a value, which a simulation replaces.

use super::error::FetchError;
use super::{Client, Source, Token};
use crate::config::settings::Vault;
use crate::model::PodIdentity;

/// Makes connections to the vault.
///
/// Each pass makes one, since the files that the settings name may have changed.
pub trait Connect {
    /// The connection, as a source of secrets.
    type Source: Source;

    /// Reads the files that the settings name; sends nothing. Takes `token` for the connection
    /// unless it fails.
    fn connect(&self, token: &mut Option<Token>) -> Result<Self::Source, FetchError>;

    /// Ends a connection; returns its token for the next one.
    fn end(&self, source: Self::Source) -> Option<Token>;
}

/// Connects to the vault of the settings for one pod.
#[derive(Clone, Copy, Debug)]
pub struct Dsm<'a> {
    /// The vault's settings.
    pub settings: &'a Vault,
    /// The pod that the requests name.
    pub pod: &'a PodIdentity,
}

impl<'a> Connect for Dsm<'a> {
    type Source = Client<'a>;

    fn connect(&self, token: &mut Option<Token>) -> Result<Client<'a>, FetchError> {
        let client = Client::new(self.settings, self.pod.clone())?;
        Ok(client.with_token(token.take()))
    }

    fn end(&self, client: Client<'a>) -> Option<Token> {
        client.into_token()
    }
}
