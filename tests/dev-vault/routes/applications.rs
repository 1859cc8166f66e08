//! Applications and authorizations: reading, registering, disabling.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    super::{
        state::State,
        store::{Application, Authorization, Store, data::Fields, token},
        wire::Answer,
    },
    Caller, view,
};

/// All secrets of the application, whichever authorization they are linked to.
pub fn read(state: &mut State, caller: Caller) -> Answer {
    let wire = state.wire();
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
/// The same application, system and environment (or unique key) always name the same pair.
pub fn register(state: &mut State, params: &Fields) -> Answer {
    let wire = state.wire();
    if !state.options.registration {
        let text = "You are not authorized to access this resource.";
        return wire.error(500, 1, text);
    }
    let Some(name) = params.filled("application") else {
        return wire.error(400, 1, "application is required");
    };
    let [system, environment] =
        ["system", "environment"].map(|name| params.text(name).unwrap_or_default());
    let unique_key = params.filled("unique_key");
    let description = params.text("description");
    let (id, application_is) = application(&mut state.store, &name, description);
    let wanted = Authorization {
        id: 0,
        application: id,
        client_id: token(16),
        client_secret: token(32),
        system,
        environment,
        unique_key,
        enabled: true,
        referer: None,
        secrets: BTreeSet::new(),
    };
    let (authorization, authorization_is) = authorization(&mut state.store, wanted);
    let message = format!(
        "Application {application_is}: ({id}) {name} | Authorization {authorization_is}: ({})",
        authorization.id
    );
    let pair = json!({"id": authorization.client_id, "signature": authorization.client_secret});
    wire.success(200, &message, pair)
}

fn application(store: &mut Store, name: &str, description: Option<String>) -> (u32, &'static str) {
    let mut known = store.applications.iter_mut();
    if let Some(known) = known.find(|known| known.name == name) {
        known.description = description.or_else(|| known.description.take());
        return (known.id, "updated");
    }
    let id = store.new_id();
    store.applications.push(Application {
        id,
        name: name.to_owned(),
        description,
        tags: vec![String::new()],
    });
    (id, "created")
}

fn authorization(store: &mut Store, wanted: Authorization) -> (Authorization, &'static str) {
    let same = |known: &&Authorization| {
        known.application == wanted.application
            && match &wanted.unique_key {
                Some(key) => known.unique_key.as_ref() == Some(key),
                None => known.system == wanted.system && known.environment == wanted.environment,
            }
    };
    if let Some(known) = store.authorizations.iter().find(same) {
        return (known.clone(), "found");
    }
    let new = Authorization { id: store.new_id(), ..wanted };
    store.authorizations.push(new.clone());
    (new, "created")
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
