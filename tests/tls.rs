//! Certificates are verified always, and the fault of one is reported.

use std::fs;

use crate::{
    dev_vault::{Certificate, Options},
    harness::{Scene, side_by_side},
};

fn with(certificate: Certificate) -> Scene {
    let mut scene = Scene::with(Options { certificate, ..Options::default() });
    scene.set("SEGURA_STARTUP_TIMEOUT", "6s");
    scene
}

#[test]
fn an_untrusted_certificate_is_retried_and_its_fault_reported() {
    let authority = "no trusted authority signed it";
    let cases = [
        (Certificate::OtherCa, authority, "SEGURA_CA_FILE"),
        (Certificate::UnknownChain, authority, "SEGURA_CA_FILE"),
        (Certificate::Expired, "expired", "certificate"),
        (Certificate::WrongName, "does not name the host", "SEGURA_URL"),
    ];
    side_by_side(cases, |(certificate, reason, hint)| {
        let scene = with(certificate);
        let run = scene.init();
        assert!(run.exits(69).error().contains(reason), "{certificate:?}: {}", run.error());
        assert!(run.hint().is_some_and(|label| label.contains(hint)), "{certificate:?}");
        assert!(scene.vault.connections() >= 2, "{certificate:?} is retried");
        assert!(scene.vault.requests().is_empty(), "{certificate:?}");
        assert!(scene.published().is_empty(), "{certificate:?}");
    });
}

#[test]
fn an_authority_that_is_not_built_in_is_unknown_without_a_ca_file() {
    let mut scene = with(Certificate::Good);
    scene.unset("SEGURA_CA_FILE");
    let run = scene.init();
    assert!(run.exits(69).hint().is_some_and(|hint| hint.contains("SEGURA_CA_FILE")));
    assert!(scene.vault.requests().is_empty());
}

#[test]
fn a_ca_file_of_several_certificates_is_trusted_as_a_whole() {
    let other = Scene::new();
    let mut scene = with(Certificate::Good);
    let bundle = format!("# ours\n{}\n{}", other.vault.ca_pem(), scene.vault.ca_pem());
    scene.set_file("SEGURA_CA_FILE", bundle).init().exits(0);
}

#[test]
fn the_vault_is_reached_by_each_name_that_its_certificate_holds() {
    let mut scene = with(Certificate::Good);
    let by_name = scene.vault.url().replace("127.0.0.1", "localhost");
    scene.set("SEGURA_URL", &by_name);
    scene.init().exits(0);
}

#[test]
fn a_required_client_certificate_is_presented() {
    let scene = Scene::with(Options { client_certificate: true, ..Options::default() });
    scene.init().exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_missing_required_client_certificate_is_reported() {
    let mut scene = Scene::with(Options { client_certificate: true, ..Options::default() });
    scene.unset("SEGURA_CLIENT_CERT_FILE").unset("SEGURA_CLIENT_KEY_FILE");
    scene.set("SEGURA_STARTUP_TIMEOUT", "6s");
    let run = scene.init();
    assert!(run.exits(69).hint().is_some_and(|hint| hint.contains("SEGURA_CLIENT_CERT_FILE")));
    assert!(scene.vault.requests().is_empty());
}

#[test]
fn unusable_certificate_files_are_reported_before_any_request() {
    let vault = Scene::with(Options { client_certificate: true, ..Options::default() });
    let garbage = vault.vault.dir().join("garbage.pem");
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n")
        .unwrap();
    let empty = vault.vault.dir().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let missing = vault.vault.dir().join("missing.pem");
    let variables = ["SEGURA_CA_FILE", "SEGURA_CLIENT_CERT_FILE", "SEGURA_CLIENT_KEY_FILE"];
    for variable in variables {
        for path in [&garbage, &empty, &missing] {
            let mut scene = Scene::with(Options { client_certificate: true, ..Options::default() });
            scene.set(variable, &path.display().to_string());
            let run = scene.init();
            let label = format!("{variable} {}: {}", path.display(), run.stderr);
            assert!(run.exits(78).error().contains(variable), "{label}");
            assert!(!run.stderr.contains("canary"), "{label}");
            assert_eq!(scene.vault.connections(), 0, "{label}");
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_reported_before_any_request() {
    let other = Scene::with(Options { client_certificate: true, ..Options::default() });
    let mut scene = Scene::with(Options { client_certificate: true, ..Options::default() });
    scene.set("SEGURA_CLIENT_KEY_FILE", &other.vault.client_key_file().display().to_string());
    let run = scene.init();
    assert!(run.exits(78).error().contains("SEGURA_CLIENT_KEY_FILE"), "{}", run.error());
    assert_eq!(scene.vault.connections(), 0);
}

#[test]
fn plain_http_is_for_loopback() {
    let scene = Scene::with(Options { tls: false, ..Options::default() });
    scene.init().exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn plain_http_off_loopback_is_refused_by_the_settings() {
    let mut scene = Scene::new();
    for url in ["http://vault.invalid", "http://localhost.invalid", "http://127.0.0.1.invalid/x"] {
        scene.set("SEGURA_URL", url);
        let run = scene.init();
        run.refuses("SEGURA_URL");
        assert!(!run.stderr.contains("invalid/") && !run.stderr.contains(".invalid"));
    }
    assert_eq!(scene.vault.connections(), 0);
}
