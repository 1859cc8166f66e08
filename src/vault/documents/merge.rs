//! Adds to a request what the vault stores and the document does not name, for `secret put --merge`.

use serde_json::{Map, Value};

use super::Request;
use super::secret::{StatedPeriod, add};
use crate::model::Entry;
use crate::secret::Secret;
use crate::vault::decrypt::looks_encrypted;
use crate::vault::wire::{Period, RenewalPeriods, is_masked};

/// The reason why a document can't be merged with what the vault stores.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmergeable {
    /// A document has one set of keys, and can't say which entry a key belongs to.
    #[error("it has {0} entries, and a document can't say which of them a key belongs to")]
    Entries(usize),
    /// Values that would be written back masked or encrypted.
    #[error("the vault shows the values of {} masked or encrypted", .0.join(", "))]
    Unreadable(Vec<String>),
    /// A period that is on, without its minutes.
    #[error("{0} is on, and the vault does not say its minutes")]
    Period(&'static str),
    /// The request is not one that this crate has made.
    #[error("its request has another form")]
    Form,
}

impl Unmergeable {
    /// The remedy.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Entries(_) | Self::Form => "write the whole secret without --merge",
            Self::Unreadable(_) => {
                "name these keys in the document, or set SEGURA_PRIVATE_KEY_FILE to this authorization's key"
            }
            Self::Period(_) => "state it in the document",
        }
    }
}

/// Adds the keys of the stored `entries` and the stored `periods` that the document does not name.
pub fn merge(
    request: &mut Request,
    entries: &[Entry],
    periods: &RenewalPeriods,
) -> Result<(), Unmergeable> {
    let Ok(Value::Object(mut body)) = serde_json::from_slice(request.body.expose()) else {
        return Err(Unmergeable::Form);
    };
    let items = entries.iter().flatten().filter(|item| !request.keys.contains(&item.key));
    let kept: Vec<(&str, &str)> =
        items.map(|item| (item.key.as_str(), item.value.expose().as_str())).collect();
    if request.has_data() && !kept.is_empty() {
        if entries.len() > 1 {
            return Err(Unmergeable::Entries(entries.len()));
        }
        let is_hidden = |value: &str| is_masked(value) || looks_encrypted(value);
        let hidden = kept.iter().filter(|(_, value)| is_hidden(value));
        let hidden: Vec<String> = hidden.map(|(key, _)| (*key).to_owned()).collect();
        if !hidden.is_empty() {
            return Err(Unmergeable::Unreadable(hidden));
        }
        let packed = body.get("data").and_then(|data| add(data, request.shape, &kept));
        let packed = packed.ok_or(Unmergeable::Form)?;
        let secret = |text: &str| Secret::new(text.to_owned());
        request.redacted.extend(kept.iter().map(|(_, value)| secret(value)));
        request.redacted.extend(packed.as_str().map(secret));
        request.keys.extend(kept.iter().map(|(key, _)| (*key).to_owned()));
        request.keys.sort_unstable();
        body.insert("data".to_owned(), packed);
    }
    keep_periods(request, periods, &mut body)?;
    request.body = Secret::new(Value::Object(body).to_string().into_bytes());
    Ok(())
}

fn keep_periods(
    request: &mut Request,
    stored: &RenewalPeriods,
    body: &mut Map<String, Value>,
) -> Result<(), Unmergeable> {
    for (name, stated) in &mut request.periods {
        match (&stated, stored.get(name)) {
            (StatedPeriod::Unstated, Some(Period::Minutes(minutes))) => {
                body.insert((*name).to_owned(), Value::from(*minutes));
                *stated = StatedPeriod::On;
            }
            (StatedPeriod::Unstated, Some(Period::On)) => return Err(Unmergeable::Period(name)),
            (StatedPeriod::Unstated, Some(Period::Off)) => *stated = StatedPeriod::Off,
            (StatedPeriod::Unstated, None) | (StatedPeriod::On | StatedPeriod::Off, _) => {}
        }
    }
    Ok(())
}
