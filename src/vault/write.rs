//! Writes documents to the vault, for `secret put` and `credential put`.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use super::error::{Attempt, Cause, FetchError, Malformation};
use super::wire::{self, Written};
use super::{Client, Limit};
use crate::model::SecretName;
use crate::vault::documents::{About, Request};

impl Client<'_> {
    /// Creates or updates a secret or a credential. A POST is not idempotent, so it is not repeated
    /// if the vault may have acted on it (RFC 9110, 9.2.2).
    pub async fn write(&mut self, about: About, request: &Request) -> Result<Written, FetchError> {
        let (attempt, path) = match about {
            About::Secrets => {
                (Attempt::WriteSecret(request.name.clone()), ["iso", "sctm", "secret"])
            }
            About::Credentials => {
                (Attempt::WriteCredential(request.name.clone()), ["api", "pam", "credential"])
            }
        };
        let call = self
            .wire
            .request(Method::POST, self.url(&path))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(request.body.expose().clone());
        let limit = Limit::Whole(self.settings.provision_timeout);
        let redacted = request.redacted.iter().map(|secret| secret.expose().as_str()).collect();
        let parse = |answer: &wire::Answer<'_>| match about {
            About::Secrets => written_secret(answer, &request.name),
            About::Credentials => wire::credential(answer),
        };
        self.ask_redacting(&attempt, call, limit, redacted, parse).await
    }
}

/// The written secret, as the answer shows it; empty if the answer reports success without it.
fn written_secret(answer: &wire::Answer<'_>, identity: &str) -> Result<Written, Cause> {
    let periods = wire::periods(answer, identity);
    let mut bundle = match wire::secrets(answer) {
        Ok(bundle) => bundle,
        // The envelope reports success, without the secret.
        Err(Cause::Malformed(Malformation::NoContainer)) => return Ok(Written::default()),
        Err(cause) => return Err(cause),
    };
    let Ok(name) = SecretName::new(identity) else { return Ok(Written::default()) };
    let Some(set) = bundle.secrets.remove(&name) else {
        // It may hold no values, and be no usable secret.
        let id = bundle.ids.remove(&name).unwrap_or_default();
        return Ok(Written { id, periods, ..Written::default() });
    };
    let mut keys: Vec<String> = set.items().map(|item| item.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    let (version, keys) = (Some(set.version), Some(keys));
    Ok(Written { id: set.id, version, identifier: None, keys, periods })
}
