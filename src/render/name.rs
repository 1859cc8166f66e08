//! Names environment variables after keys.

use std::collections::BTreeMap;

use super::RenderError;
use crate::model::{Flat, SecretName};
use crate::secret::Secret;

/// The case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// As in the key and the pattern.
    Keep,
    /// Capitals.
    Upper,
}

/// The pattern of names, proven to hold `{key}` and no other braces than `{identity}`.
#[derive(Clone, Debug)]
pub struct Variables {
    pattern: String,
    case: Case,
}

/// Variables by name: identity, key and value of each.
pub type Named<'a> = BTreeMap<String, (&'a SecretName, &'a str, &'a Secret<String>)>;

impl Variables {
    /// Proves a pattern; `None` if it lacks `{key}` or has other braces.
    pub fn new(pattern: &str, case: Case) -> Option<Self> {
        let rest = pattern.replace("{identity}", "").replace("{key}", "");
        let proven = pattern.contains("{key}") && !rest.contains(['{', '}']);
        proven.then(|| Self { pattern: pattern.to_owned(), case })
    }

    /// The variable for a key: characters outside `[A-Za-z0-9_]` become `_`, and a leading digit
    /// gets `_` in front.
    pub fn name(&self, identity: &SecretName, key: &str) -> String {
        // The identity is put into the pattern only: a key may hold the text `{identity}`.
        let mut name = String::with_capacity(self.pattern.len() + key.len());
        for (n, piece) in self.pattern.split("{key}").enumerate() {
            if n > 0 {
                name.push_str(key);
            }
            name.push_str(&piece.replace("{identity}", identity.as_str()));
        }
        let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name: String = name.chars().map(keep).collect();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert(0, '_');
        }
        match self.case {
            Case::Keep => name,
            Case::Upper => name.to_ascii_uppercase(),
        }
    }

    /// Names every key of the flat view of each secret; two keys that become one variable are an
    /// error.
    pub fn assign<'a>(
        &self,
        secrets: impl IntoIterator<Item = (&'a SecretName, Flat<'a>)>,
    ) -> Result<Named<'a>, RenderError> {
        let mut named = Named::new();
        for (identity, flat) in secrets {
            for (key, value) in flat {
                let variable = self.name(identity, key);
                if let Some((other, other_key, _)) = named.get(&variable) {
                    return Err(RenderError::Variable {
                        variable,
                        first: format!("{other_key:?} of {other}"),
                        second: format!("{key:?} of {identity}"),
                    });
                }
                named.insert(variable, (identity, key, value));
            }
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::bundle;
    use super::*;

    #[test]
    fn keys_become_names_that_every_shell_takes() {
        let identity = SecretName::new("cart/db").unwrap();
        for (pattern, case, key, expected) in [
            ("{key}", Case::Keep, "password", "password"),
            ("{key}", Case::Upper, "password", "PASSWORD"),
            ("{identity}_{key}", Case::Keep, "user-name", "cart_db_user_name"),
            ("{key}", Case::Keep, "1st", "_1st"),
            ("{key}", Case::Keep, "é.x y", "__x_y"),
            ("APP_{key}", Case::Upper, "k", "APP_K"),
            ("{key}_{identity}", Case::Keep, "{identity}", "_identity__cart_db"),
        ] {
            let variables = Variables::new(pattern, case).unwrap();
            assert_eq!(variables.name(&identity, key), expected, "{pattern} {key}");
        }
        for pattern in ["", "KEY", "{identity}", "{key}{other}", "{key}}"] {
            assert!(Variables::new(pattern, Case::Keep).is_none(), "{pattern}");
        }
    }

    #[test]
    fn two_keys_for_one_variable_are_named() {
        let bundle = bundle(&[("a", &[&[("k", "1")]]), ("b", &[&[("k", "2")]])]);
        let flat = bundle.secrets.iter().map(|(name, set)| (name, set.flat()));
        let error = Variables::new("{key}", Case::Keep).unwrap().assign(flat).unwrap_err();
        let expected = RenderError::Variable {
            variable: "k".to_owned(),
            first: "\"k\" of a".to_owned(),
            second: "\"k\" of b".to_owned(),
        };
        assert_eq!(error, expected);
    }
}
