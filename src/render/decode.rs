//! Values that the vault holds as base64, and that are published as what they stand for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::RenderError;
use crate::model::{Bundle, Entry, Item, SecretName};
use crate::secret::Secret;

/// Which values are base64: globs of `identity/key`, in which `*` stands for any part and `**` for
/// any number of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decode(Vec<String>);

impl Decode {
    /// The globs.
    pub fn new(globs: Vec<String>) -> Self {
        Self(globs)
    }

    /// Whether no value is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a value stands for, if it is one of them. Line breaks in it are not of it.
    pub(super) fn bytes(
        &self,
        identity: &SecretName,
        item: &Item,
    ) -> Result<Option<Secret<Vec<u8>>>, RenderError> {
        if !self.0.iter().any(|glob| matches(glob, identity, item)) {
            return Ok(None);
        }
        let packed: Secret<String> =
            Secret::new(item.value.expose().split_ascii_whitespace().collect());
        match STANDARD.decode(packed.expose()) {
            Ok(bytes) => Ok(Some(Secret::new(bytes))),
            Err(_) => {
                Err(RenderError::NotBase64 { identity: identity.clone(), key: item.key.clone() })
            }
        }
    }

    /// Globs that no key of the set matches, as those with a typo don't.
    pub(super) fn idle(&self, bundle: &Bundle) -> impl Iterator<Item = &str> {
        let is_idle = |glob: &&str| {
            let mut secrets = bundle.secrets.iter();
            !secrets.any(|(name, set)| set.items().any(|item| matches(glob, name, item)))
        };
        self.0.iter().map(String::as_str).filter(is_idle)
    }

    /// Entries as text outputs have them: decoded where that is text, and base64 as they were where
    /// it is not, since no text holds such bytes.
    pub fn entries(
        &self,
        identity: &SecretName,
        entries: &[Entry],
    ) -> Result<Vec<Entry>, RenderError> {
        let item = |item: &Item| {
            let text = self.bytes(identity, item)?.and_then(|bytes| {
                std::str::from_utf8(bytes.expose()).ok().map(|text| Secret::new(text.to_owned()))
            });
            let value = text.unwrap_or_else(|| Secret::new(item.value.expose().clone()));
            Ok(Item { key: item.key.clone(), value })
        };
        entries.iter().map(|entry| entry.iter().map(item).collect()).collect()
    }
}

fn matches(glob: &str, identity: &SecretName, item: &Item) -> bool {
    fast_glob::glob_match(glob, format!("{identity}/{}", item.key))
}

#[cfg(test)]
mod tests {
    use super::super::tests::bundle;
    use super::*;

    fn decoded(
        globs: &[&str],
        identity: &str,
        key: &str,
        value: &str,
    ) -> Result<String, RenderError> {
        let decode = Decode::new(globs.iter().map(|glob| (*glob).to_owned()).collect());
        let bundle = bundle(&[(identity, &[&[(key, value)]])]);
        let (name, set) = bundle.secrets.first_key_value().unwrap();
        let entries = decode.entries(name, &set.entries)?;
        Ok(entries[0][0].value.expose().clone())
    }

    #[test]
    fn values_are_decoded_where_a_glob_says_so() {
        for (globs, identity, key, expected) in [
            (&[][..], "db", "cert", "aGk="),
            (&["db/cert"], "db", "cert", "hi"),
            (&["db/*"], "db", "cert", "hi"),
            (&["other/*", "*/cert"], "db", "cert", "hi"),
            (&["*/cert"], "cart/db", "cert", "aGk="),
            (&["**/cert"], "cart/db", "cert", "hi"),
            (&["cart/db/c*"], "cart/db", "cert", "hi"),
            (&["db/Cert"], "db", "cert", "aGk="),
        ] {
            assert_eq!(decoded(globs, identity, key, "aGk=").unwrap(), expected, "{globs:?}");
        }
        assert_eq!(decoded(&["db/k"], "db", "k", "aG\r\nk=\n").unwrap(), "hi");
        assert_eq!(decoded(&["db/k"], "db", "k", "").unwrap(), "");
    }

    #[test]
    fn what_is_no_text_stays_as_it_was_in_texts_and_is_bytes_in_files() {
        assert_eq!(decoded(&["db/k"], "db", "k", "/w==").unwrap(), "/w==");
        let decode = Decode::new(vec!["db/k".to_owned()]);
        let item = Item { key: "k".to_owned(), value: Secret::new("/wA=".to_owned()) };
        let bytes = decode.bytes(&SecretName::new("db").unwrap(), &item).unwrap().unwrap();
        assert_eq!(bytes.expose(), &[0xff, 0]);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_known() {
        let decode = Decode::new(["db/*", "bd/*"].map(str::to_owned).to_vec());
        let bundle = bundle(&[("db", &[&[("k", "")]])]);
        assert_eq!(decode.idle(&bundle).collect::<Vec<_>>(), ["bd/*"]);
    }

    #[test]
    fn what_is_not_base64_is_an_error_by_name() {
        for value in ["canary!", "abc", "a=bc", "é"] {
            let error = decoded(&["**"], "db", "cert", value).unwrap_err();
            assert!(error.to_string().contains("\"cert\" of db"), "{error}");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
