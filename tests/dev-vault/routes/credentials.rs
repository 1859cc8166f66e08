//! `POST /api/pam/credential`.

use serde_json::{Value, json, value::RawValue};

use super::super::{
    state::State,
    store::{
        data::Fields,
        pam::{Device, Pam, identifier},
    },
    wire::Answer,
};

/// Creates or updates a credential on a registered device.
pub fn write(state: &mut State, params: Fields) -> Answer {
    let wire = state.wire();
    if !state.options.pam_write {
        return wire.business(1039, "Authorization without write permission");
    }
    let (device, username) = match check(&state.store.pam, &params) {
        Ok(found) => found,
        Err((number, text)) => return wire.business(number, text),
    };
    let (credential, new) = state.store.pam.write(device, &username, params);
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

/// The device and the user name a request means, or the first thing that is wrong with it.
fn check(pam: &Pam, params: &Fields) -> Result<(Device, String), (u16, &'static str)> {
    let hostname = params.filled("hostname").ok_or((1004, "Hostname is required"))?;
    let ip = params.filled("ip").ok_or((1005, "IP is required"))?;
    params.last("username").ok_or((1042, "Username is required"))?;
    let username = params.filled("username").unwrap_or_else(|| "usr".to_owned());

    let allowed = |symbol: char| symbol.is_ascii_alphanumeric() || "-_.".contains(symbol);
    if identifier(params).is_some_and(|text| !text.chars().all(allowed)) {
        return Err((1053, "Identifier has invalid characters"));
    }
    let device = Device { hostname, ip };
    if !pam.devices.contains(&device) {
        return Err((1011, "Device not found"));
    }
    let domains = params.filled("device_domain").unwrap_or_default();
    let unknown = |domain: &str| !domain.is_empty() && !pam.domains.contains(&domain);
    if domains.split(',').any(unknown) {
        return Err((1029, "Device domain not found"));
    }
    jit(pam, params.last("jit_settings"))?;
    Ok((device, username))
}

/// Just-in-time settings that are switched on need plugins and templates that exist.
fn jit(pam: &Pam, raw: Option<&RawValue>) -> Result<(), (u16, &'static str)> {
    let settings = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let settings: Value = settings.unwrap_or_default();
    let on = |name| settings.get(name) == Some(&Value::Bool(true));
    let known = |name: String, known: &[&str]| {
        let named = settings.get(name).and_then(Value::as_str);
        named.is_some_and(|name| known.contains(&name))
    };
    let switches = [
        ("credential_creation_and_deletion", ["creation", "deletion"]),
        ("enable_disable_credential", ["enable", "disable"]),
    ];
    for (switch, steps) in switches {
        for step in steps.into_iter().filter(|_| on("jit") && on(switch)) {
            if !known(format!("credential_{step}_plugin"), &pam.plugins) {
                return Err((1046, "JIT plugin not found"));
            }
            if !known(format!("credential_{step}_template"), &pam.templates) {
                return Err((1047, "JIT template not found"));
            }
        }
    }
    Ok(())
}
