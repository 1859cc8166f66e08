//! What people write to the vault from the command line.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use super::error::{Attempt, Cause, FetchError, Nonsense};
use super::wire::{self, Written};
use super::{Client, Limit};
use crate::model::SecretName;
use crate::vault::documents::{About, Request};

impl Client<'_> {
    /// Creates or updates what a document is about. It is sent once: what may have been acted on is
    /// not repeated.
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
        let said = request.redacted.iter().map(|secret| secret.expose().as_str()).collect();
        let understand = |answer: &wire::Answer<'_>| match about {
            About::Secrets => written_secret(answer, &request.name),
            About::Credentials => wire::credential(answer),
        };
        self.asked_of(&attempt, call, limit, said, understand).await
    }
}

/// The secret of the answer that was written; an answer that does not show it is a success still.
fn written_secret(answer: &wire::Answer<'_>, identity: &str) -> Result<Written, Cause> {
    let mut bundle = match wire::secrets(answer) {
        Ok(bundle) => bundle,
        // It says that it is done, and does not show what.
        Err(Cause::Nonsense(Nonsense::NoContainer)) => return Ok(Written::default()),
        Err(cause) => return Err(cause),
    };
    let found = SecretName::new(identity).ok().and_then(|name| bundle.secrets.remove(&name));
    Ok(found.map_or_else(Written::default, |set| {
        let mut keys: Vec<String> = set.items().map(|item| item.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        Written { id: set.id, version: Some(set.version), identifier: None, keys: Some(keys) }
    }))
}
