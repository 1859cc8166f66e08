//! Checks a document against its fields, and notes each problem by its path.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::text::Node;
use super::{DocumentProblem, Reference, Resolve};
use crate::secret::Secret;

/// The kind of a field's value.
#[derive(Clone, Copy)]
pub(super) enum FieldKind {
    /// A text, or a reference to one.
    Text,
    /// A text or a reference, which is redacted in messages.
    Secret,
    /// A text of any lines.
    Lines,
    /// A text or a boolean: DSM's table says boolean, its examples show texts.
    TextOrFlag,
    /// One of these words in any case of letters, sent as the user wrote it: DSM's page lists
    /// `low, medium, high` and shows `High`. Another word is sent with a warning: the vault decides.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number, not negative.
    Number,
    /// Fields of its own.
    Object(&'static [Field]),
    /// A list of objects.
    List(&'static [Field]),
    /// One object, or a list of them: DSM's pages say both.
    Either(&'static [Field]),
}

/// A field that an object may have. The name is DSM's and is accepted in any case of letters.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: FieldKind,
    /// The problem of null in place of a text.
    null: &'static str,
}

/// The problem of null in place of a text that may be left out.
const NULL: &str = "is null: remove it, or write \"\"";

/// Makes a field that may be left out.
pub(super) const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, null: NULL }
}

/// Makes a field that every document needs; `null` is the problem of null in its place.
pub(super) const fn needed(name: &'static str, kind: FieldKind, null: &'static str) -> Field {
    Field { name, kind, null }
}

/// Collects the problems of a document.
pub(super) struct Walk<'a> {
    pub(super) resolve: &'a Resolve<'a>,
    pub(super) problems: Vec<DocumentProblem>,
    /// Remarks on what is sent all the same.
    pub(super) warnings: Vec<DocumentProblem>,
    /// Every secret text, to be redacted if the vault's answer repeats it.
    pub(super) redacted: Vec<Secret<String>>,
}

/// The path of the member `name` below `path`. An unusual name is shown as `?`: it may be a value
/// that a typo has turned into a name, as in `password:x`.
pub(super) fn join(path: &str, name: impl std::fmt::Display) -> String {
    let name = name.to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "_-. /".contains(c);
    let name = if name.len() <= 64 && name.chars().all(is_plain) { &name } else { "?" };
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<'a> Walk<'a> {
    pub(super) fn new(resolve: &'a Resolve<'a>) -> Self {
        Self { resolve, problems: Vec::new(), warnings: Vec::new(), redacted: Vec::new() }
    }

    pub(super) fn problem(&mut self, path: &str, what: impl Into<String>) {
        let path = if path.is_empty() { "the document" } else { path };
        self.problems.push(DocumentProblem { path: path.to_owned(), what: what.into() });
    }

    pub(super) fn warning(&mut self, path: &str, what: impl Into<String>) {
        self.warnings.push(DocumentProblem { path: path.to_owned(), what: what.into() });
    }

    /// Warns of a word that the vault's pages don't list.
    pub(super) fn unlisted(&mut self, path: &str, words: &[&str]) {
        let words = words.join(", ");
        self.warning(path, format!("is not one of {words}: sent as it is, the vault decides"));
    }

    /// The members of a map; a repeated name is a problem.
    pub(super) fn map(&mut self, path: &str, node: Node) -> Option<Vec<(String, Node)>> {
        let members = self.members(path, node)?;
        let mut seen = BTreeSet::new();
        for (name, _) in &members {
            if !seen.insert(name) {
                self.problem(&join(path, name), "appears twice");
            }
        }
        Some(members)
    }

    /// The members of a map; the caller checks the names.
    pub(super) fn members(&mut self, path: &str, node: Node) -> Option<Vec<(String, Node)>> {
        match node {
            Node::Map(members) if !is_reference(&members) => return Some(members),
            Node::Map(_) => self.problem(path, "must be an object, not a reference"),
            Node::Null | Node::Flag(_) | Node::Number(_) | Node::Text(_) | Node::List(_) => {
                self.problem(path, "must be an object");
            }
        }
        None
    }

    pub(super) fn list(&mut self, path: &str, node: Node) -> Option<Vec<Node>> {
        if let Node::List(members) = node {
            return Some(members);
        }
        self.problem(path, "must be a list");
        None
    }

    /// A text, given in the document or by a reference.
    pub(super) fn text(&mut self, path: &str, node: Node) -> Option<Secret<String>> {
        let text = match node {
            Node::Text(text) => Ok(text),
            Node::Map(members) => {
                match reference(members) {
                    Some(reference) => (self.resolve)(&reference),
                    None => Err("must be a text, or {\"from_env\": NAME} or {\"from_file\": PATH}"
                        .to_owned()),
                }
            }
            Node::Null => Err(NULL.to_owned()),
            Node::Number(_) | Node::Flag(_) => Err("must be a text: put it in quotes".to_owned()),
            Node::List(_) => Err("must be a text".to_owned()),
        };
        text.map_err(|what| self.problem(path, what)).ok()
    }

    /// A text that is to be redacted in messages.
    pub(super) fn secret(&mut self, path: &str, node: Node) -> Option<Value> {
        let text = self.text(path, node)?;
        let value = Value::String(text.expose().clone());
        self.redacted.push(text);
        Some(value)
    }

    /// An object of `fields`; another name is a problem.
    pub(super) fn object(
        &mut self,
        path: &str,
        node: Node,
        fields: &[Field],
    ) -> Option<Map<String, Value>> {
        let mut object = Map::new();
        for (name, node) in self.members(path, node)? {
            let path = join(path, &name);
            let Some(field) = fields.iter().find(|field| field.name.eq_ignore_ascii_case(&name))
            else {
                let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
                self.problem(&path, format!("is not one of {}", known.join(", ")));
                continue;
            };
            if object.contains_key(field.name) {
                self.problem(&path, "appears twice");
            }
            // A faulty value is a problem already, so the field must not also count as missing.
            let value = if matches!(node, Node::Null) && field.null != NULL {
                self.problem(&path, field.null);
                Value::Null
            } else {
                self.value(&path, node, field.kind).unwrap_or_default()
            };
            object.insert(field.name.to_owned(), value);
        }
        Some(object)
    }

    fn value(&mut self, path: &str, node: Node, kind: FieldKind) -> Option<Value> {
        match (kind, node) {
            (FieldKind::TextOrFlag, Node::Flag(flag)) => Some(Value::Bool(flag)),
            (FieldKind::Text | FieldKind::TextOrFlag, node) => {
                let text = self.text(path, node)?;
                if text.expose().chars().any(char::is_control) {
                    self.problem(path, "holds a line break or another control character");
                }
                Some(Value::from(text.expose().as_str()))
            }
            (FieldKind::Lines, node) => Some(Value::from(self.text(path, node)?.expose().as_str())),
            (FieldKind::Secret, node) => self.secret(path, node),
            (FieldKind::Choice(words), node) => {
                let text = self.text(path, node)?;
                if !words.iter().any(|word| word.eq_ignore_ascii_case(text.expose())) {
                    self.unlisted(path, words);
                }
                Some(Value::from(text.expose().as_str()))
            }
            (FieldKind::Flag, Node::Flag(flag)) => Some(Value::Bool(flag)),
            (FieldKind::Flag, _) => {
                self.problem(path, "must be true or false");
                None
            }
            (FieldKind::Number, Node::Number(number)) if number.parse::<u64>().is_ok() => {
                number.parse::<u64>().ok().map(Value::from)
            }
            // DSM's pages show ids as texts.
            (FieldKind::Number, Node::Text(number)) if number.expose().parse::<u64>().is_ok() => {
                number.expose().parse::<u64>().ok().map(Value::from)
            }
            (FieldKind::Number, _) => {
                self.problem(path, "must be a whole number");
                None
            }
            (FieldKind::Object(fields), node) => self.object(path, node, fields).map(Value::Object),
            (FieldKind::Either(fields), node @ Node::Map(_)) => {
                self.object(path, node, fields).map(Value::Object)
            }
            (FieldKind::List(fields) | FieldKind::Either(fields), node) => {
                let members = self.list(path, node)?.into_iter().enumerate();
                let objects = members.map(|(at, node)| self.object(&join(path, at), node, fields));
                Some(Value::Array(objects.flatten().map(Value::Object).collect()))
            }
        }
    }
}

/// True if a map is a reference.
pub(super) fn is_reference(members: &[(String, Node)]) -> bool {
    matches!(members, [(name, Node::Text(_))] if name == "from_env" || name == "from_file")
}

/// The reference of `{"from_env": NAME}` or `{"from_file": PATH}`, without other members.
fn reference(mut members: Vec<(String, Node)>) -> Option<Reference> {
    let (name, node) = members.pop().filter(|_| members.is_empty())?;
    let Node::Text(text) = node else { return None };
    match name.as_str() {
        "from_env" => Some(Reference::Env(text.expose().clone())),
        "from_file" => Some(Reference::File(text.expose().clone())),
        _ => None,
    }
}
