//! The vendor's Rust library: OAuth errors by their RFC's names, and `error_code` in every answer.

use serde::Deserialize;

use super::go::{self, decode};
use crate::dev_vault::{DevVault, Options};

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: String,
}

#[derive(Deserialize)]
struct Envelope {
    response: Response,
}

/// Without a default: an answer that lacks one of them can't be read.
#[derive(Deserialize)]
struct Response {
    status: u16,
    message: String,
    error: bool,
    error_code: i64,
}

#[test]
fn a_refused_login_has_the_fields_of_rfc_6749() {
    let vault = DevVault::start(Options::default());
    let check = |form: &[(&str, &str)], status: u16, error: &str| {
        let reply = go::call(&vault, "POST", "/iso/oauth2/token", None, form);
        let refused: Refused = decode(&reply.body).unwrap();
        assert_eq!((reply.status, refused.error.as_str()), (status, error));
        assert!(!refused.error_description.is_empty());
    };
    let client = [("client_id", vault.client_id()), ("client_secret", vault.client_secret())];
    let grant = ("grant_type", "client_credentials");
    check(&[grant, ("client_id", "nobody"), client[1]], 401, "invalid_client");
    check(&[grant, client[0]], 401, "invalid_client");
    check(&[grant], 400, "invalid_request");
    check(&client, 400, "unsupported_grant_type");
    check(&[client[0], client[1], ("grant_type", "password")], 400, "unsupported_grant_type");
}

#[test]
fn every_envelope_has_an_error_code() {
    let vault = DevVault::start(Options::default());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", vault.client_id()),
        ("client_secret", vault.client_secret()),
    ];
    let reply = go::call(&vault, "POST", "/api/oauth2/token", None, &form);
    let token: serde_json::Value = decode(&reply.body).unwrap();
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let check = |method: &str, path: &str, form: &[(&str, &str)], status: u16, code: i64| {
        let reply = go::call(&vault, method, path, Some(&bearer), form);
        let answer: Envelope = decode(&reply.body).unwrap();
        let response = answer.response;
        assert_eq!((reply.status, response.status), (status, status), "{}", reply.body);
        assert_eq!((response.error, response.error_code), (code != 0, code));
        assert!(!response.message.is_empty());
    };
    check("GET", "/iso/dapp/application", &[], 200, 0);
    check("GET", "/iso/sctm/secret/secret-postman", &[], 200, 0);
    check("GET", "/iso/sctm/secret/nothing", &[], 404, 4);
    check("PUT", "/iso/sctm/secret", &[], 404, 4);
    check("POST", "/iso/sctm/secret", &[("name", "x")], 400, 1);
    check("POST", "/api/pam/credential", &[("ip", "x")], 400, 1);
}
