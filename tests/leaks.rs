//! Values, the client secret and tokens are looked for everywhere but where they belong, while
//! everything is broken in turn and the log level is the highest.

pub mod canaries;
mod exec;
mod memory;
mod outputs;
mod process;
mod sidecar;

use std::fs;
use std::os::unix::fs::symlink;

use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use rustix::process::Signal;
use segura_agent::config::variables::VARIABLES;

use crate::dev_vault::requests::path::{LOGIN, PROVISION};
use crate::harness::lines;
use crate::{
    dev_vault::{Certificate, Effect, Encryption, Fault, Options},
    harness::{SEED, Scene, send, side_by_side, until},
};
use canaries::{Canaries, assert_silent, watched};

/// What must not be seen: a value, the client secret, a token.
pub const VALUE: &str = "cAnArY-vAlUe+4f1d";
pub const SECRET: &str = "cAnArY-sEcReT/+90ab=";
pub const TOKEN: &str = "cAnArY-tOkEn.77ce.d1b5";

/// A pod whose every value is a canary, at the highest log level.
fn scene() -> Scene {
    with(Options { tls: false, ..Options::default() })
}

fn with(options: Options) -> Scene {
    let client_secret = Some(SECRET.to_owned());
    let mut scene = Scene::with(Options { client_secret, ..options });
    let data = format!(
        r#"[{{"username": "{VALUE}-1", "key": "{VALUE}-2"}}, {{"key_2": "{VALUE}-3", "n": {{"a": ["{VALUE}"]}}}}]"#
    );
    scene.vault.set_data(SEED, data);
    let log = scene.file("termination-log", "");
    for (name, value) in [
        ("SEGURA_LOG", "trace"),
        ("SEGURA_OUTPUT", "files,env,json"),
        ("SEGURA_TIMEOUT", "2s"),
        ("SEGURA_PROVISION_TIMEOUT", "2s"),
        ("SEGURA_STARTUP_TIMEOUT", "4s"),
        ("SEGURA_RENEW_INTERVAL", "1s"),
        ("SEGURA_TERMINATION_LOG", &log),
    ] {
        scene.set(name, value);
    }
    scene
}

/// A way to break a start, and the code that it ends with.
type Case = (&'static str, i32, fn(&mut Scene));

fn assert_cases_silent(cases: &[Case]) {
    side_by_side(cases, |&(what, code, spoil)| {
        let mut scene = scene();
        spoil(&mut scene);
        let seen = watched(scene.spawn_init());
        assert_eq!(seen.0.code, Some(code), "{what}: {}", seen.0.stderr);
        assert_silent(&scene, what, &seen);
    });
}

/// Has every login bring [`TOKEN`], so that answers can repeat it.
fn known_token(scene: &Scene) {
    let body = format!(r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"{TOKEN}"}}"#);
    scene.vault.fault(Fault::body(LOGIN, &body));
}

#[test]
fn the_canaries_are_in_the_published_files() {
    let scene = scene();
    let seen = watched(scene.spawn_init());
    seen.0.exits(0);
    assert_silent(&scene, "a start without a fault", &seen);
    assert!(seen.1.ends_with(b"init\0"), "its arguments were seen");
    assert!(seen.0.stderr.contains("TRACE"), "the log level is the highest: {}", seen.0.stderr);
    let canaries = Canaries::of(&scene);
    assert!(canaries.credentials.len() > 12, "the token that was used is among them");
    for file in ["secret-postman/key", "secret-postman/1/username", "secrets.env", "secrets.json"] {
        assert!(scene.read(file).contains(VALUE), "{file}");
    }
    let password = &scene.vault.provisioned(SEED)[0].password;
    assert!(scene.read("secret-postman/password").contains(password));
    assert!(scene.read("..data/..bundle.json").contains(VALUE));
    let login = scene.vault.requests().into_iter().next().unwrap();
    let form: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    assert!(login.body.contains(&form), "{}", login.body);
}

#[test]
fn a_start_over_tls_leaks_nothing() {
    for (certificate, code) in [(Certificate::Good, 0), (Certificate::WrongName, 69)] {
        let scene = with(Options { certificate, ..Options::default() });
        let seen = watched(scene.spawn_init());
        seen.0.exits(code);
        assert_silent(&scene, "over TLS", &seen);
    }
}

#[test]
fn a_failed_login_leaks_nothing() {
    assert_cases_silent(&[
        ("a wrong client secret", 77, |scene| scene.vault.set_client_secret("another")),
        ("an inactive authorization", 77, |scene| scene.vault.set_enabled(false)),
        ("HTML", 76, |scene| {
            let page = format!("<html>{SECRET} {VALUE}</html>");
            scene.vault.fault(Fault::body(LOGIN, &page));
        }),
        ("a refusal that repeats the client secret", 77, |scene| {
            let said = format!("Client authentication failed: {SECRET}");
            let body = serde_json::json!({"error": "invalid_client", "message": said});
            scene.vault.fault(Fault::answer(LOGIN, 401, &body.to_string()));
        }),
        ("a rejection that repeats the client secret", 78, |scene| {
            let said = format!("no such parameter: {SECRET}");
            let body = serde_json::json!({"error": "invalid_request", "error_description": said});
            scene.vault.fault(Fault::answer(LOGIN, 400, &body.to_string()));
        }),
        ("a failure that repeats the client secret", 69, |scene| {
            let body = serde_json::json!({"message": format!("{SECRET}{SECRET}")});
            scene.vault.fault(Fault::answer(LOGIN, 500, &body.to_string()));
        }),
        ("a rejection that repeats the form as it was sent", 78, |scene| {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("client_secret", SECRET)
                .finish();
            let body = serde_json::json!({"error": "invalid_request", "error_description": form});
            scene.vault.fault(Fault::answer(LOGIN, 400, &body.to_string()));
        }),
        ("an answer that ends in the token", 76, |scene| {
            let body = format!(r#"{{"expires_in":3600,"access_token":"{TOKEN}"#);
            scene.vault.fault(Fault::body(LOGIN, &body));
        }),
        ("a token that is no header", 76, |scene| {
            let body = format!(r#"{{"access_token":"{TOKEN}\n{TOKEN}"}}"#);
            scene.vault.fault(Fault::body(LOGIN, &body));
        }),
        ("a token of another type", 76, |scene| {
            let body =
                format!(r#"{{"access_token":{{"{TOKEN}":"{TOKEN}"}},"expires_in":"{TOKEN}"}}"#);
            scene.vault.fault(Fault::body(LOGIN, &body));
        }),
        ("a login that hangs", 69, |scene| {
            scene.vault.fault(Fault::new(LOGIN, Effect::Hang));
        }),
        ("a login that is cut", 69, |scene| {
            scene.vault.fault(Fault::new(LOGIN, Effect::Cut).after());
        }),
    ]);
}

#[test]
fn an_answer_that_repeats_credentials_leaks_none() {
    fn repeats(scene: &mut Scene, status: u16, body: fn(&str) -> serde_json::Value) {
        known_token(scene);
        let said = format!("Bearer {TOKEN} of {SECRET} is not liked");
        scene.vault.fault(Fault::answer(PROVISION, status, &body(&said).to_string()));
    }
    assert_cases_silent(&[
        ("a rejection", 78, |scene| {
            repeats(
                scene,
                400,
                |said| serde_json::json!({"response": {"status": 400, "error": true, "message": said, "error_code": 1}}),
            );
        }),
        ("a rejection in Portuguese", 78, |scene| {
            repeats(
                scene,
                400,
                |said| serde_json::json!({"response": {"status": 400, "erro": true, "mensagem": said}}),
            );
        }),
        ("a success that is none", 69, |scene| {
            repeats(
                scene,
                200,
                |said| serde_json::json!({"response": {"status": 200, "error": true, "message": said}}),
            );
        }),
        ("an exception", 69, |scene| {
            repeats(scene, 500, |said| {
                serde_json::json!({"response": {"status": 500, "error": true, "message": said},
                                   "exception": {"message": said, "detail": said}})
            });
        }),
        ("a refused token", 77, |scene| {
            repeats(scene, 401, |said| serde_json::json!({"exp": said, "message": said}));
        }),
        ("no route", 77, |scene| {
            repeats(scene, 404, |said| serde_json::json!({"message": said, "error_msg": said}));
        }),
    ]);
}

#[test]
fn a_malformed_answer_leaks_nothing() {
    fn answers(scene: &mut Scene, body: &str) {
        let body = body.replace("VALUE", VALUE);
        scene.vault.fault(Fault::body(PROVISION, &body));
    }
    /// The documented answer around a secret.
    fn holds(scene: &mut Scene, secret: &str) {
        let envelope = r#"{"response": {"status": 200, "error": false}, "secret": SECRET}"#;
        answers(scene, &envelope.replace("SECRET", secret));
    }
    assert_cases_silent(&[
        ("no envelope", 76, |scene| answers(scene, r#"{"VALUE": "VALUE"}"#)),
        ("an envelope that is text", 76, |scene| answers(scene, r#"{"response": "VALUE"}"#)),
        ("plain text", 76, |scene| answers(scene, "VALUE")),
        ("a string", 76, |scene| answers(scene, r#""VALUE""#)),
        ("HTML", 76, |scene| answers(scene, "<html>VALUE</html>")),
        ("the end within a value", 76, |scene| {
            answers(scene, r#"{"response": {"status": 200}, "secret": {"data": [{"k": "VALUE"#);
        }),
        ("a secret that is text", 76, |scene| holds(scene, r#""VALUE""#)),
        ("a secret without an identity", 76, |scene| {
            holds(scene, r#"{"data": [{"k": "VALUE"}]}"#);
        }),
        ("data that are text", 76, |scene| {
            holds(scene, r#"{"identity": "secret-postman", "data": "VALUE"}"#);
        }),
        ("entries that are text", 76, |scene| {
            holds(scene, r#"{"identity": "secret-postman", "data": ["VALUE"]}"#);
        }),
        ("half a surrogate pair", 76, |scene| {
            holds(scene, r#"{"identity": "secret-postman", "data": [{"k": "VALUE\ud800"}]}"#);
        }),
        ("a key that leaves its folder", 76, |scene| {
            holds(scene, r#"{"identity": "secret-postman", "data": [{"../k": "VALUE"}]}"#);
        }),
        ("another secret", 77, |scene| {
            holds(scene, r#"{"identity": "another", "data": [{"k": "VALUE"}]}"#);
        }),
        ("a broken answer", 69, |scene| {
            scene.vault.fault(Fault::new(PROVISION, Effect::Cut).after());
        }),
        ("a reset", 69, |scene| {
            scene.vault.fault(Fault::new("dapp", Effect::Reset).after());
        }),
        ("a redirect", 76, |scene| {
            let location = format!("https://{VALUE}.invalid/{VALUE}");
            scene.vault.fault(Fault::new(PROVISION, Effect::Redirect { location }));
        }),
        ("no bottom", 76, |scene| {
            scene.vault.fault(Fault::new(PROVISION, Effect::Nest { depth: 1_000 }));
        }),
        ("a value that could not be encrypted", 76, |scene| {
            let secret = r#"{"identity": "secret-postman", "data": [
                {"k": "VALUE", "password": "An error occurred while encrypting the text"}]}"#;
            holds(scene, secret);
        }),
        ("a rate limit", 69, |scene| {
            scene.vault.fault(Fault::rate_limit(PROVISION, "0").header("X-Value", VALUE));
        }),
    ]);
}

#[test]
fn secrets_that_cannot_be_rendered_leak_nothing() {
    assert_cases_silent(&[
        ("NUL in an environment", 76, |scene| {
            let data = format!(r#"{{"key": "{VALUE}\u0000{VALUE}"}}"#);
            scene.vault.set_data(SEED, data);
        }),
        ("entries that disagree", 78, |scene| {
            let data = format!(r#"[{{"key": "{VALUE}-1"}}, {{"key": "{VALUE}-2"}}]"#);
            scene.vault.set_data(SEED, data);
            scene.set("SEGURA_COLLISION", "error");
        }),
        ("keys that become one variable", 78, |scene| {
            let data = format!(r#"{{"a-b": "{VALUE}-1", "a.b": "{VALUE}-2"}}"#);
            scene.vault.set_data(SEED, data);
        }),
        ("a key that is an entry's folder", 76, |scene| {
            let data = format!(r#"[{{"1": "{VALUE}-1"}}, {{"k": "{VALUE}-2"}}]"#);
            scene.vault.set_data(SEED, data);
        }),
        ("a deprovisioning that fails", 78, |scene| {
            let data = format!(r#"{{"a-b": "{VALUE}-1", "a.b": "{VALUE}-2"}}"#);
            scene.vault.set_data(SEED, data);
            let said =
                serde_json::json!({"response": {"status": 400, "error": true, "message": SECRET}});
            scene.vault.fault(Fault::answer("deprovision", 400, &said.to_string()));
        }),
        ("asterisks and a TTL", 0, |scene| {
            let data = format!(r#"{{"masked": "********", "TTL": "{VALUE}", "k": "{VALUE}"}}"#);
            scene.vault.set_data(SEED, data);
        }),
    ]);
}

#[test]
fn an_unusable_directory_or_setting_leaks_nothing() {
    fn file(scene: &mut Scene, variable: &str) {
        scene.set_file(variable, format!("{SECRET}\0{SECRET}\n{VALUE}"));
    }
    assert_cases_silent(&[
        ("no directory", 73, |scene| {
            scene.set("SEGURA_OUTPUT_DIR", "/nowhere/at/all");
        }),
        ("a file in the way", 73, |scene| {
            fs::write(scene.path(SEED), "theirs").expect("the directory is ours");
        }),
        ("a link in the way", 73, |scene| {
            symlink("/etc/hosts", scene.path("secrets.env")).expect("the directory is ours");
        }),
        ("a client secret's file with NUL", 78, |scene| {
            scene.unset("SEGURA_CLIENT_SECRET");
            file(scene, "SEGURA_CLIENT_SECRET_FILE");
        }),
        ("a client secret in two places", 78, |scene| file(scene, "SEGURA_CLIENT_SECRET_FILE")),
        ("an authority that is none", 78, |scene| file(scene, "SEGURA_CA_FILE")),
        ("a private key that is none", 78, |scene| file(scene, "SEGURA_PRIVATE_KEY_FILE")),
        ("a proxy with a password", 69, |scene| {
            scene.set("SEGURA_URL", "https://vault.invalid");
            scene.set("HTTPS_PROXY", "http://agent:cAnArY-vAlUe%2B4f1d@127.0.0.1:1");
        }),
        ("a proxy that is no URL", 78, |scene| {
            scene.set("HTTPS_PROXY", &format!("http://agent:{VALUE}@[::1"));
        }),
        ("a URL with a password", 78, |scene| {
            scene.set("SEGURA_URL", &format!("https://agent:{VALUE}@vault.invalid"));
        }),
        ("a name with a typing error", 78, |scene| {
            scene.set("SEGURA_CLIENT_SECRETT", SECRET);
        }),
    ]);
}

#[test]
fn malformed_settings_are_never_quoted() {
    let mut scene = scene();
    for variable in VARIABLES {
        if variable.name != "SEGURA_TERMINATION_LOG" {
            scene.set(variable.name, &format!("{VALUE} {SECRET}\u{7f}"));
        }
    }
    let seen = watched(scene.spawn_init());
    seen.0.exits(78);
    assert!(seen.0.stderr.lines().count() > 30, "{}", seen.0.stderr);
    assert_silent(&scene, "settings", &seen);
}

#[test]
fn encrypted_values_with_the_wrong_key_leak_nothing() {
    let key = || {
        let key = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
        key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    };
    let encryption = Encryption::Pem(key());
    let mut scene = with(Options { encryption, tls: false, ..Options::default() });
    scene.set_file("SEGURA_PRIVATE_KEY_FILE", key());
    let seen = watched(scene.spawn_init());
    seen.0.exits(76);
    assert_silent(&scene, "another key", &seen);
}

#[test]
fn sigterm_leaks_nothing() {
    let scene = scene();
    scene.vault.fault(Fault::new(PROVISION, Effect::Hang).after());
    let agent = scene.spawn_init();
    until("it has provisioned", || scene.vault.provision_count() == 1);
    send(&agent, Signal::TERM);
    let seen = watched(agent);
    seen.0.exits(143);
    assert_silent(&scene, "a termination", &seen);
}

#[test]
fn a_set_that_cannot_be_renewed_leaks_nothing() {
    type Late = (&'static str, fn() -> Fault);
    let faults: [Late; 3] = [
        ("nonsense", || Fault::body(PROVISION, &format!(r#"{{"secret": "{VALUE}"}}"#))),
        ("a failure", || {
            let body = serde_json::json!({"message": format!("{SECRET} {TOKEN}")});
            Fault::answer(PROVISION, 500, &body.to_string())
        }),
        ("a fault", || {
            let secret = format!(r#"{{"identity": "secret-postman", "data": "{VALUE}"}}"#);
            let body = format!(r#"{{"response": {{"status": 200}}, "secret": {secret}}}"#);
            Fault::body(PROVISION, &body)
        }),
    ];
    side_by_side(faults, |(what, fault)| {
        let scene = scene();
        scene.init().exits(0);
        known_token(&scene);
        scene.vault.fault(fault());
        scene.wait_until_due();
        let seen = watched(scene.spawn_init());
        seen.0.exits(0);
        assert!(seen.0.stderr.contains(lines::SERVES_ON), "{what}: {}", seen.0.stderr);
        assert_silent(&scene, what, &seen);
        assert_eq!(scene.state()["failures"], 1, "{what}");
    });
}
