//! The gateway step, and which request goes where.

mod applications;
mod credentials;
mod provision;
mod script;
mod secrets;
mod token;
mod variables;

use hyper::{Method, header::REFERER};

use super::{
    call::{Call, Sides, percent_decode},
    options::{GetProvision, Options, Slashes},
    state::State,
    store::{
        authorization::{Resource, Visit},
        secret::Secret,
    },
    tokens::Refusal,
    wire::{Answer, SecretView, Wire},
};

/// Who a token speaks for.
#[derive(Clone, Copy, Debug)]
struct Caller {
    authorization: u32,
    application: u32,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Token,
    Provision,
    Deprovision,
    Application,
    Authorization,
    Secrets,
    Secret(String),
    Variables,
    Credential,
}

impl Route {
    /// What an authorization needs for it, beside its token.
    fn resource(&self) -> Option<Resource> {
        match self {
            Self::Provision | Self::Deprovision | Self::Application | Self::Authorization => {
                Some(Resource::Application)
            }
            Self::Secrets | Self::Secret(_) => Some(Resource::Secrets),
            Self::Variables => Some(Resource::Pipeline),
            Self::Token | Self::Credential => None,
        }
    }
}

/// Answers a request as the vault would.
pub fn answer(state: &mut State, call: &Call) -> Answer {
    let Some(route) = find(&state.options, &call.path) else {
        return Answer::no_route();
    };
    // Clients send their last token with the request for the next, so it must not be looked at.
    if route == Route::Token {
        return if call.method == Method::POST {
            token::issue(state, call)
        } else {
            Answer::no_route()
        };
    }
    let no_route = state.options.get_provision == GetProvision::None;
    if route == Route::Provision && call.method == Method::GET && no_route {
        return Answer::no_route();
    }
    match gateway(state, call, &route) {
        Ok(caller) => dispatch(state, caller, &route, call),
        Err(refusal) => refusal,
    }
}

fn dispatch(state: &mut State, caller: Caller, route: &Route, call: &Call) -> Answer {
    let sides = match (route, call.method.as_str(), state.options.get_provision) {
        (Route::Provision, "GET", GetProvision::Query) => Sides::Query,
        (Route::Provision, "GET", GetProvision::Body) => Sides::Body,
        _ => Sides::Both,
    };
    let params = match call.params_of(sides) {
        Ok(params) => params,
        Err(problem) => return state.wire().error(400, 1, problem),
    };
    match (route, call.method.as_str()) {
        // No page says what is answered where the fields are not read. The choice is the vault's
        // usual error, so that a client has to tell this from a route that is missing.
        (Route::Provision, "GET")
            if sides != Sides::Both && params.filled("identity").is_none() =>
        {
            state.wire().error(400, 1, "identity is required")
        }
        (Route::Provision, "GET") => {
            let mints = state.options.get_provisions;
            provision::provision(state, caller, &params, mints)
        }
        (Route::Provision, "POST") => provision::provision(state, caller, &params, true),
        (Route::Deprovision, "POST") => provision::deprovision(state, caller, &params),
        (Route::Application, "GET") => applications::read(state, caller),
        (Route::Application, "POST") => applications::register(state, &params),
        (Route::Authorization, "DELETE") => applications::delete_authorization(state, caller),
        (Route::Secrets, "GET") => secrets::list(state, caller),
        (Route::Secrets, "POST") => secrets::write(state, caller, &params),
        (Route::Secret(identity), "GET") => secrets::read(state, caller, identity),
        (Route::Variables, "POST") => variables::write(state, caller, &params),
        (Route::Credential, "POST") => credentials::write(state, params),
        _ => state.wire().not_found(),
    }
}

/// What the gateway checks before the vault sees a request.
fn gateway(state: &mut State, call: &Call, route: &Route) -> Result<Caller, Answer> {
    let bearer = call
        .header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let id =
        state.tokens.check(bearer.ok_or_else(Answer::no_route)?).map_err(
            |refusal| match refusal {
                Refusal::Foreign => Answer::invalid_signature(),
                Refusal::Expired => Answer::expired(),
            },
        )?;
    let (wire, now) = (state.wire(), state.now());
    let authorization = state.store.authorization(id).ok_or_else(Answer::no_route)?;
    if !authorization.is_active(&now) {
        return Err(wire.error(401, 1, "Inactive authorization"));
    }
    let visit = Visit {
        ip: call.peer.ip(),
        referer: call.header(REFERER.as_str()),
        certificate: call.certificate.as_deref(),
        resource: route.resource(),
    };
    if !authorization.admits(&visit) {
        return Err(Answer::no_route());
    }
    Ok(Caller { authorization: id, application: authorization.application })
}

/// Paths are matched in any case of letters, with or without a last slash, below `/iso` or `/api`.
fn find(options: &Options, path: &str) -> Option<Route> {
    let base = options.base_path.trim_matches('/');
    let path = path.trim_start_matches('/');
    let path = if base.is_empty() { path } else { strip_prefix(path, base)?.strip_prefix('/')? };
    let path = strip_prefix(path, "iso/").or_else(|| strip_prefix(path, "api/"))?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if let Some(identity) = strip_prefix(path, "sctm/secret/") {
        let allowed = match options.slashes {
            Slashes::Both => true,
            Slashes::Encoded => !identity.contains('/'),
            Slashes::Raw => !identity.to_ascii_lowercase().contains("%2f"),
        };
        return allowed.then(|| Route::Secret(percent_decode(identity)));
    }
    Some(match path.to_ascii_lowercase().as_str() {
        "oauth2/token" => Route::Token,
        "coe/dapp/provision" => Route::Provision,
        "coe/dapp/deprovision" | "dapp/deprovision" => Route::Deprovision,
        "dapp/application" => Route::Application,
        "dapp/application/authorization" => Route::Authorization,
        "sctm/secret" => Route::Secrets,
        "cicd/variables" => Route::Variables,
        "pam/credential" => Route::Credential,
        _ => return None,
    })
}

fn strip_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix))?;
    path.get(prefix.len()..)
}

/// A secret without what was made for single pods.
fn view(wire: &Wire, secret: &Secret) -> SecretView {
    wire.secret(secret, secret.entries(None))
}
