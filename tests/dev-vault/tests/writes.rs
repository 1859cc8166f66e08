//! `POST /iso/sctm/secret` and `/iso/cicd/variables`: every alphabet, type and rule of renewal.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{DevVault, Options, ask, plain, token};

/// Writes a secret, and answers it.
#[track_caller]
fn write(vault: &DevVault, token: &str, body: Value) -> Value {
    let (status, answer) = ask(vault, token, "POST /iso/sctm/secret", &body.to_string());
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["response"]["message"], "Secret created successfully.");
    answer["application"]["secrets"][0].clone()
}

#[track_caller]
fn refused(vault: &DevVault, token: &str, body: Value, text: &str) {
    let (status, answer) = ask(vault, token, "POST /iso/sctm/secret", &body.to_string());
    assert_eq!(status, 400, "{answer}");
    assert_eq!(answer["response"]["message"], text);
    assert_eq!(answer["response"]["error_code"], 1);
}

#[test]
fn the_documented_example_is_written_and_read_back() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let data = json!({"hostname": "h", "username": "u", "password": "p",
        "additional_information": "a", "ip": "i"});
    let body = json!({"identity": "secret-postman", "name": "secret-postman", "engine": "Generic",
        "expiration_date": "", "description": "secret created by postman", "data": data});
    let secret = write(&vault, &token, body);
    assert_eq!((&secret["secret_id"], &secret["version"]), (&json!("213"), &json!("7")));
    assert_eq!(secret["data"], json!([data]));
    let (_, read) = ask(&vault, &token, "GET /iso/sctm/secret/secret-postman", "");
    assert_eq!(read["secret"], secret);
    let (_, list) = ask(&vault, &token, "GET /iso/sctm/secret", "");
    assert_eq!(list["Secrets"][0], secret);
}

#[test]
fn every_alphabet_of_base64_is_read() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let text = json!({"k": "<<??>>~~ÿ"}).to_string();
    let standard = STANDARD.encode(&text);
    assert!(standard.contains(['+', '/']), "{standard}");
    let url_safe = standard.replace('+', "-").replace('/', "_");
    let cases = [
        standard.clone(),
        url_safe.clone(),
        url_safe.replace('=', ","),
        standard.trim_end_matches('=').to_owned(),
        url_safe.trim_end_matches('=').to_owned(),
    ];
    for (number, coded) in cases.iter().enumerate() {
        for name in ["data", "Data", "date", "Date"] {
            let secret =
                write(&vault, &token, json!({"identity": format!("s{number}"), name: coded}));
            assert_eq!(secret["data"], json!([{"k": "<<??>>~~ÿ"}]), "{name} {coded}");
        }
    }
    let form = format!("identity=form&data={}", standard.replace('+', "%2B"));
    assert_eq!(ask(&vault, &token, "POST /api/sctm/secret", &form).0, 201);
}

#[test]
fn mistakes_are_reported_before_anything_changes() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let with = |more: Value| {
        let mut body = json!({"identity": "secret-postman"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    refused(&vault, &token, with(json!({"data": "%%%"})), "Invalid base64");
    refused(&vault, &token, with(json!({"data": STANDARD.encode("[1")})), "Invalid data");
    refused(&vault, &token, with(json!({"data": {"k": {"nested": 1}}})), "Invalid data");
    refused(&vault, &token, with(json!({"engine": "Steam"})), "Engine not found");
    refused(&vault, &token, json!({"name": "x"}), "identity is required");
    let short = "Renewal times are integers of 10 minutes or more";
    for value in [json!(9), json!("9"), json!(-1), json!(10.5), json!("soon")] {
        refused(&vault, &token, with(json!({"renew_credential_time": value})), short);
    }
    assert_eq!(vault.version("secret-postman").unwrap(), "6");
}

#[test]
fn renewal_times_stay_unless_they_are_set_and_end_with_zero() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let name = "renew_ephemeral_credential_time";
    let renew = |value: Value| {
        let body = json!({"identity": "one", name: value, "data": {"k": "v"}});
        write(&vault, &token, body)[name].clone()
    };
    assert_eq!(renew(json!("")), false, "silence on creation is off");
    assert_eq!(renew(json!(10)), 10);
    assert_eq!(renew(json!("")), 10);
    assert_eq!(renew(Value::Null), 10);
    assert_eq!(renew(json!("45")), 45);
    for off in [json!(0), json!("0"), json!([]), json!(false)] {
        assert_eq!(renew(json!(30)), 30);
        assert_eq!(renew(off), false);
    }
}

#[test]
fn values_are_stored_as_text_or_null_and_dates_in_one_spelling() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let body = json!({"identity": "one", "expiration_date": "08/18/2022",
        "data": {"number": 1, "yes": true, "none": null, "text": "t"}});
    let secret = write(&vault, &token, body);
    let data = json!([{"number": "1", "yes": "true", "none": null, "text": "t"}]);
    assert_eq!(secret["data"], data);
    assert_eq!(secret["expiration_date"], "2022-08-18 00:00:00");
    let body = json!({"identity": "one", "expiration_date": "2022-08-18T11:10:00Z"});
    let secret = write(&vault, &token, body);
    assert_eq!(secret["expiration_date"], "2022-08-18 11:10:00");
    assert_eq!(secret["data"], data, "silence keeps the data");
}

#[test]
fn a_script_keeps_the_names_of_every_cloud_and_stores_its_values_as_text() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let script = json!({
        "access_keys": [{"access_key": {"type": "azure", "fields": {
            "tenant_id": "T", "client_secret": "S", "client_secret_label": "AZURE_SECRET",
        }}}],
        "key_value": {"fields": {"PORT": 5432, "NONE": null}},
    });
    let coded = STANDARD.encode(script.to_string());
    let secret = write(&vault, &token, json!({"identity": "one", "data": coded}));
    let key = json!({"tenant_id": "T", "AZURE_SECRET": "S", "TTL": ""});
    assert_eq!(secret["data"], json!([key, {"PORT": "5432", "NONE": null}]));
    let nested = json!({"key_value": {"fields": {"PORT": [1]}}});
    refused(&vault, &token, json!({"identity": "one", "data": nested}), "Invalid data");
}

#[test]
fn engines_are_registered_in_any_case_of_letters() {
    let vault = plain(Options::default());
    let token = token(&vault);
    for engine in ["Generic", "Kubernetes", "Ansible", "GitLab"] {
        let body = json!({"Identity": "one", "Engine": engine.to_uppercase()});
        assert_eq!(write(&vault, &token, body)["engine"], engine);
    }
}

#[test]
fn one_name_in_a_mapping_is_one_secret() {
    let vault = plain(Options::default());
    let token = token(&vault);
    let credential = json!({"hostname": "w2016", "ip": "10.66.33.15", "username": "joe"});
    ask(&vault, &token, "POST /api/pam/credential", &credential.to_string());
    let map = json!({
        "credentials": [{"name": "app", "fields": {"user": "U", "host": "H", "password": "P"}}],
        "key_value": [{"name": "app", "fields": ["K"]}],
    });
    let coded =
        |text: &str| STANDARD.encode(text).replace('+', "-").replace('/', "_").replace('=', ",");
    let env = coded("U=joe\nH=w2016\nP=secret\nK=v");
    let form = format!("env={env}&map={}", coded(&map.to_string()));
    assert_eq!(ask(&vault, &token, "POST /iso/cicd/variables", &form).0, 200);
    let (_, read) = ask(&vault, &token, "GET /iso/sctm/secret/app", "");
    let known = json!({"hostname": "w2016", "username": "joe", "password": "secret",
        "ip": "10.66.33.15"});
    assert_eq!(read["secret"]["data"], json!([known, {"K": "v"}]));
    assert_eq!(read["secret"]["version"], "1");
    for (env, map, text) in [("%", "", "Invalid base64"), ("", "e30x", "Invalid mapping")] {
        let form = format!("env={env}&map={map}");
        let (status, answer) = ask(&vault, &token, "POST /iso/cicd/variables", &form);
        assert_eq!((status, &answer["response"]["message"]), (400, &json!(text)));
    }
}
