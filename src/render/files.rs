//! One file a key: the value's exact bytes, no newline added.

use super::{Claims, Content, RenderError};
use crate::model::Bundle;

/// Adds `<identity>/<key>` for every key, and `<identity>/<n>/<key>` where a secret has several
/// entries, so that a user name is never paired with another entry's password.
pub(super) fn render<'a>(bundle: &'a Bundle, claims: &mut Claims<'a>) -> Result<(), RenderError> {
    for (identity, set) in &bundle.secrets {
        claims.reserve(identity.to_string(), format!("the secret {identity}"))?;
        for (key, value) in set.flat() {
            let owner = format!("the key {key:?} of {identity}");
            claims.add(format!("{identity}/{key}"), owner, Content::Lent(value))?;
        }
        if set.entries.len() < 2 {
            continue;
        }
        for (entry, n) in set.entries.iter().zip(1..) {
            let folder = format!("{identity}/{n}");
            claims.reserve(folder.clone(), format!("entry {n} of {identity}"))?;
            for item in entry {
                let owner = format!("the key {:?} of entry {n} of {identity}", item.key);
                claims.add(format!("{folder}/{}", item.key), owner, Content::Lent(&item.value))?;
            }
        }
    }
    Ok(())
}
