//! What an authorization lets in: its time, its addresses, its referers, its certificate, its resources.

use std::{fs, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::json;

use super::{DevVault, Options, ask, plain, send, token};
use crate::dev_vault::Resource;

const LIST: &str = "GET /iso/dapp/application";

/// Changes the authorization by the admin route.
fn change(vault: &DevVault, change: &serde_json::Value) {
    let (status, told) = send(vault, "PUT /_dev/authorization HTTP/1.1", &change.to_string());
    assert_eq!(status, 200, "{told}");
}

#[test]
fn an_expired_authorization_answers_like_a_disabled_one() {
    let vault = plain(Options::default());
    let token = token(&vault);
    change(&vault, &json!({"expiration_date": "2001-01-01 00:00:00"}));
    let (status, answer) = ask(&vault, &token, LIST, "");
    assert_eq!((status, &answer["response"]["error_code"]), (401, &json!(1)));
    assert_eq!(answer["response"]["message"], "Inactive authorization");
    change(&vault, &json!({"expiration_date": "12/31/9998"}));
    assert_eq!(ask(&vault, &token, LIST, "").0, 200);
    // The vault's own clock decides.
    change(&vault, &json!({"expiration_date": "2150-01-01T00:00:00Z"}));
    vault.configure(|options| options.clock_shift = 200 * 365 * 86_400);
    assert_eq!(ask(&vault, &token, LIST, "").0, 401);
    change(&vault, &json!({"expiration_date": ""}));
    assert_eq!(ask(&vault, &token, LIST, "").0, 200);
    let started = plain(Options {
        expiration_date: Some("2001-01-01 00:00:00".to_owned()),
        ..Options::default()
    });
    assert_eq!(ask(&started, &super::token(&started), LIST, "").0, 401);
}

#[test]
fn an_address_is_admitted_by_its_pattern() {
    let check = |patterns: &[&str], expected: u16| {
        let allowed_ips = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let vault = plain(Options { allowed_ips, ..Options::default() });
        let (status, answer) = ask(&vault, &token(&vault), LIST, "");
        assert_eq!(status, expected, "{patterns:?}: {answer}");
        if expected == 404 {
            assert_eq!(answer, json!({"message": "no Route matched with those values"}));
        }
    };
    check(&["*"], 200);
    check(&["127.0.0.*"], 200);
    check(&["10.0.0.1", "127.*.0.1"], 200);
    check(&["192.168.1.*"], 404);
    check(&["127.0.0"], 404);
    check(&["27.0.0.1"], 404);
}

#[test]
fn only_a_listed_referer_is_admitted() {
    let vault = plain(Options::default());
    let token = token(&vault);
    change(&vault, &json!({"allowed_referers": ["https://a.example", "https://b.example"]}));
    let with = |referer: &str| {
        let line = format!("{LIST} HTTP/1.1\r\nAuthorization: Bearer {token}");
        send(&vault, &format!("{line}\r\nReferer: {referer}"), "").0
    };
    assert_eq!(with("https://b.example"), 200);
    assert_eq!(with("https://c.example"), 404);
    assert_eq!(ask(&vault, &token, LIST, "").0, 404);
    change(&vault, &json!({"allowed_referers": []}));
    assert_eq!(ask(&vault, &token, LIST, "").0, 200);
}

#[test]
fn a_resource_that_is_not_permitted_answers_like_a_missing_route() {
    let check = |resource, expected: [u16; 4]| {
        let vault = plain(Options { resources: vec![resource], ..Options::default() });
        let token = token(&vault);
        let lines = [
            LIST,
            "POST /iso/coe/dapp/provision?identity=secret-postman",
            "POST /iso/cicd/variables",
            "GET /iso/sctm/secret",
        ];
        let found = lines.map(|line| ask(&vault, &token, line, "").0);
        assert_eq!(found, expected, "{resource:?}");
        // PAM has a permission of its own.
        assert_eq!(ask(&vault, &token, "POST /api/pam/credential", "").0, 400);
    };
    check(Resource::Application, [200, 200, 404, 404]);
    check(Resource::Pipeline, [404, 404, 200, 404]);
    check(Resource::Secrets, [404, 404, 404, 200]);
}

#[test]
fn an_authorization_bound_to_a_certificate_refuses_all_others() {
    let vault = DevVault::start(Options { bind_certificate: true, ..Options::default() });
    let token = {
        let (id, secret) = (vault.client_id(), vault.client_secret());
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let (status, body) = tls(&vault, false, "POST /iso/oauth2/token HTTP/1.1", &form);
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let line = format!("{LIST} HTTP/1.1\r\nAuthorization: Bearer {token}");
    assert_eq!(tls(&vault, true, &line, "").0, 200);
    assert_eq!(tls(&vault, false, &line, "").0, 404);

    let admin = |body: &str| tls(&vault, false, "PUT /_dev/authorization HTTP/1.1", body).0;
    assert_eq!(admin(r#"{"fingerprint":"00:11:22"}"#), 200);
    assert_eq!(tls(&vault, true, &line, "").0, 404);
    // SHA-1, in capitals and with colons, as other tools show it.
    let pem = fs::read(vault.client_cert_file()).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let hash = ring_sha1(&certificate);
    let shown: Vec<String> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(admin(&json!({"fingerprint": shown.join(":")}).to_string()), 200);
    assert_eq!(tls(&vault, true, &line, "").0, 200);
    assert_eq!(admin(r#"{"fingerprint":""}"#), 200);
    assert_eq!(tls(&vault, false, &line, "").0, 200);
}

fn ring_sha1(bytes: &[u8]) -> Vec<u8> {
    use ::ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

/// Sends one request over TLS, with the vault's client certificate or without any.
fn tls(vault: &DevVault, certificate: bool, head: &str, body: &str) -> (u16, String) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(vault.ca_pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if certificate {
        let certificate = fs::read(vault.client_cert_file()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(&certificate).unwrap()];
        let key = fs::read(vault.client_key_file()).unwrap();
        config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key).unwrap()).unwrap()
    } else {
        config.with_no_client_auth()
    };
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, super::connect(vault));
    super::talk(&mut stream, head, body)
}
