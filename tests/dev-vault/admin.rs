//! The admin routes: faults and data by HTTP. They answer loopback peers alone, and ask no token.

use hyper::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

use super::{
    call::{Call, percent_decode},
    fault::Fault,
    options::Quirks,
    settings::{Change, Settings},
    state::State,
    store::{Key, pam::Device, secret::Document},
    wire::Answer,
};

/// One line a route, for people.
pub const ROUTES: &str = "\
POST   /_dev/fault              arm a fault: {\"path\":\"provision\",\"effect\":…}, see below
GET    /_dev/fault              the faults that are armed
DELETE /_dev/fault              disarm them all
PUT    /_dev/secret/{identity}  JSON data (object or array), or a whole secret (with \"data\")
DELETE /_dev/secret/{identity}  forget a secret
GET    /_dev/provisioned        the living accounts of every secret, or of ?identity=…
GET    /_dev/requests           what the vault was asked, oldest first
DELETE /_dev/requests           forget that
GET    /_dev/credentials        the PAM credentials that were written
POST   /_dev/device             register a device: {\"hostname\":…, \"ip\":…}
GET    /_dev/status             counters: connections, requests, accounts made, failed handshakes
POST   /_dev/revoke-tokens      every token is now expired
POST   /_dev/rotate             change passwords, raise versions
GET    /_dev/authorizations     every authorization, with its OAuth pair
PUT    /_dev/authorization      change the first one, or that of ?client_id=…: {\"enabled\":…,
                                \"expiration_date\":…, \"allowed_ips\":[\"10.1.*\"], \"fingerprint\":…,
                                \"allowed_referers\":[…], \"resources\":[\"Application\", \"CI/CD\",
                                \"Secrets Management\"], \"encryption\":…, \"client_secret\":…}
GET    /_dev/private-key        the key that opens encrypted values, PKCS#8 PEM
PUT    /_dev/settings           {\"token_ttl_ms\":300, \"clock_shift\":-3600, \"ttl\":\"15\",
                                \"registration\":…, \"pam_access\":…, \"pam_write\":…,
                                \"get_provision\":\"query\", \"get_provisions\":…}
PUT    /_dev/quirks             {\"object_data\":…, \"object_provisioned\":…, \"portuguese_only\":…,
                                \"provision_in_application\":…, \"numbers\":…, \"nulls\":…,
                                \"inner_status\":…}

Fault: path (part of path and query), method, skip, times, when (\"before\" or \"after\" the work),
effect: \"hang\", \"cut\", \"reset\", \"close\", {\"delay\":{\"ms\":500}}, {\"drip\":{\"ms\":20}},
{\"flood\":{\"mib\":64}}, {\"nest\":{\"depth\":100000}}, {\"redirect\":{\"location\":\"…\"}},
{\"answer\":{\"status\":429,\"headers\":[[\"Retry-After\",\"2\"]],\"body\":\"{}\"}},
{\"answer\":{\"status\":502,\"body\":\"<html>\"}}";

/// Answers an admin route. Nothing for any other path.
pub fn answer(state: &mut State, call: &Call) -> Option<Answer> {
    let route = call.path.strip_prefix("/_dev/")?;
    if !call.peer.ip().to_canonical().is_loopback() {
        return Some(Answer::no_route());
    }
    let answered = match route.strip_prefix("secret/") {
        Some(identity) => secret(state, call, &percent_decode(identity)),
        None => plain(state, call, route),
    };
    Some(answered.unwrap_or_else(|problem| Answer::json(400, &json!({"error": problem}))))
}

fn plain(state: &mut State, call: &Call, route: &str) -> Result<Answer, String> {
    match (&call.method, route) {
        (&Method::POST, "fault") => state.faults.push(read::<Fault>(call)?),
        (&Method::GET, "fault") => return Ok(Answer::json(200, &state.faults)),
        (&Method::DELETE, "fault") => state.faults.clear(),
        (&Method::GET, "provisioned") => return Ok(provisioned(state, call)),
        (&Method::GET, "requests") => return Ok(Answer::json(200, &state.requests)),
        (&Method::DELETE, "requests") => state.requests.clear(),
        (&Method::GET, "credentials") => {
            return Ok(Answer::json(200, &state.store.pam.credentials));
        }
        (&Method::GET, "status") => return Ok(status(state)),
        (&Method::POST, "revoke-tokens") => state.tokens.revoke(),
        (&Method::POST, "rotate") => state.store.rotate(),
        (&Method::PUT, "authorization") => {
            let change = read::<Change>(call)?;
            let named = call.params().ok().and_then(|query| query.filled("client_id"));
            change.apply(state, named.as_deref())?;
        }
        (&Method::GET, "authorizations") => {
            return Ok(Answer::json(200, &state.store.authorizations));
        }
        (&Method::GET, "private-key") => {
            let key = state.private_key_pem().ok_or("nothing is encrypted here")?;
            return Ok(Answer::raw(200, key));
        }
        (&Method::POST, "device") => state.store.pam.register(read::<Device>(call)?),
        (&Method::PUT, "settings") => read::<Settings>(call)?.apply(&mut state.options),
        (&Method::PUT, "quirks") => state.options.quirks = read::<Quirks>(call)?,
        _ => return Ok(Answer::raw(404, format!("There are these:\n{ROUTES}\n"))),
    }
    Ok(Answer::raw(200, "{}"))
}

fn secret(state: &mut State, call: &Call, identity: &str) -> Result<Answer, String> {
    match call.method {
        Method::PUT => {
            let text = str::from_utf8(&call.body).map_err(|error| error.to_string())?;
            put(state, Some(identity), text).map_err(|error| error.to_string())?;
        }
        Method::DELETE => remove(state, identity),
        _ => return Err("PUT or DELETE".to_owned()),
    }
    Ok(Answer::raw(200, "{}"))
}

/// Writes a secret of the first application: a whole one, or its data alone.
///
/// A whole secret is an object whose `data` is an object or an array. Without an identity from
/// outside, only a whole secret that states one will do.
pub fn put(state: &mut State, identity: Option<&str>, text: &str) -> serde_json::Result<()> {
    #[derive(Deserialize)]
    struct Probe {
        data: Option<Box<RawValue>>,
    }
    // An array would be read as the probe's fields in their order.
    let whole = text.trim_start().starts_with('{')
        && serde_json::from_str::<Probe>(text)
            .is_ok_and(|probe| probe.data.is_some_and(|data| data.get().starts_with(['{', '['])));
    let document: Document = if whole || identity.is_none() {
        serde_json::from_str(text)?
    } else {
        serde_json::from_str(&format!(r#"{{"data": {text}}}"#))?
    };
    document.check()?;
    let missing = || serde::de::Error::custom("a whole secret states its identity");
    let identity =
        identity.map(str::to_owned).or_else(|| document.identity.clone()).ok_or_else(missing)?;
    let authorization = state.store.primary().id;
    let secret = state
        .store
        .upsert(authorization, &identity)
        .expect("the first authorization and its application are never removed");
    let before = secret.id.clone();
    secret.apply(document)?;
    let after = secret.id.clone();
    let links = &mut state.store.primary().secrets;
    links.remove(&before);
    links.insert(after);
    Ok(())
}

/// Forgets a secret of the first application, with its accounts.
pub fn remove(state: &mut State, identity: &str) {
    let application = state.store.primary().application;
    let key = Key::Identity(identity.to_owned());
    if let Some(secret) = state.store.secret(application, &key) {
        let id = secret.id.clone();
        state.store.secrets.retain(|secret| secret.id != id);
        for authorization in &mut state.store.authorizations {
            authorization.secrets.remove(&id);
        }
    }
}

fn provisioned(state: &State, call: &Call) -> Answer {
    let only = call.params().ok().and_then(|query| query.filled("identity"));
    let secrets = state.store.secrets.iter();
    let secrets = secrets.filter(|secret| only.as_ref().is_none_or(|one| secret.identity == *one));
    let accounts = secrets.flat_map(|secret| {
        secret.accounts.iter().map(|account| {
            json!({
                "identity": secret.identity,
                "pod_name": account.pod.name,
                "deploy": account.pod.deploy,
                "namespace": account.pod.namespace,
                "username": account.username,
            })
        })
    });
    Answer::json(200, &accounts.collect::<Vec<Value>>())
}

fn status(state: &mut State) -> Answer {
    let enabled = state.store.primary().enabled;
    Answer::json(
        200,
        &json!({
            "connections": state.connections,
            "requests": state.requests.len(),
            "accounts_made": state.store.accounts_made,
            "tls_errors": state.tls_errors,
            "authorization_enabled": enabled,
            "unsaved": state.unsaved,
            "uptime_ms": u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX),
        }),
    )
}

fn read<T: DeserializeOwned>(call: &Call) -> Result<T, String> {
    serde_json::from_slice(&call.body).map_err(|error| error.to_string())
}
