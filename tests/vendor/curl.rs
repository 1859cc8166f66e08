//! curl, by hand: the two lines that every guide starts with, and the other ways to log in.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::dev_vault::{DevVault, Options};

/// What curl prints; nothing where there is no curl.
fn curl(vault: &DevVault, args: &[&str], path: &str) -> Option<Value> {
    let run = Command::new("curl")
        .args([
            "--disable",
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--noproxy",
            "*",
            "--cacert",
        ])
        .arg(vault.ca_file())
        .args(args)
        .arg(format!("{}{path}", vault.url()))
        .stdin(Stdio::null())
        .output();
    let Ok(run) = run else {
        writeln!(std::io::stderr(), "no curl here: it is not tried").ok();
        return None;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(serde_json::from_slice(&run.stdout).expect("the vault answers JSON"))
}

#[test]
fn curl_logs_in_and_reads_the_application() {
    let vault = DevVault::start(Options::default());
    let (id, secret) = (vault.client_id(), vault.client_secret());
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let Some(token) = curl(&vault, &["-d", &form], "/iso/oauth2/token") else {
        return;
    };
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["expires_in"], 3600);
    let header = format!("Authorization: Bearer {}", token["access_token"].as_str().unwrap());
    let read = curl(&vault, &["-H", &header], "/iso/dapp/application").unwrap();
    assert_eq!(read["response"]["status"], 200);
    assert_eq!(read["application"]["secrets"][0]["identity"], "secret-postman");
    let denied = curl(&vault, &[], "/iso/dapp/application").unwrap();
    assert_eq!(denied["message"], "no Route matched with those values");
}

#[test]
fn curl_logs_in_by_basic_multipart_and_json() {
    let vault = DevVault::start(Options::default());
    let (id, secret) = (vault.client_id(), vault.client_secret());
    let user = format!("{id}:{secret}");
    let fields = [format!("client_id={id}"), format!("client_secret={secret}")];
    let json = serde_json::json!({
        "grant_type": "client_credentials", "client_id": id, "client_secret": secret,
    });
    let json = json.to_string();
    let grant = "grant_type=client_credentials";
    let ways: [&[&str]; 3] = [
        &["-u", &user, "-d", grant],
        &["-F", grant, "-F", &fields[0], "-F", &fields[1]],
        &["-H", "Content-Type: application/json", "-d", &json],
    ];
    for way in ways {
        let Some(token) = curl(&vault, way, "/iso/oauth2/token") else {
            return;
        };
        assert_eq!(token["token_type"], "Bearer", "{way:?}: {token}");
    }
}
