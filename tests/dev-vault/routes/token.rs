//! `POST /iso/oauth2/token`.

use std::time::Duration;

use hyper::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::super::{
    call::{Call, base64},
    state::State,
    wire::Answer,
};

/// Lets a client in by its OAuth pair, from the body or by HTTP Basic.
///
/// Also an inactive authorization gets a token: it is the gateway that refuses it later.
pub fn issue(state: &mut State, call: &Call) -> Answer {
    let params = match call.params() {
        Ok(params) => params,
        Err(problem) => return oauth_error(400, "invalid_request", problem),
    };
    match params.text("grant_type").as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            let text = "The authorization grant type is not supported by the authorization server.";
            return oauth_error(400, "unsupported_grant_type", text);
        }
        None => return oauth_error(400, "invalid_request", "The grant_type is missing"),
    }
    let pair = basic(call).or_else(|| {
        let id = params.text("client_id")?;
        Some((id, params.text("client_secret").unwrap_or_default()))
    });
    let Some((id, secret)) = pair else {
        return oauth_error(400, "invalid_request", "The client_id is missing");
    };
    let known = state
        .store
        .authorizations
        .iter()
        .find(|known| known.client_id == id && known.client_secret == secret)
        .map(|known| known.id);
    let Some(authorization) = known else {
        return oauth_error(401, "invalid_client", "Client authentication failed");
    };
    // A client may ask for a lifetime of its own, in minutes.
    let asked = params.text("ttl").and_then(|ttl| ttl.parse().ok());
    let ttl = asked.map_or(state.options.token_ttl, |minutes: u64| {
        Duration::from_secs(minutes.saturating_mul(60).clamp(60, 86_400))
    });
    let shift = state.options.clock_shift;
    let token = state.tokens.issue(authorization, &id, ttl, shift);
    let expires_in = if ttl.subsec_nanos() == 0 {
        Value::from(ttl.as_secs())
    } else {
        Value::from(ttl.as_secs_f64())
    };
    Answer::json(
        200,
        &json!({"token_type": "Bearer", "expires_in": expires_in, "access_token": token}),
    )
}

fn basic(call: &Call) -> Option<(String, String)> {
    let (scheme, pair) = call.header(AUTHORIZATION.as_str())?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(base64(pair.trim())?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn oauth_error(status: u16, error: &str, text: &str) -> Answer {
    Answer::json(status, &json!({"error": error, "error_description": text, "message": text}))
}
