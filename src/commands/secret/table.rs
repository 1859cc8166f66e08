//! Formats secrets for people and scripts, without values unless the user asks for them. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::commands::args::ListFormat;
use crate::logging::escape::{self, one_line};
use crate::model::{Bundle, Item, SecretName, SecretSet};

/// The style of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The form.
    pub format: ListFormat,
    /// The output includes values.
    pub values: bool,
}

#[derive(Serialize)]
struct ShownSecret<'a> {
    identity: &'a str,
    secret_id: &'a str,
    name: &'a str,
    version: &'a str,
    engine: &'a str,
    expiration_date: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<Vec<&'a str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<BTreeMap<&'a str, &'a str>>>,
}

/// A secret in the list of the vault that can't be used.
#[derive(Serialize)]
struct Faulty<'a> {
    identity: Option<&'a str>,
    error: String,
}

impl Style {
    /// Selects the fields of a secret that this style shows.
    fn shown<'a>(self, name: &'a SecretName, set: &'a SecretSet) -> ShownSecret<'a> {
        let entries = set.entries.iter();
        let keys = || entries.clone().map(|entry| entry.iter().map(|i| i.key.as_str()).collect());
        let item = |item: &'a Item| (item.key.as_str(), item.value.expose().as_str());
        let data = || entries.clone().map(|entry| entry.iter().map(item).collect());
        ShownSecret {
            identity: name.as_str(),
            secret_id: &set.id,
            name: &set.name,
            version: &set.version,
            engine: &set.engine,
            expiration_date: &set.expiration,
            keys: (!self.values).then(|| keys().collect()),
            data: self.values.then(|| data().collect()),
        }
    }
}

/// Formats all secrets of a list: one line each, or a JSON array.
pub fn list(bundle: &Bundle, style: Style) -> String {
    if style.format == ListFormat::Json {
        let sound = bundle.secrets.iter().map(|(name, set)| style.shown(name, set));
        let sound = sound.map(serde_json::to_value);
        let faulty = bundle.faults.iter().map(|fault| {
            let identity = fault.identity().map(SecretName::as_str);
            serde_json::to_value(Faulty { identity, error: fault.to_string() })
        });
        return json(&sound.chain(faulty).flatten().collect::<Vec<_>>());
    }
    if style.values {
        let all = bundle.secrets.iter().map(|(name, set)| one(name, set, style));
        return all.collect::<Vec<_>>().join("\n");
    }
    let mut rows =
        vec![["IDENTITY", "ID", "VERSION", "ENGINE", "EXPIRES", "KEYS"].map(str::to_owned)];
    for (name, set) in &bundle.secrets {
        let mut keys: Vec<&str> = set.items().map(|item| item.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        rows.push([
            name.to_string(),
            or_dash(&set.id),
            or_dash(&set.version),
            or_dash(&set.engine),
            or_dash(&set.expiration),
            keys.join(","),
        ]);
    }
    for fault in &bundle.faults {
        let name = fault.identity().map_or_else(|| "?".to_owned(), ToString::to_string);
        let dash = || "-".to_owned();
        rows.push([name, dash(), dash(), dash(), dash(), format!("({fault})")]);
    }
    table(&rows)
}

/// Formats one secret: a line for each of its fields, or a JSON object.
pub fn one(name: &SecretName, set: &SecretSet, style: Style) -> String {
    if style.format == ListFormat::Json {
        return json(&style.shown(name, set));
    }
    let mut rows = vec![
        ["identity".to_owned(), name.to_string()],
        ["id".to_owned(), set.id.clone()],
        ["name".to_owned(), set.name.clone()],
        ["version".to_owned(), set.version.clone()],
        ["engine".to_owned(), set.engine.clone()],
        ["expires".to_owned(), set.expiration.clone()],
    ];
    rows.retain(|[_, value]| !value.is_empty());
    let several = set.entries.len() > 1;
    for (number, entry) in (1..).zip(&set.entries) {
        for item in entry {
            let key = if several { format!("{number}/{}", item.key) } else { item.key.clone() };
            // The value may hold line breaks.
            let text = if style.values { format!("{key} {:?}", item.value.expose()) } else { key };
            rows.push(["key".to_owned(), text]);
        }
    }
    table(&rows)
}

/// Formats columns; each but the last is as wide as its widest cell. Hidden characters are escaped.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<[Cow<'_, str>; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| one_line(cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[Cow<'_, str>; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Formats JSON whose hidden characters are escaped: its readers get the same strings.
fn json(value: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("{}\n", escape::json(&json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::bundle;

    const QUIET: Style = Style { format: ListFormat::Table, values: false };

    #[test]
    fn a_list_is_a_table_without_values() {
        let bundle = bundle(&[
            ("cart/db", &[&[("user", "canary"), ("password", "canary")], &[("user", "canary")]]),
            ("a", &[&[("k", "canary")]]),
        ]);
        let text = list(&bundle, QUIET);
        let expected = "IDENTITY  ID  VERSION  ENGINE   EXPIRES  KEYS\na         1   1        Generic  -        k\ncart/db   1   1        Generic  -        password,user\n";
        assert_eq!(text, expected);
        let json = list(&bundle, Style { format: ListFormat::Json, ..QUIET });
        assert!(!json.contains("canary"));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[1]["keys"], serde_json::json!([["user", "password"], ["user"]]));
        assert!(json[1].get("data").is_none());
    }

    #[test]
    fn values_are_shown_on_demand_each_on_its_line() {
        let bundle = bundle(&[("a", &[&[("k", "x\n\"y\"")], &[("k", "")]])]);
        let (name, set) = bundle.secrets.first_key_value().unwrap();
        let text = one(name, set, Style { format: ListFormat::Table, values: true });
        assert!(text.contains("key       1/k \"x\\n\\\"y\\\"\"\nkey       2/k \"\"\n"), "{text}");
        assert!(one(name, set, QUIET).ends_with("key       1/k\nkey       2/k\n"));
        let json = one(name, set, Style { format: ListFormat::Json, values: true });
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["data"], serde_json::json!([{ "k": "x\n\"y\"" }, { "k": "" }]));
    }
}
