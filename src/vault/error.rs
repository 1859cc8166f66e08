//! What can go wrong between us and the vault, what it asks of the schedule, and what to do.
//!
//! Foreign errors are translated here: reqwest's hold URLs and serde's quote content, so neither is
//! ever shown. What the vault says is shown only as [`VaultMessage`], which is short and scrubbed.

mod verdict;

use std::fmt;
use std::time::Duration;

use crate::model::{Fault, SecretName};

/// What was attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Getting ready: certificates, keys, credentials.
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
    /// Giving a provisioned secret back.
    GiveBack(SecretName),
    /// Giving back the secret of this id.
    GiveBackById(String),
    /// Creating or updating this secret.
    WriteSecret(String),
    /// Creating or updating this credential.
    WriteCredential(String),
}

impl Attempt {
    /// Whether it is something that people write.
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
            Self::WriteSecret(name) => write!(f, "cannot write the secret {name}"),
            Self::WriteCredential(name) => write!(f, "cannot write the credential {name}"),
        }
    }
}

/// A failed exchange with the vault.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct FetchError {
    /// What was attempted.
    pub attempt: Attempt,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

/// What the vault said, fit to be shown: printable, at most 200 characters, without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultMessage(String);

/// What is shorter would be found in any words, and be told by being missing.
const SHORTEST_SECRET: usize = 3;

impl VaultMessage {
    /// Scrubs `text` of everything in `credentials`.
    pub fn new(text: &str, credentials: &[&str]) -> Self {
        let mut shown = text.to_owned();
        // The longest first, so that none is told by what is left around a shorter one.
        let mut credentials: Vec<&str> = credentials.iter().map(|text| text.trim()).collect();
        credentials.retain(|credential| credential.len() >= SHORTEST_SECRET);
        credentials.sort_unstable_by_key(|credential| std::cmp::Reverse(credential.len()));
        for credential in credentials {
            shown = shown.replace(credential, "[redacted]");
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        Self(shown.chars().map(printable).take(200).collect::<String>().trim().to_owned())
    }

    /// The text, to be searched.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VaultMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("no reason given") } else { f.write_str(&self.0) }
    }
}

/// Why a certificate was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// No trusted root signed it.
    #[error("no trusted authority signed it")]
    UnknownAuthority,
    /// Its time is over, or a clock is wrong.
    #[error("it has expired")]
    Expired,
    /// Its time has not come, or a clock is wrong.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It names other hosts.
    #[error("it does not name the host of SEGURA_URL")]
    WrongName,
    /// Its issuer took it back.
    #[error("it is revoked")]
    Revoked,
    /// Anything else that is wrong with it.
    #[error("it is not acceptable")]
    Unacceptable,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A file or value of the settings can't be used.
    #[error("{variable}: {problem}")]
    Setting {
        /// The variable in question.
        variable: &'static str,
        /// What is wrong with what it names.
        problem: String,
    },
    /// The host has no address.
    #[error("{0}")]
    Unresolved(String),
    /// No connection came about.
    #[error("cannot connect: {0}")]
    Unconnected(String),
    /// The connection's other end could not prove who it is.
    #[error("the vault's certificate is refused: {0}")]
    Certificate(BadCertificate),
    /// TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection did not come about in time.
    #[error("no connection was established within {}", rounded(*.0))]
    ConnectTimedOut(Duration),
    /// No whole answer in time.
    #[error("the vault sent no complete answer within {}", rounded(*.0))]
    TimedOut(Duration),
    /// The connection broke before the answer was whole.
    #[error("the connection broke before the answer was complete")]
    Broken,
    /// The gateway or the vault failed.
    #[error("the vault answered {status}: {message}")]
    Failing {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: VaultMessage,
        /// It asked for peace.
        after: Option<Duration>,
    },
    /// Too many requests.
    #[error("the vault limits the rate of requests (429)")]
    RateLimited {
        /// It asked for peace.
        after: Option<Duration>,
    },
    /// The gateway turned the request away: no such route, or none that it shows us.
    #[error("the gateway answered {status}: {message}")]
    TurnedAway {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: VaultMessage,
    },
    /// The token was not accepted.
    #[error("the vault does not accept the agent's token ({status}: {message})")]
    TokenRefused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: VaultMessage,
    },
    /// The vault says that we may not, with a 500 that may pass.
    #[error("the vault answered {status}: {message}")]
    NotAuthorized {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: VaultMessage,
    },
    /// The client id or secret is wrong.
    #[error("the vault refuses the client id or secret: {0}")]
    ClientRefused(VaultMessage),
    /// The authorization is disabled or expired.
    #[error("the authorization is inactive: {0}")]
    Inactive(VaultMessage),
    /// A business code that means a missing permission.
    #[error("the vault denies a permission: {0}")]
    NotPermitted(VaultMessage),
    /// The request is wrong in the vault's eyes.
    #[error("the vault rejects the request ({status}): {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The business code, if there is one.
        code: Option<u32>,
        /// What it said.
        message: VaultMessage,
    },
    /// An answer that sends us elsewhere; we don't go.
    #[error("the vault answered with a redirect ({0}), which the agent never follows")]
    Redirect(u16),
    /// A success by status that says it is none.
    #[error("the vault answered {status}, but reports a failure: {message}")]
    Denied {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: VaultMessage,
    },
    /// The answer makes no sense.
    #[error("the vault's answer makes no sense: {0}")]
    Nonsense(Nonsense),
    /// A sound answer with a secret that can't be used.
    #[error("{0}")]
    Fault(Fault),
    /// A sound answer that does not hold what was asked for.
    #[error("the vault's answer does not hold {0}")]
    Absent(SecretName),
    /// As many provisioning requests as we dare to send, and nothing that came of them.
    #[error("the vault answered none of {0} provisioning requests, and reading shows nothing new")]
    Unanswered(u8),
    /// A sound answer without any secret.
    #[error("the authorization has no secrets")]
    NoSecrets,
}

/// A limit in words; what is left of a deadline is told to the tenth of a second.
fn rounded(limit: Duration) -> humantime::FormattedDuration {
    let tenths = limit.as_millis().div_ceil(100);
    humantime::format_duration(
        Duration::from_millis(100) * u32::try_from(tenths).unwrap_or(u32::MAX),
    )
}

/// In what way an answer makes no sense. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// More than we read.
    #[error("it is longer than {} MiB", .0 / (1024 * 1024))]
    TooLong(usize),
    /// Deeper than we follow.
    #[error("it is nested deeper than {0} levels")]
    TooDeep(usize),
    /// Not JSON at all, or cut short.
    #[error("it is not JSON (line {line}, column {column})")]
    NotJson {
        /// Where reading stopped.
        line: usize,
        /// Where reading stopped.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// The part that says whether it succeeded is missing or of a wrong type.
    #[error("it does not say whether the request succeeded")]
    NoEnvelope,
    /// No secret, no list of secrets.
    #[error("it holds no secrets container")]
    NoContainer,
    /// A token answer without a usable token.
    #[error("it holds no usable access token")]
    NoToken,
}

/// Whether a request may have changed something at the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrived, or was turned away before it was acted on.
    NotDone,
    /// It may have been acted on.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn what_the_vault_says_is_scrubbed_short_and_on_one_line() {
        let message =
            VaultMessage::new("no\nroute for t0ken and s3cret\u{7}", &["t0ken", "s3cret", ""]);
        assert_eq!(message.to_string(), "no route for [redacted] and [redacted]");
        assert_eq!(VaultMessage::new(&"x".repeat(5_000), &[]).as_str().len(), 200);
        assert_eq!(VaultMessage::default().to_string(), "no reason given");
    }

    #[test]
    fn an_error_tells_its_attempt_then_its_cause() {
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
