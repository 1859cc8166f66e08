//! Builds the request of a PAM credential: `POST /api/pam/credential`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::text::Node;
use super::walk::{Field, FieldKind, Walk, field, join, needed};
use super::{DataShape, Flawed, Request};
use crate::secret::Secret;

/// The fields of a credential. The vault sets a default for a missing one, or keeps its value.
const FIELDS: &[Field] = &[
    field("identifier", FieldKind::Text),
    needed("username", FieldKind::Text, "is null: write \"\" to let the vault choose (error 1042)"),
    needed("hostname", FieldKind::Text, "is null, and must name the device (error 1004)"),
    needed("ip", FieldKind::Text, "is null, and must be the device's address (error 1005)"),
    field("content", FieldKind::Secret),
    field("additional", FieldKind::Lines),
    field("tags", FieldKind::Text),
    field("credential_type", FieldKind::Text),
    field("domain", FieldKind::Text),
    field("parent_password", FieldKind::Number),
    field("type", FieldKind::Text),
    field("vendor", FieldKind::Text),
    field("model", FieldKind::Text),
    field("site", FieldKind::Text),
    field("device_domain", FieldKind::Text),
    field("device_tags", FieldKind::Text),
    field("connectivities", FieldKind::Text),
    field("session_remote_config", FieldKind::Text),
    field("execution_settings", FieldKind::Object(EXECUTION)),
    field("session_settings", FieldKind::Object(SESSION)),
    field("additional_settings", FieldKind::Either(ADDITIONAL)),
    field("jit_settings", FieldKind::Object(JIT)),
    // DSM's table has it inside of the additional settings, its example here.
    field("notes", FieldKind::Lines),
];

const EXECUTION: &[Field] = &[
    field("parent_credential", FieldKind::Text),
    field("parent_hostname", FieldKind::Text),
    field("parent_ip", FieldKind::Text),
    field("automatic_change", FieldKind::Flag),
    field("agent_based_password_change", FieldKind::Flag),
    field("change_plugin", FieldKind::Text),
    field("change_template", FieldKind::Text),
    field(OWN, FieldKind::Flag),
    AUTHENTICATION[0],
    AUTHENTICATION[1],
    AUTHENTICATION[2],
    field("status", FieldKind::Flag),
    field("reconciliation_credential", FieldKind::Text),
    field("reconciliation_hostname", FieldKind::Text),
    field("reconciliation_ip", FieldKind::Text),
    field("reconciliation_plugin", FieldKind::Text),
    field("reconciliation_template", FieldKind::Text),
];

const SESSION: &[Field] = &[
    field("SSH", FieldKind::Flag),
    field("Telnet", FieldKind::Flag),
    field("MySQL", FieldKind::Flag),
    field("SQL Server", FieldKind::Flag),
    field("HTTP", FieldKind::Flag),
    field("HTTPS", FieldKind::Flag),
    field("RDP", FieldKind::Flag),
    field("X11 Forward", FieldKind::Flag),
    field("VNC", FieldKind::Flag),
    field("restrict_access_to_remote_application", FieldKind::Flag),
    field(
        "macros",
        FieldKind::List(&[
            field("remote_app", FieldKind::Text),
            field("connectivity", FieldKind::Text),
        ]),
    ),
    field(OWN, FieldKind::Flag),
    AUTHENTICATION[0],
    AUTHENTICATION[1],
    AUTHENTICATION[2],
];

const ADDITIONAL: &[Field] = &[
    field("identifier", FieldKind::Text),
    field("user_credential_owner", FieldKind::Text),
    field("server_path", FieldKind::Text),
    field("secret_key", FieldKind::Secret),
    field("criticality", FieldKind::Choice(&["low", "medium", "high"])),
    field(
        "additional_authentication_fields",
        FieldKind::List(&[
            field("name", FieldKind::Text),
            field("short_name", FieldKind::Text),
            field("value", FieldKind::Secret),
        ]),
    ),
    field("notes", FieldKind::Lines),
];

const JIT: &[Field] = &[
    field("jit", FieldKind::Flag),
    field("credential_creation_and_deletion", FieldKind::Flag),
    field("enable_disable_credential", FieldKind::Flag),
    field(OWN, FieldKind::Flag),
    field("authentication_credential", FieldKind::TextOrFlag),
    field("authentication_hostname", FieldKind::TextOrFlag),
    field("authentication_ip", FieldKind::TextOrFlag),
    field("credential_creation_plugin", FieldKind::Text),
    field("credential_creation_template", FieldKind::Text),
    field("credential_deletion_plugin", FieldKind::Text),
    field("credential_deletion_template", FieldKind::Text),
    field("credential_enable_plugin", FieldKind::Text),
    field("credential_enable_template", FieldKind::Text),
    field("credential_disable_plugin", FieldKind::Text),
    field("credential_disable_template", FieldKind::Text),
];

/// The flag: the credential itself is used to connect.
const OWN: &str = "use_own_credential_to_connect";
/// The credential that connects if the flag is off.
const AUTHENTICATION: [Field; 3] = [
    field("authentication_credential", FieldKind::Text),
    field("authentication_hostname", FieldKind::Text),
    field("authentication_ip", FieldKind::Text),
];

/// The fields that a JIT setting needs if it is on: plugins and templates of the vault (errors 1046
/// and 1047).
const JIT_NEEDS: [(&str, [&str; 4]); 2] = [
    (
        "credential_creation_and_deletion",
        [
            "credential_creation_plugin",
            "credential_creation_template",
            "credential_deletion_plugin",
            "credential_deletion_template",
        ],
    ),
    (
        "enable_disable_credential",
        [
            "credential_enable_plugin",
            "credential_enable_template",
            "credential_disable_plugin",
            "credential_disable_template",
        ],
    ),
];

/// The request for one document.
pub(super) fn request(mut walk: Walk<'_>, node: Node) -> Result<Request, Flawed> {
    let Some(body) = walk.object("", node, FIELDS) else {
        return Err(Flawed { problems: walk.problems, ..Flawed::default() });
    };
    if !body.contains_key("username") {
        walk.problem("username", "is missing; \"\" lets the vault choose (error 1042)");
    }
    for (required, code) in [("hostname", 1004), ("ip", 1005)] {
        if is_blank(body.get(required)) {
            walk.problem(required, format!("is missing (error {code})"));
        }
    }
    if body.get("device_domain").and_then(Value::as_str).is_some_and(spaced) {
        walk.problem("device_domain", "must have no blanks after its commas (error 1029)");
    }
    let effect = if identifier(&body).is_none() { Effect::Create } else { Effect::Update };
    if matches!(effect, Effect::Update) && body.get("username").is_some_and(|user| user == "") {
        walk.warning(
            "username",
            "is \"\": a credential that has this identifier gets the name usr",
        );
    }
    for settings in ["execution_settings", "session_settings", "jit_settings"] {
        if let Some(Value::Object(fields)) = body.get(settings) {
            connects(&mut walk, settings, fields, effect);
        }
    }
    if let Some(Value::Object(fields)) = body.get("jit_settings") {
        let is_off = fields.get("jit") == Some(&Value::Bool(false));
        for (setting, needs) in JIT_NEEDS {
            if fields.get(setting) == Some(&Value::Bool(true)) && !is_off {
                require(&mut walk, "jit_settings", fields, &needs, setting);
            }
        }
    }
    let word = |name| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let user = word("username").zip(word("hostname")).map(|(user, host)| format!("{user}@{host}"));
    let name = user.or_else(|| word("hostname").map(str::to_owned));
    let targets = targets(&body);
    if !walk.problems.is_empty() {
        return Err(Flawed { name, problems: walk.problems, targets });
    }
    let keys = body.keys().cloned().collect();
    let name = name.unwrap_or_default();
    let body = Secret::new(Value::Object(body).to_string().into_bytes());
    let Walk { redacted, warnings, .. } = walk;
    let (shape, periods) = (DataShape::Absent, BTreeMap::new());
    Ok(Request { name, body, keys, redacted, warnings, targets, shape, periods })
}

/// The identifier that a document states: DSM's page has it in two places.
fn identifier(body: &Map<String, Value>) -> Option<&str> {
    let additional = match body.get("additional_settings") {
        Some(Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let inside = additional.iter().filter_map(|settings| settings.get("identifier"));
    let stated = body.get("identifier").into_iter().chain(inside);
    stated.filter_map(Value::as_str).find(|identifier| !identifier.is_empty())
}

/// The names by which the vault finds a credential: its identifier, and its device and user.
fn targets(body: &Map<String, Value>) -> Vec<String> {
    let word = |name| body.get(name).and_then(Value::as_str);
    let mut targets = Vec::new();
    targets.extend(identifier(body).map(|identifier| json!([identifier]).to_string()));
    if let (Some(user), Some(host), Some(ip)) = (word("username"), word("hostname"), word("ip")) {
        let user = if user.is_empty() { "usr" } else { user };
        targets.push(json!([user, host, ip]).to_string());
    }
    targets
}

fn spaced(domains: &str) -> bool {
    domains.contains(", ") || domains.contains(" ,")
}

/// The vault's action on a document.
#[derive(Clone, Copy)]
enum Effect {
    /// It creates a credential, or finds one by its user and device.
    Create,
    /// It finds a credential by its identifier; its settings may say already how it connects.
    Update,
}

/// Requires the fields that are needed to connect where the credential itself is not to be used,
/// unless JIT is off.
///
/// A new credential needs them also if the document does not say: off is the default. The vault
/// may know the credential by its user and device, and how it connects, so this is a warning.
fn connects(walk: &mut Walk<'_>, path: &str, fields: &Map<String, Value>, effect: Effect) {
    let is_on = path != "jit_settings" || fields.get("jit") == Some(&Value::Bool(true));
    if !is_on {
        return;
    }
    let needs = AUTHENTICATION.map(|field| field.name);
    match (fields.get(OWN), effect) {
        (Some(Value::Bool(false)), _) => {
            require(walk, path, fields, &needs, "use_own_credential_to_connect: false");
        }
        (None, Effect::Create) if !fields.is_empty() => {
            let missing = needs.iter().filter(|name| is_blank(fields.get(**name)));
            let missing = missing.copied().collect::<Vec<_>>().join(", ");
            if !missing.is_empty() {
                walk.warning(
                    path,
                    format!(
                        "a new credential also needs {missing}, unless use_own_credential_to_connect is true"
                    ),
                );
            }
        }
        // On, or a value that is a problem already, or an identifier that the vault may know.
        (Some(_), _) | (None, _) => {}
    }
}

fn require(
    walk: &mut Walk<'_>,
    path: &str,
    fields: &Map<String, Value>,
    needs: &[&str],
    because: &str,
) {
    for name in needs.iter().filter(|name| is_blank(fields.get(**name))) {
        walk.problem(&join(path, name), format!("is missing, but {because} needs it"));
    }
}

/// True if a value is missing or `""`. A faulty value is a problem already, and not missing.
fn is_blank(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.as_str() == Some(""))
}

#[cfg(test)]
mod tests;
