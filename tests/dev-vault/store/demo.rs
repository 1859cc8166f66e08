//! The secrets that are there from the start.

use serde_json::json;

use super::{
    data::{self, Entry, Kind},
    secret::{Secret, password},
};

/// The documents' own example, a credential under an identity with a slash, and one of each kind.
pub fn secrets(application: u32) -> [Secret; 3] {
    let mut postman = Secret::new(application, "213", "secret-postman");
    postman.version = "6".to_owned();
    postman.description = Some("secret created by postman".to_owned());
    postman.base = entries(r#"{"hostname": "WinSUP", "username": "usera2a"}"#);

    let mut payments = Secret::new(application, "107", "payments/database");
    payments.version = "3".to_owned();
    payments.engine = "Kubernetes".to_owned();
    payments.rotates = true;
    payments.base = entries(&format!(
        r#"{{"hostname": "payments-db", "username": "payments", "password": {}, "ip": "10.66.32.20"}}"#,
        json!(password())
    ));

    let mut mixed = Secret::new(application, "106", "application5");
    mixed.engine = "Kubernetes".to_owned();
    mixed.rotates = true;
    mixed.base = entries(
        r#"[
        {
            "hostname": "application5_v_test",
            "username": "ADMIN_V_USR",
            "password": "ADMIN_V_PW",
            "additional_information": "ADMIN_V_SCHEMA",
            "ip": "app.application.com"
        },
        {
            "access_key_id": "AKEXAMPLE",
            "secret_access_key": "sk/example+1",
            "TTL": null
        },
        {
            "my_key_name": "my_key_value",
            "my_key_name_2": "my_key_value_2"
        }
    ]"#,
    );
    for (entry, kind) in
        mixed.base.iter_mut().zip([Kind::Credential, Kind::CloudKey, Kind::KeyValue])
    {
        entry.kind = kind;
    }
    [postman, payments, mixed]
}

fn entries(json: &str) -> Vec<Entry> {
    data::entries(json).expect("the demo secrets are valid JSON objects")
}
