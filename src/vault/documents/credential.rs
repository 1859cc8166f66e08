//! A PAM credential as `POST /api/pam/credential` takes it.

use serde_json::{Map, Value};

use super::text::Node;
use super::walk::{Field, Kind, Walk, field, join};
use super::{Flawed, Request};
use crate::secret::Secret;

/// Everything a credential may say; what is left out, the vault fills in, or keeps.
const FIELDS: &[Field] = &[
    field("identifier", Kind::Text),
    field("username", Kind::Text),
    field("hostname", Kind::Text),
    field("ip", Kind::Text),
    field("content", Kind::Secret),
    field("additional", Kind::Lines),
    field("tags", Kind::Text),
    field("credential_type", Kind::Text),
    field("domain", Kind::Text),
    field("parent_password", Kind::Number),
    field("type", Kind::Text),
    field("vendor", Kind::Text),
    field("model", Kind::Text),
    field("site", Kind::Text),
    field("device_domain", Kind::Text),
    field("device_tags", Kind::Text),
    field("connectivities", Kind::Text),
    field("session_remote_config", Kind::Text),
    field("execution_settings", Kind::Object(EXECUTION)),
    field("session_settings", Kind::Object(SESSION)),
    field("additional_settings", Kind::Either(ADDITIONAL)),
    field("jit_settings", Kind::Object(JIT)),
    // The table has it inside of the additional settings, the example here.
    field("notes", Kind::Lines),
];

const EXECUTION: &[Field] = &[
    field("parent_credential", Kind::Text),
    field("parent_hostname", Kind::Text),
    field("parent_ip", Kind::Text),
    field("automatic_change", Kind::Flag),
    field("agent_based_password_change", Kind::Flag),
    field("change_plugin", Kind::Text),
    field("change_template", Kind::Text),
    field(OWN, Kind::Flag),
    AUTHENTICATION[0],
    AUTHENTICATION[1],
    AUTHENTICATION[2],
    field("status", Kind::Flag),
    field("reconciliation_credential", Kind::Text),
    field("reconciliation_hostname", Kind::Text),
    field("reconciliation_ip", Kind::Text),
    field("reconciliation_plugin", Kind::Text),
    field("reconciliation_template", Kind::Text),
];

const SESSION: &[Field] = &[
    field("SSH", Kind::Flag),
    field("Telnet", Kind::Flag),
    field("MySQL", Kind::Flag),
    field("SQL Server", Kind::Flag),
    field("HTTP", Kind::Flag),
    field("HTTPS", Kind::Flag),
    field("RDP", Kind::Flag),
    field("X11 Forward", Kind::Flag),
    field("VNC", Kind::Flag),
    field("restrict_access_to_remote_application", Kind::Flag),
    field(
        "macros",
        Kind::List(&[field("remote_app", Kind::Text), field("connectivity", Kind::Text)]),
    ),
    field(OWN, Kind::Flag),
    AUTHENTICATION[0],
    AUTHENTICATION[1],
    AUTHENTICATION[2],
];

const ADDITIONAL: &[Field] = &[
    field("identifier", Kind::Text),
    field("user_credential_owner", Kind::Text),
    field("server_path", Kind::Text),
    field("secret_key", Kind::Secret),
    field("criticality", Kind::Choice(&["low", "medium", "high"])),
    field(
        "additional_authentication_fields",
        Kind::List(&[
            field("name", Kind::Text),
            field("short_name", Kind::Text),
            field("value", Kind::Secret),
        ]),
    ),
    field("notes", Kind::Lines),
];

const JIT: &[Field] = &[
    field("jit", Kind::Flag),
    field("credential_creation_and_deletion", Kind::Flag),
    field("enable_disable_credential", Kind::Flag),
    field(OWN, Kind::Flag),
    field("authentication_credential", Kind::TextOrFlag),
    field("authentication_hostname", Kind::TextOrFlag),
    field("authentication_ip", Kind::TextOrFlag),
    field("credential_creation_plugin", Kind::Text),
    field("credential_creation_template", Kind::Text),
    field("credential_deletion_plugin", Kind::Text),
    field("credential_deletion_template", Kind::Text),
    field("credential_enable_plugin", Kind::Text),
    field("credential_enable_template", Kind::Text),
    field("credential_disable_plugin", Kind::Text),
    field("credential_disable_template", Kind::Text),
];

/// Whether the credential itself is used to connect.
const OWN: &str = "use_own_credential_to_connect";
/// What is used to connect where it is not.
const AUTHENTICATION: [Field; 3] = [
    field("authentication_credential", Kind::Text),
    field("authentication_hostname", Kind::Text),
    field("authentication_ip", Kind::Text),
];

/// What a JIT setting that is on takes: plugins and templates that the vault has (its errors 1046
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

/// What is sent for one document.
pub(super) fn request(mut walk: Walk<'_>, node: Node) -> Result<Request, Flawed> {
    let Some(body) = walk.object("", node, FIELDS) else {
        return Err(Flawed { name: None, problems: walk.problems });
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
    // What is there already may say how it connects.
    let is_new = is_blank(body.get("identifier"));
    for settings in ["execution_settings", "session_settings", "jit_settings"] {
        if let Some(Value::Object(fields)) = body.get(settings) {
            connects(&mut walk, settings, fields, is_new);
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
    if !walk.problems.is_empty() {
        return Err(Flawed { name, problems: walk.problems });
    }
    let keys = body.keys().cloned().collect();
    let name = name.unwrap_or_default();
    let body = Secret::new(Value::Object(body).to_string().into_bytes());
    Ok(Request { name, body, keys, unspeakable: walk.unspeakable })
}

fn spaced(domains: &str) -> bool {
    domains.contains(", ") || domains.contains(" ,")
}

/// Requires what is needed to connect, unless the credential itself is used, which is not the
/// default, or JIT is not on.
fn connects(walk: &mut Walk<'_>, path: &str, fields: &Map<String, Value>, is_new: bool) {
    let own = match fields.get(OWN) {
        Some(Value::Bool(own)) => *own,
        // What is wrong with it is known.
        Some(_) => true,
        None => !is_new || fields.is_empty(),
    };
    let is_on = path != "jit_settings" || fields.get("jit") == Some(&Value::Bool(true));
    if !own && is_on {
        let needs = AUTHENTICATION.map(|field| field.name);
        require(walk, path, fields, &needs, "use_own_credential_to_connect: false");
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
        walk.problem(&join(path, name), format!("is missing, which {because} needs"));
    }
}

/// What is wrong is told as such and is not missing as well.
fn is_blank(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.as_str() == Some(""))
}

#[cfg(test)]
mod tests;
