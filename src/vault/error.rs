//! The failures of an exchange with the vault, their effect on the schedule, and their remedies.
//!
//! No foreign error is shown: reqwest's hold URLs and serde's quote content. The vault's own words
//! are shown only as [`VaultMessage`], which is short and redacted.

mod verdict;

use std::fmt;
use std::time::Duration;

use crate::model::{Fault, SecretName};

/// The exchange that was attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Reading certificates, keys and credentials.
    Prepare,
    /// The OAuth 2.0 token request, to this host.
    LogIn(String),
    /// The provisioning POST.
    Provision(SecretName),
    /// Reading a provisioned secret.
    ReadProvisioned(SecretName),
    /// Reading the authorization's secrets.
    ReadApplication,
    /// Reading one secret.
    ReadSecret(SecretName),
    /// Reading the list of secrets.
    ReadSecrets,
    /// Deprovisioning this secret.
    GiveBack(SecretName),
    /// Deprovisioning the secret of this id.
    GiveBackById(String),
    /// Reading a secret that is to be written.
    ReadStored(SecretName),
    /// Creating or updating this secret.
    WriteSecret(String),
    /// Creating or updating this credential.
    WriteCredential(String),
}

impl Attempt {
    /// True if it writes a user's document.
    pub fn writes(&self) -> bool {
        matches!(self, Self::WriteSecret(_) | Self::WriteCredential(_))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare => f.write_str("cannot prepare the connection to the vault"),
            Self::LogIn(host) => write!(f, "cannot log in to the vault at {host}"),
            Self::Provision(name) => write!(f, "cannot provision {name}"),
            Self::ReadProvisioned(name) => write!(f, "cannot read the provisioned {name}"),
            Self::ReadApplication => f.write_str("cannot read the secrets of the authorization"),
            Self::ReadSecret(name) => write!(f, "cannot read {name}"),
            Self::ReadSecrets => f.write_str("cannot read the list of secrets"),
            Self::GiveBack(name) => write!(f, "cannot deprovision {name}"),
            Self::GiveBackById(id) => write!(f, "cannot deprovision the secret of id {id}"),
            Self::ReadStored(name) => write!(f, "cannot read what the vault stores of {name}"),
            Self::WriteSecret(name) => write!(f, "cannot write the secret {name}"),
            Self::WriteCredential(name) => write!(f, "cannot write the credential {name}"),
        }
    }
}

/// A failed exchange with the vault.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct FetchError {
    /// The exchange that was attempted.
    pub attempt: Attempt,
    /// The reason of the failure.
    #[source]
    pub cause: Cause,
}

/// The vault's own message, fit for an error: printable, at most 200 characters, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultMessage(String);

/// The shortest text that is redacted, in bytes: shorter ones match ordinary words, and the gap
/// would reveal them.
const SHORTEST_SECRET: usize = 3;

impl VaultMessage {
    /// Redacts `text` of every string in `credentials`.
    pub fn new(text: &str, credentials: &[&str]) -> Self {
        let mut shown = text.to_owned();
        // The longest first: redacting a shorter one inside it would leave the rest readable.
        let mut credentials: Vec<&str> = credentials.iter().map(|text| text.trim()).collect();
        credentials.retain(|credential| credential.len() >= SHORTEST_SECRET);
        credentials.sort_unstable_by_key(|credential| std::cmp::Reverse(credential.len()));
        for credential in credentials {
            shown = shown.replace(credential, "[redacted]");
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        Self(shown.chars().map(printable).take(200).collect::<String>().trim().to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VaultMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("no reason given") } else { f.write_str(&self.0) }
    }
}

/// The reason why a certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// No trusted root signed it.
    #[error("no trusted authority signed it")]
    UnknownAuthority,
    /// Its validity has ended, or a clock is wrong.
    #[error("it has expired")]
    Expired,
    /// Its validity has not begun, or a clock is wrong.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It names other hosts.
    #[error("it does not name the host of SEGURA_URL")]
    WrongName,
    /// Its issuer has revoked it.
    #[error("it is revoked")]
    Revoked,
    /// Another fault, such as X.509 version 1 or a critical extension that is unknown.
    #[error("it is not acceptable")]
    Unacceptable,
}

/// The reason why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A file or value of the settings can't be used.
    #[error("{variable}: {problem}")]
    Setting {
        /// The variable in question.
        variable: &'static str,
        /// The problem, without the value.
        problem: String,
    },
    /// The host has no address.
    #[error("{0}")]
    Unresolved(String),
    /// No TCP connection was established.
    #[error("cannot connect: {0}")]
    Unconnected(String),
    /// The server could not prove its identity.
    #[error("the vault's certificate is refused: {0}")]
    Certificate(BadCertificate),
    /// TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection was not established in time.
    #[error("no connection was established within {}", rounded(*.0))]
    ConnectTimedOut(Duration),
    /// The answer was not complete in time.
    #[error("the vault sent no complete answer within {}", rounded(*.0))]
    TimedOut(Duration),
    /// The connection broke before the answer was complete.
    #[error("the connection broke before the answer was complete")]
    Broken,
    /// The gateway or the vault failed.
    #[error("the vault answered {status}: {message}")]
    Failing {
        /// The HTTP status.
        status: u16,
        /// The vault's message.
        message: VaultMessage,
        /// The wait that the vault asked for.
        after: Option<Duration>,
    },
    /// Too many requests.
    #[error("the vault limits the rate of requests (429)")]
    RateLimited {
        /// The wait that the vault asked for.
        after: Option<Duration>,
    },
    /// The gateway has no such route, or none for this client: DSM's gateway answers 404 "no Route
    /// matched" also to a failed authentication and to a missing permission.
    #[error("the gateway answered {status}: {message}")]
    TurnedAway {
        /// The HTTP status.
        status: u16,
        /// The vault's message.
        message: VaultMessage,
    },
    /// The token was not accepted.
    #[error("the vault does not accept the agent's token ({status}: {message})")]
    TokenRefused {
        /// The HTTP status.
        status: u16,
        /// The vault's message.
        message: VaultMessage,
    },
    /// The vault denies access with status 500, as DSM does; the denial may be temporary.
    #[error("the vault answered {status}: {message}")]
    NotAuthorized {
        /// The HTTP status.
        status: u16,
        /// The vault's message.
        message: VaultMessage,
    },
    /// The client id or secret is wrong.
    #[error("the vault refuses the client id or secret: {0}")]
    ClientRefused(VaultMessage),
    /// The authorization is disabled or expired.
    #[error("the authorization is inactive: {0}")]
    Inactive(VaultMessage),
    /// A business code that means a missing permission: 1009 or 1039.
    #[error("the vault denies a permission: {0}")]
    NotPermitted(VaultMessage),
    /// The vault finds the request wrong.
    #[error("the vault rejects the request ({status}): {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The business code, if there is one.
        code: Option<u32>,
        /// The vault's message.
        message: VaultMessage,
    },
    /// A redirect, which is not followed: a token must not reach another host.
    #[error("the vault answered with a redirect ({0}), which the agent never follows")]
    Redirect(u16),
    /// A success by status whose envelope reports a failure.
    #[error("the vault answered {status}, but reports a failure: {message}")]
    Denied {
        /// The HTTP status.
        status: u16,
        /// The vault's message.
        message: VaultMessage,
    },
    /// The answer makes no sense.
    #[error("the vault's answer makes no sense: {0}")]
    Malformed(Malformation),
    /// A well-formed answer with a secret that can't be used.
    #[error("{0}")]
    Fault(Fault),
    /// A well-formed answer without the requested secret.
    #[error("the vault's answer does not hold {0}")]
    Absent(SecretName),
    /// An answer to a provisioning request that is not the vault's own word: a gateway or filter may
    /// have replaced the answer after the vault had acted.
    #[error("{0}")]
    Unconfirmed(Box<Cause>),
    /// The last provisioning request that may be sent for now got no answer either, and reads show
    /// nothing.
    #[error("the vault answered none of {0} provisioning requests, and reading shows nothing new")]
    Unanswered(u8),
    /// A provisioning request that could not be recorded before it was sent, and was not sent: the
    /// next agent would not know of it.
    #[error("it can't be recorded before it is sent: {text}")]
    Unrecorded {
        /// The failure to write the record.
        text: String,
        /// Its remedy.
        hint: Option<&'static str>,
    },
    /// A well-formed answer without any secret.
    #[error("the authorization has no secrets")]
    NoSecrets,
}

/// The limit as text, rounded up to a tenth of a second.
fn rounded(limit: Duration) -> humantime::FormattedDuration {
    let tenths = limit.as_millis().div_ceil(100);
    humantime::format_duration(
        Duration::from_millis(100) * u32::try_from(tenths).unwrap_or(u32::MAX),
    )
}

/// The reason why an answer makes no sense. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// The answer is longer than this many bytes.
    #[error("it is longer than {} MiB", .0 / (1024 * 1024))]
    TooLong(usize),
    /// The answer is nested deeper than this.
    #[error("it is nested deeper than {0} levels")]
    TooDeep(usize),
    /// Not JSON at all, or cut short.
    #[error("it is not JSON (line {line}, column {column})")]
    NotJson {
        /// The line at which reading stopped, from 1.
        line: usize,
        /// The column at which reading stopped.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// The envelope, which reports success or failure, is missing or of a wrong type.
    #[error("it does not say whether the request succeeded")]
    NoEnvelope,
    /// No secret, no list of secrets.
    #[error("it holds no secrets container")]
    NoContainer,
    /// A token answer without a usable token.
    #[error("it holds no usable access token")]
    NoToken,
}

/// The possible effect of a failed request at the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The request never arrived, or was refused before the vault acted on it.
    NotDone,
    /// The vault may have acted on the request.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_vaults_message_is_redacted_short_and_on_one_line() {
        let message =
            VaultMessage::new("no\nroute for t0ken and s3cret\u{7}", &["t0ken", "s3cret", ""]);
        assert_eq!(message.to_string(), "no route for [redacted] and [redacted]");
        assert_eq!(VaultMessage::new(&"x".repeat(5_000), &[]).as_str().len(), 200);
        assert_eq!(VaultMessage::default().to_string(), "no reason given");
    }

    #[test]
    fn an_error_names_its_attempt_then_its_cause() {
        let name = SecretName::new("db").unwrap();
        let error = FetchError {
            attempt: Attempt::Provision(name),
            cause: Cause::TimedOut(Duration::from_secs(60)),
        };
        assert_eq!(
            crate::exit::chain(&error),
            "cannot provision db: the vault sent no complete answer within 1m"
        );
        assert_eq!(error.fate(), Fate::Unknown);
        assert_eq!(error.exit(), Exit::Unreachable);
    }
}
