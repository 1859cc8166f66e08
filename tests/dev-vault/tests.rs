//! The vault's own claims, over real sockets.

mod authorization;
mod credentials;
mod registration;
mod restart;
mod settings;
mod writes;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rsa::{
    BigUint, RsaPrivateKey,
    pkcs8::{EncodePrivateKey as _, LineEnding},
    rand_core::OsRng,
    traits::{PrivateKeyParts as _, PublicKeyParts as _},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};

use super::requests::READ;
use super::{
    Certificate, DevVault, Effect, Encryption, Fault, GetProvision, Options, Quirks, Slashes,
};

const PROVISION: &str = "/iso/coe/dapp/provision";

/// A vault without TLS, which makes for short tests.
fn plain(options: Options) -> DevVault {
    DevVault::start(Options { tls: false, ..options })
}

/// Sends one request on a connection of its own, and reads until the vault closes it.
fn send(vault: &DevVault, head: &str, body: &str) -> (u16, String) {
    talk(&mut connect(vault), head, body)
}

fn connect(vault: &DevVault) -> TcpStream {
    let stream = TcpStream::connect(vault.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn talk(stream: &mut (impl Read + Write), head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let text = format!(
        "{head}\r\nHost: vault\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return (0, format!("{ended:?}"));
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn token(vault: &DevVault) -> String {
    let (id, secret) = (vault.client_id(), vault.client_secret());
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let (status, body) = send(vault, "POST /iso/oauth2/token HTTP/1.1", &form);
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["token_type"], "Bearer");
    answer["access_token"].as_str().unwrap().to_owned()
}

fn ask(vault: &DevVault, token: &str, line: &str, body: &str) -> (u16, Value) {
    let head = format!("{line} HTTP/1.1\r\nAuthorization: Bearer {token}");
    let (status, body) = send(vault, &head, body);
    (status, serde_json::from_str(&body).unwrap_or_else(|_| json!(body)))
}

fn provision(vault: &DevVault, token: &str, pod: &str) -> Value {
    let body = json!({
        "identity": "secret-postman", "pod_name": pod, "deploy": "web", "namespace": "shop",
    });
    let (status, answer) = ask(vault, token, &format!("POST {PROVISION}"), &body.to_string());
    assert_eq!(status, 200, "{answer}");
    answer["secret"].clone()
}

#[test]
fn the_first_provision_answers_the_documented_example() {
    let vault = plain(Options::default());
    let line = format!("GET {PROVISION}?identity=secret-postman");
    let (_, mut answer) = ask(&vault, &token(&vault), &line, "");
    assert!(answer["secret"].take().is_object());
    let response = json!({
        "status": 200, "message": "Secret provisions done.", "error": false, "error_code": 0,
        "detail": "", "mensagem": "Secret provisions done.", "erro": false, "cod_erro": 0,
    });
    let envelope = json!({"code": 200, "response": response, "tenant": "Segura", "secret": null});
    assert_eq!(answer, envelope);

    let secret = provision(&vault, &token(&vault), "web-1");
    assert_eq!(secret["secret_id"], "213");
    assert_eq!(secret["version"], "7");
    assert_eq!(secret["renew_cloud_time"], false);
    assert_eq!(secret["data"][0], json!({"hostname": "WinSUP", "username": "usera2a"}));
    let made = &secret["data"][1];
    assert_eq!(made["hostname"], "TEAM-PRODUTOS-Windows-Server-2016-001");
    assert_eq!(made["ip"], "10.66.32.13");
    assert_eq!(made["additional_information"], Value::Null);
    let name = made["username"].as_str().unwrap();
    assert_eq!(name.strip_prefix("SQLServer_").unwrap().len(), 13);
}

#[test]
fn each_pod_keeps_its_own_accounts() {
    let vault = plain(Options::default());
    let token = token(&vault);
    provision(&vault, &token, "web-1");
    provision(&vault, &token, "web-2");
    let twice = provision(&vault, &token, "web-1");
    assert_eq!(twice["data"].as_array().unwrap().len(), 3);
    assert_eq!(vault.provision_count(), 3);

    let query = "identity=secret-postman&pod_nome=web-2&deploy=web&namespace=shop";
    let (_, read) = ask(&vault, &token, &format!("GET {PROVISION}?{query}"), "");
    assert_eq!(read["secret"]["data"].as_array().unwrap().len(), 2);
    assert_eq!(read["secret"]["version"], "9");

    let given_back = format!("{}&secret_id=213", query.replace("nome", "name"));
    let line = "POST /api/dapp/deprovision/";
    assert_eq!(ask(&vault, &token, line, &given_back).0, 200);
    assert_eq!(ask(&vault, &token, line, &given_back).0, 200);
    assert_eq!(ask(&vault, &token, line, query).0, 400);
    assert_eq!(vault.provisioned("secret-postman").len(), 2);
    assert_eq!(vault.version("secret-postman").unwrap(), "10");
}

#[test]
fn the_gateway_comes_before_the_routes() {
    let vault = plain(Options { token_ttl: Duration::from_millis(300), ..Options::default() });
    let list = "GET /ISO/dapp/Application/";
    let token = token(&vault);
    assert_eq!(ask(&vault, &token, list, "").0, 200);
    assert_eq!(ask(&vault, &token, "GET /iso/nothing", "").0, 404);
    assert_eq!(send(&vault, &format!("{list} HTTP/1.1"), "").0, 404);
    assert_eq!(ask(&vault, "not.a.token", list, "").0, 401);
    while ask(&vault, &token, list, "").0 == 200 {
        assert!(vault.elapsed() < Duration::from_secs(180), "the token does not expire");
    }
    let (status, body) = ask(&vault, &token, list, "");
    assert_eq!((status, body), (401, json!({"exp": "token expired"})));

    vault.set_enabled(false);
    let fresh = super::tests::token(&vault);
    let (status, body) = ask(&vault, &fresh, list, "");
    assert_eq!(status, 401);
    assert_eq!(body["response"]["error_code"], 1);
}

#[test]
fn tokens_are_issued_in_every_documented_way() {
    let vault = plain(Options::default());
    let (id, secret) = (vault.client_id(), vault.client_secret());
    let check = |kind: &str, body: &str, expected: u16| {
        let head = format!("POST /api/oauth2/token HTTP/1.1\r\n{kind}");
        let (status, answer) = send(&vault, &head, body);
        assert_eq!(status, expected, "{answer}");
    };
    let json = json!({
        "grant_type": "client_credentials", "client_id": id, "client_secret": secret,
    });
    check("Content-Type: application/json", &json.to_string(), 200);
    let basic = STANDARD.encode(format!("{id}:{secret}"));
    let basic = format!("Authorization: Basic {basic}");
    check(&basic, "grant_type=client_credentials", 200);
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts = [
        part("grant_type", "client_credentials"),
        part("client_id", id),
        part("client_secret", secret),
    ];
    let parts = parts.concat() + "--b--\r\n";
    check("Content-Type: multipart/form-data; boundary=b", &parts, 200);
    let wrong = format!("grant_type=client_credentials&client_id={id}&client_secret=no");
    check("Authorization: Bearer old", &wrong, 401);
}

#[test]
fn a_written_secret_is_expanded_by_its_labels() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let script = json!({
        "access_keys": [{"access_key": {"type": "aws", "fields": {
            "access_key_id": "AK", "access_key_id_label": "AWS_ID",
            "secret_access_key": "SK", "secret_access_key_label": "AWS_KEY",
        }}}],
        "credentials": [
            {"credential": {"fields": {
                "user": "u1", "user_label": "USERNAME", "password": "p1", "host": "dropped",
            }}},
            {"credential": {"fields": {"user": "u2", "user_label": "USERNAME"}}},
        ],
        "key_value": {"fields": {"APP": "Postman"}},
    });
    let coded = STANDARD.encode(script.to_string()).replace('=', ",");
    let body = json!({"Identity": "a/b", "Engine": "GitLab", "Date": coded});
    let line = "POST /iso/sctm/secret";
    let (status, answer) = ask(&vault, &token, line, &body.to_string());
    assert_eq!(status, 201, "{answer}");
    let secret = &answer["application"]["secrets"][0];
    assert_eq!(secret["version"], "1");
    assert_eq!(
        secret["data"],
        json!([
            {"AWS_ID": "AK", "AWS_KEY": "SK", "TTL": ""},
            {"APP": "Postman", "USERNAME": "u2"},
        ])
    );
    for path in ["a%2Fb", "a/b"] {
        let (status, read) = ask(&vault, &token, &format!("GET /iso/sctm/secret/{path}"), "");
        assert_eq!(status, 200);
        assert_eq!(read["secret"]["engine"], "GitLab");
    }
    vault.configure(|options| options.slashes = Slashes::Encoded);
    assert_eq!(ask(&vault, &token, "GET /iso/sctm/secret/a/b", "").0, 404);
    let bad = json!({"identity": "a/b", "renew_cloud_time": 5});
    assert_eq!(ask(&vault, &token, line, &bad.to_string()).0, 400);
    let bad = json!({"identity": "a/b", "engine": "Steam"});
    assert_eq!(ask(&vault, &token, line, &bad.to_string()).0, 400);
}

#[test]
fn data_keep_their_spelling_in_the_shape_of_old_vaults() {
    let vault = plain(Options { quirks: Quirks::legacy(), ..Options::default() });
    vault.set_data("odd", r#"[{"z":1e3,"a":null},{"a":"2","z":1e3}]"#);
    let head = format!(
        "GET /iso/coe/dapp/provision?identity=odd HTTP/1.1\r\nAuthorization: Bearer {}",
        token(&vault)
    );
    let (_, body) = send(&vault, &head, "");
    assert!(body.starts_with(r#"{"response":{"status":200,"mensagem":"#), "{body}");
    assert!(body.ends_with(r#""data":{"z":1e3,"a":"2"}}]}}"#), "{body}");
    // Of provision alone: elsewhere the vendor's clients of that time read an array.
    let token = token(&vault);
    for line in ["GET /iso/dapp/application", "GET /iso/sctm/secret", "GET /iso/sctm/secret/odd"] {
        let (status, answer) = ask(&vault, &token, line, "");
        assert_eq!(status, 200);
        assert!(answer.to_string().contains(r#""data":[{"#), "{line}: {answer}");
    }
}

#[test]
fn get_provision_reads_its_fields_where_it_is_told() {
    let query = "GET /iso/coe/dapp/provision?identity=payments/database";
    let body = r#"{"identity": "payments/database"}"#;
    for (places, by_query, by_body, by_neither) in [
        (GetProvision::Both, 200, 200, 200),
        (GetProvision::Query, 200, 400, 400),
        (GetProvision::Body, 400, 200, 400),
        (GetProvision::None, 404, 404, 404),
    ] {
        let vault = plain(Options { get_provision: places, ..Options::default() });
        let token = token(&vault);
        let get = |line: &str, body: &str| {
            let (status, answer) = ask(&vault, &token, line, body);
            let found = answer["secret"]["identity"] == "payments/database";
            assert!(!found || status == 200, "{answer}");
            assert_eq!(found, status == 200 && line.len() + body.len() > READ.len(), "{answer}");
            status
        };
        assert_eq!(get(query, ""), by_query, "{places:?}");
        assert_eq!(get(READ, body), by_body, "{places:?}");
        assert_eq!(get(READ, ""), by_neither, "{places:?}");
        assert_eq!(vault.provision_count(), 0, "{places:?}");
        let (status, answer) = ask(&vault, &token, &format!("POST {PROVISION}"), body);
        assert_eq!((status, &answer["secret"]["identity"]), (200, &json!("payments/database")));
    }
}

#[test]
fn credentials_are_checked_in_order_and_kept() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let write = |body: Value| {
        let line = "POST /api/pam/credential";
        let (status, answer) = ask(&vault, &token, line, &body.to_string());
        let number = answer["exception"]["code"].as_u64();
        (status, number, answer["credential"]["id"].clone())
    };
    let refused = |number| (400, Some(number), Value::Null);
    assert_eq!(write(json!({})), refused(1004));
    assert_eq!(write(json!({"hostname": "w2016"})), refused(1005));
    let place = json!({"hostname": "w2016", "ip": "10.66.33.15"});
    assert_eq!(write(place), refused(1042));
    let nowhere = json!({"hostname": "x", "ip": "10.66.33.15", "username": ""});
    assert_eq!(write(nowhere), refused(1011));
    let new = json!({
        "hostname": "w2016", "ip": "10.66.33.15", "username": "u", "identifier": "one",
    });
    assert_eq!(write(new.clone()), (201, None, json!("152")));
    assert_eq!(write(new), (201, None, json!("152")));
    assert_eq!(vault.credentials().len(), 1);
}

#[test]
fn a_registration_is_repeatable_and_its_pair_works() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let form = "application=shop&system=web&environment=prod";
    let line = "POST /iso/dapp/Application";
    let (_, first) = ask(&vault, &token, line, form);
    let (_, again) = ask(&vault, &token, line, form);
    assert_eq!(first["id"], again["id"]);
    assert_ne!(first["id"], vault.client_id());

    let coded = |text: &str| STANDARD.encode(text).replace('+', "-").replace('/', "_");
    let map = json!({"key_value": [{"name": "ci", "fields": ["A", "MISSING"]}]});
    let form = format!("env={}&map={}", coded("A=1=2\nB=3"), coded(&map.to_string()));
    assert_eq!(ask(&vault, &token, "POST /iso/cicd/variables", &form).0, 200);
    let (_, read) = ask(&vault, &token, "GET /iso/sctm/secret/ci", "");
    assert_eq!(read["secret"]["data"], json!([{"A": "1=2"}]));

    let line = "DELETE /iso/dapp/application/authorization";
    assert_eq!(ask(&vault, &token, line, "").0, 200);
    assert_eq!(ask(&vault, &token, line, "").0, 401);
}

#[test]
fn a_fault_is_served_when_and_as_often_as_configured() {
    let vault = plain(Options::default());
    let token = token(&vault);
    vault.fault(Fault::rate_limit("provision", "2").method("post").skip(1).once().after());
    provision(&vault, &token, "web-1");
    let line = format!("POST {PROVISION}?identity=secret-postman");
    assert_eq!(ask(&vault, &token, &line, "").0, 429);
    assert_eq!(vault.provision_count(), 2);
    assert_eq!(ask(&vault, &token, &line, "").0, 200);

    for effect in [Effect::Reset, Effect::Hang] {
        vault.clear_faults();
        vault.fault(Fault::new("", effect));
        let mut stream = TcpStream::connect(vault.address()).unwrap();
        let wait = Duration::from_millis(200);
        stream.set_read_timeout(Some(wait)).unwrap();
        assert_eq!(talk(&mut stream, "GET / HTTP/1.1", "").0, 0);
    }
    assert_eq!(vault.requests().last().unwrap().status, None);
}

#[test]
fn a_cut_answer_promises_more_than_it_sends() {
    let vault = plain(Options::default());
    let token = token(&vault);
    vault.fault(Fault::new("provision", Effect::Cut).after().once());
    let line = format!("POST {PROVISION}?identity=secret-postman");
    let (status, half) = ask(&vault, &token, &line, "");
    assert_eq!(status, 200);
    assert!(half.as_str().unwrap().starts_with(r#"{"code":200"#), "{half}");
    assert_eq!(vault.provision_count(), 1);

    vault.fault(Fault::new("provision", Effect::Drip { ms: 0 }).once());
    assert_eq!(ask(&vault, &token, &line, "").1["code"], 200);
    vault.fault(Fault::new("provision", Effect::Flood { mib: 1 }).once());
    let (_, spaces) = ask(&vault, &token, &line, "");
    assert!(spaces.as_str().unwrap().len() > 1 << 20);
}

#[test]
fn an_answer_can_close_its_connection() {
    let vault = plain(Options::default());
    vault.fault(Fault::new("", Effect::Close));
    let mut stream = connect(&vault);
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: vault\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 Not Found"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("connection: close"));
}

#[test]
fn a_vault_that_went_down_comes_back_with_its_data() {
    let vault = plain(Options::default());
    let token = token(&vault);
    vault.go_down();
    assert!(TcpStream::connect(vault.address()).is_err());
    vault.come_back();
    provision(&vault, &token, "web-1");
    vault.rotate();
    assert_eq!(vault.version("secret-postman").unwrap(), "8");
}

#[test]
fn the_admin_route_changes_the_same_settings() {
    let vault = plain(Options::default());
    let fault = json!({"path": "token", "effect": {"answer": {"status": 503}}, "times": 1});
    let admin = |line: &str, body: &str| send(&vault, &format!("{line} HTTP/1.1"), body);
    assert_eq!(admin("POST /_dev/fault", &fault.to_string()).0, 200);
    assert_eq!(admin("POST /_dev/fault", r#"{"path":"x","tims":1,"effect":"cut"}"#).0, 400);
    assert_eq!(send(&vault, "POST /iso/oauth2/token HTTP/1.1", "").0, 503);
    let whole = r#"{"version":"41","data":{"k":"v"}}"#;
    assert_eq!(admin("PUT /_dev/secret/a%2Fb", whole).0, 200);
    assert_eq!(vault.version("a/b").unwrap(), "41");
    assert_eq!(admin("PUT /_dev/secret/a%2Fb", r#"{"data":"v"}"#).0, 200);
    assert_eq!(vault.version("a/b").unwrap(), "42");
    let (_, requests) = admin("GET /_dev/requests", "");
    let requests: Value = serde_json::from_str(&requests).unwrap();
    assert_eq!(requests[0]["status"], 503);
}

#[test]
fn sensitive_values_are_sent_encrypted_on_request() {
    let (key, encryption) = small_key();
    let vault = plain(Options { encryption, ..Options::default() });
    let long = "x".repeat(87);
    vault.set_data("short", json!({"password": "S3cr3t!çã", "user": "u", "private_key": long}));
    let (_, read) = ask(&vault, &token(&vault), "GET /iso/sctm/secret/short", "");
    let data = &read["secret"]["data"][0];
    assert_eq!(data["user"], "u");
    assert_eq!(data["private_key"], "An error occurred while encrypting the text");
    let sealed = STANDARD.decode(data["password"].as_str().unwrap()).unwrap();
    assert_eq!(open(&key, &sealed), "S3cr3t!çã".as_bytes());
    assert!(vault.private_key_file().is_file());
}

/// A key of 1,024 bits: soon made, and too small for a long value.
fn small_key() -> (RsaPrivateKey, Encryption) {
    let key = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
    let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    (key, Encryption::Pem(pem))
}

/// Takes the padding off by hand, since SHA-1 is not at hand for the library's own.
fn open(key: &RsaPrivateKey, sealed: &[u8]) -> Vec<u8> {
    let number = BigUint::from_bytes_be(sealed).modpow(key.d(), key.n());
    let padded = number.to_bytes_be();
    let (seed, block) = padded.split_at(20);
    let seed = super::encrypt::masked(seed, block);
    let block = super::encrypt::masked(block, &seed);
    let one = block.iter().skip(20).position(|&byte| byte == 1).unwrap();
    block[20 + one + 1..].to_vec()
}

#[test]
fn each_faulty_certificate_has_exactly_its_fault() {
    let check = |certificate, expected: &str| {
        let vault = DevVault::start(Options { certificate, ..Options::default() });
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(vault.ca_pem().as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(vault.address()).unwrap();
        let mut stream = StreamOwned::new(client, tcp);
        let result = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let result = result.map_or_else(|error| error.to_string(), |()| "fine".to_owned());
        assert!(result.contains(expected), "{certificate:?}: {result}");
    };
    check(Certificate::Good, "fine");
    check(Certificate::Expired, "xpired");
    check(Certificate::WrongName, "not valid for name");
    check(Certificate::OtherCa, "BadSignature");
    check(Certificate::UnknownChain, "UnknownIssuer");
}
