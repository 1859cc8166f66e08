//! The vendor's pages that this project was created from: each call with its own example, through the
//! real binary, and what its page says comes back.

use serde_json::{Value, json};

use crate::harness::{POD, Run, SEED, Scene};

/// Runs a command of the agent with a document.
fn put(scene: &Scene, family: &str, document: &Value) -> Run {
    let path = scene.file("document.json", document.to_string());
    scene.run(&[family, "put", &path])
}

/// The last request of a kind: method and path, and its body as JSON.
fn sent(scene: &Scene, method: &str, path: &str) -> Value {
    let requests = scene.vault.requests();
    let found = requests.iter().rev().find(|r| r.method == method && r.target.starts_with(path));
    let body = &found.expect("it was sent").body;
    serde_json::from_str(body).expect("a JSON body")
}

#[test]
fn post_provision() {
    let scene = Scene::new();
    scene.init().exits(0);
    let expected = json!({ "identity": "secret-postman", "pod_name": POD, "deploy": "web", "namespace": "shop" });
    assert_eq!(sent(&scene, "POST", "/iso/coe/dapp/provision"), expected);
    // The page's answer: a description, then the account that was made.
    for path in ["1/hostname", "1/username", "2/hostname", "2/username", "2/password", "2/ip"] {
        assert!(!scene.read(&format!("{SEED}/{path}")).is_empty(), "{path}");
    }
    assert_eq!(scene.read(&format!("{SEED}/2/additional_information")), "", "null is empty");
    assert_eq!(scene.state()["secrets"][0]["secret_id"], "213");
}

#[test]
fn get_provision() {
    let scene = Scene::with_due_set();
    scene.init().exits(0);
    let requests = scene.vault.requests();
    let read =
        requests.iter().find(|request| request.target.starts_with("/iso/coe/dapp/provision"));
    let read = read.expect("the provisioned secret is read");
    assert_eq!(read.method, "GET");
    for part in
        ["identity=secret-postman", &format!("pod_name={POD}"), "deploy=web", "namespace=shop"]
    {
        assert!(read.target.contains(part), "{part} in {}", read.target);
    }
    assert!(!scene.read(&format!("{SEED}/2/password")).is_empty());
}

#[test]
fn post_secret_with_a_flat_object() {
    let scene = Scene::new();
    let before = scene.vault.version(SEED).expect("the seed is there");
    let document = json!({
        "identity": "secret-postman",
        "name": "secret-postman",
        "engine": "Generic",
        "expiration_date": "",
        "description": "secret created by postman",
        "data": {
            "hostname": "masked_hostname",
            "username": "masked_username",
            "password": "masked_password",
            "additional_information": "masked_additional_information",
            "ip": "masked_ip",
        },
    });
    let run = put(&scene, "secret", &document);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let version = scene.vault.version(SEED).expect("it is still there");
    assert_ne!(version, before);
    let keys = "additional_information,hostname,ip,password,username";
    let expected = format!("written  secret-postman  id=213  version={version}  keys={keys}\n");
    assert_eq!(run.stdout, expected);
    assert!(sent(&scene, "POST", "/iso/sctm/secret")["data"].is_string(), "base64, as documented");
    let run = Run::of(
        scene
            .agent(&["secret", "get", SEED, "--output", "json", "--show-values"])
            .output()
            .unwrap(),
    );
    let shown: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let entries = shown["data"].as_array().expect("entries");
    assert!(entries.iter().any(|entry| *entry == document["data"]), "{shown}");
}

#[test]
fn post_secret_with_access_keys_and_credentials() {
    let scene = Scene::new();
    let user = |n: u8, more: Value| {
        let mut fields = json!({
            "user": format!("masked_user_{n}"), "user_label": "USERNAME",
            "host": format!("masked_host_{n}"), "host_label": "HOSTNAME",
            "password": format!("masked_password_{n}"), "password_label": "PASSWORD",
            "additional_information": format!("masked_additional_info_{n}"),
        });
        fields.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        json!({ "credential": { "fields": fields } })
    };
    let document = json!({ "identity": "example_2", "name": "state_secret", "engine": "GitLab", "data": {
        "access_keys": [{ "access_key": { "type": "aws", "fields": {
            "access_key_id": "MASKED_ACCESS_KEY_ID", "access_key_id_label": "AWS_ACCESS_KEY_ID",
            "secret_access_key": "MASKED_SECRET_ACCESS_KEY",
            "secret_access_key_label": "AWS_SECRET_ACCESS_KEY",
        } } }],
        "credentials": [
            user(1, json!({ "additional_information_label": "CONNECTION_String" })),
            user(2, json!({})),
        ],
    } });
    let run = put(&scene, "secret", &document);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with("written  example_2  id="), "{}", run.stdout);
    for key in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HOSTNAME", "PASSWORD", "USERNAME"] {
        assert!(run.stdout.contains(key), "{key} in {}", run.stdout);
    }
    let run = Run::of(
        scene
            .agent(&["secret", "get", "example_2", "--output", "json", "--show-values"])
            .output()
            .unwrap(),
    );
    let shown: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&shown["name"], &shown["engine"]), (&json!("state_secret"), &json!("GitLab")));
    assert!(run.stdout.contains("MASKED_SECRET_ACCESS_KEY") && run.stdout.contains("masked_user_"));
}

/// One object of the fields of both.
fn with(own: &Value, more: &Value) -> Value {
    let all = own.as_object().into_iter().chain(more.as_object()).flatten();
    Value::Object(all.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn settings() -> [(&'static str, Value); 3] {
    let connected = json!({ "use_own_credential_to_connect": false, "authentication_credential": "cred2",
        "authentication_hostname": "gmail", "authentication_ip": "https://www.gmail.com" });
    let execution = json!({ "parent_credential": "cred2", "parent_hostname": "gmail",
        "parent_ip": "https://www.gmail.com", "automatic_change": true, "agent_based_password_change": true,
        "change_plugin": "SSH", "change_template": "3COM", "status": true,
        "reconciliation_credential": "cred2", "reconciliation_hostname": "gmail",
        "reconciliation_ip": "https://www.gmail.com", "reconciliation_plugin": "SSH",
        "reconciliation_template": "3COM" });
    let macros = json!([{ "remote_app": "MySQL", "connectivity": "SSH" },
        { "remote_app": "Kaspersky", "connectivity": "RDP" }]);
    let session = json!({ "SSH": true, "Telnet": true, "MySQL": true, "SQL Server": true, "HTTP": true,
        "HTTPS": true, "RDP": true, "X11 Forward": true, "VNC": true,
        "restrict_access_to_remote_application": true, "macros": macros });
    let additional = json!([{ "identifier": "identifer", "user_credential_owner": "admin",
        "server_path": "/etc/host", "secret_key": "295B3LA1M6LRAHI2S7G1A36LMK6I4IWW", "criticality": "High",
        "additional_authentication_fields": [
            { "name": "name", "short_name": "short_name1", "value": "Enable" },
            { "name": "name2", "short_name": "short_name2", "value": "value" }] }]);
    [
        ("execution settings", json!({ "execution_settings": with(&execution, &connected) })),
        ("session settings", json!({ "session_settings": with(&session, &connected) })),
        (
            "additional settings",
            json!({ "additional_settings": additional,
            "notes": "Credential to be used only in network A" }),
        ),
    ]
}

fn jit() -> [(&'static str, Value); 2] {
    let account = json!({ "authentication_credential": "API_CREDENTIAL_1",
        "authentication_hostname": "API_DEVICE_1", "authentication_ip": "localhost" });
    let create = json!({ "jit": true, "credential_creation_and_deletion": true,
        "enable_disable_credential": false, "use_own_credential_to_connect": false,
        "credential_creation_plugin": "SSH", "credential_creation_template": "Linux - Create User",
        "credential_deletion_plugin": "SSH", "credential_deletion_template": "Linux - Remove User" });
    let enable = json!({ "jit": true, "enable_disable_credential": true,
        "use_own_credential_to_connect": true, "credential_enable_plugin": "LDAP",
        "credential_enable_template": "AD - Activate User", "credential_disable_plugin": "LDAP",
        "credential_disable_template": "AD - Deactivate User" });
    [
        ("JIT that creates", json!({ "jit_settings": with(&create, &account) })),
        ("JIT that enables", json!({ "jit_settings": with(&enable, &account) })),
    ]
}

/// The examples of the page on credentials; the vault knows their devices.
fn credentials() -> Vec<(&'static str, Value)> {
    let w2016 = json!({ "hostname": "w2016", "ip": "10.66.33.15", "content": "blfjahbnaihdaa", "tags": "social" });
    let device =
        json!({ "username": "Example caderno 3.32", "hostname": "API-Testing", "ip": "128.0.0.1" });
    let proxied =
        json!({ "username": "API_CREDENTIAL_3", "hostname": "API_DEVICE_1", "ip": "localhost" });
    let mut all = vec![
        (
            "a new identifier",
            with(&w2016, &json!({ "identifier": "dyaihdppaj78a547", "username": "username" })),
        ),
        ("a new username", with(&w2016, &json!({ "identifier": "", "username": "newusername" }))),
    ];
    all.extend(settings().map(|(what, settings)| (what, with(&device, &settings))));
    all.extend(jit().map(|(what, settings)| (what, with(&proxied, &settings))));
    all
}

#[test]
fn post_create_credential() {
    for (what, document) in credentials() {
        let scene = Scene::new();
        let run = put(&scene, "credential", &document);
        assert_eq!(run.code, Some(0), "{what}: {}", run.stderr);
        let written = scene.vault.credentials().pop().expect("it is there");
        let name = format!(
            "{}@{}",
            document["username"].as_str().unwrap(),
            document["hostname"].as_str().unwrap()
        );
        let expected =
            format!("written  {name}  id={}  identifier={}  keys=", written.id, written.identifier);
        assert!(run.stdout.starts_with(&expected), "{what}: {} is not {expected}", run.stdout);
        assert_eq!(sent(&scene, "POST", "/api/pam/credential"), document, "{what}");
        let asked = document["identifier"].as_str().unwrap_or_default();
        assert!(asked.is_empty() || asked == written.identifier, "{what}");
        assert!(!run.stdout.contains("blfjahbnaihdaa") && !run.stderr.contains("blfjahbnaihdaa"));
    }
}

#[test]
fn the_errors_of_create_credential_are_reported_with_their_remedies() {
    let sound = || json!({ "username": "u", "hostname": "w2016", "ip": "10.66.33.15" });
    let jit = |plugin: &str, template: &str| {
        json!({ "jit": true, "use_own_credential_to_connect": true, "enable_disable_credential": true,
            "credential_enable_plugin": plugin, "credential_enable_template": template,
            "credential_disable_plugin": plugin, "credential_disable_template": template })
    };
    for (field, value, code, remedy) in [
        ("hostname", json!("nobody"), "1011", "create the device"),
        ("device_domain", json!("unknown.example"), "1029", "device_domain must name domains"),
        ("jit_settings", jit("Nothing", "AD - Activate User"), "1046", "plugins of the vault"),
        ("jit_settings", jit("LDAP", "Nothing"), "1047", "templates of the vault"),
    ] {
        let scene = Scene::new();
        let mut document = sound();
        document[field] = value;
        let run = put(&scene, "credential", &document);
        assert_eq!(run.code, Some(78), "{code}: {}", run.stderr);
        assert!(run.error().contains(code), "{code}: {}", run.stderr);
        assert!(run.hint().is_some_and(|hint| hint.contains(remedy)), "{code}: {}", run.stderr);
        assert!(run.stdout.starts_with("failed   "), "{}", run.stdout);
        assert!(scene.vault.credentials().is_empty(), "{code}");
    }
    // What can be seen before sending is told with the same numbers, and nothing is sent.
    for (field, code) in [("username", "1042"), ("hostname", "1004"), ("ip", "1005")] {
        let scene = Scene::new();
        let mut document = sound();
        document.as_object_mut().unwrap().remove(field);
        let run = put(&scene, "credential", &document);
        assert_eq!(run.code, Some(78), "{}", run.stderr);
        assert!(run.stderr.contains(&format!("{field}: is missing")) && run.stderr.contains(code));
        assert!(scene.request_lines().is_empty());
    }
}
