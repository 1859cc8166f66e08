//! Parses text to nodes: JSON, or YAML 1.2 by its core schema, several documents to a file.

use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::secret::Secret;

/// The longest text of documents, in bytes.
pub const LONGEST: usize = 4 * 1024 * 1024;
/// The deepest nesting of lists and maps.
const DEEPEST: usize = 32;

/// One value of a document.
pub(super) enum Node {
    Null,
    Flag(bool),
    /// In the document's own spelling.
    Number(String),
    Text(Secret<String>),
    List(Vec<Node>),
    /// In order, repeated names included.
    Map(Vec<(String, Node)>),
}

/// The reason why a text can't be read as documents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not JSON, or not YAML.
    #[error("line {line}, column {column} is not {format}")]
    Syntax {
        /// The format that it was read as.
        format: &'static str,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// YAML that JSON has no counterpart for.
    #[error("line {line} has {what}, which documents must not use")]
    Exotic {
        /// From 1.
        line: usize,
        /// The construct.
        what: &'static str,
    },
    /// The text holds no document.
    #[error("it holds no document")]
    Empty,
    /// It is JSON, and no object.
    #[error("it is JSON, and no object")]
    NoObject,
    /// The text is longer than [`LONGEST`].
    #[error("it is longer than 4 MiB")]
    Long,
}

/// Reads all documents of a text: those of YAML, or the members of a sole array.
pub(super) fn read(text: &str) -> Result<Vec<Node>, Unreadable> {
    if text.len() > LONGEST {
        return Err(Unreadable::Long);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = if is_json(text) { json(text)? } else { yaml(text)? };
    if let [Node::List(_)] = documents.as_slice()
        && let Some(Node::List(members)) = documents.pop()
    {
        documents = members;
    }
    if documents.is_empty() { Err(Unreadable::Empty) } else { Ok(documents) }
}

/// True if a text is meant as JSON: brackets, then a quote. YAML may start with brackets, too, but
/// a broken JSON text must not be read as YAML, which folds lines.
fn is_json(text: &str) -> bool {
    let start = text.trim_start();
    let inside = start.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '{' | '['));
    start.starts_with(['{', '[']) && inside.starts_with(['"', '}', ']'])
}

/// Reads JSON that holds one object.
pub(super) fn json_object(text: &str) -> Result<Node, Unreadable> {
    let mut nodes = json(text)?;
    let object = nodes.pop().filter(|node| matches!(node, Node::Map(_)));
    object.ok_or(Unreadable::NoObject)
}

fn json(text: &str) -> Result<Vec<Node>, Unreadable> {
    let node = serde_json::from_str(text).map_err(|error| Unreadable::Syntax {
        format: "JSON",
        line: error.line(),
        column: error.column().max(1),
    })?;
    Ok(vec![node])
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Json)
    }
}

struct Json;

impl<'de> Visitor<'de> for Json {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(Secret::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = members.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(member) = members.next_entry()? {
            map.push(member);
        }
        Ok(Node::Map(map))
    }
}

/// A list or map that has begun and not ended.
enum OpenNode {
    List(Vec<Node>),
    /// With the name whose value comes next.
    Map(Vec<(String, Node)>, Option<String>),
}

fn yaml(text: &str) -> Result<Vec<Node>, Unreadable> {
    let mut documents = Vec::new();
    let mut open: Vec<OpenNode> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Unreadable::Syntax {
            format: "YAML",
            line: error.marker().line(),
            column: error.marker().col() + 1,
        })?;
        let line = span.start.line();
        let exotic = |what| Err(Unreadable::Exotic { line, what });
        let node = match event {
            Event::Alias(_) => return exotic("an alias"),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => return exotic("a tag"),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= DEEPEST => {
                return exotic("nesting of more than 32 levels");
            }
            Event::SequenceStart(..) => {
                open.push(OpenNode::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(OpenNode::Map(Vec::new(), None));
                continue;
            }
            Event::Scalar(text, style, ..) => match open.last_mut() {
                // A name is always text, even if it looks like a number.
                Some(OpenNode::Map(_, name @ None)) => {
                    *name = Some(text.into_owned());
                    continue;
                }
                Some(OpenNode::Map(..) | OpenNode::List(_)) | None => scalar(&text, style),
            },
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(OpenNode::List(members)) => Node::List(members),
                Some(OpenNode::Map(members, _)) => Node::Map(members),
                None => continue,
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        match open.last_mut() {
            None => documents.push(node),
            Some(OpenNode::List(members)) => members.push(node),
            Some(OpenNode::Map(members, name)) => match name.take() {
                Some(name) => members.push((name, node)),
                None => return exotic("a name that is not a text"),
            },
        }
    }
    // An empty document, as after a last `---`, does not count.
    documents.retain(|node| !matches!(node, Node::Null));
    Ok(documents)
}

/// The value of a scalar (YAML 1.2.2, 10.3.2): only a plain one can be other than text.
fn scalar(text: &str, style: ScalarStyle) -> Node {
    if style == ScalarStyle::Plain {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
            "true" | "True" | "TRUE" => return Node::Flag(true),
            "false" | "False" | "FALSE" => return Node::Flag(false),
            _ if is_number(text) => return Node::Number(text.to_owned()),
            _ => {}
        }
    }
    Node::Text(Secret::new(text.to_owned()))
}

fn is_number(text: &str) -> bool {
    let based = |digits: &str, is_digit: fn(&u8) -> bool| {
        !digits.is_empty() && digits.as_bytes().iter().all(is_digit)
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, |c| (b'0'..=b'7').contains(c));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, u8::is_ascii_hexdigit);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let starts = unsigned.strip_prefix('.').unwrap_or(unsigned);
    starts.starts_with(|c: char| c.is_ascii_digit()) && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node as JSON, numbers as they are written.
    fn shown(node: &Node) -> String {
        match node {
            Node::Null => "null".to_owned(),
            Node::Flag(flag) => flag.to_string(),
            Node::Number(number) => number.clone(),
            Node::Text(text) => format!("{:?}", text.expose()),
            Node::List(members) => {
                format!("[{}]", members.iter().map(shown).collect::<Vec<_>>().join(","))
            }
            Node::Map(members) => {
                let members = members.iter().map(|(name, node)| format!("{name}:{}", shown(node)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn documents(text: &str) -> Result<Vec<String>, Unreadable> {
        read(text).map(|documents| documents.iter().map(shown).collect())
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        for text in [
            r#"{"a": "x", "b": [1, true, null], "a": ""}"#,
            "{a: x, b: [1, true, null], a: ''}",
            "a: x\nb:\n- 1\n- true\n-\na: \"\"\n",
            "\u{feff}--- # first\na: x\nb: [1, true, ~]\na: ''\n...\n",
        ] {
            assert_eq!(documents(text).unwrap(), [r#"{a:"x",b:[1,true,null],a:""}"#], "{text}");
        }
    }

    #[test]
    fn several_documents_are_an_array_or_yamls_own() {
        for text in ["[{\"a\": 1}, {\"a\": 2}]", "- a: 1\n- a: 2\n", "a: 1\n---\na: 2\n---\n"] {
            assert_eq!(documents(text).unwrap(), ["{a:1}", "{a:2}"], "{text}");
        }
        assert_eq!(documents("---\n[1]\n---\n[2]\n").unwrap(), ["[1]", "[2]"]);
        for text in ["", "\n", "[]", "---\n", "# nothing\n"] {
            assert_eq!(documents(text), Err(Unreadable::Empty), "{text:?}");
        }
    }

    #[test]
    fn plain_scalars_follow_yaml_1_2_and_all_others_are_texts() {
        for (scalar, expected) in [
            ("no", "\"no\""),
            ("off", "\"off\""),
            ("'true'", "\"true\""),
            ("0123", "0123"),
            ("1e3", "1e3"),
            ("-.5", "-.5"),
            ("0x1F", "0x1F"),
            ("0o17", "0o17"),
            ("+.inf", "+.inf"),
            ("1_000", "\"1_000\""),
            ("12:30", "\"12:30\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("infinity", "\"infinity\""),
            ("nan", "\"nan\""),
            ("1.2.3", "\"1.2.3\""),
            ("|\n  x\n", "\"x\\n\""),
        ] {
            let text = format!("a: {scalar}");
            assert_eq!(documents(&text).unwrap(), [format!("{{a:{expected}}}")], "{text}");
        }
    }

    #[test]
    fn an_unreadable_text_is_reported_by_place_and_never_quoted() {
        for (text, expected) in [
            ("{\"a\": \"canary", "line 1, column 13 is not JSON"),
            ("{\"a\": 1}\ncanary", "line 2, column 1 is not JSON"),
            // YAML would fold the lines of it.
            ("{\"a\": \"canary\ncanary\"}", "is not JSON"),
            ("a: 'canary\n", "is not YAML"),
            ("a: [canary\nb: 1\n", "is not YAML"),
            ("a: &x canary\nb: *x\n", "line 2 has an alias"),
            ("a: !!binary canary\n", "line 1 has a tag"),
            ("? [canary]\n: x\n", "line 1 has a name that is not a text"),
        ] {
            let error = read(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected) && !error.contains("canary"), "{text}: {error}");
        }
        let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(read(&deep).err().unwrap().to_string().contains("nesting of more than 32 levels"));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert_eq!(read(&" ".repeat(LONGEST + 1)).err(), Some(Unreadable::Long));
    }
}
