//! One JSON file: an object by identity, of objects by key, flattened, values as strings.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::model::Bundle;
use crate::secret::{Secret, SecretBuf};

/// A value that is serialized into a document which is itself secret.
pub(super) struct Exposed<'a>(pub(super) &'a Secret<String>);

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// Writes the document, keys in order, with a final newline.
pub(super) fn render(bundle: &Bundle) -> Secret<Vec<u8>> {
    let mut bytes = SecretBuf::with_capacity(size(bundle));
    serde_json::to_writer(&mut bytes, &document(bundle)).expect("strings by strings, into memory");
    bytes.push(b"\n");
    bytes.into_secret()
}

/// Values by identity and key.
pub(super) type Document<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Exposed<'a>>>;

/// The document's content, in order.
pub(super) fn document(bundle: &Bundle) -> Document<'_> {
    let secrets = bundle.secrets.iter().map(|(identity, set)| {
        let flat = set.flat().into_iter().map(|(key, value)| (key, Exposed(value)));
        (identity.as_str(), flat.collect())
    });
    secrets.collect()
}

/// The estimated size of a document of this bundle, so that its buffer rarely moves.
pub(super) fn size(bundle: &Bundle) -> usize {
    let items = bundle.secrets.values().flat_map(|set| set.items());
    let held: usize = items.map(|item| item.key.len() + item.value.expose().len() + 8).sum();
    held + held / 8 + 64 * (bundle.secrets.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::bundle;
    use super::*;

    #[test]
    fn values_stay_strings_and_the_order_is_stable() {
        let bundle = bundle(&[
            ("b", &[&[("z", "1e3"), ("a", "no \"q\" \u{1} \u{1f511}\n")]]),
            ("a", &[&[("k", "")]]),
        ]);
        let bytes = render(&bundle);
        let expected = "{\"a\":{\"k\":\"\"},\"b\":{\"a\":\"no \\\"q\\\" \\u0001 \u{1f511}\\n\",\"z\":\"1e3\"}}\n";
        assert_eq!(std::str::from_utf8(bytes.expose()).unwrap(), expected);
    }
}
