//! The settings of a PAM credential: what the documents name, of which type, with which default.

use serde_json::{Map, Value, json};

/// One of the objects that a credential is set up by.
pub struct Shape {
    /// The parameter that holds it.
    pub name: &'static str,
    texts: &'static [&'static str],
    switches: &'static [&'static str],
    lists: &'static [(&'static str, &'static [&'static str])],
    /// Whether another credential has to be named, unless this one connects by itself.
    connects: bool,
}

/// What has to be named unless `use_own_credential_to_connect` is on.
const AUTHENTICATION: [&str; 3] =
    ["authentication_credential", "authentication_hostname", "authentication_ip"];
const OWN: &str = "use_own_credential_to_connect";

/// Password changes and reconciliation.
pub const EXECUTION: Shape = Shape {
    name: "execution_settings",
    texts: &[
        "parent_credential",
        "parent_hostname",
        "parent_ip",
        "change_plugin",
        "change_template",
        "reconciliation_credential",
        "reconciliation_hostname",
        "reconciliation_ip",
        "reconciliation_plugin",
        "reconciliation_template",
    ],
    switches: &["automatic_change", "agent_based_password_change", OWN, "status"],
    lists: &[],
    connects: true,
};

/// Sessions through the vault. Two names hold a space.
pub const SESSION: Shape = Shape {
    name: "session_settings",
    texts: &[],
    switches: &[
        "SSH",
        "Telnet",
        "MySQL",
        "SQL Server",
        "HTTP",
        "HTTPS",
        "RDP",
        "X11 Forward",
        "VNC",
        "restrict_access_to_remote_application",
        OWN,
    ],
    lists: &[("macros", &["remote_app", "connectivity"])],
    connects: true,
};

/// How the credential authenticates, and whose it is.
pub const ADDITIONAL: Shape = Shape {
    name: "additional_settings",
    texts: &[
        "identifier",
        "user_credential_owner",
        "server_path",
        "secret_key",
        "criticality",
        "notes",
    ],
    switches: &[],
    lists: &[("additional_authentication_fields", &["name", "short_name", "value"])],
    connects: false,
};

/// What is made or enabled for one session alone.
pub const JIT: Shape = Shape {
    name: "jit_settings",
    texts: &[
        "credential_creation_plugin",
        "credential_creation_template",
        "credential_deletion_plugin",
        "credential_deletion_template",
        "credential_enable_plugin",
        "credential_enable_template",
        "credential_disable_plugin",
        "credential_disable_template",
    ],
    switches: &["jit", "credential_creation_and_deletion", "enable_disable_credential", OWN],
    lists: &[],
    connects: true,
};

impl Shape {
    /// What a request states of these settings. Names that aren't documented are left out.
    ///
    /// The object may be alone in an array, and either may be JSON in a string, as forms send it.
    pub fn read(&self, sent: &Value) -> Result<Map<String, Value>, String> {
        let parsed = sent.as_str().and_then(|text| serde_json::from_str(text).ok());
        let objects = match parsed.as_ref().unwrap_or(sent) {
            Value::Object(object) => vec![object],
            Value::Array(list) if list.iter().all(Value::is_object) => {
                list.iter().filter_map(Value::as_object).collect()
            }
            Value::Null => Vec::new(),
            Value::String(text) if text.is_empty() => Vec::new(),
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Array(_) => {
                return Err(format!("{} must be an object", self.name));
            }
        };
        let mut stated = Map::new();
        for (name, value) in objects.into_iter().flatten() {
            if let Some(value) = self.value(name, value)? {
                stated.insert(name.clone(), value);
            }
        }
        Ok(stated)
    }

    fn value(&self, name: &str, value: &Value) -> Result<Option<Value>, String> {
        let wrong = |kind: &str| Err(format!("{}.{name} must be {kind}", self.name));
        if self.switches.contains(&name) {
            return match value {
                Value::Bool(_) => Ok(Some(value.clone())),
                Value::Null => Ok(None),
                Value::String(text) if text == "true" => Ok(Some(json!(true))),
                Value::String(text) if text == "false" => Ok(Some(json!(false))),
                Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    wrong("a boolean")
                }
            };
        }
        if self.texts.contains(&name) || (self.connects && AUTHENTICATION.contains(&name)) {
            return match value {
                Value::String(_) | Value::Null => Ok(Some(value.clone())),
                Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    wrong("a string")
                }
            };
        }
        match self.lists.iter().find(|(list, _)| *list == name) {
            Some((_, members)) => match list(members, value) {
                Some(value) => Ok(Some(value)),
                None => wrong("an array of objects"),
            },
            None => Ok(None),
        }
    }

    /// The settings of a credential that had none: those that are set are on, the rest is off.
    pub fn defaults(&self) -> Map<String, Value> {
        let authentication = AUTHENTICATION.iter().filter(|_| self.connects);
        let texts = self.texts.iter().chain(authentication).map(|name| (*name, Value::Null));
        let switches = self.switches.iter().map(|name| (*name, json!(false)));
        let lists = self.lists.iter().map(|(name, _)| (*name, json!([])));
        let all = texts.chain(switches).chain(lists);
        let mut all: Map<_, _> = all.map(|(name, value)| (name.to_owned(), value)).collect();
        if self.name == ADDITIONAL.name {
            all.insert("criticality".to_owned(), json!("Medium"));
        }
        all
    }

    /// What has to be named in these settings, and isn't.
    pub fn missing(&self, settings: &Map<String, Value>) -> Option<String> {
        if !self.connects || settings.get(OWN) == Some(&Value::Bool(true)) {
            return None;
        }
        let filled = |name: &str| settings.get(name).and_then(Value::as_str).unwrap_or_default();
        let missing = AUTHENTICATION.into_iter().find(|name| filled(name).is_empty())?;
        Some(format!("{}.{missing} is required unless {OWN} is true", self.name))
    }
}

/// A list of objects with these members, which are strings; others are left out.
fn list(members: &[&str], value: &Value) -> Option<Value> {
    let objects = value.as_array()?.iter().map(|object| {
        let stated = object.as_object()?.iter();
        let stated = stated.filter(|(name, _)| members.contains(&name.as_str()));
        let stated = stated.map(|(name, value)| {
            (value.is_string() || value.is_null()).then(|| (name.clone(), value.clone()))
        });
        stated.collect::<Option<Map<_, _>>>().map(Value::Object)
    });
    objects.collect::<Option<Vec<_>>>().map(Value::Array)
}
