//! One YAML file: a mapping by identity, of mappings by key, flattened, values as strings.
//!
//! Every string stands in double quotes and escapes as JSON's do, which YAML 1.1 and 1.2 read alike;
//! so numbers, dates, `no` and `~` stay strings. serde_json writes the strings, only the layout is
//! YAML's own.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::json::{document, size};
use crate::model::Bundle;
use crate::secret::{Secret, SecretBuf};

/// A key that is longer, quotes and escapes included, has to be marked as one (YAML 1.2.2, 7.4.2).
const LONGEST_PLAIN_KEY: usize = 1024;
/// No character takes more when it is escaped.
const LONGEST_ESCAPE: usize = 6;

/// Writes the document, keys in order, with a final newline.
pub(super) fn render(bundle: &Bundle) -> Secret<Vec<u8>> {
    let longest = bundle.secrets.keys().map(|name| name.as_str().chars().count()).max();
    let mark = longest.is_some_and(|longest| longest * LONGEST_ESCAPE + 2 > LONGEST_PLAIN_KEY);
    let mut bytes = SecretBuf::with_capacity(size(bundle));
    let block = Block { mark, ..Block::default() };
    let mut serializer = Serializer::with_formatter(&mut bytes, block);
    document(bundle).serialize(&mut serializer).expect("strings by strings, into memory");
    bytes.push(b"\n");
    bytes.into_secret()
}

/// One value as JSON that YAML reads alike, on one line.
pub(super) fn flow(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Flow))?;
    Ok(String::from_utf8(bytes).expect("JSON is text"))
}

/// JSON, as compact as it gets.
struct Flow;

impl Formatter for Flow {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        printable(writer, fragment)
    }
}

/// Mappings, one key a line.
#[derive(Default)]
struct Block {
    /// Keys of the outermost mapping are marked as such.
    mark: bool,
    depth: usize,
    /// What is written next is a value, on the line of its key.
    value: bool,
    empty: bool,
    begun: bool,
}

impl Block {
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

impl Formatter for Block {
    fn begin_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.empty = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if std::mem::take(&mut self.empty) {
            self.space(writer)?;
            return writer.write_all(b"{}");
        }
        Ok(())
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> io::Result<()> {
        (self.empty, self.value) = (false, false);
        self.line(writer)?;
        if self.mark && self.depth == 1 { writer.write_all(b"? ") } else { Ok(()) }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.mark && self.depth == 1 {
            self.line(writer)?;
        }
        self.value = true;
        writer.write_all(b":")
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.space(writer)?;
        writer.write_all(b"\"")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        printable(writer, fragment)
    }
}

/// Escapes what JSON leaves as it is and YAML does not print, or takes for a line break.
fn printable<W: ?Sized + Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    let mut rest = fragment;
    while let Some(at) = rest.find(is_unprintable) {
        let (before, from) = rest.split_at(at);
        writer.write_all(before.as_bytes())?;
        let mut characters = from.chars();
        let code = characters.next().map_or(0, u32::from);
        write!(writer, "\\u{code:04x}")?;
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
    fn what_yaml_does_not_print_is_escaped() {
        let text = shown(&[("a", &[&[("k", "\u{7f}x\u{85}\u{2028}\u{feff}é")]])]);
        assert_eq!(text, "\"a\":\n  \"k\": \"\\u007fx\\u0085\\u2028\\ufeffé\"\n");
    }

    #[test]
    fn long_keys_are_marked() {
        let long = "x".repeat(200);
        let text = shown(&[(&long, &[&[("k", "v")]])]);
        assert_eq!(text, format!("? \"{long}\"\n:\n  \"k\": \"v\"\n"));
    }
}
