//! `--state`: what a vault before has stored is there again.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};

use super::{DevVault, Options, ask, plain, provision, send, token};

fn with(path: &Path) -> Options {
    Options { state: Some(path.to_owned()), tls: false, ..Options::default() }
}

/// A vault that can't start, in its own words.
fn refusal(options: Options) -> String {
    DevVault::try_start(options).map(drop).unwrap_err().to_string()
}

#[test]
fn everything_that_was_stored_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.json");
    let first = plain(with(&path));
    let old = token(&first);
    provision(&first, &old, "web-1");
    first.configure(|options| options.ttl = Some("15".to_owned()));
    provision(&first, &old, "web-2");
    let form = "application=shop&system=web&environment=prod";
    let (_, pair) = ask(&first, &old, "POST /iso/dapp/application", form);
    let secret = json!({
        "identity": "a/b", "name": "A", "engine": "GitLab", "description": "d",
        "expiration_date": "2030-01-31 12:00:00", "renew_cloud_time": 30,
        "data": {"z": "1", "a": "2", "password": "p"},
    });
    assert_eq!(ask(&first, &old, "POST /iso/sctm/secret", &secret.to_string()).0, 201);
    let credential = json!({"hostname": "w2016", "ip": "10.66.33.15", "username": "u",
        "session_settings": {"X11 Forward": true, "use_own_credential_to_connect": true}});
    let line = "POST /api/pam/credential";
    let (_, written) = ask(&first, &old, line, &credential.to_string());
    let pairs = (first.client_id().to_owned(), first.client_secret().to_owned());
    let list = |vault: &DevVault, token: &str| ask(vault, token, "GET /iso/dapp/application", "").1;
    let (before, accounts) = (list(&first, &old), first.provisioned("secret-postman"));
    drop(first);

    let second = plain(with(&path));
    assert_eq!((second.client_id(), second.client_secret()), (pairs.0.as_str(), pairs.1.as_str()));
    let new = token(&second);
    assert_eq!(list(&second, &new), before);
    assert_eq!(second.provisioned("secret-postman"), accounts);
    assert_eq!(second.version("secret-postman").unwrap(), "8");
    assert_eq!(ask(&second, &old, line, "").0, 401, "tokens are not kept");
    let (_, again) = ask(&second, &new, "POST /iso/dapp/application", form);
    assert_eq!((&again["id"], &again["signature"]), (&pair["id"], &pair["signature"]));
    let read = provision(&second, &new, "web-2");
    assert_eq!(read["data"][1]["TTL"], "15", "the lifetime was kept");
    let (_, updated) = ask(&second, &new, line, &credential.to_string());
    assert_eq!(updated["response"]["message"], "Credential updated successfully!");
    assert_eq!(updated["credential"], written["credential"]);
    assert_eq!(second.credentials()[0].record["session_settings"]["X11 Forward"], true);
    let (_, secret) = ask(&second, &new, "GET /iso/sctm/secret/a%2Fb", "");
    assert_eq!(secret["secret"]["renew_cloud_time"], 30);
    assert_eq!(secret["secret"]["expiration_date"], "2030-01-31 12:00:00");
}

#[test]
fn the_file_is_readable_by_its_owner_alone_and_written_with_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.json");
    let vault = plain(with(&path));
    let kept = || -> Value { serde_json::from_slice(&fs::read(&path).unwrap()).unwrap() };
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    assert_eq!(kept()["store"]["secrets"][0]["version"], "6");
    let version = |expected: &str| {
        assert_eq!(kept()["store"]["secrets"][0]["version"], expected);
        assert_eq!(mode(), 0o600);
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 1, "nothing half-written lies about");
    };
    provision(&vault, &token(&vault), "web-1");
    version("7");
    vault.rotate();
    version("8");
    assert_eq!(send(&vault, "POST /_dev/rotate HTTP/1.1", "").0, 200);
    version("9");
    let body = r#"{"enabled":false}"#;
    assert_eq!(send(&vault, "PUT /_dev/authorization HTTP/1.1", body).0, 200);
    assert_eq!(kept()["store"]["authorizations"][0]["enabled"], false);
}

#[test]
fn a_read_leaves_the_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.json");
    let vault = plain(with(&path));
    let token = token(&vault);
    fs::remove_file(&path).unwrap();
    assert_eq!(ask(&vault, &token, "GET /iso/dapp/application", "").0, 200);
    assert!(!path.exists());
    provision(&vault, &token, "web-1");
    assert!(path.exists());
}

#[test]
fn the_key_of_encrypted_values_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.json");
    let (_, encryption) = super::small_key();
    let first = plain(Options { encryption, ..with(&path) });
    let key = fs::read(first.private_key_file()).unwrap();
    drop(first);
    let second = plain(with(&path));
    assert_eq!(fs::read(second.private_key_file()).unwrap(), key);
    second.set_data("one", json!({"password": "p"}));
    let (_, read) = ask(&second, &token(&second), "GET /iso/sctm/secret/one", "");
    assert_ne!(read["secret"]["data"][0]["password"], "p");
}

#[test]
fn options_of_a_start_precede_the_stored_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.json");
    drop(plain(with(&path)));
    let told = Options {
        client_id: Some("me".to_owned()),
        client_secret: Some("mine".to_owned()),
        allowed_ips: vec!["10.*".to_owned()],
        ..with(&path)
    };
    let vault = plain(told);
    assert_eq!((vault.client_id(), vault.client_secret()), ("me", "mine"));
    assert_eq!(ask(&vault, &token(&vault), "GET /iso/dapp/application", "").0, 404);
}

#[test]
fn a_damaged_file_is_refused_in_one_line_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.json");
    drop(plain(with(&path)));
    let whole = fs::read_to_string(&path).unwrap();
    let shown = path.display();
    let remedy = "move it away to start with an empty vault";
    let check = |content: &str, flaw: &str| {
        fs::write(&path, content).unwrap();
        let told = refusal(with(&path));
        assert_eq!(told, format!("the state file {shown} is damaged ({flaw}); {remedy}"));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    };
    check("", "line 1, column 0");
    check(r#"{"format": 1}"#, "line 1, column 13");
    check(&whole.replace("\"format\": 1", "\"format\": 2"), "its format is 2, not 1");
    let lost = whole.replace("\"application\": 4", "\"application\": 5");
    check(&lost, "it names an application that it does not have");
    let half = &whole[..whole.len() / 2];
    fs::write(&path, half).unwrap();
    let told = refusal(with(&path));
    assert!(told.contains("is damaged (line "), "{told}");
    assert!(!told.contains('\n'), "{told}");
}

#[test]
fn an_unwritable_file_is_reported_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("none/vault.json");
    let told = refusal(with(&nowhere));
    let expected = format!("cannot write the state file {}: ", nowhere.display());
    assert!(told.starts_with(&expected), "{told}");
    let told = refusal(with(dir.path()));
    let expected = format!("cannot read the state file {}: ", dir.path().display());
    assert!(told.starts_with(&expected), "{told}");
}

#[test]
fn a_change_that_cannot_be_stored_is_answered_as_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let vault = plain(with(&place.join("vault.json")));
    let token = token(&vault);
    fs::remove_dir_all(&place).unwrap();
    let line = "POST /iso/coe/dapp/provision?identity=secret-postman";
    let (status, answer) = ask(&vault, &token, line, "");
    assert_eq!(status, 500);
    assert_eq!(answer["response"]["message"], "Unexpected error.");
    let (_, told) = send(&vault, "GET /_dev/status HTTP/1.1", "");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(told["unsaved"].as_str().unwrap().starts_with("cannot write the state file"));
}
