//! The doors of an authorization: certificate, referer, address, resources. Behind a closed one the
//! vault answers as if there were nothing, so the hint has to name them.

use crate::dev_vault::requests::PROVISION;
use crate::{
    dev_vault::{Options, Resource},
    harness::Scene,
};

/// Asserts that the vault's blank refusal is reported with every possible cause.
#[track_caller]
fn assert_refused(scene: &mut Scene) {
    let run = scene.set("SEGURA_STARTUP_TIMEOUT", "1s").init();
    run.exits(77);
    let hint = run.hint().expect("a hint");
    for door in ["SEGURA_URL", "IPs", "SEGURA_REFERER", "SEGURA_CLIENT_CERT_FILE", "HTTPS_PROXY"] {
        assert!(hint.contains(door), "{door} in {hint}");
    }
    assert!(scene.published().is_empty());
}

#[test]
fn a_certificate_that_the_authorization_is_bound_to_is_presented() {
    let mut scene = Scene::with(Options { bind_certificate: true, ..Options::default() });
    let certificate = scene.vault.client_cert_file().display().to_string();
    let key = scene.vault.client_key_file().display().to_string();
    scene.unset("SEGURA_CLIENT_CERT_FILE").unset("SEGURA_CLIENT_KEY_FILE");
    assert_refused(&mut scene);
    scene.set("SEGURA_CLIENT_CERT_FILE", &certificate).set("SEGURA_CLIENT_KEY_FILE", &key);
    scene.init().exits(0);
}

#[test]
fn a_required_referer_is_sent() {
    let referer = Some("https://shop.example.com".to_owned());
    let mut scene = Scene::with(Options { referer, ..Options::default() });
    scene.unset("SEGURA_REFERER");
    assert_refused(&mut scene);
    scene.set("SEGURA_REFERER", "https://shop.example.com").init().exits(0);
}

#[test]
fn a_forbidden_address_or_resource_is_reported_with_its_causes() {
    let allowed_ips = vec!["192.168.1.*".to_owned()];
    assert_refused(&mut Scene::with(Options { allowed_ips, ..Options::default() }));
    let allowed_ips = vec!["127.0.*".to_owned()];
    Scene::with(Options { allowed_ips, ..Options::default() }).init().exits(0);
    let resources = vec![Resource::Pipeline];
    assert_refused(&mut Scene::with(Options { resources, ..Options::default() }));
}

#[test]
fn an_expired_authorization_is_reported() {
    let expiration_date = Some("2020-01-01 00:00:00".to_owned());
    let scene = Scene::with(Options { expiration_date, ..Options::default() });
    let run = scene.init();
    run.exits(77);
    let hint = run.hint().expect("a hint");
    assert!(!hint.contains("SEGURA_"), "no door is closed: {hint}");
    assert_eq!(scene.count(PROVISION), 1, "{:?}", scene.request_lines());
}

#[test]
fn without_permission_for_pam_a_credential_is_refused_with_the_remedy() {
    let scene = Scene::with(Options { pam_write: false, ..Options::default() });
    let document = r#"{"username": "u", "hostname": "w2016", "ip": "10.66.33.15"}"#;
    let path = scene.file("credential.json", document);
    let run = scene.run(&["credential", "put", &path]);
    assert_eq!(run.code, Some(77), "{}", run.stderr);
    assert!(run.hint().is_some_and(|hint| hint.contains("PAM Core")), "{}", run.stderr);
}
