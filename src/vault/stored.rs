//! Reads what the vault stores of a secret that is to be written.

use reqwest::Method;

use super::error::{Attempt, Cause, FetchError};
use super::wire::{self, RenewalPeriods};
use super::{Client, decrypt};
use crate::model::{Bundle, Entry, Fault, SecretName};
use crate::secret::Secret;

/// A secret as the vault stores it.
#[derive(Debug, Default)]
pub struct StoredSecret {
    /// Its version; empty if the vault has none.
    pub version: String,
    /// The names of its keys.
    pub keys: Vec<String>,
    /// The periods of its renewal, as far as the vault says them.
    pub periods: RenewalPeriods,
    /// Its values.
    pub entries: Vec<Entry>,
    /// The fault that keeps its values from being read.
    pub fault: Option<Fault>,
}

impl Client<'_> {
    /// Reads what the vault stores of `name`; none if there is no such secret.
    ///
    /// DSM's gateway answers alike to a missing secret, a missing route and a missing permission, so
    /// the list of secrets decides: a secret that it does not name is none of this authorization. If
    /// an answer repeats a text of `redacted`, an error does not show it.
    pub async fn stored(
        &mut self,
        name: &SecretName,
        redacted: &[Secret<String>],
    ) -> Result<Option<StoredSecret>, FetchError> {
        let attempt = Attempt::ReadStored(name.clone());
        let redacted = || redacted.iter().map(|secret| secret.expose().as_str()).collect();
        let parse = |answer: &wire::Answer<'_>| {
            Ok((wire::secrets(answer)?, wire::periods(answer, name.as_str())))
        };
        let url = self.url(&["iso", "sctm", "secret", name.as_str()]);
        let request = self.wire.request(Method::GET, url);
        let limit = self.read_limit();
        let one = self.ask_redacting(&attempt, request, limit, redacted(), parse).await;
        match one {
            Ok(answer) => {
                let absent = || Cause::Absent(name.clone());
                let stored = self.found(answer, name).and_then(|found| found.ok_or_else(absent));
                stored.map(Some).map_err(|cause| FetchError { attempt, cause })
            }
            Err(error) if error.may_be_no_route() => {
                let list = self.wire.request(Method::GET, self.url(&["iso", "sctm", "secret"]));
                let list = self.ask_redacting(&attempt, list, limit, redacted(), parse).await?;
                self.found(list, name).map_err(|cause| FetchError { attempt, cause })
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the secret out of an answer; none if the answer does not name it.
    fn found(
        &self,
        (mut bundle, periods): (Bundle, RenewalPeriods),
        name: &SecretName,
    ) -> Result<Option<StoredSecret>, Cause> {
        bundle.secrets.retain(|identity, _| identity == name);
        let Some(set) = bundle.secrets.get(name) else {
            let fault = bundle.faults.into_iter().find(|fault| fault.identity() == Some(name));
            return match fault {
                None => Ok(None),
                Some(Fault::Empty { .. }) => {
                    Ok(Some(StoredSecret { periods, ..StoredSecret::default() }))
                }
                Some(fault) => Err(Cause::Fault(fault)),
            };
        };
        let mut keys: Vec<String> = set.items().map(|item| item.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let version = set.version.clone();
        decrypt::open_all(&mut bundle, self.private_key.as_ref());
        let fault = bundle.faults.into_iter().find(|fault| fault.identity() == Some(name));
        let entries = bundle.secrets.remove(name).map(|set| set.entries).unwrap_or_default();
        Ok(Some(StoredSecret { version, keys, periods, entries, fault }))
    }
}
