//! One line of the log: the fields of an event as text or as a JSON object, never longer than a
//! limit. Pure.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};

use super::Format;
use super::escape::{self, CUT};

/// The head of a line.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The time, as RFC 3339 writes it.
    pub timestamp: &'a str,
    /// The level.
    pub level: &'a str,
    /// The module.
    pub target: &'a str,
}

/// The fields of one event, the message among them.
#[derive(Debug)]
pub struct EventFields {
    /// The most bytes that are kept of one field: a line can't hold more.
    longest: usize,
    all: Vec<(&'static str, FieldValue)>,
}

/// The value of a field.
#[derive(Debug)]
enum FieldValue {
    /// A number or a truth value, which JSON writes as text does.
    Literal(String),
    /// A text.
    Text(String),
    /// A string, which the text format quotes.
    String(String),
}

/// The name of the field that is the sentence of the event.
const MESSAGE: &str = "message";

impl EventFields {
    /// No fields yet; each keeps at most this many bytes.
    pub fn new(longest: usize) -> Self {
        Self { longest, all: Vec::new() }
    }

    /// The fields of a line that no event stands for.
    pub fn message(text: String) -> Self {
        Self { longest: text.len(), all: vec![(MESSAGE, FieldValue::Text(text))] }
    }

    fn push(&mut self, field: &Field, value: FieldValue) {
        let name = field.name();
        self.all.push((name.strip_prefix("r#").unwrap_or(name), value));
    }

    fn literal(&mut self, field: &Field, value: &dyn fmt::Display) {
        self.push(field, FieldValue::Literal(value.to_string()));
    }
}

impl Visit for EventFields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.literal(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.literal(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no number for the others.
        if value.is_finite() {
            self.literal(field, &value)
        } else {
            self.record_debug(field, &value)
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.literal(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let kept = Beginning::of(self.longest, format_args!("{value}"));
        let is_message = field.name() == MESSAGE;
        self.push(
            field,
            if is_message { FieldValue::Text(kept) } else { FieldValue::String(kept) },
        );
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let kept = Beginning::of(self.longest, format_args!("{value:?}"));
        self.push(field, FieldValue::Text(kept));
    }
}

/// The beginning of a text, of which a line can't show more.
struct Beginning {
    text: String,
    longest: usize,
}

impl Beginning {
    fn of(longest: usize, text: fmt::Arguments<'_>) -> String {
        let mut bounded = Self { text: String::new(), longest };
        // An error says that the text is longer, and ends its formatting.
        bounded.write_fmt(text).unwrap_or_default();
        bounded.text
    }
}

impl Write for Beginning {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.longest.saturating_sub(self.text.len());
        let kept = part.floor_char_boundary(room.min(part.len()));
        self.text.push_str(part.get(..kept).unwrap_or_default());
        if kept == part.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Formats an event as one line, with its line feed, of at most `limit` bytes.
///
/// The longest fields of a longer line are shortened, each at the border of a character; a JSON
/// object stays whole.
pub fn line(head: Head<'_>, fields: &EventFields, format: Format, limit: usize) -> String {
    let whole = written(head, fields, format, usize::MAX);
    if whole.len() <= limit {
        return whole;
    }
    // The greatest length of a field with which the line fits, by bisection.
    let (mut fits, mut exceeds) = (0, limit);
    while exceeds - fits > 1 {
        let tried = fits + (exceeds - fits) / 2;
        if written(head, fields, format, tried).len() <= limit {
            fits = tried;
        } else {
            exceeds = tried;
        }
    }
    written(head, fields, format, fits)
}

/// Formats a line with fields of at most `longest` bytes.
fn written(head: Head<'_>, fields: &EventFields, format: Format, longest: usize) -> String {
    match format {
        Format::Json => object(head, fields, longest),
        Format::Text => text(head, fields, longest),
    }
}

fn object(head: Head<'_>, fields: &EventFields, longest: usize) -> String {
    let Head { timestamp, level, target } = head;
    let mut line = format!("{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\"");
    let string = |line: &mut String, text: &str| {
        line.push('"');
        line.push_str(&fitted(text, Quotes::Json, longest));
        line.push('"');
    };
    for (name, value) in &fields.all {
        line.push_str(",\"");
        line.push_str(name);
        line.push_str("\":");
        match value {
            FieldValue::Literal(literal) => line.push_str(literal),
            FieldValue::Text(text) | FieldValue::String(text) => string(&mut line, text),
        }
    }
    line.push_str(",\"target\":");
    string(&mut line, target);
    line.push_str("}\n");
    line
}

fn text(head: Head<'_>, fields: &EventFields, longest: usize) -> String {
    let mut line = format!("{} {:>5}", head.timestamp, head.level);
    for (name, value) in &fields.all {
        line.push(' ');
        if *name != MESSAGE {
            line.push_str(name);
            line.push('=');
        }
        match value {
            FieldValue::Literal(literal) => line.push_str(literal),
            FieldValue::Text(text) => line.push_str(&fitted(text, Quotes::None, longest)),
            FieldValue::String(text) => {
                line.push('"');
                line.push_str(&fitted(text, Quotes::Text, longest));
                line.push('"');
            }
        }
    }
    line.push('\n');
    line
}

/// The quotes around a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    Text,
    Json,
}

/// Escapes a text for its quotes, and keeps at most `longest` bytes of it, whole escapes alone.
fn fitted(text: &str, quotes: Quotes, longest: usize) -> String {
    let mut out = String::new();
    // The end of what may stay if the text turns out too long for all of it.
    let mut room = 0;
    for c in text.chars() {
        push(&mut out, c, quotes);
        if out.len() + CUT.len_utf8() <= longest {
            room = out.len();
        } else if out.len() > longest {
            out.truncate(room);
            if room + CUT.len_utf8() <= longest {
                out.push(CUT);
            }
            break;
        }
    }
    out
}

fn push(out: &mut String, c: char, quotes: Quotes) {
    let start = out.len();
    if escape::is_hidden(c) {
        escape::push(out, c);
    } else if quotes != Quotes::None && matches!(c, '"' | '\\') {
        out.push('\\');
        out.push(c);
    } else {
        out.push(c);
    }
    // An escape's own backslash: who reads the JSON string gets the escape, and no hidden character.
    if quotes == Quotes::Json && escape::is_hidden(c) {
        out.insert(start, '\\');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const HEAD: Head<'_> =
        Head { timestamp: "2026-11-30T07:48:56.123456Z", level: "WARN", target: "segura_agent::a" };
    const LIMIT: usize = 4096;

    /// EventFields as the visitor leaves them, with the bound of the log.
    fn fields(all: &[(&'static str, &str)]) -> EventFields {
        let mut fields = EventFields::new(LIMIT);
        for (name, text) in all {
            let kept = Beginning::of(LIMIT, format_args!("{text}"));
            let is_message = *name == MESSAGE;
            let value = if is_message { FieldValue::Text(kept) } else { FieldValue::String(kept) };
            fields.all.push((name, value));
        }
        fields
    }

    #[track_caller]
    fn parsed(fields: &EventFields) -> Value {
        let line = line(HEAD, fields, Format::Json, LIMIT);
        assert!(line.len() <= LIMIT, "{}", line.len());
        assert!(line.strip_suffix('\n').is_some_and(|line| !line.contains(escape::is_hidden)));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[test]
    fn both_formats_hold_every_field() {
        let mut all = fields(&[(MESSAGE, "it \"failed\""), ("error", "a \"b\" \\ c")]);
        all.all.push(("generation", FieldValue::Text("7".to_owned())));
        all.all.push(("files", FieldValue::Literal("3".to_owned())));
        let json = line(HEAD, &all, Format::Json, LIMIT);
        assert_eq!(
            json,
            "{\"timestamp\":\"2026-11-30T07:48:56.123456Z\",\"level\":\"WARN\",\"message\":\"it \\\"failed\\\"\",\"error\":\"a \\\"b\\\" \\\\ c\",\"generation\":\"7\",\"files\":3,\"target\":\"segura_agent::a\"}\n"
        );
        let text = line(HEAD, &all, Format::Text, LIMIT);
        assert_eq!(
            text,
            "2026-11-30T07:48:56.123456Z  WARN it \"failed\" error=\"a \\\"b\\\" \\\\ c\" generation=7 files=3\n"
        );
    }

    #[test]
    fn a_line_of_any_length_stays_whole() {
        for part in [
            "x",
            "é",
            "日",
            "\u{1f600}",
            "\"",
            "\\",
            "\u{202e}",
            "\n",
            "\u{e0041}",
            "a\"\\é\u{2028}",
        ] {
            for bytes in
                [1, 1_000, 1 << 10, 4_000, 4_090, 1 << 12, 4_200, 1 << 14, 1 << 17, 1 << 20]
            {
                let long = part.repeat(bytes / part.len() + 1);
                for all in [
                    vec![(MESSAGE, long.as_str())],
                    vec![(MESSAGE, "failed"), ("error", long.as_str()), ("hint", "look")],
                    vec![(MESSAGE, long.as_str()), ("error", long.as_str()), ("hint", "look")],
                ] {
                    let fields = fields(&all);
                    let value = parsed(&fields);
                    for (name, text) in &all {
                        let shown = value[*name].as_str().unwrap();
                        let whole = escape::one_line(text);
                        let start = shown.strip_suffix(CUT).unwrap_or(shown);
                        assert!(whole.starts_with(start), "{name}: {shown}");
                        assert!(shown.len() >= text.len().min(200), "{name}: {shown}");
                    }
                    assert_eq!(value["target"], HEAD.target);
                    let text = line(HEAD, &fields, Format::Text, LIMIT);
                    assert!(text.len() <= LIMIT && text.ends_with('\n'), "{}", text.len());
                    assert_eq!(text.lines().count(), 1);
                }
            }
        }
    }

    #[test]
    fn the_longest_field_is_shortened_first_and_the_room_is_used() {
        let long = "x".repeat(1 << 20);
        let hint = "h".repeat(1_000);
        let all = [(MESSAGE, "failed"), ("error", long.as_str()), ("hint", hint.as_str())];
        let value = parsed(&fields(&all));
        assert_eq!((&value["message"], &value["hint"]), (&"failed".into(), &hint.as_str().into()));
        assert!(value["error"].as_str().unwrap().ends_with(CUT));
        assert_eq!(line(HEAD, &fields(&all), Format::Json, LIMIT).len(), LIMIT);
    }

    #[test]
    fn an_escape_is_not_cut_in_two() {
        let long = "\u{202e}".repeat(1_000);
        let value = parsed(&fields(&[(MESSAGE, &long)]));
        let shown = value["message"].as_str().unwrap().strip_suffix(CUT).unwrap();
        assert!(shown.ends_with("\\u{202e}"), "{shown}");
    }
}
