//! Applications and authorizations: reading, registering, disabling.

use serde_json::json;

use super::{
    super::{
        state::State,
        store::{
            Application, Store,
            authorization::{Authorization, Resource},
            data::Fields,
            date, token,
        },
        wire::Answer,
    },
    Caller, view,
};

/// All secrets of the application, whichever authorization they are linked to.
pub fn read(state: &mut State, caller: Caller) -> Answer {
    let wire = state.wire_for(caller.authorization);
    let secrets = state
        .store
        .secrets
        .iter()
        .filter(|secret| secret.application == caller.application)
        .map(|secret| view(&wire, secret))
        .collect();
    match state.store.place(caller.authorization) {
        Some((application, authorization)) => {
            let message = format!("Application {}", application.id);
            let content = wire.application(application, authorization, secrets);
            wire.success(200, &message, content)
        }
        None => wire.not_found(),
    }
}

/// Finds or makes an application and its authorization, and answers the OAuth pair.
///
/// The same application, system and environment (or unique key) always name the same pair. Where
/// registration isn't allowed, a pair that is known is answered all the same.
pub fn register(state: &mut State, params: &Fields) -> Answer {
    let wire = state.wire();
    let Some(name) = params.filled("application") else {
        return wire.error(400, 1, "application is required");
    };
    let wanted = match wanted(params) {
        Ok(wanted) => wanted,
        Err(problem) => return wire.error(400, 1, &problem),
    };
    let known = find(&state.store, &name, &wanted).cloned();
    if known.is_none() && !state.options.registration {
        return wire.error(500, 1, "You are not authorized to access this resource.");
    }
    if wanted.encryption && known.is_none() {
        state.ensure_sealer();
    }
    let (id, application_is) = application(&mut state.store, &name, params);
    let (authorization, authorization_is) = match known {
        Some(known) => (known, "found"),
        None => {
            let new = Authorization { id: state.store.new_id(), application: id, ..wanted };
            state.store.authorizations.push(new.clone());
            (new, "created")
        }
    };
    let message = format!(
        "Application {application_is}: ({id}) {name} | Authorization {authorization_is}: ({})",
        authorization.id
    );
    let pair = json!({"id": authorization.client_id, "signature": authorization.client_secret});
    wire.success(200, &message, pair)
}

/// The authorization that a registration describes. All this only counts for a new one.
fn wanted(params: &Fields) -> Result<Authorization, String> {
    let [system, environment] =
        ["system", "environment"].map(|name| params.text(name).unwrap_or_default());
    let resources = params.list("authorized_resources").into_iter().map(|name| {
        Resource::named(&name).ok_or_else(|| format!("authorized_resources: {name} is unknown"))
    });
    let expiration_date = params.filled("expiration_date").map(|stated| {
        date::spelled(&stated).ok_or_else(|| "expiration_date must be Y-m-d H:i:s".to_owned())
    });
    let encryption = params.text("encryption_enabled").unwrap_or_default();
    Ok(Authorization {
        client_id: token(16),
        client_secret: token(32),
        system,
        environment,
        unique_key: params.filled("unique_key"),
        enabled: true,
        expiration_date: expiration_date.transpose()?,
        allowed_ips: params.list("allowed_ips"),
        allowed_referers: params.list("allowed_http_referers"),
        fingerprint: params.filled("certificate_fingerprint"),
        resources: resources.collect::<Result<_, _>>()?,
        encryption: matches!(encryption.to_ascii_lowercase().as_str(), "true" | "1"),
        ..Authorization::default()
    })
}

fn find<'a>(store: &'a Store, name: &str, wanted: &Authorization) -> Option<&'a Authorization> {
    let application = store.applications.iter().find(|known| known.name == name)?;
    store.authorizations.iter().find(|known| {
        known.application == application.id
            && match &wanted.unique_key {
                Some(key) => known.unique_key.as_ref() == Some(key),
                None => known.system == wanted.system && known.environment == wanted.environment,
            }
    })
}

fn application(store: &mut Store, name: &str, params: &Fields) -> (u32, &'static str) {
    let description = params.text("description");
    let tags = Some(params.list("tags")).filter(|tags| !tags.is_empty());
    let mut known = store.applications.iter_mut();
    if let Some(known) = known.find(|known| known.name == name) {
        known.description = description.or_else(|| known.description.take());
        known.tags = tags.unwrap_or_else(|| known.tags.clone());
        return (known.id, "updated");
    }
    let id = store.new_id();
    store.applications.push(Application {
        id,
        name: name.to_owned(),
        description,
        tags: tags.unwrap_or_else(|| vec![String::new()]),
    });
    (id, "created")
}

/// Disables the caller's authorization, and takes back what pods were given by its secrets.
///
/// A second call meets the gateway, which says that the authorization is inactive.
pub fn delete_authorization(state: &mut State, caller: Caller) -> Answer {
    let wire = state.wire();
    let Some(authorization) = state.store.authorization(caller.authorization) else {
        return wire.not_found();
    };
    authorization.enabled = false;
    let linked = authorization.secrets.clone();
    for secret in &mut state.store.secrets {
        if linked.contains(&secret.id) && !secret.accounts.is_empty() {
            secret.accounts.clear();
            secret.bump();
        }
    }
    wire.success(200, "Authorization deleted successfully.", ())
}
