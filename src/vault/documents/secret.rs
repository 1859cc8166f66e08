//! Builds the request of a secret: `POST /iso/sctm/secret`.

mod data;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::text::Node;
use super::walk::{Walk, join};
use super::{Flawed, Request};
use crate::model::SecretName;
use crate::secret::Secret;
use crate::vault::wire::PERIODS;
use data::Data;
pub use data::DataShape;
pub(super) use data::add;

/// The least minutes of a period that is on.
const SHORTEST_PERIOD: u64 = 10;
/// The value of a period that is off.
const OFF: [Value; 0] = [];

/// The statement of a document on one period of renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatedPeriod {
    /// Renewal is on.
    On,
    /// Renewal is off.
    Off,
    /// The document does not name the period, which is sent as off.
    Unstated,
}

/// The request for one document.
pub(super) fn request(mut walk: Walk<'_>, node: Node) -> Result<Request, Flawed> {
    let mut body = Map::new();
    let mut data = Data::default();
    // Kinds of values that stand beside the fields: DSM's page shows them alone.
    let mut misplaced = Vec::new();
    let Some(members) = walk.members("", node) else {
        return Err(Flawed { problems: walk.problems, ..Flawed::default() });
    };
    for (name, node) in members {
        // DSM's tables capitalise the fields, and spell `data` as `date`.
        let known = match name.to_ascii_lowercase() {
            date if date == "date" => "data".to_owned(),
            known => known,
        };
        if data::KINDS.contains(&known.as_str()) {
            misplaced.push(known);
            continue;
        }
        if body.contains_key(&known) {
            walk.problem(&join("", &name), "appears twice");
        }
        let value = match known.as_str() {
            "identity" => identity(&mut walk, node),
            "name" | "engine" | "description" => text(&mut walk, &known, node),
            "expiration_date" => expiration(&mut walk, node),
            "data" => data::read(&mut walk, node, &mut data),
            period if PERIODS.contains(&period) => minutes(&mut walk, period, node),
            _ => {
                walk.problem(&join("", &name), "is not one of identity, name, engine, description, expiration_date, renew_cloud_time, renew_credential_time, renew_ephemeral_credential_time, data; a value belongs under data");
                continue;
            }
        };
        body.insert(known, value.unwrap_or_default());
    }
    let has_identity = body.contains_key("identity");
    if !misplaced.is_empty() {
        let beside = if has_identity { "" } else { ", and identity beside data" };
        walk.problem(&misplaced.join(", "), format!("put this under data{beside}"));
    } else if !has_identity {
        walk.problem("identity", "is missing");
    }
    let periods = periods(&mut body);
    let name = body.get("identity").and_then(Value::as_str).map(str::to_owned);
    let targets = name.iter().cloned().collect();
    let packed = body.get("data").and_then(Value::as_str).map(|data| Secret::new(data.to_owned()));
    match name {
        Some(name) if walk.problems.is_empty() => {
            let body = Secret::new(Value::Object(body).to_string().into_bytes());
            let Data { mut keys, shape } = data;
            keys.sort_unstable();
            keys.dedup();
            let Walk { mut redacted, warnings, .. } = walk;
            redacted.extend(packed);
            Ok(Request { name, body, keys, redacted, warnings, targets, shape, periods })
        }
        name => Err(Flawed { name, problems: walk.problems, targets }),
    }
}

/// The document's statements on renewal. All periods are sent, off ones too: DSM's pages disagree
/// about a period that is missing (disabled, ignored, or kept).
fn periods(body: &mut Map<String, Value>) -> BTreeMap<&'static str, StatedPeriod> {
    let mut stated = |period| {
        let stated = match body.get(period) {
            None => StatedPeriod::Unstated,
            Some(Value::Array(_)) => StatedPeriod::Off,
            Some(_) => StatedPeriod::On,
        };
        body.entry(period).or_insert_with(|| json!(OFF));
        (period, stated)
    };
    PERIODS.into_iter().map(&mut stated).collect()
}

fn text(walk: &mut Walk<'_>, path: &str, node: Node) -> Option<Value> {
    Some(Value::from(walk.text(path, node)?.expose().as_str()))
}

fn identity(walk: &mut Walk<'_>, node: Node) -> Option<Value> {
    if matches!(node, Node::Null) {
        walk.problem("identity", "is null, and a secret needs one");
        return None;
    }
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

#[cfg(test)]
mod tests;
