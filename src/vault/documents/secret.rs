//! Builds the request of a secret: `POST /iso/sctm/secret`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::text::Node;
use super::walk::{Walk, is_reference, join};
use super::{Flawed, Request};
use crate::model::SecretName;
use crate::secret::Secret;

/// Periods of renewal, in minutes. All are sent, off ones too: DSM's pages disagree about a period
/// that is missing (disabled, ignored, or kept).
const PERIODS: [&str; 3] =
    ["renew_cloud_time", "renew_credential_time", "renew_ephemeral_credential_time"];
const SHORTEST_PERIOD: u64 = 10;
/// The value of a period that is off.
const OFF: [Value; 0] = [];

const KINDS: [&str; 3] = ["access_keys", "credentials", "key_value"];
const CLOUDS: [&str; 3] = ["aws", "azure", "gcp"];
/// Fields of a credential; each may have a `…_label`, the name under which it is stored.
const CREDENTIAL: [&str; 4] = ["user", "host", "password", "additional_information"];
const LABEL: &str = "_label";

/// The request for one document.
pub(super) fn request(mut walk: Walk<'_>, node: Node) -> Result<Request, Flawed> {
    let mut body = Map::new();
    let mut keys = Vec::new();
    let Some(members) = walk.members("", node) else {
        return Err(Flawed { name: None, problems: walk.problems });
    };
    for (name, node) in members {
        // DSM's tables capitalise the fields, and spell `data` as `date`.
        let known = match name.to_ascii_lowercase() {
            date if date == "date" => "data".to_owned(),
            known => known,
        };
        if body.contains_key(&known) {
            walk.problem(&join("", &name), "appears twice");
        }
        let value = match known.as_str() {
            "identity" => identity(&mut walk, node),
            "name" | "engine" | "description" => text(&mut walk, &known, node),
            "expiration_date" => expiration(&mut walk, node),
            "data" => data(&mut walk, node, &mut keys),
            period if PERIODS.contains(&period) => minutes(&mut walk, period, node),
            _ => {
                walk.problem(&join("", &name), "is not one of identity, name, engine, description, expiration_date, renew_cloud_time, renew_credential_time, renew_ephemeral_credential_time, data");
                continue;
            }
        };
        body.insert(known, value.unwrap_or_default());
    }
    for required in ["identity", "data"] {
        if !body.contains_key(required) {
            walk.problem(required, "is missing");
        }
    }
    for period in PERIODS {
        body.entry(period).or_insert_with(|| json!(OFF));
    }
    let name = body.get("identity").and_then(Value::as_str).map(str::to_owned);
    let packed = body.get("data").and_then(Value::as_str).map(|data| Secret::new(data.to_owned()));
    match name {
        Some(name) if walk.problems.is_empty() => {
            let body = Secret::new(Value::Object(body).to_string().into_bytes());
            keys.sort_unstable();
            keys.dedup();
            walk.redacted.extend(packed);
            Ok(Request { name, body, keys, redacted: walk.redacted })
        }
        name => Err(Flawed { name, problems: walk.problems }),
    }
}

fn text(walk: &mut Walk<'_>, path: &str, node: Node) -> Option<Value> {
    Some(Value::from(walk.text(path, node)?.expose().as_str()))
}

fn identity(walk: &mut Walk<'_>, node: Node) -> Option<Value> {
    let text = walk.text("identity", node)?;
    if let Err(problem) = SecretName::new(text.expose().as_str()) {
        walk.problem("identity", problem.to_string());
    }
    Some(Value::from(text.expose().as_str()))
}

fn expiration(walk: &mut Walk<'_>, node: Node) -> Option<Value> {
    let text = walk.text("expiration_date", node)?;
    if !text.expose().is_empty() && !is_date(text.expose()) {
        walk.problem(
            "expiration_date",
            "must be a date such as 2026-12-31 23:59:59, or \"\" for never",
        );
    }
    Some(Value::from(text.expose().as_str()))
}

/// `YYYY-MM-DD`, and a time of day after it if there is one.
fn is_date(text: &str) -> bool {
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let time = time.trim_end_matches('Z');
    date.len() == 10
        && time.len() == 8
        && humantime::parse_rfc3339(&format!("{date}T{time}Z")).is_ok()
}

fn minutes(walk: &mut Walk<'_>, path: &str, node: Node) -> Option<Value> {
    // Accepts the vault's own spellings of off and minutes, too.
    let spelled = match node {
        Node::Flag(false) | Node::Null => "off".to_owned(),
        Node::List(members) if members.is_empty() => "off".to_owned(),
        Node::Number(number) => number,
        Node::Text(word) => word.expose().trim().to_ascii_lowercase(),
        Node::Flag(true) | Node::List(_) | Node::Map(_) => String::from("?"),
    };
    if matches!(spelled.as_str(), "off" | "" | "0") {
        return Some(json!(OFF));
    }
    let minutes = spelled.parse::<u64>().ok().filter(|minutes| *minutes >= SHORTEST_PERIOD);
    if minutes.is_none() {
        walk.problem(path, "must be off, or whole minutes, 10 or more");
    }
    minutes.map(Value::from)
}

/// The values, packed as DSM expects them: base64 of JSON.
fn data(walk: &mut Walk<'_>, node: Node, keys: &mut Vec<String>) -> Option<Value> {
    let before = walk.problems.len();
    let members = walk.map("data", node)?;
    let kinds =
        members.iter().any(|(name, node)| KINDS.contains(&name.as_str()) && has_parts(node));
    let data =
        if kinds { by_kind(walk, members, keys) } else { fields(walk, "data", members, keys) };
    if keys.is_empty() && walk.problems.len() == before {
        walk.problem("data", "holds no value");
    }
    let packed = Secret::new(Value::Object(data).to_string());
    Some(Value::String(STANDARD.encode(packed.expose())))
}

/// True if a node holds more than one text or a reference.
fn has_parts(node: &Node) -> bool {
    match node {
        Node::List(_) => true,
        Node::Map(members) => !is_reference(members),
        Node::Null | Node::Flag(_) | Node::Number(_) | Node::Text(_) => false,
    }
}

/// The reason why a key can't be stored. The vault may hold keys that can't be files.
fn unnameable(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("is empty")
    } else if key.chars().any(char::is_control) {
        Some("holds a control character")
    } else {
        None
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
        if let Some(problem) = unnameable(&key) {
            walk.problem(&path, format!("its name {problem}"));
        }
        if let Some(value) = walk.secret(&path, node) {
            fields.insert(key.clone(), value);
        }
        keys.push(key);
    }
    fields
}

fn by_kind(
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
    if has_cloud && !CLOUDS.contains(&cloud.as_str()) {
        walk.problem(&place, format!("must be one of {}", CLOUDS.join(", ")));
    }
    // DSM's pages document the fields of aws only.
    let known: &[&str] = if cloud == "aws" { &["access_key_id", "secret_access_key"] } else { &[] };
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
                format!("is neither one of {} nor the {LABEL} of one", known.join(", ")),
            );
        }
        let Some(label) = labels else {
            if !names.contains(&format!("{name}{LABEL}")) {
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
            if let Some(problem) = unnameable(text.expose()) {
                walk.problem(&path, problem);
            }
            keys.push(text.expose().clone());
            fields.insert(name, Value::from(text.expose().as_str()));
        }
    }
    if names.is_empty() {
        walk.problem(path, "holds no value");
    }
    Some(fields)
}

#[cfg(test)]
mod tests;
