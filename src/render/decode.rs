//! Decodes values that the vault holds as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::RenderError;
use super::bundle::Entries;
use crate::model::{Bundle, Entry, Item, SecretName};
use crate::secret::Secret;

/// The globs of `identity/key` whose values are base64. `*` and `?` match within one part of the
/// path, `**` across parts; `[…]` and `{…,…}` are alternatives, a backslash escapes the next
/// character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decode(Vec<String>);

impl Decode {
    /// Makes the setting from globs.
    pub fn new(globs: Vec<String>) -> Self {
        Self(globs)
    }

    /// True if there is no glob.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The decoded bytes of a value, if a glob matches it. Line breaks in the base64 are skipped.
    pub(super) fn bytes(
        &self,
        identity: &SecretName,
        item: &Item,
    ) -> Result<Option<Secret<Vec<u8>>>, RenderError> {
        if self.is_empty() {
            return Ok(None);
        }
        let path = path(identity, item);
        if !self.0.iter().any(|glob| fast_glob::glob_match(glob, &path)) {
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

    /// The globs that no key of the set matches: probably typos.
    pub(super) fn idle(&self, bundle: &Bundle) -> Vec<&str> {
        let mut idle: Vec<&str> = self.0.iter().map(String::as_str).collect();
        if !idle.is_empty() {
            for (name, set) in &bundle.secrets {
                for path in set.items().map(|item| path(name, item)) {
                    idle.retain(|glob| !fast_glob::glob_match(glob, &path));
                }
            }
        }
        idle
    }

    /// A set with decoded texts, and the paths of the values that are not text and left out; none
    /// if there is no glob.
    pub fn set(&self, set: &Entries) -> Result<Option<(Entries, Vec<String>)>, RenderError> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut decoded = Entries::new();
        let mut left_out = Vec::new();
        for (name, entries) in set {
            let texts = self.entries(name, entries, NoText::LeftOut)?;
            for (entry, text) in entries.iter().zip(&texts) {
                let missing = entry.iter().filter(|item| text.iter().all(|t| t.key != item.key));
                left_out.extend(missing.map(|item| path(name, item)));
            }
            decoded.insert(name.clone(), texts);
        }
        Ok(Some((decoded, left_out)))
    }

    /// Entries with decoded texts. A value that decodes to bytes that are not UTF-8 is treated as
    /// `bare` says.
    pub(super) fn entries(
        &self,
        identity: &SecretName,
        entries: &[Entry],
        bare: NoText,
    ) -> Result<Vec<Entry>, RenderError> {
        let item = |item: &Item| {
            let value = match self.bytes(identity, item)? {
                None => item.value.expose().clone(),
                Some(bytes) => match (std::str::from_utf8(bytes.expose()), bare) {
                    (Ok(text), _) => text.to_owned(),
                    (Err(_), NoText::LeftOut) => return Ok(None),
                    (Err(_), NoText::Refused) => {
                        let (identity, key) = (identity.clone(), item.key.clone());
                        return Err(RenderError::NotText { identity, key });
                    }
                },
            };
            Ok(Some(Item { key: item.key.clone(), value: Secret::new(value) }))
        };
        entries
            .iter()
            .map(|entry| entry.iter().filter_map(|one| item(one).transpose()).collect())
            .collect()
    }
}

/// The treatment of a value that decodes to bytes that are not UTF-8, in outputs of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoText {
    /// It is an error.
    Refused,
    /// It is left out: an error only for a template that uses it.
    LeftOut,
}

fn path(identity: &SecretName, item: &Item) -> String {
    format!("{identity}/{}", item.key)
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
        let entries = decode.entries(name, &set.entries, NoText::Refused)?;
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
    fn bytes_that_are_not_text_are_published_as_files_and_refused_or_left_out_of_texts() {
        let error = decoded(&["db/k"], "db", "k", "/w==").unwrap_err();
        assert!(error.to_string().contains("\"k\" of db"), "{error}");
        let decode = Decode::new(vec!["db/k".to_owned()]);
        let item = || Item { key: "k".to_owned(), value: Secret::new("/wA=".to_owned()) };
        let db = SecretName::new("db").unwrap();
        assert_eq!(decode.bytes(&db, &item()).unwrap().unwrap().expose(), &[0xff, 0]);
        let other = Item { key: "l".to_owned(), value: Secret::new("/wA=".to_owned()) };
        let left = decode.entries(&db, &[vec![item(), other]], NoText::LeftOut).unwrap();
        assert_eq!((left[0].len(), left[0][0].key.as_str()), (1, "l"));
    }

    #[test]
    fn a_glob_that_matches_nothing_is_known() {
        let decode = Decode::new(["db/*", "bd/*"].map(str::to_owned).to_vec());
        let bundle = bundle(&[("db", &[&[("k", "")]])]);
        assert_eq!(decode.idle(&bundle), ["bd/*"]);
    }

    #[test]
    fn a_value_that_is_not_base64_is_refused_by_name() {
        for value in ["canary!", "abc", "a=bc", "é"] {
            let error = decoded(&["**"], "db", "cert", value).unwrap_err();
            assert!(error.to_string().contains("\"cert\" of db"), "{error}");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
