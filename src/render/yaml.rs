//! One YAML file: a mapping by identity, of mappings by key, flattened, values as strings.
//!
//! Every string is in double quotes with JSON's escapes, which YAML 1.1 and 1.2 read alike, so
//! numbers, dates, `no` and `~` stay strings. serde_json writes the strings; the layout is YAML's.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use super::json::{document, size};
use crate::model::Bundle;
use crate::secret::{Secret, SecretBuf};

/// The longest key without a `?`, in bytes with quotes and escapes: YAML limits implicit keys to
/// 1024 characters (YAML 1.2.2, 7.4.2).
const LONGEST_PLAIN_KEY: usize = 1024;
/// The merge key of YAML 1.1: Ruby's parser (Psych) merges even a quoted one, unless it has the tag
/// of a string.
const MERGE: &[u8] = b"\"<<\"";

/// Writes the document, keys in order, with a final newline.
pub(super) fn render(bundle: &Bundle) -> Secret<Vec<u8>> {
    let mut bytes = SecretBuf::with_capacity(size(bundle));
    let block = Yaml { block: true, ..Yaml::default() };
    let mut serializer = Serializer::with_formatter(&mut bytes, block);
    document(bundle).serialize(&mut serializer).expect("strings by strings, into memory");
    bytes.push(b"\n");
    bytes.into_secret()
}

/// Writes one value on one line: as JSON, except for keys that YAML reads in another way.
pub(super) fn flow(value: &impl Serialize, writer: impl Write) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(writer, Yaml::default()))
}

/// Formats mappings as blocks, one key a line, or in braces.
#[derive(Default)]
struct Yaml {
    block: bool,
    depth: usize,
    /// True if a value comes next, on the line of its key.
    value: bool,
    empty: bool,
    begun: bool,
    /// The unfinished key: its length decides whether it needs a `?`.
    key: Option<Vec<u8>>,
    marked: bool,
}

impl Yaml {
    fn space<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if std::mem::take(&mut self.value) { writer.write_all(b" ") } else { Ok(()) }
    }

    fn line<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            writer.write_all(b"\n")?;
        }
        (1..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Yaml {
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if !self.block {
            return writer.write_all(b"{");
        }
        self.depth += 1;
        self.empty = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if !self.block {
            return writer.write_all(b"}");
        }
        self.depth -= 1;
        if std::mem::take(&mut self.empty) {
            self.space(writer)?;
            return writer.write_all(b"{}");
        }
        Ok(())
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.key = Some(Vec::new());
        (self.empty, self.value) = (false, false);
        match (self.block, first) {
            (true, _) => self.line(writer),
            (false, true) => Ok(()),
            (false, false) => writer.write_all(b","),
        }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let key = self.key.take().unwrap_or_default();
        self.marked = key.len() > LONGEST_PLAIN_KEY;
        if self.marked {
            writer.write_all(b"? ")?;
        }
        if key == MERGE {
            writer.write_all(b"!!str ")?;
        }
        writer.write_all(&key)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let marked = std::mem::take(&mut self.marked);
        self.value = self.block;
        match (self.block, marked) {
            (true, true) => self.line(writer)?,
            (false, true) => return writer.write_all(b" : "),
            (_, false) => {}
        }
        writer.write_all(b":")
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.key {
            Some(key) => key.write_all(b"\""),
            None => {
                self.space(writer)?;
                writer.write_all(b"\"")
            }
        }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.key {
            Some(key) => key.write_all(b"\""),
            None => writer.write_all(b"\""),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        match &mut self.key {
            Some(key) => printable(key, fragment),
            None => printable(writer, fragment),
        }
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match &mut self.key {
            Some(key) => CompactFormatter.write_char_escape(key, escape),
            None => CompactFormatter.write_char_escape(writer, escape),
        }
    }

    /// YAML 1.1 reads `1e3` as a string; this writes `1.0e+3`.
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, number: f64) -> io::Result<()> {
        let text = format!("{number:?}");
        let Some((mantissa, power)) = text.split_once('e') else {
            return writer.write_all(text.as_bytes());
        };
        let point = if mantissa.contains('.') { "" } else { ".0" };
        let sign = if power.starts_with('-') { "" } else { "+" };
        write!(writer, "{mantissa}{point}e{sign}{power}")
    }
}

/// Escapes the characters that JSON leaves unescaped and YAML excludes, or reads as line breaks
/// (YAML 1.2.2, 5.1; YAML 1.1, 5.4).
fn printable<W: ?Sized + Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    let mut rest = fragment;
    while let Some(at) = rest.find(is_unprintable) {
        let (before, from) = rest.split_at(at);
        writer.write_all(before.as_bytes())?;
        let mut characters = from.chars();
        for character in characters.by_ref().take(1) {
            write!(writer, "\\u{:04x}", u32::from(character))?;
        }
        rest = characters.as_str();
    }
    writer.write_all(rest.as_bytes())
}

fn is_unprintable(character: char) -> bool {
    matches!(
        character,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Written, bundle};
    use super::*;

    fn shown(secrets: &[Written<'_>]) -> String {
        String::from_utf8(render(&bundle(secrets)).expose().clone()).unwrap()
    }

    #[test]
    fn a_document_is_a_block_of_quoted_strings_in_order() {
        let text = shown(&[
            ("b/c", &[&[("z", "1e3"), ("a", "no \"q\" \\ \u{1} \u{1f511}\n")]]),
            ("a", &[&[("k", "")]]),
        ]);
        let expected = "\"a\":\n  \"k\": \"\"\n\"b/c\":\n  \"a\": \"no \\\"q\\\" \\\\ \\u0001 \u{1f511}\\n\"\n  \"z\": \"1e3\"\n";
        assert_eq!(text, expected);
        assert_eq!(shown(&[]), "{}\n");
    }

    #[test]
    fn characters_outside_of_yamls_printable_set_are_escaped() {
        let text = shown(&[("a", &[&[("k", "\u{7f}x\u{85}\u{2028}\u{feff}é")]])]);
        assert_eq!(text, "\"a\":\n  \"k\": \"\\u007fx\\u0085\\u2028\\ufeffé\"\n");
    }

    #[test]
    fn keys_that_yaml_reads_in_another_way_are_marked() {
        let long = vec!["x".repeat(200); 6].join("/");
        let text = shown(&[(&long, &[&[("k", "v"), ("<<", "w")]]), ("<<", &[&[("k", "v")]])]);
        let expected = format!(
            "!!str \"<<\":\n  \"k\": \"v\"\n? \"{long}\"\n:\n  !!str \"<<\": \"w\"\n  \"k\": \"v\"\n"
        );
        assert_eq!(text, expected);
        let flowing = |value: serde_json::Value| {
            let mut bytes = Vec::new();
            flow(&value, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            flowing(
                serde_json::json!({ "<<": 1, "a": [1e16, 1.5e-9, 2.5, {}], (long.as_str()): 2 })
            ),
            format!(r#"{{!!str "<<":1,"a":[1.0e+16,1.5e-9,2.5,{{}}],? "{long}" : 2}}"#)
        );
    }
}
