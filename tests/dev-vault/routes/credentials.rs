//! `POST /api/pam/credential`.

use serde_json::{Map, Value, json};

use super::super::{
    state::State,
    store::{
        data::Fields,
        pam::{self, DOMAINS, Device, PLUGINS, Pam, TEMPLATES, USERS, Wanted},
        settings::{ADDITIONAL, EXECUTION, JIT, SESSION},
    },
    wire::{Answer, Wire},
};

/// What is wrong with a request.
enum Wrong {
    /// An error that has a number in the documents.
    Numbered(u16, &'static str),
    /// A requirement that has none.
    Plain(String),
    /// Something the vault trips over.
    Unexpected,
}

/// Creates or updates a credential on a registered device.
pub fn write(state: &mut State, params: Fields) -> Answer {
    let wire = state.wire();
    if !state.options.pam_access {
        return wire.error(500, 1, "You are not authorized to access this resource.");
    }
    if !state.options.pam_write {
        return wire.business(1039, "Without PAM Configuration Access permission");
    }
    let wanted = match check(&state.store.pam, params) {
        Ok(wanted) => wanted,
        Err(wrong) => return wrong.answer(&wire),
    };
    let (credential, new) = state.store.pam.write(wanted);
    let message = if new {
        "Credential successfully registered!"
    } else {
        "Credential updated successfully!"
    };
    let content = json!({
        "credential": {"id": credential.id, "identifier": credential.identifier},
    });
    wire.success(201, message, content)
}

impl Wrong {
    fn answer(self, wire: &Wire) -> Answer {
        match self {
            Self::Numbered(number, text) => wire.business(number, text),
            Self::Plain(problem) => wire.error(400, 1, &problem),
            Self::Unexpected => wire.unexpected(),
        }
    }
}

/// What a request means, or the first thing that is wrong with it.
fn check(pam: &Pam, params: Fields) -> Result<Wanted, Wrong> {
    let required = |name, number, text| params.filled(name).ok_or(Wrong::Numbered(number, text));
    let hostname = required("hostname", 1004, "The device's hostname was not informed")?;
    let ip = required("ip", 1005, "The device's IP was not informed")?;
    params.last("username").ok_or(Wrong::Numbered(1042, "Invalid username"))?;
    let username = params.filled("username");
    let identifier = identifier(&params);

    let allowed = |symbol: char| symbol.is_ascii_alphanumeric() || "-_.".contains(symbol);
    if identifier.as_ref().is_some_and(|text| !text.chars().all(allowed)) {
        return Err(Wrong::Numbered(1053, "The identifier has invalid characters"));
    }
    let device = Device { hostname, ip };
    if !pam.devices.contains(&device) {
        return Err(Wrong::Numbered(1011, "Device not found"));
    }
    let domains = params.filled("device_domain").unwrap_or_default();
    if !domains.is_empty() && !domains.split(',').all(|domain| DOMAINS.contains(&domain)) {
        let text = "It is not possible to enter a domain that has not been previously registered";
        return Err(Wrong::Numbered(1029, text));
    }
    let raw = params.last(JIT.name).and_then(|raw| serde_json::from_str(raw.get()).ok());
    jit(&JIT.read(&raw.unwrap_or_default()).unwrap_or_default())?;
    let stated = pam::stated(&params).map_err(Wrong::Plain)?;
    let wanted = Wanted { identifier, username, device, stated, sent: params };
    settings(pam, &wanted)?;
    Ok(wanted)
}

/// The identifier a request states: the documents have it in two places.
fn identifier(params: &Fields) -> Option<String> {
    params.filled("identifier").or_else(|| {
        let raw = params.last(ADDITIONAL.name)?;
        let settings = ADDITIONAL.read(&serde_json::from_str(raw.get()).ok()?).ok()?;
        let stated = settings.get("identifier")?.as_str()?;
        (!stated.is_empty()).then(|| stated.to_owned())
    })
}

/// Just-in-time settings that are switched on need plugins and templates that exist.
fn jit(settings: &Map<String, Value>) -> Result<(), Wrong> {
    let on = |name| settings.get(name) == Some(&Value::Bool(true));
    let known = |name: String, known: &[&str]| {
        let named = settings.get(&name).and_then(Value::as_str);
        named.is_some_and(|name| known.contains(&name))
    };
    let switches = [
        ("credential_creation_and_deletion", ["creation", "deletion"]),
        ("enable_disable_credential", ["enable", "disable"]),
    ];
    let steps = switches
        .into_iter()
        .filter(|(switch, _)| on("jit") && on(switch))
        .flat_map(|(_, steps)| steps);
    let steps: Vec<&str> = steps.collect();
    if !steps.iter().all(|step| known(format!("credential_{step}_plugin"), &PLUGINS)) {
        return Err(Wrong::Numbered(1046, "Plugin not informed"));
    }
    if !steps.iter().all(|step| known(format!("credential_{step}_template"), &TEMPLATES)) {
        return Err(Wrong::Numbered(1047, "Template plugin not informed"));
    }
    Ok(())
}

/// What the documents require of settings without a number for its error.
fn settings(pam: &Pam, wanted: &Wanted) -> Result<(), Wrong> {
    let record = pam.record(wanted);
    let object = |name: &str| record.get(name).and_then(Value::as_object);
    let stated = |name: &str| wanted.stated.contains_key(name);
    let on = object(JIT.name).and_then(|jit| jit.get("jit")) == Some(&Value::Bool(true));
    for shape in [EXECUTION, SESSION, JIT] {
        let asked = stated(shape.name) && (shape.name != JIT.name || on);
        let missing = object(shape.name).filter(|_| asked).and_then(|one| shape.missing(one));
        if let Some(problem) = missing {
            return Err(Wrong::Plain(problem));
        }
    }
    let text = |name: &str| object(ADDITIONAL.name)?.get(name)?.as_str();
    let level = text("criticality").unwrap_or_default().to_ascii_lowercase();
    if !["", "low", "medium", "high"].contains(&level.as_str()) {
        let problem = "additional_settings.criticality must be low, medium or high";
        return Err(Wrong::Plain(problem.to_owned()));
    }
    match text("user_credential_owner") {
        Some(owner) if !owner.is_empty() && !USERS.contains(&owner) => Err(Wrong::Unexpected),
        Some(_) | None => Ok(()),
    }
}
