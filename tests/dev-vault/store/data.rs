//! The data of a secret: entries of named values, in order and in their own spelling.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// The names whose values an authorization may encrypt by default.
pub const SENSITIVE: [&str; 3] = ["password", "private_key", "secret_access_key"];

/// A JSON object that keeps its order, its duplicates and the spelling of its values.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The last value of a name.
    pub fn last(&self, name: &str) -> Option<&RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// The last value of a name as text, if it is a scalar and not null.
    pub fn text(&self, name: &str) -> Option<String> {
        text(self.last(name)?)
    }

    /// The last value of a name as text, if it has any.
    pub fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The texts of a list: a JSON array, or a form's `name[]`, repeated or with commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let coded = format!("{name}[]");
        let stated = self.0.iter().filter(|(key, _)| key == name || *key == coded);
        let texts = stated.flat_map(|(_, raw)| match serde_json::from_str(raw.get()) {
            Ok(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Ok(Value::String(text)) => text.split(',').map(|one| one.trim().to_owned()).collect(),
            _ => Vec::new(),
        });
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// The same with every scalar as a string, as the vault stores values. Nothing else is flat.
    pub fn flat(mut self) -> Option<Self> {
        for (_, value) in &mut self.0 {
            if value.get() != "null" {
                *value = raw_text(&text(value)?);
            }
        }
        Some(self)
    }

    /// Sets a name, in its place or at the end.
    pub fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().rev().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Sets a name to a JSON string.
    pub fn set_text(&mut self, name: &str, value: &str) {
        self.set(name, raw_text(value));
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Where an entry came from, which decides what a later write does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Written as plain data.
    Plain,
    /// A PAM credential.
    Credential,
    /// A cloud access key.
    CloudKey,
    /// The one entry that collects key/value pairs.
    KeyValue,
}

/// One element of a secret's `data`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it came from.
    pub kind: Kind,
    /// Its names and values.
    pub fields: Fields,
    /// The names whose values are sensitive.
    pub sealed: Vec<String>,
}

impl Entry {
    /// An entry whose sensitive values are known by their usual names.
    pub fn new(kind: Kind, fields: Fields) -> Self {
        let sealed = SENSITIVE
            .iter()
            .filter(|name| kind != Kind::KeyValue && fields.last(name).is_some())
            .map(|&name| name.to_owned())
            .collect();
        Self { kind, fields, sealed }
    }
}

/// Reads `data` as it is answered: an object, or an array of objects.
pub fn entries(json: &str) -> serde_json::Result<Vec<Entry>> {
    let list = if json.trim_start().starts_with('[') {
        serde_json::from_str(json)?
    } else {
        vec![serde_json::from_str::<Fields>(json)?]
    };
    Ok(list.into_iter().map(|fields| Entry::new(Kind::Plain, fields)).collect())
}

/// The entries as one object, the last value of a name winning.
pub fn flatten(entries: &[Entry]) -> Fields {
    let mut flat = Fields::default();
    for (name, value) in entries.iter().flat_map(|entry| &entry.fields.0) {
        flat.set(name, value.clone());
    }
    flat
}

/// A JSON string.
pub fn raw_text(value: &str) -> Box<RawValue> {
    to_raw_value(value).expect("a string is always JSON")
}

/// A scalar as text: a string's content, a number or boolean as it is spelled, nothing for null.
pub fn text(raw: &RawValue) -> Option<String> {
    match serde_json::from_str(raw.get()).ok()? {
        Value::String(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => Some(raw.get().to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
