//! The difference between a set and the one that it replaces.

use crate::model::{Bundle, Entry, Item, TTL};
use crate::render::bundle::Entries;
use crate::store::state::{SecretState, State};

/// Tells whether two states hold the same metadata of their secrets.
pub fn same_metadata(old: &State, new: &State) -> bool {
    fn metadata(secret: &SecretState) -> [&str; 6] {
        let SecretState { identity, secret_id, name, version, engine, expiration_date, .. } =
            secret;
        [identity.as_str(), secret_id, name, version, engine, expiration_date]
    }
    old.secrets.iter().map(metadata).eq(new.secrets.iter().map(metadata))
}

/// The difference between two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The sets are equal.
    None,
    /// Only values of `TTL` differ.
    Lifetimes,
    /// More than values of `TTL` differs.
    Values,
}

/// Compares `new` with the values of an `old` set.
pub fn difference(old: &Entries, new: &Bundle) -> Difference {
    let mut lifetimes = false;
    let mut same = |old: &Item, new: &Item| {
        let equal = old.value.expose() == new.value.expose();
        lifetimes |= !equal;
        old.key == new.key && (equal || old.key == TTL)
    };
    let mut alike = |old: &Entry, new: &Entry| {
        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same(old, new))
    };
    let all = old.len() == new.secrets.len()
        && new.secrets.iter().all(|(name, set)| {
            old.get(name).is_some_and(|old| {
                old.len() == set.entries.len()
                    && old.iter().zip(&set.entries).all(|(old, new)| alike(old, new))
            })
        });
    match (all, lifetimes) {
        (true, false) => Difference::None,
        (true, true) => Difference::Lifetimes,
        (false, _) => Difference::Values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::bundle;

    #[test]
    fn a_change_of_lifetimes_alone_differs_from_any_other() {
        use Difference::{Lifetimes, None as Same, Values};
        let entries = |bundle: Bundle| -> Entries {
            bundle.secrets.into_iter().map(|(name, set)| (name, set.entries)).collect()
        };
        let old = || entries(bundle(&[("a", &[&[("password", "x"), ("TTL", "60")]])]));
        for (new, expected) in [
            (bundle(&[("a", &[&[("password", "x"), ("TTL", "30")]])]), Lifetimes),
            (bundle(&[("a", &[&[("password", "x"), ("TTL", "60")]])]), Same),
            (bundle(&[("a", &[&[("password", "y"), ("TTL", "30")]])]), Values),
            (bundle(&[("a", &[&[("password", "x")]])]), Values),
            (bundle(&[("a", &[&[("password", "x"), ("TTL", "60")], &[("k", "v")]])]), Values),
            (bundle(&[("b", &[&[("password", "x"), ("TTL", "60")]])]), Values),
            (bundle(&[]), Values),
        ] {
            assert_eq!(difference(&old(), &new), expected, "{new:?}");
        }
    }
}
