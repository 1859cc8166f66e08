//! Escapes of characters that a terminal or a log viewer obeys in place of showing them. Names and
//! messages come from the vault, from files and from variables, and any of them may hold some.
//!
//! A line feed forges a line, an escape sequence recolours a terminal, U+202E turns the rest of a
//! line around, and an invisible character makes two names look equal (Unicode Technical Report 36,
//! "Unicode Security Considerations").

use std::borrow::Cow;
use std::fmt::Write;

/// Ends a text that was shortened.
pub const CUT: char = '…';

/// Tells whether a character is not shown as itself: control characters (Cc), format characters
/// (Cf), line and paragraph separators (Zl, Zp), noncharacters, and every other code point of the
/// property `Default_Ignorable_Code_Point` (Unicode Character Database, `DerivedCoreProperties`).
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let code = u32::from(c);
    // The last two code points of each plane are noncharacters.
    if code & 0xFFFE == 0xFFFE {
        return true;
    }
    match code {
        0x80..=0x9F | 0xAD => true,
        // Cf: signs that enclose or precede digits, and marks of direction.
        0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890 | 0x891 | 0x8E2 => true,
        // Ignorable: the grapheme joiner, fillers, inherent vowels, variation selectors.
        0x34F | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x3164 | 0xFFA0 => true,
        0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F => true,
        0xFDD0..=0xFDEF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFF0..=0xFFFB => true,
        // Cf: Kaithi, Egyptian hieroglyphs, shorthand, musical notation.
        0x1_10BD | 0x1_10CD | 0x1_3430..=0x1_343F | 0x1_BCA0..=0x1_BCA3 => true,
        0x1_D173..=0x1_D17A => true,
        // Tags and variation selectors, assigned or not.
        0xE_0000..=0xE_0FFF => true,
        _ => false,
    }
}

/// Writes a hidden character visibly: `\n`, `\r`, `\t`, or `\u{202e}` as Rust writes it.
pub fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // A write to a string does not fail.
        _ => write!(out, "\\u{{{:x}}}", u32::from(c)).unwrap_or_default(),
    }
}

/// Escapes every hidden character: the text is one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, push)
}

/// Escapes every hidden character but line feeds, for a text that the agent has laid out.
pub fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| c != '\n' && is_hidden(c), push)
}

/// Escapes every hidden character of a JSON document but its line feeds, which stand between its
/// parts. A reader of JSON gets the same strings.
pub fn json(document: &str) -> Cow<'_, str> {
    replaced(
        document,
        |c| c != '\n' && is_hidden(c),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").unwrap_or_default();
            }
        },
    )
}

/// Shortens a text to this many bytes, at the border of a character; [`CUT`] ends it then.
pub fn shortened(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    let room = text.floor_char_boundary(bytes.saturating_sub(CUT.len_utf8()));
    Cow::Owned(format!("{}{CUT}", text.get(..room).unwrap_or_default()))
}

fn replaced(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    push: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let Some(first) = text.find(&is_replaced) else {
        return Cow::Borrowed(text);
    };
    let (before, rest) = text.split_at(first);
    let mut out = before.to_owned();
    for c in rest.chars() {
        if is_replaced(c) { push(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ranges of Cc, Cf, Zl and Zp in Unicode 16, of the noncharacters, and of what else is
    /// `Default_Ignorable_Code_Point`.
    const HIDDEN: [(u32, u32); 45] = [
        (0x0, 0x1F),
        (0x7F, 0x9F),
        (0xAD, 0xAD),
        (0x34F, 0x34F),
        (0x600, 0x605),
        (0x61C, 0x61C),
        (0x6DD, 0x6DD),
        (0x70F, 0x70F),
        (0x890, 0x891),
        (0x8E2, 0x8E2),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x200B, 0x200F),
        (0x2028, 0x202E),
        (0x2060, 0x206F),
        (0x3164, 0x3164),
        (0xFDD0, 0xFDEF),
        (0xFE00, 0xFE0F),
        (0xFEFF, 0xFEFF),
        (0xFFA0, 0xFFA0),
        (0xFFF0, 0xFFFB),
        (0xFFFE, 0xFFFF),
        (0x1_10BD, 0x1_10BD),
        (0x1_10CD, 0x1_10CD),
        (0x1_3430, 0x1_343F),
        (0x1_BCA0, 0x1_BCA3),
        (0x1_D173, 0x1_D17A),
        (0x1_FFFE, 0x1_FFFF),
        (0x2_FFFE, 0x2_FFFF),
        (0x3_FFFE, 0x3_FFFF),
        (0x4_FFFE, 0x4_FFFF),
        (0x5_FFFE, 0x5_FFFF),
        (0x6_FFFE, 0x6_FFFF),
        (0x7_FFFE, 0x7_FFFF),
        (0x8_FFFE, 0x8_FFFF),
        (0x9_FFFE, 0x9_FFFF),
        (0xA_FFFE, 0xA_FFFF),
        (0xB_FFFE, 0xB_FFFF),
        (0xC_FFFE, 0xC_FFFF),
        (0xD_FFFE, 0xD_FFFF),
        (0xE_0000, 0xE_0FFF),
        (0xE_FFFE, 0xE_FFFF),
        (0xF_FFFE, 0xF_FFFF),
        (0x10_FFFE, 0x10_FFFF),
    ];

    #[test]
    fn every_hidden_code_point_is_escaped_and_no_other() {
        let mut hidden = 0;
        for code in 0..=0x10_FFFF {
            let Some(c) = char::from_u32(code) else { continue };
            let expected = HIDDEN.iter().any(|(from, to)| (*from..=*to).contains(&code));
            assert_eq!(is_hidden(c), expected, "U+{code:04X}");
            let line = one_line(c.encode_utf8(&mut [0; 4])).into_owned();
            assert!(!line.chars().any(is_hidden), "U+{code:04X}");
            assert_eq!(line.starts_with('\\') && line.len() > 1, expected, "U+{code:04X}");
            hidden += usize::from(expected);
        }
        assert!(hidden > 4_000, "{hidden}");
    }

    #[test]
    fn a_text_is_one_line_and_readable() {
        assert_eq!(one_line("db\u{202e}txt\r\n\tü"), "db\\u{202e}txt\\r\\n\\tü");
        assert_eq!(lines("a\nb\u{1b}[31m"), "a\nb\\u{1b}[31m");
        assert!(matches!(one_line("größe 日本 \u{1f600}"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_document_keeps_its_strings() {
        let strings = ["a\u{202e}b", "\u{e0041}\u{7f}", "\n\"\\", "\u{2028}é"];
        let document = serde_json::to_string_pretty(&strings).unwrap();
        let escaped = json(&document);
        assert!(!escaped.chars().any(|c| c != '\n' && is_hidden(c)), "{escaped}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), strings);
    }

    #[test]
    fn a_text_is_shortened_at_the_border_of_a_character() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("longer", 5), "lo…");
        for bytes in 0..20 {
            let cut = shortened("日本日本日本日本", bytes);
            assert!(cut.len() <= bytes.max(CUT.len_utf8()), "{bytes}: {cut}");
            assert!(cut.ends_with(CUT), "{cut}");
        }
    }
}
