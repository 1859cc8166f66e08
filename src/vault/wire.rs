//! The only reader of DSM's JSON: old and new envelopes, both languages, every shape of data.
//!
//! DSM's releases and pages differ in all three, so each spelling that a page or a vendor's client
//! shows is accepted. An answer counts only if its HTTP status, its envelope and its flags agree,
//! and it has a secrets container. No error quotes a value.

mod envelope;
mod fields;
mod limits;
mod periods;

use std::time::Duration;

use serde_json::value::RawValue;

use super::error::{Cause, Malformation};
use crate::model::{Bundle, Entry, Fault, Item, RenewMinutes, SecretName, SecretSet, check_part};
use crate::secret::Secret;
use fields::{Fields, JsonKind, compact, kind, text};
use limits::{LONGEST_WORD, MOST_NAMELESS, bounded, shown};

pub use envelope::Answer;
pub use periods::{PERIODS, Period, RenewalPeriods, periods};

/// The longest answer that is read, in bytes.
pub const LONGEST: usize = 8 * 1024 * 1024;

/// A token and its lifetime.
#[derive(Debug)]
pub struct TokenAnswer {
    /// The bearer token.
    pub value: Secret<String>,
    /// `expires_in`.
    pub lifetime: Duration,
}

/// The vault's answer to a written document.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The vault's number for it.
    pub id: String,
    /// A secret's version.
    pub version: Option<String>,
    /// A credential's identifier.
    pub identifier: Option<String>,
    /// A secret's keys.
    pub keys: Option<Vec<String>>,
    /// The periods of a secret's renewal.
    pub periods: RenewalPeriods,
}

/// The assumed lifetime of a token whose answer has none: `expires_in` is optional (RFC 6749, 5.1).
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(300);

/// Reads the answer of the token endpoint.
pub fn token(answer: &Answer<'_>) -> Result<TokenAnswer, Cause> {
    let fields = answer.success()?.fields;
    let nothing = || Cause::Malformed(Malformation::NoToken);
    let value =
        fields.get(&["access_token"]).and_then(text).map(Secret::new).ok_or_else(nothing)?;
    let usable = value.expose().bytes().all(|c| (0x21..0x7f).contains(&c));
    if value.expose().is_empty() || !usable {
        return Err(nothing());
    }
    let lifetime = fields.get(&["expires_in"]).and_then(text).and_then(|text| text.parse().ok());
    let lifetime = lifetime.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    let lifetime = lifetime.map_or(UNKNOWN_LIFETIME, |seconds| {
        Duration::from_secs_f64(seconds.min(7.0 * 24.0 * 3600.0))
    });
    Ok(TokenAnswer { value, lifetime })
}

/// Reads an answer that has to report success only.
pub fn done(answer: &Answer<'_>) -> Result<(), Cause> {
    match answer.success() {
        Ok(_) => Ok(()),
        // DSM's pages don't show the answer of these calls, so any JSON object or no body will do;
        // a proxy's HTML page is not.
        Err(Cause::Malformed(Malformation::NoEnvelope)) if answer.is_success() => Ok(()),
        Err(Cause::Malformed(_)) if answer.is_success() && answer.is_empty() => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// Reads the answer to a written credential.
pub fn credential(answer: &Answer<'_>) -> Result<Written, Cause> {
    let success = answer.success()?;
    if !success.confirmed {
        return Err(Cause::Malformed(Malformation::NoEnvelope));
    }
    let fields = success.fields;
    let credential = fields.get(&["credential"]).and_then(Fields::parse);
    let word = |names: &[&str]| credential.as_ref()?.get(names).and_then(text).map(bounded);
    let id = word(&["id"]).unwrap_or_default();
    // DSM's older pages call it `tag`.
    let identifier = word(&["identifier", "identificador", "tag"]);
    Ok(Written { id, identifier, ..Written::default() })
}

/// Reads an answer with secrets.
pub fn secrets(answer: &Answer<'_>) -> Result<Bundle, Cause> {
    let success = answer.success()?;
    if !success.confirmed {
        return Err(Cause::Malformed(Malformation::NoEnvelope));
    }
    let found = container(&success.fields).ok_or(Cause::Malformed(Malformation::NoContainer))?;
    let mut bundle = Bundle::default();
    let (mut repeated, mut nameless) = (Vec::new(), 0);
    for (value, number) in found.into_iter().zip(1..) {
        match secret(value, number, &mut bundle) {
            Ok((identity, set)) => {
                if bundle.secrets.insert(identity.clone(), set).is_some() {
                    repeated.push(identity);
                }
            }
            Err(fault) => {
                nameless += usize::from(fault.identity().is_none());
                if fault.identity().is_some() || nameless <= MOST_NAMELESS {
                    bundle.faults.push(fault);
                }
            }
        }
    }
    if nameless > MOST_NAMELESS {
        bundle.faults.push(Fault::More { count: nameless - MOST_NAMELESS });
    }
    for identity in repeated {
        if bundle.secrets.remove(&identity).is_some() {
            bundle.faults.push(Fault::Twice { identity });
        }
    }
    Ok(bundle)
}

/// The secrets of an answer: in `secret`, `secrets` or, in older releases, `application.secrets`.
fn container<'a>(fields: &Fields<'a>) -> Option<Vec<&'a RawValue>> {
    let direct = |fields: &Fields<'a>| {
        ["secret", "secrets"].into_iter().find_map(|name| listed(fields.get(&[name])?))
    };
    direct(fields).or_else(|| {
        let application = fields.get(&["application"])?;
        direct(&Fields::parse(application)?)
    })
}

/// One secret, an array of them, or an object with numbers for names: PHP's `json_encode` makes
/// that of an array whose keys are not 0, 1, 2, ….
fn listed(value: &RawValue) -> Option<Vec<&RawValue>> {
    match kind(value) {
        JsonKind::Array => serde_json::from_str(value.get()).ok(),
        JsonKind::Object => {
            let fields = Fields::parse(value)?;
            let numbered = fields.numbered();
            if fields.is_empty() || numbered.is_some() {
                numbered.or(Some(Vec::new()))
            } else {
                Some(vec![value])
            }
        }
        JsonKind::Null | JsonKind::Text | JsonKind::Scalar => None,
    }
}

fn secret(
    value: &RawValue,
    number: usize,
    bundle: &mut Bundle,
) -> Result<(SecretName, SecretSet), Fault> {
    let fields = Fields::parse(value).ok_or(Fault::Nameless { number })?;
    let word = |names: &[&str]| fields.get(names).and_then(text).unwrap_or_default();
    let bounded = |names: &[&str]| bounded(word(names));
    let identity = fields
        .get(&["identity", "identificador", "identifier"])
        .filter(|value| kind(value) != JsonKind::Null)
        .and_then(text)
        .ok_or(Fault::Nameless { number })?;
    let identity = SecretName::new(identity.as_str())
        .map_err(|problem| Fault::Identity { identity: shown(&identity), problem })?;
    // An id is sent back to the vault to deprovision the secret: a digest of it would name nothing.
    let id = word(&["secret_id", "id"]);
    if id.len() > LONGEST_WORD {
        return Err(Fault::Id { identity });
    }
    if !id.is_empty() {
        bundle.ids.insert(identity.clone(), id.clone());
    }
    let data = fields.get(&["data", "date", "values", "value", "valores", "valor"]);
    let entries =
        data.and_then(listed_entries).ok_or_else(|| Fault::Data { identity: identity.clone() })?;
    let entries = entries.iter().map(|fields| entry(&identity, fields, &mut bundle.remarks));
    let mut entries = entries.collect::<Result<Vec<Entry>, Fault>>()?;
    entries.retain(|entry| !entry.is_empty());
    if entries.is_empty() {
        return Err(Fault::Empty { identity });
    }
    let set = SecretSet {
        id,
        name: bounded(&["secret_name", "secret_nome", "name", "nome"]),
        version: bounded(&["version", "versão", "versao"]),
        engine: bounded(&["engine", "motor"]),
        expiration: bounded(&["expiration_date", "data_expiracao"]),
        renew: renewal(&fields),
        entries,
    };
    Ok((identity, set))
}

/// Data as an object (older releases), an array of objects, or an object with numbers for names.
fn listed_entries(data: &RawValue) -> Option<Vec<Fields<'_>>> {
    let entries: Vec<&RawValue> = match kind(data) {
        JsonKind::Array => serde_json::from_str(data.get()).ok()?,
        JsonKind::Object => {
            let fields = Fields::parse(data)?;
            match fields.numbered() {
                Some(entries) => entries,
                None => return Some(vec![fields]),
            }
        }
        JsonKind::Null | JsonKind::Text | JsonKind::Scalar => return None,
    };
    entries
        .into_iter()
        .filter(|entry| kind(entry) != JsonKind::Null && compact(entry) != "[]")
        .map(Fields::parse)
        .collect()
}

/// True if a value is nothing but asterisks, as DSM's pages mask one.
pub fn is_masked(value: &str) -> bool {
    value.len() > 3 && value.bytes().all(|c| c == b'*')
}

fn entry(
    identity: &SecretName,
    fields: &Fields<'_>,
    remarks: &mut Vec<String>,
) -> Result<Entry, Fault> {
    let mut entry = Entry::new();
    for (key, value) in fields.iter() {
        check_part(key).map_err(|problem| Fault::Key {
            identity: identity.clone(),
            key: shown(key),
            problem,
        })?;
        let value = match kind(value) {
            JsonKind::Text | JsonKind::Null => text(value)
                .ok_or_else(|| Fault::Text { identity: identity.clone(), key: key.to_owned() })?,
            JsonKind::Scalar => value.get().to_owned(),
            JsonKind::Object | JsonKind::Array => compact(value),
        };
        if is_masked(&value) {
            remarks.push(format!(
                "the value of {key:?} of {identity} is all asterisks; published as it is"
            ));
        }
        // Of two equal names in one object the last counts, as in most JSON readers (RFC 8259, 4).
        entry.retain(|item: &Item| item.key != key);
        entry.push(Item { key: key.to_owned(), value: Secret::new(value) });
    }
    Ok(entry)
}

/// The shortest period that is on.
fn renewal(fields: &Fields<'_>) -> RenewMinutes {
    let minutes = periods::all(fields).into_values().filter_map(|period| match period {
        Period::Minutes(minutes) => Some(minutes),
        Period::Off | Period::On => None,
    });
    minutes.filter(|minutes| *minutes > 0).min()
}

#[cfg(test)]
mod tests;
