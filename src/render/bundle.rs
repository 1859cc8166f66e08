//! The agent's own copy of the values, from which it can rebuild every output without the vault.
//!
//! Each generation holds one, hidden. It has values only; versions and other properties are in the
//! state, so that a new version with equal values changes no file.

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

use super::json::{Exposed, size};
use crate::model::{Bundle, Entry, Item, SecretName, check_part};
use crate::secret::{Secret, SecretBuf};

/// The file's name inside a generation; no secret can have it.
pub const FILE: &str = "..bundle.json";

/// The most bytes of the file.
pub const LONGEST: u64 = 16 * 1024 * 1024;

/// Entries by identity.
pub type Entries = BTreeMap<SecretName, Vec<Entry>>;

struct WrittenEntry<'a>(&'a Entry);

impl Serialize for WrittenEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for item in self.0 {
            map.serialize_entry(&item.key, &Exposed(&item.value))?;
        }
        map.end()
    }
}

/// Writes the values of `bundle`, entries and keys in the vault's order.
pub fn write(bundle: &Bundle) -> Secret<Vec<u8>> {
    let document: BTreeMap<&str, Vec<WrittenEntry<'_>>> = bundle
        .secrets
        .iter()
        .map(|(identity, set)| (identity.as_str(), set.entries.iter().map(WrittenEntry).collect()))
        .collect();
    let mut bytes = SecretBuf::with_capacity(size(bundle));
    serde_json::to_writer(&mut bytes, &document).expect("strings by strings, into memory");
    bytes.into_secret()
}

/// Reads the output of [`write`]; `None` for anything else.
pub fn read(bytes: &[u8]) -> Option<Entries> {
    let document: BTreeMap<String, Vec<Read>> = serde_json::from_slice(bytes).ok()?;
    let secrets = document.into_iter().map(|(identity, entries)| {
        let entries = entries.into_iter().map(|read| read.0).collect();
        Some((SecretName::new(identity).ok()?, entries))
    });
    secrets.collect()
}

struct Read(Entry);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Items)
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut entry = Entry::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            check_part(&key).map_err(|_| de::Error::custom("a key that can't be a file"))?;
            entry.push(Item { key, value: Secret::new(value) });
        }
        Ok(Read(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::bundle;
    use super::*;

    #[test]
    fn a_bundle_is_read_back_in_order() {
        let written = bundle(&[("a/b", &[&[("z", "1\n\0"), ("a", "")], &[("z", "é")]])]);
        let bytes = write(&written);
        let entries = read(bytes.expose()).unwrap();
        let again = entries.get(&SecretName::new("a/b").unwrap()).unwrap();
        let keys: Vec<Vec<(&str, &str)>> = again
            .iter()
            .map(|entry| {
                entry.iter().map(|i| (i.key.as_str(), i.value.expose().as_str())).collect()
            })
            .collect();
        assert_eq!(keys, [vec![("z", "1\n\0"), ("a", "")], vec![("z", "é")]]);
    }

    #[test]
    fn a_foreign_file_is_refused() {
        for text in
            ["", "{", "[]", r#"{"../x":[]}"#, r#"{"a":[{"../k":"v"}]}"#, r#"{"a":[{"k":1}]}"#]
        {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
