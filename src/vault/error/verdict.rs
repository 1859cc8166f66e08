//! Judges a failed exchange: for the schedule, for the exit code, for the user.

use super::{Attempt, BadCertificate, Cause, Fate, FetchError};
use crate::exit::{Exit, Failure, FailureClass};
use crate::model::{Fault, Retry};

impl FetchError {
    /// The failure of a start that ends with this error, with its hint.
    pub fn failure(&self) -> Failure {
        Failure::new(self.exit(), self).hint(self.hint())
    }

    /// The retry that this error asks for.
    pub fn retry(&self) -> Retry {
        self.cause.retry()
    }

    /// The exit code of a start that ends with this error.
    pub fn exit(&self) -> Exit {
        self.cause.exit()
    }

    /// The class of this error, for the state and for metrics.
    pub fn class(&self) -> FailureClass {
        self.exit().class()
    }

    /// The possible effect of the request at the vault.
    pub fn fate(&self) -> Fate {
        if matches!(self.attempt, Attempt::LogIn(_)) {
            return Fate::NotDone;
        }
        match &self.cause {
            Cause::TimedOut(_)
            | Cause::Broken
            | Cause::Failing { .. }
            | Cause::Denied { .. }
            | Cause::Unanswered(_)
            | Cause::Unconfirmed(_)
            | Cause::Malformed(_)
            | Cause::Fault(_)
            | Cause::Absent(_)
            | Cause::NoSecrets => Fate::Unknown,
            Cause::Setting { .. }
            | Cause::Unrecorded { .. }
            | Cause::Unresolved(_)
            | Cause::Unconnected(_)
            | Cause::Certificate(_)
            | Cause::Tls(_)
            | Cause::ConnectTimedOut(_)
            | Cause::RateLimited { .. }
            | Cause::TurnedAway { .. }
            | Cause::TokenRefused { .. }
            | Cause::NotAuthorized { .. }
            | Cause::ClientRefused(_)
            | Cause::Inactive(_)
            | Cause::NotPermitted(_)
            | Cause::Rejected { .. }
            | Cause::Redirect(_) => Fate::NotDone,
        }
    }

    /// True if no later try with the same settings can succeed, so that a start must fail even if
    /// it could adopt a published set.
    pub fn is_final(&self) -> bool {
        matches!(
            self.cause,
            Cause::Setting { .. }
                | Cause::ClientRefused(_)
                | Cause::Inactive(_)
                | Cause::NotPermitted(_)
        )
    }

    /// True if every other request would fail alike.
    pub fn is_everyones(&self) -> bool {
        matches!(self.attempt, Attempt::Prepare | Attempt::LogIn(_))
            || matches!(
                self.cause,
                Cause::Setting { .. }
                    | Cause::Unresolved(_)
                    | Cause::Unconnected(_)
                    | Cause::Certificate(_)
                    | Cause::Tls(_)
                    | Cause::ConnectTimedOut(_)
                    | Cause::RateLimited { .. }
                    | Cause::ClientRefused(_)
                    | Cause::Inactive(_)
            )
    }

    /// True if the answer is well-formed and no longer names the requested secret.
    pub fn is_missing(&self) -> bool {
        matches!(self.cause, Cause::Absent(_) | Cause::NoSecrets)
    }

    /// True if the answer is well-formed and holds the requested secret, which can't be used.
    pub fn is_fault(&self) -> bool {
        matches!(self.cause, Cause::Fault(_)) && !self.is_absence()
    }

    /// True if the answer is well-formed and shows that the secret holds no account. One with a
    /// faulty account shows nothing of the kind.
    pub fn is_absence(&self) -> bool {
        matches!(
            self.cause,
            Cause::Absent(_)
                | Cause::NoSecrets
                | Cause::Fault(Fault::Empty { .. } | Fault::Less { .. })
        )
    }

    /// True if the answer says nothing of what was requested: no such route, no such token, or a
    /// page of something in front of the vault.
    pub fn shows_nothing(&self) -> bool {
        matches!(
            self.cause,
            Cause::TurnedAway { .. }
                | Cause::TokenRefused { .. }
                | Cause::Redirect(_)
                | Cause::Malformed(_)
        ) || self.is_unknown_resource()
    }

    /// True if the vault itself says that there is no such resource: not its gateway, which says so
    /// of a token that it does not accept as well.
    pub fn is_unknown_resource(&self) -> bool {
        matches!(self.cause, Cause::Rejected { status: 404 | 405, .. })
    }

    /// True if the vault may have no such route.
    pub fn may_be_no_route(&self) -> bool {
        matches!(self.cause, Cause::TurnedAway { .. } | Cause::Rejected { status: 404 | 405, .. })
    }

    /// True if a new token might help.
    pub fn may_be_the_token(&self) -> bool {
        matches!(
            self.cause,
            Cause::TurnedAway { .. } | Cause::TokenRefused { .. } | Cause::NotAuthorized { .. }
        )
    }

    /// True if the gateway refused the request, so that the vault did not act on it and a new token
    /// might help.
    pub fn is_the_token(&self) -> bool {
        matches!(
            self.cause,
            Cause::TurnedAway { status: 401 | 403 | 404, .. } | Cause::TokenRefused { .. }
        )
    }

    /// The remedy, for the user.
    pub fn hint(&self) -> Option<&'static str> {
        if let Cause::Rejected { code: Some(code), .. } = &self.cause
            && let Some(hint) = by_code(*code)
        {
            return Some(hint);
        }
        match (&self.attempt, &self.cause) {
            (Attempt::WriteCredential(_), Cause::NotPermitted(_) | Cause::NotAuthorized { .. }) => {
                return Some(
                    "grant the authorization read and write permission to PAM Core in the vault (error 1039)",
                );
            }
            (Attempt::WriteSecret(_) | Attempt::WriteCredential(_), Cause::Rejected { .. }) => {
                return Some("check SEGURA_URL, and the document against DSM's documentation");
            }
            (Attempt::WriteSecret(_) | Attempt::WriteCredential(_), _)
                if self.fate() == Fate::Unknown =>
            {
                return Some(
                    "the vault may have stored it: read it there before you send it again",
                );
            }
            (Attempt::ReadStored(_), Cause::Rejected { .. } | Cause::Absent(_)) => {
                return Some(
                    "allow the authorization to read this secret, or write the whole of it without --merge",
                );
            }
            (Attempt::GiveBackById(_), Cause::Rejected { .. }) => {
                return Some(
                    "check SECRET_ID and SEGURA_POD_NAME: the vault knows no such secret of this pod",
                );
            }
            _ => {}
        }
        self.cause.hint()
    }
}

impl Cause {
    fn retry(&self) -> Retry {
        match self {
            Cause::Setting { .. }
            | Cause::ClientRefused(_)
            | Cause::Inactive(_)
            | Cause::NotPermitted(_)
            | Cause::Rejected { .. }
            | Cause::Fault(_)
            | Cause::Absent(_)
            | Cause::NoSecrets => Retry::Never,
            Cause::Failing { after: Some(after), .. }
            | Cause::RateLimited { after: Some(after) } => Retry::After(*after),
            Cause::Unresolved(_)
            | Cause::Unconnected(_)
            | Cause::Certificate(_)
            | Cause::Tls(_)
            | Cause::ConnectTimedOut(_)
            | Cause::TimedOut(_)
            | Cause::Broken
            | Cause::Failing { after: None, .. }
            | Cause::RateLimited { after: None }
            | Cause::TurnedAway { .. }
            | Cause::TokenRefused { .. }
            | Cause::NotAuthorized { .. }
            | Cause::Redirect(_)
            | Cause::Denied { .. }
            | Cause::Unanswered(_)
            | Cause::Unrecorded { .. }
            | Cause::Malformed(_) => Retry::Backoff,
            Cause::Unconfirmed(cause) => match cause.retry() {
                Retry::After(after) => Retry::After(after),
                Retry::Backoff | Retry::Never => Retry::Backoff,
            },
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Cause::Setting { .. } | Cause::Rejected { .. } => Exit::Settings,
            Cause::Unresolved(_)
            | Cause::Unconnected(_)
            | Cause::Certificate(_)
            | Cause::Tls(_)
            | Cause::ConnectTimedOut(_)
            | Cause::TimedOut(_)
            | Cause::Broken
            | Cause::Failing { .. }
            | Cause::RateLimited { .. }
            | Cause::Denied { .. }
            | Cause::Unanswered(_) => Exit::Unreachable,
            Cause::Unconfirmed(cause) => cause.exit(),
            Cause::Unrecorded { .. } => Exit::CannotWrite,
            Cause::TurnedAway { .. }
            | Cause::TokenRefused { .. }
            | Cause::NotAuthorized { .. }
            | Cause::ClientRefused(_)
            | Cause::Inactive(_)
            | Cause::NotPermitted(_)
            | Cause::Absent(_)
            | Cause::NoSecrets
            | Cause::Fault(Fault::Empty { .. } | Fault::Less { .. }) => Exit::Refused,
            Cause::Redirect(_) | Cause::Malformed(_) | Cause::Fault(_) => Exit::Malformed,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Cause::Setting { .. } => return None,
            Cause::Unrecorded { hint, .. } => return *hint,
            Cause::Unconfirmed(cause) => return cause.hint(),
            Cause::Unresolved(_) => "check the host in SEGURA_URL and the pod's DNS",
            Cause::Unconnected(_) | Cause::ConnectTimedOut(_) => {
                "check SEGURA_URL, network policies, and HTTPS_PROXY if the vault is behind a proxy"
            }
            Cause::Certificate(BadCertificate::UnknownAuthority) => {
                "set SEGURA_CA_FILE to the PEM bundle of the authority that signed the vault's certificate"
            }
            Cause::Certificate(BadCertificate::WrongName) => {
                "use a host name in SEGURA_URL that the vault's certificate holds"
            }
            Cause::Certificate(_) => {
                "renew the vault's certificate, or correct the clock of the node"
            }
            Cause::Tls(_) => {
                "if the authorization pins a certificate, set SEGURA_CLIENT_CERT_FILE and SEGURA_CLIENT_KEY_FILE"
            }
            Cause::Unanswered(_) => {
                "look in the vault for accounts of this pod; the next request is sent an hour after the last"
            }
            Cause::TimedOut(_) | Cause::Broken | Cause::Failing { .. } | Cause::Denied { .. } => {
                "check the logs of the vault and of the gateway in front of it"
            }
            Cause::RateLimited { .. } => "raise SEGURA_RENEW_INTERVAL, or the vault's rate limit",
            Cause::TurnedAway { .. } | Cause::TokenRefused { .. } | Cause::NotAuthorized { .. } => {
                "check SEGURA_URL and its path, and in the vault the authorization's resources, allowed IPs (behind HTTPS_PROXY, the proxy's), referers (SEGURA_REFERER) and certificate (SEGURA_CLIENT_CERT_FILE)"
            }
            Cause::ClientRefused(_) => {
                "check SEGURA_CLIENT_ID and SEGURA_CLIENT_SECRET against the authorization in the vault"
            }
            Cause::Inactive(_) => "enable or extend the authorization in the vault",
            Cause::NotPermitted(_) => "grant the authorization this permission in the vault",
            Cause::Rejected { .. } => "check SEGURA_URL, SEGURA_IDENTITY and SEGURA_SOURCE",
            Cause::Redirect(_) => {
                "set SEGURA_URL to the vault's own address, not to one that redirects"
            }
            Cause::Malformed(_) => {
                "check that SEGURA_URL leads to the vault and not to a login page or proxy"
            }
            Cause::Fault(Fault::Less { .. }) => {
                "set SEGURA_REFRESH=get, if reading provisions nothing at this vault"
            }
            Cause::Fault(Fault::NotDecrypted { .. }) => {
                "set SEGURA_PRIVATE_KEY_FILE to the key of this authorization"
            }
            Cause::Fault(Fault::NotEncrypted { .. }) => {
                "the value is too long for the authorization's encryption: shorten it, or switch encryption off"
            }
            Cause::Fault(_) => "correct the secret in the vault",
            Cause::Absent(_) => {
                "check SEGURA_IDENTITY, and that the authorization may read this secret"
            }
            Cause::NoSecrets => "link secrets to the authorization in the vault",
        })
    }
}

/// Remedies for the vault's business errors (DSM's page "Create credential").
fn by_code(code: u32) -> Option<&'static str> {
    Some(match code {
        1004 => "add the device's hostname to the document",
        1005 => "add the device's ip to the document",
        1011 => {
            "hostname and ip must name a device of the vault: correct them, or create the device"
        }
        1029 => "device_domain must name domains of the vault, separated by commas without blanks",
        1042 => "add username to the document; \"\" lets the vault choose",
        1046 => "jit_settings must name plugins of the vault",
        1047 => "jit_settings must name templates of the vault",
        1052 => "another device has this hostname: name the intended device",
        1053 => {
            "identifier may hold letters, digits, - and _; of the dot the vault's page says yes, and its message no"
        }
        _ => return None,
    })
}
