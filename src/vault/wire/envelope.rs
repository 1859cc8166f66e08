//! Decides whether an answer is a success, and if not, which failure, by the error tables of DSM's
//! API pages and by the behaviour of its gateway.

use std::time::Duration;

use serde_json::value::RawValue;

use super::LONGEST;
use super::fields::{DEEPEST, Fields, JsonKind, is_shallow, kind, text};
use crate::vault::error::{Cause, Malformation, VaultMessage};

/// One whole answer.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The wait that the vault asked for, by `Retry-After` or `X-RateLimit-Reset`.
    pub after: Option<Duration>,
    /// The body.
    pub body: &'a [u8],
    /// Texts to redact if the answer repeats them.
    pub credentials: &'a [&'a str],
}

/// The result that the envelope reports, as far as it reports one.
#[derive(Debug, Default)]
struct EnvelopeVerdict {
    /// True if the answer has the vault's own envelope, `response`.
    enveloped: bool,
    /// True if the envelope has a flag or a status.
    decided: bool,
    /// True if a flag reports an error, or there is an exception.
    failed: bool,
    /// The inner status.
    status: Option<u16>,
    /// `error_code`.
    code: Option<u32>,
    /// The number of a business error, in `exception.code` or before the message's colon.
    business: Option<u32>,
    /// OAuth 2.0's `error`.
    oauth: Option<String>,
    message: String,
}

/// An answer in which no part reports a failure.
#[derive(Debug)]
pub(super) struct Success<'a> {
    pub(super) fields: Fields<'a>,
    /// True if the vault's own envelope reports success.
    pub(super) confirmed: bool,
}

impl<'a> Answer<'a> {
    /// True if the HTTP status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// True if it has no body.
    pub fn is_empty(&self) -> bool {
        self.body.trim_ascii().is_empty()
    }

    /// True if a failure that it reports is surely the vault's own word, or its gateway's, so that
    /// the vault has not acted on the request. A filter in front of the vault may replace the answer
    /// to a request that the vault has acted on.
    pub fn is_refusal(&self) -> bool {
        if self.status == 429 {
            return true;
        }
        let Ok(fields) = self.fields() else {
            return false;
        };
        let says = |name: &str, words: &str| {
            let said = fields.get(&[name]).and_then(text);
            fields.iter().count() == 1
                && said.is_some_and(|said| said.trim().eq_ignore_ascii_case(words))
        };
        let by_gateway = match self.status {
            401 => says("exp", "token expired") || says("message", "Invalid signature"),
            403 => says("message", "Invalid signature"),
            404 => says("message", "no Route matched with those values"),
            _ => false,
        };
        // The vault says "Request timed out." of work that may still go on (DSM, table of errors).
        let ended =
            |verdict: &EnvelopeVerdict| !verdict.message.to_lowercase().contains("timed out");
        let by_vault = verdict(&fields)
            .is_some_and(|verdict| verdict.enveloped && verdict.decided && ended(&verdict));
        by_gateway || by_vault
    }

    /// The fields of the answer, if no part of it reports a failure.
    pub(super) fn success(&self) -> Result<Success<'a>, Cause> {
        let fields = self.fields();
        if !self.is_success() {
            let verdict =
                fields.as_ref().map_or_else(|_| Some(EnvelopeVerdict::default()), verdict);
            return Err(self.failure(self.status, &verdict.unwrap_or_default()));
        }
        let fields = fields.map_err(Cause::Malformed)?;
        let verdict = verdict(&fields).ok_or(Cause::Malformed(Malformation::NoEnvelope))?;
        match verdict.status.filter(|status| *status >= 400) {
            Some(status) => Err(self.failure(status, &verdict)),
            None if verdict.failed => Err(self.failure(self.status, &verdict)),
            None => Ok(Success { fields, confirmed: verdict.enveloped && verdict.decided }),
        }
    }

    fn fields(&self) -> Result<Fields<'a>, Malformation> {
        if self.body.len() > LONGEST {
            return Err(Malformation::TooLong(LONGEST));
        }
        if !is_shallow(self.body) {
            return Err(Malformation::TooDeep(DEEPEST));
        }
        let not_json = |error: serde_json::Error| Malformation::NotJson {
            line: error.line(),
            column: error.column(),
        };
        let value: &RawValue = serde_json::from_slice(self.body).map_err(not_json)?;
        Fields::parse(value).ok_or(Malformation::NotAnObject)
    }

    /// The failure. Words count before numbers: DSM's gateway and its application use the same
    /// status for different failures, 404 and 500 among them.
    fn failure(&self, status: u16, verdict: &EnvelopeVerdict) -> Cause {
        let message = VaultMessage::new(&verdict.message, self.credentials);
        let words = verdict.message.to_lowercase();
        let has = |phrase: &str| words.contains(phrase);
        let oauth = verdict.oauth.as_deref();
        if has("client authentication failed")
            || matches!(oauth, Some("invalid_client" | "unauthorized_client"))
        {
            return Cause::ClientRefused(message);
        }
        if has("inactive authorization") || has("autorização inativa") {
            return Cause::Inactive(message);
        }
        match verdict.business {
            Some(1009 | 1039) => return Cause::NotPermitted(message),
            Some(code) => {
                return Cause::Rejected { status, code: Some(code), message };
            }
            None => {}
        }
        if has("not authorized to access this resource") {
            return Cause::NotAuthorized { status, message };
        }
        if has("invalid signature") {
            return Cause::TokenRefused { status, message };
        }
        if has("criptografar o texto") || has("encrypting the text") {
            return Cause::Rejected { status, code: None, message };
        }
        self.failure_by_status(status, verdict, message)
    }

    fn failure_by_status(
        &self,
        status: u16,
        verdict: &EnvelopeVerdict,
        message: VaultMessage,
    ) -> Cause {
        match status {
            200..=299 => Cause::Denied { status, message },
            300..=399 => Cause::Redirect(status),
            401 | 403 => Cause::TokenRefused { status, message },
            408 | 425 | 500.. => Cause::Failing { status, message, after: self.after },
            429 => Cause::RateLimited { after: self.after },
            _ if verdict.enveloped || verdict.oauth.is_some() => {
                Cause::Rejected { status, code: verdict.code, message }
            }
            _ => Cause::TurnedAway { status, message },
        }
    }
}

/// Reads the envelope; `None` if a flag or a status has a type or value that can't be read.
fn verdict(fields: &Fields<'_>) -> Option<EnvelopeVerdict> {
    let mut verdict = EnvelopeVerdict::default();
    let response = fields.get(&["response"]).filter(|value| kind(value) != JsonKind::Null);
    if let Some(response) = response {
        let inner = Fields::parse(response)?;
        verdict.enveloped = true;
        for name in ["error", "erro"] {
            if let Some(value) = inner.get(&[name]) {
                verdict.failed |= flag(value)?;
                verdict.decided = true;
            }
        }
        if let Some(status) = inner.get(&["status"]).filter(|value| kind(value) != JsonKind::Null) {
            verdict.status = Some(number(status)?);
            verdict.decided = true;
        }
        verdict.code = inner.get(&["error_code", "cod_erro"]).and_then(number);
        verdict.message = message(&inner);
    }
    outside(fields, &mut verdict)?;
    Some(verdict)
}

/// Reads the fields beside the envelope, or in its place: the gateway's message, OAuth 2.0's
/// `error` (RFC 6749, 5.2), `code`, and the `exception` of a business error.
fn outside(fields: &Fields<'_>, verdict: &mut EnvelopeVerdict) -> Option<()> {
    if let Some(code) = fields.get(&["code"]).and_then(number::<u16>)
        && code >= 400
    {
        verdict.status = Some(verdict.status.map_or(code, |status| status.max(code)));
    }
    match fields.get(&["error"]).map(|value| (kind(value), value)) {
        Some((JsonKind::Text, value)) => {
            let word = text(value)?;
            verdict.failed |= !matches!(word.as_str(), "" | "false" | "0");
            verdict.oauth = Some(word);
        }
        Some((JsonKind::Scalar, value)) => verdict.failed |= flag(value)?,
        Some((JsonKind::Object | JsonKind::Array | JsonKind::Null, _)) | None => {}
    }
    if let Some(flagged) = fields.get(&["erro"]) {
        verdict.failed |= flag(flagged)?;
    }
    if let Some(exception) = fields.get(&["exception"]).and_then(Fields::parse) {
        verdict.failed |= !exception.is_empty();
        // PHP gives an exception without a code the code 0; DSM's business errors have four digits.
        let code = exception.get(&["code"]).and_then(number);
        verdict.business = code.filter(|code| (1000..=9999).contains(code));
        if verdict.message.is_empty() {
            verdict.message = message(&exception);
        }
    }
    if verdict.message.is_empty() {
        verdict.message = message(fields);
    }
    if verdict.message.is_empty() {
        // Kong's JWT plugin, at DSM's gateway, answers `{"exp": "token expired"}`.
        verdict.message = fields.get(&["exp"]).and_then(text).unwrap_or_default();
    }
    if verdict.business.is_none() {
        verdict.business = business_code(&verdict.message);
    }
    Some(())
}

fn message(fields: &Fields<'_>) -> String {
    let words = ["message", "mensagem", "error_description", "detail"];
    let spoken = words.into_iter().filter_map(|name| text(fields.get(&[name])?));
    spoken.map(|text| text.trim().to_owned()).find(|text| !text.is_empty()).unwrap_or_default()
}

/// The four digits before the colon, as in `1011: Device not found`.
fn business_code(message: &str) -> Option<u32> {
    let (digits, _) = message.split_once(':')?;
    let four = digits.len() == 4 && digits.bytes().all(|c| c.is_ascii_digit());
    four.then(|| digits.parse().ok()).flatten()
}

/// A flag in any of the spellings that PHP gives to true and false.
fn flag(value: &RawValue) -> Option<bool> {
    match text(value)?.to_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" | "" => Some(false),
        _ => None,
    }
}

fn number<T: std::str::FromStr>(value: &RawValue) -> Option<T> {
    text(value)?.trim().parse().ok()
}
