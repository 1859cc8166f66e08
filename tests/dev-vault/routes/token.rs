//! `POST /iso/oauth2/token`.

use std::time::Duration;

use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::super::{
    call::{Call, base64},
    state::State,
    wire::Answer,
};

/// The library's answer to a request that it can't read.
const MALFORMED: &str = "The request is missing a required parameter, includes an invalid \
    parameter value, includes a parameter more than once, or is otherwise malformed.";

/// Lets a client in by its OAuth pair, from the body or by HTTP Basic.
///
/// Also an inactive authorization gets a token: it is the gateway that refuses it later.
pub fn issue(state: &mut State, call: &Call) -> Answer {
    let params = match call.params() {
        Ok(params) => params,
        Err(problem) => return oauth_error(400, "invalid_request", MALFORMED, problem),
    };
    // The library behind the vault asks every grant it knows, and a missing one is unknown.
    if params.text("grant_type").as_deref() != Some("client_credentials") {
        let text = "The authorization grant type is not supported by the authorization server.";
        let hint = "Check that all required parameters have been provided";
        return oauth_error(400, "unsupported_grant_type", text, hint);
    }
    let pair = basic(call).or_else(|| {
        let id = params.filled("client_id")?;
        Some((id, params.text("client_secret").unwrap_or_default()))
    });
    let Some((id, secret)) = pair else {
        let hint = "Check the `client_id` parameter";
        return oauth_error(400, "invalid_request", MALFORMED, hint);
    };
    let known = state
        .store
        .authorizations
        .iter()
        .find(|known| known.client_id == id && known.client_secret == secret)
        .map(|known| known.id);
    let Some(authorization) = known else {
        let mut answer = oauth_error(401, "invalid_client", "Client authentication failed", "");
        if basic(call).is_some() {
            let asks = "Basic realm=\"OAuth\"".to_owned();
            answer.headers.push((WWW_AUTHENTICATE.to_string(), asks));
        }
        return answer;
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

/// An error as RFC 6749 and the vendor's clients read it; a hint where the library gives one.
fn oauth_error(status: u16, error: &str, text: &str, hint: &str) -> Answer {
    let mut body = json!({"error": error, "error_description": text, "message": text});
    if let (false, Some(body)) = (hint.is_empty(), body.as_object_mut()) {
        body.insert("hint".to_owned(), json!(hint));
    }
    Answer::json(status, &body)
}
