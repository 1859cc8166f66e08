//! Reads the values of a secret: flat, by kind, or packed.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value, json};

use super::super::text::{Node, json_object};
use super::super::walk::{Walk, is_reference, join};
use crate::model::{NameProblem, check_part};
use crate::secret::Secret;

/// The kinds of values.
pub(super) const KINDS: [&str; 3] = ["access_keys", "credentials", "key_value"];
const CLOUDS: [&str; 3] = ["aws", "azure", "gcp"];
/// Fields of a credential; each may have a `…_label`, the name under which it is stored.
const CREDENTIAL: [&str; 4] = ["user", "host", "password", "additional_information"];
const LABEL: &str = "_label";

/// The form of a document's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataShape {
    /// It has none: the vault keeps those that it stores.
    #[default]
    Absent,
    /// One object of keys and values.
    Flat,
    /// Objects by kind: access keys, credentials, keys and values.
    ByKind,
}

/// The form of a document's values, and the names under which they are stored.
#[derive(Debug, Default)]
pub struct Data {
    /// The names.
    pub keys: Vec<String>,
    /// The form.
    pub shape: DataShape,
}

/// Reads the values, and packs them as DSM expects them.
///
/// They may be packed already, as DSM's table documents the field: they are unpacked, and checked
/// like others.
pub(super) fn read(walk: &mut Walk<'_>, node: Node, data: &mut Data) -> Option<Value> {
    let before = walk.problems.len();
    let node = match node {
        Node::Null => {
            walk.problem("data", "is null: remove it to leave the values as they are");
            return None;
        }
        Node::Text(_) => unpacked(walk, node)?,
        Node::Map(members) if is_reference(&members) => unpacked(walk, Node::Map(members))?,
        node @ (Node::Flag(_) | Node::Number(_) | Node::List(_) | Node::Map(_)) => node,
    };
    let members = walk.map("data", node)?;
    let by_kind =
        members.iter().any(|(name, node)| KINDS.contains(&name.as_str()) && has_parts(node));
    data.shape = if by_kind { DataShape::ByKind } else { DataShape::Flat };
    let values = match data.shape {
        DataShape::ByKind => kinds(walk, members, &mut data.keys),
        DataShape::Flat | DataShape::Absent => fields(walk, "data", members, &mut data.keys),
    };
    if data.keys.is_empty() && walk.problems.len() == before {
        walk.problem("data", "holds no value");
    }
    Some(pack(values))
}

/// Packs values as DSM expects them: base64 of JSON.
fn pack(values: Map<String, Value>) -> Value {
    let packed = Secret::new(Value::Object(values).to_string());
    Value::String(STANDARD.encode(packed.expose()))
}

/// Adds keys to packed values; none if these are not what [`pack`] has made.
pub(in super::super) fn add(
    packed: &Value,
    shape: DataShape,
    kept: &[(&str, &str)],
) -> Option<Value> {
    let json = decoded(packed.as_str()?)?;
    let Ok(Value::Object(mut values)) = serde_json::from_slice(json.expose()) else {
        return None;
    };
    let kept = kept.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
    if shape == DataShape::ByKind {
        let pairs = values.entry("key_value").or_insert_with(|| json!({ "fields": {} }));
        pairs.get_mut("fields")?.as_object_mut()?.extend(kept);
    } else {
        values.extend(kept);
    }
    Some(pack(values))
}

/// The object in base64 of JSON; the text itself is redacted in messages, too.
fn unpacked(walk: &mut Walk<'_>, node: Node) -> Option<Node> {
    let text = walk.text("data", node)?;
    let object = decoded(text.expose())
        .ok_or_else(|| "must be an object, or base64 of one in JSON".to_owned())
        .and_then(|bytes| {
            let json = std::str::from_utf8(bytes.expose())
                .map_err(|_| "is base64: unpacked, it is not UTF-8".to_owned())?;
            json_object(json).map_err(|error| format!("is base64: unpacked, {error}"))
        });
    walk.redacted.push(text);
    object.map_err(|what| walk.problem("data", what)).ok()
}

/// Decodes base64 in any of its alphabets, with or without padding and line breaks. The vendor's
/// command line pads with commas.
fn decoded(text: &str) -> Option<Secret<Vec<u8>>> {
    let standard = text.chars().filter(|c| !c.is_ascii_whitespace()).map(|c| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    });
    let standard = Secret::new(standard.collect::<String>());
    let symbols = standard.expose().trim_end_matches(['=', ',']);
    let bytes = STANDARD_NO_PAD.decode(symbols).ok()?;
    (!bytes.is_empty()).then(|| Secret::new(bytes))
}

/// True if a node holds more than one text or a reference.
fn has_parts(node: &Node) -> bool {
    match node {
        Node::List(_) => true,
        Node::Map(members) => !is_reference(members),
        Node::Null | Node::Flag(_) | Node::Number(_) | Node::Text(_) => false,
    }
}

/// Checks the name of a key. The vault may hold keys that can't be files; one that is too long even
/// for that is refused, since the agent would hold back the whole secret.
fn check_key(walk: &mut Walk<'_>, path: &str, key: &str) {
    match check_part(key) {
        Err(problem @ (NameProblem::Empty | NameProblem::Control | NameProblem::Long)) => {
            walk.problem(path, format!("its name {problem}"));
        }
        Err(problem) => {
            walk.warning(
                path,
                format!("its name {problem}: the agent publishes no secret with such a key"),
            );
        }
        Ok(()) => {}
    }
}

/// A map of keys to values.
fn fields(
    walk: &mut Walk<'_>,
    path: &str,
    members: Vec<(String, Node)>,
    keys: &mut Vec<String>,
) -> Map<String, Value> {
    let mut fields = Map::new();
    for (key, node) in members {
        let path = join(path, &key);
        check_key(walk, &path, &key);
        if let Some(value) = walk.secret(&path, node) {
            fields.insert(key.clone(), value);
        }
        keys.push(key);
    }
    fields
}

fn kinds(
    walk: &mut Walk<'_>,
    members: Vec<(String, Node)>,
    keys: &mut Vec<String>,
) -> Map<String, Value> {
    let mut data = Map::new();
    for (kind, node) in members {
        let path = join("data", &kind);
        let value = match kind.as_str() {
            "access_keys" => {
                each(walk, &path, node, |walk, path, node| access_key(walk, path, node, keys))
            }
            "credentials" => each(walk, &path, node, |walk, path, node| {
                let fields = only(walk, path, node, "credential")?;
                let path = join(path, "credential");
                let fields = only(walk, &path, fields, "fields")?;
                let fields = labelled(walk, &join(&path, "fields"), fields, &CREDENTIAL, keys)?;
                Some(json!({ "credential": { "fields": fields } }))
            }),
            "key_value" => only(walk, &path, node, "fields").and_then(|node| {
                let path = join(&path, "fields");
                let members = walk.map(&path, node)?;
                Some(json!({ "fields": fields(walk, &path, members, keys) }))
            }),
            _ => {
                walk.problem(&path, format!("is not one of {}", KINDS.join(", ")));
                None
            }
        };
        data.insert(kind, value.unwrap_or_default());
    }
    data
}

fn each(
    walk: &mut Walk<'_>,
    path: &str,
    node: Node,
    mut read: impl FnMut(&mut Walk<'_>, &str, Node) -> Option<Value>,
) -> Option<Value> {
    let members = walk.list(path, node)?.into_iter().enumerate();
    let read = members.map(|(at, node)| read(walk, &join(path, at), node));
    Some(Value::Array(read.map(Option::unwrap_or_default).collect()))
}

/// The member `name`; any other is a problem.
fn only(walk: &mut Walk<'_>, path: &str, node: Node, name: &str) -> Option<Node> {
    let mut found = None;
    for (member, node) in walk.map(path, node)? {
        if member == name {
            found = Some(node);
        } else {
            walk.problem(&join(path, &member), format!("must be named {name}"));
        }
    }
    if found.is_none() {
        walk.problem(&join(path, name), "is missing");
    }
    found
}

fn access_key(
    walk: &mut Walk<'_>,
    path: &str,
    node: Node,
    keys: &mut Vec<String>,
) -> Option<Value> {
    let node = only(walk, path, node, "access_key")?;
    let path = join(path, "access_key");
    let (mut cloud, mut fields) = (None, None);
    for (name, node) in walk.map(&path, node)? {
        match name.as_str() {
            "type" => cloud = Some(node),
            "fields" => fields = Some(node),
            _ => walk.problem(&join(&path, &name), "is not one of type, fields"),
        }
    }
    for (name, node) in [("type", &cloud), ("fields", &fields)] {
        if node.is_none() {
            walk.problem(&join(&path, name), "is missing");
        }
    }
    let place = join(&path, "type");
    let cloud = cloud.and_then(|node| walk.text(&place, node));
    let has_cloud = cloud.is_some();
    let cloud = cloud.map(|cloud| cloud.expose().clone()).unwrap_or_default();
    if has_cloud && cloud.is_empty() {
        walk.problem(&place, "is empty");
    } else if has_cloud && !CLOUDS.contains(&cloud.as_str()) {
        walk.unlisted(&place, &CLOUDS);
    }
    // DSM's pages document the fields of aws only.
    let known: &[&str] = if cloud.eq_ignore_ascii_case("aws") {
        &["access_key_id", "secret_access_key"]
    } else {
        &[]
    };
    let fields = labelled(walk, &join(&path, "fields"), fields?, known, keys)?;
    Some(json!({ "access_key": { "type": cloud, "fields": fields } }))
}

/// Fields with their labels; a field is stored under its label, if it has one. An empty `known`
/// permits every name.
fn labelled(
    walk: &mut Walk<'_>,
    path: &str,
    node: Node,
    known: &[&str],
    keys: &mut Vec<String>,
) -> Option<Map<String, Value>> {
    let members = walk.map(path, node)?;
    let names: Vec<String> = members.iter().map(|(name, _)| name.clone()).collect();
    let mut fields = Map::new();
    for (name, node) in members {
        let path = join(path, &name);
        let labels = name.strip_suffix(LABEL);
        let field = labels.unwrap_or(&name);
        if !known.is_empty() && !known.contains(&field) {
            walk.problem(
                &path,
                format!("is not one of {}, and not the {LABEL} of a field", known.join(", ")),
            );
        }
        let Some(label) = labels else {
            if !names.contains(&format!("{name}{LABEL}")) {
                check_key(walk, &path, &name);
                keys.push(name.clone());
            }
            if let Some(value) = walk.secret(&path, node) {
                fields.insert(name, value);
            }
            continue;
        };
        if !names.iter().any(|name| name == label) {
            walk.problem(&path, format!("labels {label}, which is missing"));
        }
        if let Some(text) = walk.text(&path, node) {
            check_key(walk, &path, text.expose());
            keys.push(text.expose().clone());
            fields.insert(name, Value::from(text.expose().as_str()));
        }
    }
    if names.is_empty() {
        walk.problem(path, "holds no value");
    }
    Some(fields)
}
