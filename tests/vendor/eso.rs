//! External Secrets' provider: a token, then the application, and nothing but 200 for either.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::go::{self, Application, Response, decode, or_zero};
use crate::dev_vault::{DevVault, Fault, Options};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Token {
    #[serde(deserialize_with = "or_zero")]
    token_type: String,
    #[serde(deserialize_with = "or_zero")]
    expires_in: i64,
    #[serde(deserialize_with = "or_zero")]
    access_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(deserialize_with = "or_zero")]
    response: Response,
    #[serde(deserialize_with = "or_zero")]
    application: Application,
}

fn token(vault: &DevVault) -> Result<String, String> {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", vault.client_id()),
        ("client_secret", vault.client_secret()),
    ];
    let reply = go::call(vault, "POST", "/iso/oauth2/token", None, &form);
    if reply.status != 200 {
        return Err(format!("invalid HTTP code {}", reply.status));
    }
    let token: Token = decode(&reply.body)?;
    assert_eq!((token.token_type.as_str(), token.expires_in), ("Bearer", 3600));
    Ok(token.access_token)
}

fn fetch(vault: &DevVault) -> Result<Application, String> {
    let bearer = format!("Bearer {}", token(vault)?);
    let reply = go::call(vault, "GET", "/iso/dapp/application", Some(&bearer), &[]);
    if reply.status != 200 {
        return Err(format!("invalid HTTP code {}", reply.status));
    }
    let answer: Answer = decode(&reply.body)?;
    if answer.response.error {
        return Err("received application error".to_owned());
    }
    Ok(answer.application)
}

/// What the provider makes of `dataFrom` for an identity.
fn map(application: &Application, identity: &str) -> BTreeMap<String, String> {
    let secrets = application.secrets.iter().filter(|secret| secret.identity == identity);
    let entries = secrets.flat_map(|secret| &secret.data).flatten();
    entries.map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect()
}

#[test]
fn the_provider_reads_every_secret_of_the_application() {
    let vault = DevVault::start(Options::default());
    let application = fetch(&vault).unwrap();
    let found = map(&application, "application5");
    assert_eq!(found["username"], "ADMIN_V_USR");
    assert_eq!(found["secret_access_key"], "sk/example+1");
    assert_eq!(found["TTL"], "", "null is empty");
    assert_eq!(found["my_key_name_2"], "my_key_value_2");
    let identities = application.secrets.iter().map(|secret| secret.identity.as_str());
    assert!(identities.eq(["secret-postman", "payments/database", "application5"]));
    let first = &application.secrets[0];
    assert_eq!((first.secret_id.as_str(), first.version.as_str()), ("213", "6"));
    assert_eq!(first.value("hostname"), Some("WinSUP"));
}

#[test]
fn the_provider_takes_the_last_entry_of_a_key() {
    let vault = DevVault::start(Options::default());
    vault.set_data("twice", json!([{"k": "first"}, {"k": "last", "n": null}]));
    let found = map(&fetch(&vault).unwrap(), "twice");
    assert_eq!(found["k"], "last");
    assert_eq!(found["n"], "");
}

#[test]
fn an_application_without_secrets_is_a_success() {
    assert!(fetch(&go::empty()).unwrap().secrets.is_empty());
}

#[test]
fn only_200_is_accepted() {
    let vault = DevVault::start(Options::default());
    vault.fault(Fault::answer("dapp", 201, "{}").once());
    assert_eq!(fetch(&vault).unwrap_err(), "invalid HTTP code 201");
    vault.set_enabled(false);
    assert_eq!(fetch(&vault).unwrap_err(), "invalid HTTP code 401");
    vault.set_enabled(true);
    vault.set_client_secret("another");
    assert_eq!(fetch(&vault).unwrap_err(), "invalid HTTP code 401");
}
