//! The periods of a secret's renewal, one by one.

use std::collections::BTreeMap;

use super::fields::{Fields, JsonKind, compact, kind, text};
use super::{Answer, container};

/// The fields of the periods, in minutes.
pub const PERIODS: [&str; 3] =
    ["renew_cloud_time", "renew_credential_time", "renew_ephemeral_credential_time"];

/// One period of renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// No renewal.
    Off,
    /// Renewal each so many minutes.
    Minutes(u32),
    /// Renewal, of which the vault does not say the minutes.
    On,
}

/// The periods that an answer has, by field.
pub type RenewalPeriods = BTreeMap<&'static str, Period>;

/// Reads the periods of the secret of this identity; none of a secret that the answer lacks.
pub fn periods(answer: &Answer<'_>, identity: &str) -> RenewalPeriods {
    let Ok(success) = answer.success() else { return RenewalPeriods::new() };
    let secrets = container(&success.fields).unwrap_or_default().into_iter();
    let is_named = |secret: &Fields<'_>| {
        let named = secret.get(&["identity", "identificador", "identifier"]).and_then(text);
        named.as_deref() == Some(identity)
    };
    secrets.filter_map(Fields::parse).find(is_named).map(|secret| all(&secret)).unwrap_or_default()
}

/// Reads the periods of a secret: DSM spells off as false, null, "", 0 or [].
pub(super) fn all(secret: &Fields<'_>) -> RenewalPeriods {
    let read = |name: &'static str| {
        let value = secret.get(&[name])?;
        let period = match (kind(value), text(value)) {
            (JsonKind::Array, _) if compact(value) == "[]" => Period::Off,
            (_, Some(word)) => match word.trim() {
                "" | "0" | "false" => Period::Off,
                word => word.parse().map_or(Period::On, Period::Minutes),
            },
            (_, None) => Period::On,
        };
        Some((name, period))
    };
    PERIODS.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_in_every_spelling() {
        for (spelled, expected) in [
            ("false", Some(Period::Off)),
            ("null", Some(Period::Off)),
            ("\"\"", Some(Period::Off)),
            ("0", Some(Period::Off)),
            ("\"0\"", Some(Period::Off)),
            ("[ ]", Some(Period::Off)),
            ("60", Some(Period::Minutes(60))),
            ("\" 30 \"", Some(Period::Minutes(30))),
            ("true", Some(Period::On)),
            ("\"daily\"", Some(Period::On)),
            ("[1]", Some(Period::On)),
        ] {
            let body = format!(
                r#"{{"response":{{"status":200}},"Secrets":[{{"identity":"b"}},{{"identity":"a","renew_cloud_time":{spelled}}}]}}"#
            );
            let answer =
                Answer { status: 200, after: None, body: body.as_bytes(), credentials: &[] };
            let found = periods(&answer, "a");
            assert_eq!(found.get("renew_cloud_time").copied(), expected, "{spelled}");
            assert_eq!((found.len(), periods(&answer, "b").len()), (1, 0), "{spelled}");
        }
    }
}
