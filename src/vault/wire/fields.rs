//! JSON objects as the text has them: borrowed, with the spelling of values; names in any case.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting of an answer.
pub(super) const DEEPEST: usize = 64;

/// The fields of one object, in their order.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The fields of `value`; `None` if it is not an object.
    pub(super) fn parse(value: &'a RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// The field of the first name in `names` that the object has; of equal fields the last. DSM's
    /// pages capitalise names in tables and not in samples, so case does not count.
    pub(super) fn get(&self, names: &[&str]) -> Option<&'a RawValue> {
        names.iter().find_map(|name| {
            let same = |field: &&(Cow<'a, str>, &'a RawValue)| {
                field.0 == **name || field.0.to_lowercase() == **name
            };
            self.0.iter().rev().find(same).map(|field| field.1)
        })
    }

    /// Names and values, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values, if every name is a number and every value an object: a PHP array with gaps.
    pub(super) fn numbered(&self) -> Option<Vec<&'a RawValue>> {
        let numbered = !self.is_empty()
            && self.iter().all(|(name, value)| {
                !name.is_empty()
                    && name.bytes().all(|c| c.is_ascii_digit())
                    && kind(value) == JsonKind::Object
            });
        numbered.then(|| self.0.iter().map(|field| field.1).collect())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(std::marker::PhantomData))
    }
}

struct FieldsVisitor<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for FieldsVisitor<'a> {
    type Value = Fields<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<Name<'a>, &'a RawValue>()? {
            fields.push((name.0, value));
        }
        Ok(Fields(fields))
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The kind of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonKind {
    Object,
    Array,
    Text,
    Null,
    Scalar,
}

pub(super) fn kind(value: &RawValue) -> JsonKind {
    match value.get().as_bytes().first() {
        Some(b'{') => JsonKind::Object,
        Some(b'[') => JsonKind::Array,
        Some(b'"') => JsonKind::Text,
        Some(b'n') => JsonKind::Null,
        _ => JsonKind::Scalar,
    }
}

/// A string's content, a scalar's spelling, nothing for null; `None` for objects and arrays, and
/// for strings that are no Unicode text.
pub(super) fn text(value: &RawValue) -> Option<String> {
    match kind(value) {
        JsonKind::Text => serde_json::from_str(value.get()).ok(),
        JsonKind::Scalar => Some(value.get().to_owned()),
        JsonKind::Null => Some(String::new()),
        JsonKind::Object | JsonKind::Array => None,
    }
}

/// The same JSON without white space between its parts; spellings stay.
pub(super) fn compact(value: &RawValue) -> String {
    let mut quoted = Quoting::default();
    value.get().chars().filter(|c| quoted.takes(*c) || !c.is_ascii_whitespace()).collect()
}

/// True if the nesting is at most [`DEEPEST`], which keeps the recursive parser off the end of the
/// stack.
pub(super) fn is_shallow(json: &[u8]) -> bool {
    let mut quoted = Quoting::default();
    let mut depth = 0_usize;
    json.iter().all(|byte| {
        if !quoted.takes(char::from(*byte)) {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        depth <= DEEPEST
    })
}

/// Follows JSON text and knows which characters are inside a string.
#[derive(Default)]
struct Quoting {
    inside: bool,
    escaped: bool,
}

impl Quoting {
    /// Takes the next character; true if it belongs to a string, its quotes included.
    fn takes(&mut self, c: char) -> bool {
        let was_inside = self.inside;
        if self.escaped {
            self.escaped = false;
        } else if self.inside && c == '\\' {
            self.escaped = true;
        } else if c == '"' {
            self.inside = !self.inside;
        }
        was_inside || self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn names_are_found_without_regard_to_case_and_in_order_of_preference() {
        let fields = Fields::parse(raw(r#"{"Data":1,"DATE":2,"vers\u00c3o":3,"data":4}"#)).unwrap();
        assert_eq!(fields.get(&["data", "date"]).unwrap().get(), "4");
        assert_eq!(fields.get(&["date", "data"]).unwrap().get(), "2");
        assert_eq!(fields.get(&["versão"]).unwrap().get(), "3");
        assert!(fields.get(&["none"]).is_none());
    }

    #[test]
    fn spellings_stay_and_white_space_goes() {
        for (json, compacted) in [
            ("{ \"a\" : [ 1e3 , 1.0 ] }", r#"{"a":[1e3,1.0]}"#),
            (r#"{"a b":" c \" d "}"#, r#"{"a b":" c \" d "}"#),
            ("[\n\t1 ,\r\n \"\\\\\" , 2 ]", r#"[1,"\\",2]"#),
        ] {
            assert_eq!(compact(raw(json)), compacted);
        }
        assert_eq!(text(raw("1e3")).unwrap(), "1e3");
        assert_eq!(text(raw("true")).unwrap(), "true");
        assert_eq!(text(raw("null")).unwrap(), "");
        assert_eq!(text(raw(r#""\ud800""#)), None);
        assert_eq!(text(raw("[]")), None);
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_are_no_depth() {
        let nested = |n| "[".repeat(n) + &"]".repeat(n);
        assert!(is_shallow(nested(DEEPEST).as_bytes()));
        assert!(!is_shallow(nested(DEEPEST + 1).as_bytes()));
        assert!(is_shallow(format!("{{\"k\":\"\\\"{}\"}}", "[".repeat(100)).as_bytes()));
    }
}
