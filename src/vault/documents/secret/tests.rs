//! Requests of secrets, and their problems.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::super::{About, Reference, requests};
use super::*;

fn resolve(reference: &Reference) -> Result<Secret<String>, String> {
    match reference {
        Reference::Env(name) if name == "DB_PASSWORD" => Ok(Secret::new("canary-env".to_owned())),
        Reference::File(path) if path == "key.pem" => Ok(Secret::new("canary-file\n".to_owned())),
        Reference::Env(_) => Err("the variable is not set".to_owned()),
        Reference::File(_) => Err("the file can't be read".to_owned()),
    }
}

fn read(text: &str) -> Result<Request, Flawed> {
    requests(text, About::Secrets, &resolve).unwrap().remove(0)
}

/// The body that is sent, and its data, unpacked.
fn sent(text: &str) -> (Value, Value) {
    let request = read(text).unwrap();
    let mut body: Value = serde_json::from_slice(request.body.expose()).unwrap();
    let data = body.as_object_mut().unwrap().remove("data").unwrap();
    let data = STANDARD.decode(data.as_str().unwrap()).unwrap();
    (body, serde_json::from_slice(&data).unwrap())
}

fn problems_of(text: &str) -> Vec<String> {
    read(text).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_flat_object_is_sent_as_packed_json_with_the_periods_that_are_off() {
    let (body, data) = sent(
        r#"{"identity": "secret-postman", "name": "secret-postman", "engine": "Generic", "expiration_date": "",
            "description": "secret created by postman", "data": {"hostname": "h", "ip": ""}}"#,
    );
    let expected = json!({
        "identity": "secret-postman", "name": "secret-postman", "engine": "Generic",
        "expiration_date": "", "description": "secret created by postman",
        "renew_cloud_time": [], "renew_credential_time": [], "renew_ephemeral_credential_time": [],
    });
    assert_eq!(body, expected);
    assert_eq!(data, json!({ "hostname": "h", "ip": "" }));
    let (body, _) = sent(
        "Identity: a\nRenew_Cloud_Time: 10\nrenew_credential_time: off\nrenew_ephemeral_credential_time: false\nDate: {k: v}\n",
    );
    let expected = json!({
        "identity": "a",
        "renew_cloud_time": 10, "renew_credential_time": [], "renew_ephemeral_credential_time": [],
    });
    assert_eq!(body, expected);
}

#[test]
fn values_by_kind_are_sent_as_the_vault_documents_them() {
    let data = json!({
        "access_keys": [{ "access_key": { "type": "aws", "fields": {
            "access_key_id": "A", "access_key_id_label": "AWS_ACCESS_KEY_ID",
            "secret_access_key": "S", "secret_access_key_label": "AWS_SECRET_ACCESS_KEY",
        } } }, { "access_key": { "type": "gcp", "fields": { "private_key": "P" } } }],
        "credentials": [{ "credential": { "fields": {
            "user": "u", "user_label": "USERNAME", "host": "h", "password": "p",
            "additional_information": "i", "additional_information_label": "CONNECTION",
        } } }],
        "key_value": { "fields": { "K": "V" } },
    });
    let document = json!({ "identity": "a", "data": data });
    let request = read(&document.to_string()).unwrap();
    let keys = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "CONNECTION",
        "K",
        "USERNAME",
        "host",
        "password",
        "private_key",
    ];
    assert_eq!(
        (request.name.as_str(), request.keys.as_slice()),
        ("a", &keys.map(str::to_owned)[..])
    );
    assert_eq!(sent(&document.to_string()).1, data);
}

#[test]
fn packed_values_are_unpacked_and_checked_like_others() {
    let json = r#"{"password": "canary ??>>~~", "k": "v"}"#;
    let expected = json!({ "password": "canary ??>>~~", "k": "v" });
    let standard = STANDARD.encode(json);
    let lines: Vec<&str> =
        standard.as_bytes().chunks(20).map(|l| str::from_utf8(l).unwrap()).collect();
    for packed in [
        standard.clone(),
        format!("{}\n", lines.join("\n")),
        standard.replace('+', "-").replace('/', "_").replace('=', ","),
        URL_SAFE_NO_PAD.encode(json),
    ] {
        for field in ["data", "Date"] {
            let document = json!({ "identity": "a", field: packed });
            assert_eq!(sent(&document.to_string()).1, expected, "{packed}");
            let request = read(&document.to_string()).unwrap();
            assert_eq!(
                (request.keys.as_slice(), request.shape),
                (&["k".to_owned(), "password".to_owned()][..], DataShape::Flat)
            );
            let redacted: Vec<&str> =
                request.redacted.iter().map(|s| s.expose().as_str()).collect();
            assert!(redacted.contains(&"canary ??>>~~") && redacted.contains(&packed.as_str()));
        }
    }
    let kinds = json!({ "credentials": [{ "credential": { "fields": { "usr": "canary" } } }] });
    let document = json!({ "identity": "a", "data": STANDARD.encode(kinds.to_string()) });
    let problems = problems_of(&document.to_string());
    assert!(problems[0].starts_with("data.credentials.0.credential.fields.usr: is not one of"));
}

#[test]
fn packed_values_that_can_not_be_unpacked_are_not_quoted() {
    for (packed, expected) in [
        ("{{secret}}".to_owned(), "data: must be an object, or base64 of one in JSON"),
        (r#"{"k": "canary"}"#.to_owned(), "data: must be an object, or base64 of one in JSON"),
        (String::new(), "data: must be an object, or base64 of one in JSON"),
        (
            STANDARD.encode(r#"{"k": "canary"#),
            "data: is base64: unpacked, line 1, column 13 is not JSON",
        ),
        (STANDARD.encode(r#"["canary"]"#), "data: is base64: unpacked, it is JSON, and no object"),
        (STANDARD.encode(b"\xffcanary"), "data: is base64: unpacked, it is not UTF-8"),
        (STANDARD.encode(r#"{"k": 5}"#), "data.k: must be a text: put it in quotes"),
        (STANDARD.encode("{}"), "data: holds no value"),
    ] {
        let problems = problems_of(&json!({ "identity": "a", "data": packed }).to_string());
        assert_eq!(problems, [expected], "{packed}");
    }
}

#[test]
fn values_beside_the_fields_are_told_where_they_belong() {
    let alone = json!({ "access_keys": [], "credentials": [] });
    assert_eq!(
        problems_of(&alone.to_string()),
        ["access_keys, credentials: put this under data, and identity beside data"]
    );
    let beside = json!({ "identity": "a", "Key_Value": { "fields": { "k": "canary" } } });
    assert_eq!(problems_of(&beside.to_string()), ["key_value: put this under data"]);
    let flat = problems_of("{identity: a, password: canary}");
    assert!(flat[0].starts_with("password: is not one of identity,"), "{flat:?}");
    assert!(flat[0].ends_with("; a value belongs under data") && flat.len() == 1, "{flat:?}");
}

#[test]
fn an_update_needs_no_data_and_knows_what_it_does_not_state() {
    let request = read("{identity: a, description: x, renew_cloud_time: off}").unwrap();
    assert_eq!(request.shape, DataShape::Absent);
    let stated = [StatedPeriod::Off, StatedPeriod::Unstated, StatedPeriod::Unstated];
    assert!(request.periods.into_values().eq(stated));
    let body: Value = serde_json::from_slice(request.body.expose()).unwrap();
    assert!(body.get("data").is_none());
    assert_eq!(
        problems_of("{identity: ~, data: ~}"),
        [
            "identity: is null, and a secret needs one",
            "data: is null: remove it to leave the values as they are",
        ]
    );
}

#[test]
fn a_cloud_that_the_pages_do_not_list_is_sent_with_a_warning() {
    for (cloud, warned) in [("aws", false), ("azure", false), ("AWS", true), ("oci", true)] {
        let fields = json!({ "access_key_id": "A", "secret_access_key": "S" });
        let data =
            json!({ "access_keys": [{ "access_key": { "type": cloud, "fields": fields } }] });
        let document = json!({ "identity": "a", "data": data }).to_string();
        assert_eq!(sent(&document).1, data);
        let warnings: Vec<String> =
            read(&document).unwrap().warnings.iter().map(ToString::to_string).collect();
        let expected = "data.access_keys.0.access_key.type: is not one of aws, azure, gcp: sent as it is, the vault decides";
        let expected = if warned { vec![expected.to_owned()] } else { vec![] };
        assert_eq!(warnings, expected, "{cloud}");
    }
}

#[test]
fn a_key_that_can_be_no_file_is_refused_or_warned_of() {
    let label = |label: &str| json!({ "credentials": [{ "credential": { "fields": { "user": "u", "user_label": label } } }] });
    let long = "x".repeat(256);
    let document = |data: Value| json!({ "identity": "a", "data": data }).to_string();
    let too_long = "its name is too long: at most 255 bytes a part, 2048 in all";
    for (data, place) in [
        (json!({ long.as_str(): "v" }), "data.?"),
        (json!({ "key_value": { "fields": { long.as_str(): "v" } } }), "data.key_value.fields.?"),
        (label(&long), "data.credentials.0.credential.fields.user_label"),
    ] {
        assert_eq!(problems_of(&document(data)), [format!("{place}: {too_long}")]);
    }
    for (key, problem) in
        [("a/b", "holds a `/`"), ("..", "has a part that is `.` or starts with `..`")]
    {
        for data in [json!({ key: "v" }), label(key)] {
            let warnings = read(&document(data)).unwrap().warnings;
            let warning = warnings.first().map(ToString::to_string).unwrap_or_default();
            let expected =
                format!(": its name {problem}: the agent publishes no secret with such a key");
            assert!(warning.ends_with(&expected) && warnings.len() == 1, "{warning}");
        }
    }
    assert!(read(&document(json!({ "x".repeat(255): "v" }))).unwrap().warnings.is_empty());
}

#[test]
fn two_documents_of_one_secret_are_a_problem_of_both() {
    let text = "identity: a\ndata: {k: v}\n---\nidentity: b\ndata: {k: v}\n---\nidentity: a\ndata: {k: 5}\n";
    let read = requests(text, About::Secrets, &resolve).unwrap();
    let problems = |at: usize| -> Vec<String> {
        read[at].as_ref().unwrap_err().problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(problems(0), ["identity: document 3 writes the same secret: leave one of them"]);
    assert!(read[1].is_ok());
    assert_eq!(
        problems(2),
        [
            "data.k: must be a text: put it in quotes",
            "identity: document 1 writes the same secret: leave one of them",
        ]
    );
}

#[test]
fn a_key_may_have_the_name_of_a_kind() {
    assert_eq!(sent("{identity: a, data: {credentials: x}}").1, json!({ "credentials": "x" }));
    let document = "{identity: a, data: {credentials: {from_env: DB_PASSWORD}}}";
    assert_eq!(sent(document).1, json!({ "credentials": "canary-env" }));
}

#[test]
fn references_stand_for_texts_which_are_redacted() {
    let text = "identity: a\ndata:\n  password: {from_env: DB_PASSWORD}\n  key: {from_file: key.pem}\n  plain: canary-plain\n";
    assert_eq!(
        sent(text).1,
        json!({ "password": "canary-env", "key": "canary-file\n", "plain": "canary-plain" })
    );
    let request = read(text).unwrap();
    let redacted: Vec<&str> = request.redacted.iter().map(|s| s.expose().as_str()).collect();
    assert_eq!(redacted[..3], ["canary-env", "canary-file\n", "canary-plain"]);
    let packed = request.redacted.last().unwrap().expose();
    assert!(STANDARD.decode(packed).is_ok(), "the whole of it, as it is sent");
    assert!(!format!("{request:?}").contains("canary"));
    let text = "{identity: a, data: {a: {from_env: NO}, b: {from_file: no}, c: {from_env: DB_PASSWORD, x: y}}}";
    assert_eq!(
        problems_of(text),
        [
            "data.a: the variable is not set",
            "data.b: the file can't be read",
            "data.c: must be a text, or {\"from_env\": NAME} or {\"from_file\": PATH}",
        ]
    );
}

#[test]
fn every_problem_is_reported_by_path_and_no_value_is_quoted() {
    let text = r#"
name: x
Name: y
idenity: canary
engine: 5
expiration_date: canary
renew_cloud_time: 9
renew_credential_time: "canary"
renew_ephemeral_credential_time: [canary]
data:
  credentials:
    - credential: {fields: {usr: canary, password: 12345678, host_label: H}}
    - fields: {}
  access_keys: {access_key: canary}
  key_value: {fields: {"": canary, k: null, k: canary}}
  files: canary
"#;
    let problems = problems_of(text);
    for expected in [
        "Name: appears twice",
        "idenity: is not one of identity, name,",
        "engine: must be a text: put it in quotes",
        "expiration_date: must be a date such as 2026-12-31 23:59:59, or \"\" for never",
        "renew_cloud_time: must be off, or whole minutes, 10 or more",
        "renew_credential_time: must be off",
        "renew_ephemeral_credential_time: must be off",
        "data.credentials.0.credential.fields.usr: is not one of user, host, password,",
        "data.credentials.0.credential.fields.password: must be a text: put it in quotes",
        "data.credentials.0.credential.fields.host_label: labels host, which is missing",
        "data.credentials.1.fields: must be named credential",
        "data.credentials.1.credential: is missing",
        "data.access_keys: must be a list",
        "data.key_value.fields.k: appears twice",
        "data.key_value.fields.k: is null: remove it, or write \"\"",
        "data.key_value.fields.: its name is empty or has an empty part",
        "data.files: is not one of access_keys, credentials, key_value",
        "identity: is missing",
    ] {
        assert!(problems.iter().any(|p| p.starts_with(expected)), "{expected} in {problems:#?}");
    }
    assert!(!format!("{problems:?}").contains("canary"), "{problems:#?}");
    assert_eq!(problems_of("[1, 2]"), ["the document: must be an object"; 1]);
    assert_eq!(problems_of("{identity: ../x, data: {}}").len(), 2);
}

#[test]
fn a_value_that_a_typo_makes_a_name_of_is_not_shown() {
    for text in [
        "{identity: a, data: {user: app, password:canary}}",
        "{\"identity\": \"a\", \"data\": {\n// canary\n\"password\": \"x\"}}",
        "{identity: a, data: {k: v}, \"canary\\n\": x}",
    ] {
        let message = match requests(text, About::Secrets, &resolve) {
            Ok(mut read) => format!("{:?}", read.remove(0).unwrap_err().problems),
            Err(unreadable) => unreadable.to_string(),
        };
        assert!(!message.contains("canary"), "{message}");
    }
}

#[test]
fn data_without_a_value_is_refused() {
    for data in [
        "{}",
        "{access_keys: []}",
        "{key_value: {fields: {}}}",
        "{credentials: []}",
        "{from_env: DB_PASSWORD}",
        "{key_value: {fields: {from_env: DB_PASSWORD}}}",
        "{access_keys: [{access_key: {type: '', fields: {k: v}}}]}",
    ] {
        assert!(!problems_of(&format!("{{identity: a, data: {data}}}")).is_empty(), "{data}");
    }
}

#[test]
fn periods_are_read_as_the_vault_spells_them() {
    for (spelled, expected) in [
        ("0", json!([])),
        ("''", json!([])),
        ("[]", json!([])),
        ("~", json!([])),
        ("Off", json!([])),
        ("'60'", json!(60)),
        ("60", json!(60)),
    ] {
        let (body, _) =
            sent(&format!("{{identity: a, renew_cloud_time: {spelled}, data: {{k: v}}}}"));
        assert_eq!(body["renew_cloud_time"], expected, "{spelled}");
    }
}

#[test]
fn dates_have_the_vaults_formats() {
    for date in
        ["2026-12-31", "2026-12-31 23:59:59", "2026-12-31T23:59:59Z", "2026-12-31 23:59", ""]
    {
        sent(&format!("{{identity: a, expiration_date: '{date}', data: {{k: v}}}}"));
    }
    for date in ["2026-13-01", "31/12/2026", "tomorrow", "2026-12-31 25:00:00", "2026-1-1"] {
        let problems =
            problems_of(&format!("{{identity: a, expiration_date: '{date}', data: {{k: v}}}}"));
        assert!(problems[0].starts_with("expiration_date: must be"), "{date}");
    }
}
