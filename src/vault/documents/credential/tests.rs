//! Requests of PAM credentials, and their problems.

use serde_json::json;

use super::super::{About, Reference, requests};
use super::*;

fn resolve(reference: &Reference) -> Result<Secret<String>, String> {
    match reference {
        Reference::Env(_) => Ok(Secret::new("canary".to_owned())),
        Reference::File(_) => Err("the file can't be read".to_owned()),
    }
}

fn read(text: &str) -> Result<Request, Flawed> {
    requests(text, About::Credentials, &resolve).unwrap().remove(0)
}

fn sent(document: &Value) -> Value {
    serde_json::from_slice(read(&document.to_string()).unwrap().body.expose()).unwrap()
}

fn problems_of(document: &Value) -> Vec<String> {
    let flawed = read(&document.to_string()).unwrap_err();
    flawed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_credential_is_sent_as_it_is_written() {
    let documents = [
        json!({ "identifier": "", "username": "", "hostname": "w2016", "ip": "10.66.33.15", "content": "p", "tags": "social" }),
        json!({ "username": "u", "hostname": "h", "ip": "i", "parent_password": 7, "notes": "n",
            "session_settings": { "SSH": true, "SQL Server": true, "X11 Forward": false, "use_own_credential_to_connect": true,
                "macros": [{ "remote_app": "MySQL", "connectivity": "SSH" }] } }),
        json!({ "username": "u", "hostname": "h", "ip": "i", "additional_settings": { "criticality": "High", "notes": "n" } }),
        json!({ "username": "u", "hostname": "h", "ip": "i", "additional_settings": [{ "criticality": "low",
            "additional_authentication_fields": [{ "name": "n", "short_name": "s", "value": "v" }] }] }),
        json!({ "username": "u", "hostname": "h", "ip": "i", "jit_settings": { "jit": false } }),
    ];
    for document in documents {
        assert_eq!(sent(&document), document);
    }
    let spelled =
        json!({ "Username": "u", "HOSTNAME": "h", "Ip": "i", "content": { "from_env": "P" } });
    let expected = json!({ "username": "u", "hostname": "h", "ip": "i", "content": "canary" });
    assert_eq!(sent(&spelled), expected);
    let request = read(&spelled.to_string()).unwrap();
    assert_eq!((request.name.as_str(), request.redacted.len()), ("u@h", 1));
}

#[test]
fn a_missing_field_is_reported_with_the_vaults_error_number() {
    assert_eq!(
        problems_of(&json!({ "ip": "" })),
        [
            "username: is missing; \"\" lets the vault choose (error 1042)",
            "hostname: is missing (error 1004)",
            "ip: is missing (error 1005)",
        ]
    );
    // An existing credential may have its way to connect already.
    let update = json!({ "identifier": "x", "username": "u", "hostname": "h", "ip": "i",
        "parent_password": "7", "session_settings": {},
        "execution_settings": { "automatic_change": true },
        "jit_settings": { "jit": true, "authentication_ip": true } });
    assert_eq!(sent(&update)["parent_password"], 7);
    let problems = problems_of(&json!({ "username": "u", "hostname": "h", "ip": "i",
        "execution_settings": { "use_own_credential_to_connect": false, "authentication_ip": "" },
        "session_settings": { "use_own_credential_to_connect": false, "authentication_hostname": "x" },
        "jit_settings": { "jit": true, "use_own_credential_to_connect": true,
            "credential_creation_and_deletion": true, "credential_creation_plugin": "SSH" },
    }));
    let needs = "is missing, but use_own_credential_to_connect: false needs it";
    let jit = "is missing, but credential_creation_and_deletion needs it";
    assert_eq!(
        problems,
        [
            format!("execution_settings.authentication_credential: {needs}"),
            format!("execution_settings.authentication_hostname: {needs}"),
            format!("execution_settings.authentication_ip: {needs}"),
            format!("session_settings.authentication_credential: {needs}"),
            format!("session_settings.authentication_ip: {needs}"),
            format!("jit_settings.credential_creation_template: {jit}"),
            format!("jit_settings.credential_deletion_plugin: {jit}"),
            format!("jit_settings.credential_deletion_template: {jit}"),
        ]
    );
}

/// The warnings of a document that is sent as it is.
fn warnings_of(document: &Value) -> Vec<String> {
    assert_eq!(sent(document), *document);
    read(&document.to_string()).unwrap().warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_only_a_new_credential_needs_is_a_warning() {
    let with = |more: Value| {
        let mut document = json!({ "username": "u", "hostname": "h", "ip": "i" });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document
    };
    let needs = "a new credential also needs authentication_credential, authentication_hostname, authentication_ip, unless use_own_credential_to_connect is true";
    for (settings, expected) in [
        (
            json!({ "session_settings": { "SSH": true } }),
            vec![format!("session_settings: {needs}")],
        ),
        (
            json!({ "execution_settings": { "status": true, "authentication_hostname": "x" } }),
            vec![format!("execution_settings: {}", needs.replace("authentication_hostname, ", ""))],
        ),
        (json!({ "jit_settings": { "jit": true } }), vec![format!("jit_settings: {needs}")]),
        (json!({ "jit_settings": { "jit": false } }), vec![]),
        (json!({ "session_settings": {} }), vec![]),
        (json!({ "session_settings": { "use_own_credential_to_connect": true } }), vec![]),
        (json!({ "identifier": "x", "session_settings": { "SSH": true } }), vec![]),
        (
            json!({ "additional_settings": { "identifier": "x" }, "session_settings": { "SSH": true } }),
            vec![],
        ),
    ] {
        assert_eq!(warnings_of(&with(settings.clone())), expected, "{settings}");
    }
}

#[test]
fn a_word_that_the_pages_do_not_list_is_sent_with_a_warning() {
    for (word, warned) in
        [("low", false), ("High", false), ("MEDIUM", false), ("critical", true), ("", true)]
    {
        let document = json!({ "username": "u", "hostname": "h", "ip": "i",
            "additional_settings": { "criticality": word } });
        let expected = "additional_settings.criticality: is not one of low, medium, high: sent as it is, the vault decides";
        let expected = if warned { vec![expected.to_owned()] } else { vec![] };
        assert_eq!(warnings_of(&document), expected, "{word}");
    }
    let renamed = json!({ "identifier": "x", "username": "", "hostname": "h", "ip": "i" });
    let expected = "username: is \"\": a credential that has this identifier gets the name usr";
    assert_eq!(warnings_of(&renamed), [expected]);
}

#[test]
fn null_is_told_by_what_the_field_needs() {
    let document = json!({ "username": null, "hostname": null, "ip": null, "tags": null });
    assert_eq!(
        problems_of(&document),
        [
            "hostname: is null, and must name the device (error 1004)",
            "ip: is null, and must be the device's address (error 1005)",
            "tags: is null: remove it, or write \"\"",
            "username: is null: write \"\" to let the vault choose (error 1042)",
        ]
    );
}

#[test]
fn two_documents_of_one_credential_are_a_problem_of_both() {
    let at = |user: &str, more: Value| {
        let mut document = json!({ "username": user, "hostname": "h", "ip": "i" });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document
    };
    let refused = |documents: Vec<Value>| {
        let read = requests(&json!(documents).to_string(), About::Credentials, &resolve).unwrap();
        read.iter().map(Result::is_err).collect::<Vec<_>>()
    };
    let id = |identifier: &str| json!({ "identifier": identifier });
    for (documents, expected) in [
        (vec![at("u", json!({})), at("u", json!({}))], [true, true]),
        (vec![at("u", id("x")), at("v", id("x"))], [true, true]),
        // The vault finds a new identifier's credential by its user and device.
        (vec![at("u", id("x")), at("u", id("y"))], [true, true]),
        (vec![at("", json!({})), at("usr", id(""))], [true, true]),
        (
            vec![at("u", id("x")), at("v", json!({ "additional_settings": [id("x")] }))],
            [true, true],
        ),
        (vec![at("u", id("")), at("v", id(""))], [false, false]),
        (vec![at("u", json!({ "ip": "1" })), at("u", json!({ "ip": "2" }))], [false, false]),
    ] {
        assert_eq!(refused(documents.clone()), expected, "{documents:?}");
    }
}

#[test]
fn a_value_of_another_kind_is_reported_by_path_and_not_quoted() {
    let problems = problems_of(&json!({ "username": "u", "hostname": "h", "ip": "i", "content": 5,
        "device_domain": "a.example, b.example", "parent_password": "canary", "pasword": "canary",
        "session_settings": { "SSH": "canary", "macros": { "remote_app": "x" },
            "use_own_credential_to_connect": true },
        "additional_settings": [{ "criticality": "canary", "secret_key": { "from_file": "no" } }],
        "jit_settings": "canary",
    }));
    for expected in [
        "content: must be a text: put it in quotes",
        "device_domain: must have no blanks after its commas (error 1029)",
        "parent_password: must be a whole number",
        "pasword: is not one of identifier, username,",
        "session_settings.SSH: must be true or false",
        "session_settings.macros: must be a list",
        "additional_settings.0.secret_key: the file can't be read",
        "jit_settings: must be an object",
    ] {
        assert!(problems.iter().any(|p| p.starts_with(expected)), "{expected} in {problems:#?}");
    }
    assert_eq!(problems.len(), 8, "{problems:#?}");
    assert!(!format!("{problems:?}").contains("canary"));
}
