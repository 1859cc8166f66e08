//! The historic sidecar and init container: what they read, and which files they make of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::go::{self, Application, Response, decode, or_zero};
use crate::dev_vault::{DevVault, Options};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(deserialize_with = "or_zero")]
    id: String,
    #[serde(deserialize_with = "or_zero")]
    signature: String,
    #[serde(deserialize_with = "or_zero")]
    access_token: String,
    #[serde(deserialize_with = "or_zero")]
    application: Application,
    #[serde(deserialize_with = "or_zero")]
    response: Response,
}

/// Logs in with a pair, and sends one request with the token.
fn ask(vault: &DevVault, pair: (&str, &str), method: &str, form: &[(&str, &str)]) -> Answer {
    let login =
        [("grant_type", "client_credentials"), ("client_id", pair.0), ("client_secret", pair.1)];
    let reply = go::call(vault, "POST", "/iso/oauth2/token", None, &login);
    let token: Answer = decode(&reply.body).unwrap();
    let bearer = format!("Bearer {}", token.access_token);
    let reply = go::call(vault, method, "/iso/dapp/Application", Some(&bearer), form);
    let answer: Answer = decode(&reply.body).unwrap();
    assert!(!answer.response.error, "{}", reply.body);
    answer
}

/// The files below `<folder>/senhasegura`, by path.
fn layout(application: &Application) -> BTreeMap<String, String> {
    let secrets = application.secrets.iter();
    let files = secrets.flat_map(|secret| {
        secret.data.iter().flatten().map(move |(key, value)| {
            (format!("{}/{key}", secret.identity), value.clone().unwrap_or_default())
        })
    });
    files.collect()
}

#[test]
fn the_sidecar_reads_with_the_pair_it_was_configured_with() {
    let vault = DevVault::start(Options { ttl: Some("15".to_owned()), ..Options::default() });
    vault.set_data("deep/er", json!([{"k": "v", "none": null}, {"TTL": "30"}]));
    let pair = (vault.client_id(), vault.client_secret());
    let files = layout(&ask(&vault, pair, "GET", &[]).application);
    assert_eq!(files["secret-postman/hostname"], "WinSUP");
    assert_eq!(files["application5/TTL"], "");
    assert_eq!(files["deep/er/none"], "");
    assert_eq!(files["deep/er/TTL"], "30");
    assert_eq!(vault.provision_count(), 0, "it reads, and makes no account");
}

#[test]
fn the_init_container_registers_and_reads_with_the_new_pair() {
    let vault = DevVault::start(Options::default());
    let form = [("application", "shop"), ("environment", "prod"), ("system", "web")];
    let pair = (vault.client_id(), vault.client_secret());
    let registered = ask(&vault, pair, "POST", &form);
    assert_eq!((registered.id.len(), registered.signature.len()), (16, 32));
    let own = (registered.id.as_str(), registered.signature.as_str());
    let read = ask(&vault, own, "GET", &[]).application;
    assert_eq!((read.name.as_str(), read.secrets.len()), ("shop", 0));
}
