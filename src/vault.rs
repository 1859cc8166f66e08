//! The vault's client: logs in, sends requests, and logs in once more if an old token may be the
//! reason of a refusal. Keeps one connection between requests, verifies certificates, follows no
//! redirect.

mod connect;
pub mod decrypt;
pub mod documents;
pub mod error;
#[cfg(test)]
pub mod fake;
mod http;
pub mod resolve;
mod stored;
mod tls;
pub mod wire;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderValue};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use crate::config::settings::{Credential, Vault};
use crate::model::{Bundle, Fault, PodIdentity, SecretName, SecretSet};
use crate::os::clock::Deadline;
use crate::secret::{Secret, sha256};
pub use connect::{Connect, Dsm};
use decrypt::PrivateKey;
use error::{Attempt, Cause, FetchError};
use http::Wire;
pub use stored::StoredSecret;
use tls::setting;
use wire::Answer;
pub use wire::Written;

/// The least time that an exchange gets, however near the deadline is.
const SHORTEST_EXCHANGE: Duration = Duration::from_secs(1);
/// The most time that deprovisioning takes, login included: the kubelet kills the container at the
/// end of the pod's `terminationGracePeriodSeconds`.
pub const DEPROVISION_LIMIT: Duration = Duration::from_secs(5);

/// The vault as the rest of the agent sees it: the one edge that tests replace.
#[expect(async_fn_in_trait, reason = "one thread: no future needs to be Send")]
pub trait Source {
    /// Sets the time by which reads and logins end. A POST of provisioning is not cut short:
    /// whether the vault acted on it would be unknown.
    fn end_by(&mut self, deadline: Deadline);

    /// Provisions `name` for this pod: each call may create an account on a target system.
    async fn provision(&mut self, name: &SecretName) -> Result<SecretSet, FetchError>;

    /// Reads the secret `name` as it was provisioned for this pod.
    async fn read_provisioned(&mut self, name: &SecretName) -> Result<SecretSet, FetchError>;

    /// Reads all secrets of the authorization.
    async fn read_application(&mut self) -> Result<Bundle, FetchError>;

    /// Reads the list of secrets.
    async fn read_secrets(&mut self) -> Result<Bundle, FetchError>;

    /// Reads one secret.
    ///
    /// DSM's pages don't document a slash in an identity. It is sent percent-encoded; if the vault
    /// knows no such resource, the secret is taken from the list.
    async fn read_secret(&mut self, name: &SecretName) -> Result<SecretSet, FetchError>;

    /// Takes the remarks on the answers so far that held one secret each.
    fn remarks(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The id by which `name` is deprovisioned; none if no answer has named it.
    fn id(&self, name: &SecretName) -> Option<&str>;

    /// Deprovisions the secret of this id, which was provisioned for this pod, within
    /// [`DEPROVISION_LIMIT`]. An error names `attempt`.
    async fn deprovision(&mut self, attempt: Attempt, id: &str) -> Result<(), FetchError>;
}

/// A client of one vault, for one pod.
pub struct Client<'a> {
    settings: &'a Vault,
    pod: PodIdentity,
    wire: Wire,
    private_key: Option<PrivateKey>,
    token: Option<Token>,
    /// Ids of the secrets that answers named, for deprovisioning.
    ids: BTreeMap<SecretName, String>,
    /// Remarks on answers that held one secret each, for [`Source::remarks`].
    remarks: Vec<String>,
    /// The time by which reads and logins end, within their own limits.
    deadline: Deadline,
}

/// An access token, kept between clients to save logins.
pub struct Token {
    header: HeaderValue,
    /// Texts to redact if an answer repeats them: the token, the client secret, and its
    /// form-encoded spelling.
    redacted: [Secret<String>; 3],
    /// The end of 80 % of its lifetime; the rest covers clock skew and requests under way. DSM's
    /// pages name an hour and 24 hours.
    good_until: Instant,
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    grant_type: &'static str,
    client_id: &'a str,
    client_secret: &'a str,
}

/// The pod, as a provisioning request names it: in the body of a POST, in the query of a GET.
#[derive(Serialize)]
struct PodQuery<'a> {
    identity: &'a str,
    pod_name: &'a str,
    deploy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

#[derive(Serialize)]
struct DeprovisionRequest<'a> {
    secret_id: &'a str,
    pod_name: &'a str,
    deploy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

impl<'a> Client<'a> {
    /// Reads and checks the files that the settings name; sends nothing to the vault.
    pub fn new(settings: &'a Vault, pod: PodIdentity) -> Result<Self, FetchError> {
        let prepared = || {
            let wire = Wire::new(settings)?;
            let private_key = settings.private_key_file.as_deref().map(|file| {
                const VARIABLE: &str = "SEGURA_PRIVATE_KEY_FILE";
                let pem = tls::read(VARIABLE, file)?;
                let key = std::str::from_utf8(pem.expose()).ok().and_then(PrivateKey::from_pem);
                key.ok_or_else(|| setting(VARIABLE, "holds no PKCS#8 private key in PEM"))
            });
            credential(&settings.client_id)?;
            credential(&settings.client_secret)?;
            Ok((wire, private_key.transpose()?))
        };
        let (wire, private_key) =
            prepared().map_err(|cause| FetchError { attempt: Attempt::Prepare, cause })?;
        Ok(Self {
            settings,
            pod,
            wire,
            private_key,
            token: None,
            ids: BTreeMap::new(),
            remarks: Vec::new(),
            deadline: Deadline::Never,
        })
    }

    /// Logs in if there is no fresh token, which proves the way to the vault.
    pub async fn reach(&mut self) -> Result<(), FetchError> {
        self.log_in().await.map_err(|cause| self.no_login(cause))
    }

    fn no_login(&self, cause: Cause) -> FetchError {
        let host = self.settings.url.host_str().unwrap_or_default().to_owned();
        FetchError { attempt: Attempt::LogIn(host), cause }
    }

    /// Uses the token of an earlier client.
    #[must_use]
    pub fn with_token(self, token: Option<Token>) -> Self {
        Self { token, ..self }
    }

    /// The token, for the next client.
    pub fn into_token(self) -> Option<Token> {
        self.token
    }

    fn query<'q>(&'q self, name: &'q SecretName) -> PodQuery<'q> {
        PodQuery {
            identity: name.as_str(),
            pod_name: &self.pod.name,
            deploy: &self.pod.deploy,
            namespace: self.pod.namespace.as_deref(),
        }
    }

    fn read_limit(&self) -> Limit {
        Limit::UntilDeadline(self.settings.timeout)
    }

    /// Appends `parts` to the path of the base URL, each percent-encoded, slashes included.
    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.settings.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    async fn all(
        &mut self,
        attempt: Attempt,
        request: RequestBuilder,
    ) -> Result<Bundle, FetchError> {
        let mut bundle = self.ask(&attempt, request, self.read_limit(), wire::secrets).await?;
        decrypt::open_all(&mut bundle, self.private_key.as_ref());
        Ok(bundle)
    }

    /// Takes the requested secret out of an answer, which may hold others.
    fn one(
        &mut self,
        attempt: Attempt,
        mut bundle: Bundle,
        name: &SecretName,
    ) -> Result<SecretSet, FetchError> {
        if let Some(id) = bundle.ids.remove(name) {
            self.ids.insert(name.clone(), id);
        }
        bundle.secrets.retain(|identity, _| identity == name);
        decrypt::open_all(&mut bundle, self.private_key.as_ref());
        let fault = |fault: &Fault| fault.identity().is_none_or(|identity| identity == name);
        let fault = bundle.faults.iter().position(fault);
        if let Some(set) = bundle.secrets.remove(name) {
            self.remarks.append(&mut bundle.remarks);
            return Ok(set);
        }
        let cause = match fault {
            Some(place) => Cause::Fault(bundle.faults.swap_remove(place)),
            None => Cause::Absent(name.clone()),
        };
        Err(FetchError { attempt, cause })
    }

    async fn ask<T>(
        &mut self,
        attempt: &Attempt,
        request: RequestBuilder,
        limit: Limit,
        parse: impl Fn(&Answer<'_>) -> Result<T, Cause>,
    ) -> Result<T, FetchError> {
        self.ask_redacting(attempt, request, limit, Vec::new(), parse).await
    }

    /// Sends a request with a token. Logs in again and retries once after a refusal that an expired
    /// token may explain: DSM's gateway answers 401 or 403, but also 404 "no Route matched". A
    /// write is retried only if the refusal is surely the gateway's. If the answer repeats a text
    /// of `redacted`, an error does not show it.
    async fn ask_redacting<T>(
        &mut self,
        attempt: &Attempt,
        request: RequestBuilder,
        limit: Limit,
        redacted: Vec<&str>,
        parse: impl Fn(&Answer<'_>) -> Result<T, Cause>,
    ) -> Result<T, FetchError> {
        let again = request.try_clone();
        let first = self.ask_once(attempt, request, limit, &redacted, &parse).await;
        match (first, again) {
            (Err(error), Some(again))
                if error.may_be_the_token()
                    && (!attempt.writes() || error.is_the_token())
                    && !matches!(error.attempt, Attempt::LogIn(_)) =>
            {
                self.token = None;
                let second = self.ask_once(attempt, again, limit, &redacted, &parse).await;
                if second.as_ref().is_err_and(FetchError::may_be_the_token) {
                    self.token = None;
                }
                second
            }
            (first, _) => first,
        }
    }

    async fn ask_once<T>(
        &mut self,
        attempt: &Attempt,
        request: RequestBuilder,
        limit: Limit,
        redacted: &[&str],
        parse: impl Fn(&Answer<'_>) -> Result<T, Cause>,
    ) -> Result<T, FetchError> {
        self.reach().await?;
        let sent = async {
            let token =
                self.token.as_ref().ok_or(Cause::Malformed(error::Malformation::NoToken))?;
            let request = request.header(reqwest::header::AUTHORIZATION, token.header.clone());
            let reply = self.wire.exchange(request, self.within(limit)).await?;
            let own = token.redacted.iter().map(|secret| secret.expose().as_str());
            let redacted: Vec<&str> = own.chain(redacted.iter().copied()).collect();
            parse(&reply.answer(&redacted))
        };
        sent.await.map_err(|cause| FetchError { attempt: attempt.clone(), cause })
    }

    async fn log_in(&mut self) -> Result<(), Cause> {
        if self.token.as_ref().is_some_and(|token| Instant::now() < token.good_until) {
            return Ok(());
        }
        let id = credential(&self.settings.client_id)?;
        let secret = credential(&self.settings.client_secret)?;
        let form = TokenRequest {
            grant_type: "client_credentials",
            client_id: id.expose(),
            client_secret: secret.expose(),
        };
        let url = self.url(&["iso", "oauth2", "token"]);
        let request = self.wire.request(Method::POST, url).form(&form);
        let asked = Instant::now();
        let limit = self.within(Limit::UntilDeadline(self.settings.timeout));
        let reply = self.wire.exchange(request, limit).await?;
        // A rejection may repeat the form as it was sent, so both spellings are redacted.
        let encoded = form_encoded(&secret);
        let token = wire::token(&reply.answer(&[secret.expose(), encoded.expose()]))?;
        let bearer = Secret::new(format!("Bearer {}", token.value.expose()));
        let mut header = HeaderValue::from_str(bearer.expose())
            .map_err(|_| Cause::Malformed(error::Malformation::NoToken))?;
        header.set_sensitive(true);
        let good_until = asked + token.lifetime.mul_f64(0.8);
        let redacted = [token.value, secret, encoded];
        self.token = Some(Token { header, redacted, good_until });
        tracing::debug!("logged in");
        Ok(())
    }

    fn within(&self, limit: Limit) -> Duration {
        match limit {
            Limit::Whole(limit) => limit,
            Limit::UntilDeadline(limit) => limit.min(self.deadline.left().max(SHORTEST_EXCHANGE)),
        }
    }
}

impl Source for Client<'_> {
    fn end_by(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    async fn provision(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        let request = self
            .wire
            .request(Method::POST, self.url(&["iso", "coe", "dapp", "provision"]))
            .json(&self.query(name));
        let attempt = Attempt::Provision(name.clone());
        let limit = self.settings.provision_timeout;
        let parse = |answer: &Answer<'_>| {
            wire::secrets(answer).map_err(|cause| {
                if answer.is_refusal() { cause } else { Cause::Unconfirmed(Box::new(cause)) }
            })
        };
        let bundle = self.ask(&attempt, request, Limit::Whole(limit), parse).await?;
        self.one(attempt, bundle, name)
    }

    async fn read_provisioned(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        let request = self
            .wire
            .request(Method::GET, self.url(&["iso", "coe", "dapp", "provision"]))
            .query(&self.query(name));
        let attempt = Attempt::ReadProvisioned(name.clone());
        let bundle = self.ask(&attempt, request, self.read_limit(), wire::secrets).await?;
        self.one(attempt, bundle, name)
    }

    async fn read_application(&mut self) -> Result<Bundle, FetchError> {
        let url = self.url(&["iso", "dapp", "application"]);
        let request = self.wire.request(Method::GET, url);
        self.all(Attempt::ReadApplication, request).await
    }

    async fn read_secrets(&mut self) -> Result<Bundle, FetchError> {
        let request = self.wire.request(Method::GET, self.url(&["iso", "sctm", "secret"]));
        self.all(Attempt::ReadSecrets, request).await
    }

    async fn read_secret(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        let url = self.url(&["iso", "sctm", "secret", name.as_str()]);
        let request = self.wire.request(Method::GET, url);
        let attempt = Attempt::ReadSecret(name.clone());
        match self.ask(&attempt, request, self.read_limit(), wire::secrets).await {
            Ok(bundle) => self.one(attempt, bundle, name),
            Err(error) if name.as_str().contains('/') && is_unknown_resource(&error) => {
                let list = self.read_secrets().await?;
                self.one(attempt, list, name)
            }
            Err(error) => Err(error),
        }
    }

    fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    fn id(&self, name: &SecretName) -> Option<&str> {
        self.ids.get(name).map(String::as_str)
    }

    async fn deprovision(&mut self, attempt: Attempt, id: &str) -> Result<(), FetchError> {
        let body = DeprovisionRequest {
            secret_id: id,
            pod_name: &self.pod.name,
            deploy: &self.pod.deploy,
            namespace: self.pod.namespace.as_deref(),
        };
        let url = self.url(&["iso", "coe", "dapp", "deprovision"]);
        let request = self.wire.request(Method::POST, url).json(&body);
        self.ask(&attempt, request, Limit::UntilDeadline(DEPROVISION_LIMIT), wire::done).await
    }
}

/// The longest time that an exchange may take.
#[derive(Clone, Copy)]
enum Limit {
    /// This time, whatever the deadline is.
    Whole(Duration),
    /// This time, or less if the client's deadline comes first.
    UntilDeadline(Duration),
}

fn is_unknown_resource(error: &FetchError) -> bool {
    matches!(
        error.cause,
        Cause::Rejected { status: 404, .. } | Cause::TurnedAway { status: 400 | 404, .. }
    )
}

/// Reads one half of the OAuth 2.0 pair. A file loses one newline at its end, which editors and
/// `kubectl create secret --from-file` leave there.
fn credential(credential: &Credential) -> Result<Secret<String>, Cause> {
    let (variable, path) = match credential {
        Credential::Given(value) => return Ok(Secret::new(value.expose().clone())),
        Credential::File { variable, path } => (*variable, path),
    };
    let bytes = tls::read(variable, path)?;
    let named = path.display();
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_| setting(variable, format!("{named} is not UTF-8")))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(setting(variable, format!("{named} is empty")));
    }
    if text.chars().any(char::is_control) {
        return Err(setting(
            variable,
            format!("{named} holds a NUL, a newline or another control character"),
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

/// The secret in the spelling of a form (`application/x-www-form-urlencoded`).
fn form_encoded(secret: &Secret<String>) -> Secret<String> {
    Secret::new(url::form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect())
}

/// SHA-256 of the client id, in hexadecimal: identifies an authorization without showing its id.
pub fn client_digest(settings: &Vault) -> Result<String, FetchError> {
    let id = credential(&settings.client_id)
        .map_err(|cause| FetchError { attempt: Attempt::Prepare, cause })?;
    Ok(sha256(id.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn credentials_in_files_lose_one_final_newline_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let file =
                Credential::File { variable: "SEGURA_CLIENT_SECRET_FILE", path: path.clone() };
            credential(&file).map(|value| value.expose().clone())
        };
        assert_eq!(read(b"s3cret").unwrap(), "s3cret");
        assert_eq!(read(b"s3cret\n").unwrap(), "s3cret");
        assert_eq!(read(b"s3cret\r\n").unwrap(), "s3cret");
        assert_eq!(read(b" s3cret ").unwrap(), " s3cret ");
        for bytes in [b"".as_slice(), b"\n", b"canary\n\n", b"can\0ary", b"canary\xff"] {
            let message = crate::exit::chain(&read(bytes).unwrap_err());
            assert!(message.starts_with("SEGURA_CLIENT_SECRET_FILE: "), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
        let missing =
            Credential::File { variable: "SEGURA_CLIENT_ID_FILE", path: dir.path().join("no") };
        assert!(credential(&missing).is_err());
    }
}
