//! `POST /iso/dapp/application`: the keys that identify an authorization, and its settings.

use serde_json::{Value, json};

use super::{DevVault, Options, ask, plain, send, token};

const LINE: &str = "POST /iso/dapp/Application";

fn register(vault: &DevVault, token: &str, body: &Value) -> Value {
    let (status, answer) = ask(vault, token, LINE, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    answer
}

/// A token for a pair that was registered.
fn login(vault: &DevVault, pair: &Value) -> String {
    let (id, secret) = (pair["id"].as_str().unwrap(), pair["signature"].as_str().unwrap());
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let (_, body) = send(vault, "POST /iso/oauth2/token HTTP/1.1", &form);
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn system_and_environment_or_a_unique_key_find_the_pair_again() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let pair = |body: Value| register(&vault, &token, &body)["id"].as_str().unwrap().to_owned();
    let first = pair(json!({"application": "shop", "system": "web", "environment": "prod"}));
    let other = pair(json!({"application": "shop", "system": "web", "environment": "test"}));
    assert_ne!(first, other);
    let keyed =
        json!({"application": "shop", "system": "a", "environment": "b", "unique_key": "k"});
    let keyed = pair(keyed);
    assert_ne!(keyed, first);
    let again =
        json!({"application": "shop", "system": "x", "environment": "y", "unique_key": "k"});
    assert_eq!(pair(again), keyed);
    let elsewhere = json!({"application": "else", "unique_key": "k"});
    assert_ne!(pair(elsewhere), keyed, "a key counts within its application");
}

#[test]
fn the_application_is_updated_and_the_authorization_is_not() {
    let vault = plain(Options::default());
    let owner = token(&vault);
    let body = |more: Value| {
        let mut body = json!({"application": "shop", "system": "web", "environment": "prod"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let made = register(&vault, &owner, &body(json!({"description": "one", "tags": ["a", "b"]})));
    let message = made["response"]["message"].as_str().unwrap();
    assert!(message.starts_with("Application created: ("), "{message}");
    assert!(message.contains(") shop | Authorization created: ("), "{message}");
    let limits = json!({"description": "two", "allowed_ips": ["10.0.0.1"]});
    let again = register(&vault, &owner, &body(limits));
    let message = again["response"]["message"].as_str().unwrap();
    assert!(message.contains("Application updated: "), "{message}");
    assert!(message.contains("Authorization found: "), "{message}");
    let (status, read) = ask(&vault, &login(&vault, &made), "GET /iso/dapp/application", "");
    assert_eq!(status, 200, "the address is not limited: {read}");
    assert_eq!(read["application"]["description"], "two");
    assert_eq!(read["application"]["tags"], json!(["a", "b"]));
}

#[test]
fn a_new_authorization_has_the_limits_of_its_request() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let list = "GET /iso/dapp/application";
    let check = |name: &str, limit: Value, line: &str, expected: u16| {
        let mut body = json!({"application": name});
        body.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
        let pair = register(&vault, &token, &body);
        let (status, answer) = ask(&vault, &login(&vault, &pair), line, "");
        assert_eq!(status, expected, "{name}: {answer}");
    };
    check("a", json!({"allowed_ips": ["127.0.0.1"]}), list, 200);
    check("b", json!({"allowed_ips": ["10.*"]}), list, 404);
    check("c", json!({"allowed_http_referers": ["https://a.example"]}), list, 404);
    check("d", json!({"certificate_fingerprint": "00"}), list, 404);
    check("e", json!({"authorized_resources": ["CI/CD", "Secret Management"]}), list, 404);
    check("f", json!({"authorized_resources": ["Application"]}), list, 200);
    check("g", json!({"expiration_date": "2001-01-01 00:00:00"}), list, 401);
    let bad = json!({"application": "h", "authorized_resources": ["Everything"]});
    assert_eq!(ask(&vault, &token, LINE, &bad.to_string()).0, 400);
    assert_eq!(ask(&vault, &token, LINE, "application=i&expiration_date=soon").0, 400);
    assert_eq!(ask(&vault, &token, LINE, "system=web").0, 400);
    let form = "application=j&allowed_ips[]=10.0.0.1&allowed_ips[]=10.0.0.2";
    let (_, pair) = ask(&vault, &token, LINE, form);
    assert_eq!(ask(&vault, &login(&vault, &pair), list, "").0, 404);
}

#[test]
fn an_authorization_can_request_encryption() {
    // A key that is given needs not be made.
    let vault = plain(Options { encryption: super::small_key().1, ..Options::default() });
    let owner = token(&vault);
    let sealed = json!({"application": "sealed", "encryption_enabled": true});
    let open = json!({"application": "open"});
    for (body, name) in [(sealed, "sealed"), (open, "open")] {
        let token = login(&vault, &register(&vault, &owner, &body));
        let secret = json!({"identity": "one", "data": {"password": "p", "user": "u"}});
        let (status, answer) = ask(&vault, &token, "POST /iso/sctm/secret", &secret.to_string());
        assert_eq!(status, 201);
        let data = &answer["application"]["secrets"][0]["data"][0];
        assert_eq!(data["user"], "u");
        assert_eq!(data["password"] == "p", name == "open", "{name}: {data}");
    }
    let (status, key) = send(&vault, "GET /_dev/private-key HTTP/1.1", "");
    assert_eq!(status, 200);
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn a_deleted_authorization_takes_its_accounts_with_it() {
    let vault = plain(Options::default());
    let token = token(&vault);
    super::provision(&vault, &token, "web-1");
    let line = "DELETE /api/dapp/application/authorization";
    let (status, answer) = ask(&vault, &token, line, "");
    assert_eq!((status, &answer["response"]["status"]), (200, &json!(200)));
    assert_eq!(answer["response"]["message"], "Authorization deleted successfully.");
    assert!(vault.provisioned("secret-postman").is_empty());
    let (status, answer) = ask(&vault, &token, line, "");
    assert_eq!((status, &answer["response"]["error_code"]), (401, &json!(1)));
}
