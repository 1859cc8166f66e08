//! The way to the vault as a value, which a simulation replaces.

use super::error::FetchError;
use super::{Client, Source, Token};
use crate::config::settings::Vault;
use crate::model::PodIdentity;

/// The way to the vault.
///
/// Each pass connects, since the files that the settings name may have changed.
pub trait Connect {
    /// The source that a connection gives.
    type Source: Source;

    /// Connects without asking the vault anything, and goes on with `token`, which is taken unless
    /// that fails.
    fn connect(&self, token: &mut Option<Token>) -> Result<Self::Source, FetchError>;

    /// Ends with the token that the next connection may go on with.
    fn end(&self, source: Self::Source) -> Option<Token>;
}

/// The vault of the settings, asked as one pod.
#[derive(Clone, Copy, Debug)]
pub struct Dsm<'a> {
    /// Its settings.
    pub settings: &'a Vault,
    /// The pod that asks.
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
