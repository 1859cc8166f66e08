//! Changes by the admin routes, and every fault that can be configured.

use serde_json::{Value, json};

use super::{DevVault, Options, ask, plain, send, token};

const LIST: &str = "GET /iso/dapp/application";

#[track_caller]
fn admin(vault: &DevVault, line: &str, body: &Value) {
    let (status, told) = send(vault, &format!("{line} HTTP/1.1"), &body.to_string());
    assert_eq!(status, 200, "{told}");
}

/// Logs in, and returns the token's lifetime and its time of issue.
fn login(vault: &DevVault) -> (Value, i64) {
    let (id, secret) = (vault.client_id(), vault.client_secret());
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let (_, body) = send(vault, "POST /iso/oauth2/token HTTP/1.1", &form);
    let answer: Value = serde_json::from_str(&body).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let claims = crate::dev_vault::call::base64(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    (answer["expires_in"].clone(), claims["iat"].as_i64().unwrap())
}

#[test]
fn tokens_can_live_for_less_than_a_second_and_clocks_can_be_wrong() {
    let vault = plain(Options::default());
    let (whole, now) = login(&vault);
    assert_eq!(whole, 3600);
    let settings = json!({"token_ttl_ms": 250, "clock_shift": -86_400});
    admin(&vault, "PUT /_dev/settings", &settings);
    let (brief, yesterday) = login(&vault);
    assert_eq!(brief, json!(0.25));
    assert!((now - yesterday - 86_400).abs() < 60, "{now} {yesterday}");
    assert_eq!(send(&vault, "PUT /_dev/settings HTTP/1.1", r#"{"unknown":1}"#).0, 400);
}

#[test]
fn entries_can_get_a_lifetime_and_permissions_can_be_removed() {
    let vault = plain(Options::default());
    let token = token(&vault);
    admin(&vault, "PUT /_dev/settings", &json!({"ttl": "15", "registration": false}));
    let secret = super::provision(&vault, &token, "web-1");
    assert_eq!(secret["data"][1]["TTL"], "15");
    assert_eq!(ask(&vault, &token, "POST /iso/dapp/application", "application=x").0, 500);
    admin(&vault, "PUT /_dev/settings", &json!({"ttl": "", "pam_write": false}));
    let secret = super::provision(&vault, &token, "web-2");
    assert_eq!(secret["data"][1].get("TTL"), None);
    let (_, answer) = ask(&vault, &token, "POST /api/pam/credential", "");
    assert_eq!(answer["exception"]["code"], 1039);
    admin(&vault, "PUT /_dev/settings", &json!({"pam_access": false, "get_provision": "none"}));
    assert_eq!(ask(&vault, &token, "POST /api/pam/credential", "").0, 500);
    assert_eq!(ask(&vault, &token, "GET /iso/coe/dapp/provision", "").0, 404);
}

#[test]
fn a_registered_device_accepts_credentials() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let device = json!({"hostname": "new", "ip": "10.0.0.9"});
    let body = json!({"hostname": "new", "ip": "10.0.0.9", "username": "u"}).to_string();
    assert_eq!(ask(&vault, &token, "POST /api/pam/credential", &body).0, 400);
    admin(&vault, "POST /_dev/device", &device);
    assert_eq!(ask(&vault, &token, "POST /api/pam/credential", &body).0, 201);
}

#[test]
fn tokens_are_revoked_and_secrets_replaced() {
    let vault = plain(Options::default());
    let old = token(&vault);
    admin(&vault, "POST /_dev/revoke-tokens", &json!({}));
    assert_eq!(ask(&vault, &old, LIST, ""), (401, json!({"exp": "token expired"})));
    admin(&vault, "PUT /_dev/authorization", &json!({"client_secret": "another"}));
    let (id, secret) = (vault.client_id(), vault.client_secret());
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    assert_eq!(send(&vault, "POST /iso/oauth2/token HTTP/1.1", &form).0, 401);
    let (_, all) = send(&vault, "GET /_dev/authorizations HTTP/1.1", "");
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all[0]["client_secret"], "another");
    let line = "PUT /_dev/authorization?client_id=nobody HTTP/1.1";
    assert_eq!(send(&vault, line, "{}").0, 400);
}

#[test]
fn every_shape_can_be_configured() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let shape = |quirks: Value| {
        admin(&vault, "PUT /_dev/quirks", &quirks);
        ask(&vault, &token, LIST, "").1
    };
    let usual = shape(json!({}));
    assert_eq!(usual["application"]["secrets"][0]["secret_id"], "213");
    let answer = shape(json!({"numbers": true, "nulls": true}));
    assert_eq!(answer["application"]["secrets"][0]["secret_id"], 213);
    assert_eq!(answer["application"]["secrets"][0]["expiration_date"], Value::Null);
    let answer = shape(json!({"object_data": true}));
    assert_eq!(answer["application"]["secrets"][0]["data"]["hostname"], "WinSUP");
    let answer = shape(json!({"portuguese_only": true}));
    assert_eq!(answer["response"].as_object().unwrap().len(), 3);
    let answer = shape(json!({"inner_status": 201}));
    assert_eq!(answer["response"]["status"], 201);
}

#[test]
fn every_broken_answer_can_be_configured() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let check = |effect: Value, status: u16, part: &str| {
        let fault = json!({"path": "dapp", "times": 1, "effect": effect});
        admin(&vault, "POST /_dev/fault", &fault);
        let (found, body) = ask(&vault, &token, LIST, "");
        assert_eq!(found, status, "{body}");
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        assert!(text.contains(part), "{text}");
    };
    check(json!({"delay": {"ms": 1}}), 200, "application");
    check(json!("cut"), 200, "");
    check(json!({"answer": {"status": 502, "body": "<html>bad</html>"}}), 502, "<html>");
    let headers = json!([["Retry-After", "2"]]);
    check(json!({"answer": {"status": 429, "headers": headers, "body": "{}"}}), 429, "{}");
    for status in [500, 503, 504] {
        check(json!({"answer": {"status": status}}), status, "");
    }
    check(json!({"drip": {"ms": 0}}), 200, "application");
}
