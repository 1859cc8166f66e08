//! One file a key: the value's exact bytes, no newline added.

use std::collections::BTreeMap;

use super::decode::Decode;
use super::{Content, PathClaims, RenderError};
use crate::model::{Bundle, Item, SecretName};

/// Adds `<identity>/<key>` for every key, and `<identity>/<n>/<key>` where a secret has several
/// entries, so that a user name is never paired with another entry's password.
pub(super) fn render<'a>(
    bundle: &'a Bundle,
    decode: &Decode,
    claims: &mut PathClaims<'a>,
) -> Result<(), RenderError> {
    for (identity, set) in &bundle.secrets {
        claims.reserve(identity.to_string(), format!("the secret {identity}"))?;
        // Of several items with one key, the last counts.
        let last: BTreeMap<&str, &Item> =
            set.items().map(|item| (item.key.as_str(), item)).collect();
        for (key, item) in last {
            let owner = format!("the key {key:?} of {identity}");
            claims.add(format!("{identity}/{key}"), owner, content(decode, identity, item)?)?;
        }
        if set.entries.len() < 2 {
            continue;
        }
        for (entry, n) in set.entries.iter().zip(1..) {
            let folder = format!("{identity}/{n}");
            claims.reserve(folder.clone(), format!("entry {n} of {identity}"))?;
            for item in entry {
                let owner = format!("the key {:?} of entry {n} of {identity}", item.key);
                let content = content(decode, identity, item)?;
                claims.add(format!("{folder}/{}", item.key), owner, content)?;
            }
        }
    }
    Ok(())
}

fn content<'a>(
    decode: &Decode,
    identity: &SecretName,
    item: &'a Item,
) -> Result<Content<'a>, RenderError> {
    let decoded = if decode.is_empty() { None } else { decode.bytes(identity, item)? };
    Ok(decoded.map_or(Content::Lent(&item.value), Content::Made))
}
