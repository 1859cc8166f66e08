//! One `.properties` file, as `java.util.Properties` reads it: keys `identity.key`, flattened.
//!
//! The file is ASCII, since readers disagree about its encoding: `Properties.load` reads a stream
//! as ISO 8859-1, resource bundles read UTF-8 since Java 9 (JEP 226). Other characters are escaped
//! as UTF-16, as Java writes them.

use std::collections::BTreeMap;

use super::RenderError;
use super::json::size;
use crate::model::Bundle;
use crate::secret::{Secret, SecretBuf};

/// Writes one line a key, in order; two keys that become one property are an error.
pub(super) fn render(bundle: &Bundle) -> Result<Secret<Vec<u8>>, RenderError> {
    let mut properties = BTreeMap::new();
    for (identity, set) in &bundle.secrets {
        for (key, value) in set.flat() {
            let name = format!("{identity}.{key}");
            if let Some((other, other_key, _)) = properties.get(&name) {
                return Err(RenderError::Property {
                    first: format!("{other_key:?} of {other}"),
                    second: format!("{key:?} of {identity}"),
                    property: name,
                });
            }
            properties.insert(name, (identity, key, value));
        }
    }
    let mut bytes = SecretBuf::with_capacity(size(bundle));
    for (name, (_, _, value)) in &properties {
        name.chars().for_each(|character| escape(&mut bytes, character));
        bytes.push(b"=");
        write_value(&mut bytes, value.expose());
        bytes.push(b"\n");
    }
    Ok(bytes.into_secret())
}

/// A value in the spelling behind the `=`.
pub(super) fn value(text: &str) -> String {
    let mut bytes = SecretBuf::with_capacity(text.len() + 8);
    write_value(&mut bytes, text);
    String::from_utf8(bytes.into_secret().expose().clone()).expect("all of it is ASCII")
}

fn write_value(bytes: &mut SecretBuf, text: &str) {
    for (position, character) in text.chars().enumerate() {
        // A reader skips the blanks before a value, up to one that is escaped.
        if character == ' ' && position > 0 {
            bytes.push(b" ");
        } else {
            escape(bytes, character);
        }
    }
}

/// Writes one character of a key, or of a value, where only the first blank has to be escaped.
fn escape(bytes: &mut SecretBuf, character: char) {
    match character {
        ' ' => bytes.push(b"\\ "),
        '\t' => bytes.push(b"\\t"),
        '\n' => bytes.push(b"\\n"),
        '\r' => bytes.push(b"\\r"),
        '\u{c}' => bytes.push(b"\\f"),
        '\\' | '=' | ':' | '#' | '!' => {
            bytes.push(b"\\");
            bytes.push(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        '!'..='~' => bytes.push(character.encode_utf8(&mut [0; 4]).as_bytes()),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                bytes.push(format!("\\u{unit:04X}").as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Written, bundle};
    use super::*;

    fn shown(secrets: &[Written<'_>]) -> Result<String, RenderError> {
        let bytes = render(&bundle(secrets))?;
        Ok(String::from_utf8(bytes.expose().clone()).unwrap())
    }

    #[test]
    fn characters_with_a_meaning_are_escaped() {
        let text =
            shown(&[("a b", &[&[("k:=#!", "  x =\\\n\t\r\u{c}é\u{1f511}\u{1}"), ("e", "")]])]);
        assert_eq!(
            text.unwrap(),
            "a\\ b.e=\na\\ b.k\\:\\=\\#\\!=\\  x \\=\\\\\\n\\t\\r\\f\\u00E9\\uD83D\\uDD11\\u0001\n"
        );
        assert_eq!(shown(&[]).unwrap(), "");
    }

    #[test]
    fn two_keys_for_one_property_are_named() {
        let error = shown(&[("a", &[&[("b.c", "1")]]), ("a.b", &[&[("c", "2")]])]).unwrap_err();
        let message = error.to_string();
        for part in ["\"b.c\" of a", "\"c\" of a.b", "a.b.c"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
