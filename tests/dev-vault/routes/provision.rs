//! Provisioning accounts for pods, and giving them back.

use super::{
    super::{
        state::State,
        store::{
            Key,
            data::Fields,
            secret::{Pod, Secret},
        },
        wire::{Answer, InSecret},
    },
    Caller,
};

/// `POST` makes one more account for the pod each time; `GET` only reads by default.
///
/// The answer holds the base entries and those of the pod that asks. A secret that isn't there is
/// answered with 404 and code 4: the documents name no error for it, and that is their general
/// one for a resource that is not found.
pub fn provision(state: &mut State, caller: Caller, params: &Fields, mints: bool) -> Answer {
    let wire = state.wire_for(caller.authorization);
    let (key, pod) = (key(params), pod(params));
    let application = caller.application;
    if mints {
        let ttl = state.options.ttl.clone();
        state.store.provision(application, &key, &pod, ttl);
    }
    let message = "Secret provisions done.";
    let Some(secret) = state.store.secret(application, &key) else {
        return wire.not_found();
    };
    let secret = wire.provisioned(secret, secret.entries(Some(&pod)));
    if !wire.quirks.provision_in_application {
        return wire.success(200, message, InSecret { secret });
    }
    match state.store.place(caller.authorization) {
        Some((application, authorization)) => {
            let content = wire.application(application, authorization, vec![secret]);
            wire.success(200, message, content)
        }
        None => wire.not_found(),
    }
}

/// Takes away what a pod was given. A pod that has nothing is answered alike.
pub fn deprovision(state: &mut State, caller: Caller, params: &Fields) -> Answer {
    let wire = state.wire();
    for name in ["pod_name", "deploy", "namespace", "secret_id"] {
        let given = match name {
            "pod_name" => pod_name(params),
            other => params.filled(other),
        };
        if given.is_none() {
            return wire.error(400, 1, &format!("{name} is required"));
        }
    }
    let id = Key::Id(params.filled("secret_id").unwrap_or_default());
    match state.store.secret(caller.application, &id) {
        Some(secret) => {
            Secret::deprovision(secret, &pod(params));
            wire.success(200, "Secret deprovision done.", ())
        }
        None => wire.not_found(),
    }
}

fn key(params: &Fields) -> Key {
    params
        .filled("identity")
        .map(Key::Identity)
        .or_else(|| params.filled("secret_id").map(Key::Id))
        .unwrap_or(Key::First)
}

fn pod(params: &Fields) -> Pod {
    Pod {
        name: pod_name(params).unwrap_or_default(),
        deploy: params.text("deploy").unwrap_or_default(),
        namespace: params.text("namespace").unwrap_or_default(),
    }
}

fn pod_name(params: &Fields) -> Option<String> {
    params.filled("pod_name").or_else(|| params.filled("pod_nome"))
}
