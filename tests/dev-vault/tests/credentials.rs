//! `POST /api/pam/credential`: who is meant, what is wrong with it, and what becomes of it.

use serde_json::{Value, json};

use super::{DevVault, Options, ask, plain, token};

const LINE: &str = "POST /api/pam/credential";

/// A vault and a token for it.
struct Pam {
    vault: DevVault,
    token: String,
}

impl Pam {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let vault = plain(options);
        let token = token(&vault);
        Self { vault, token }
    }

    fn send(&self, body: &Value) -> (u16, Value) {
        ask(&self.vault, &self.token, LINE, &body.to_string())
    }

    /// Writes a credential on the seed's device, with more parameters, and returns the answer.
    #[track_caller]
    fn write(&self, more: Value) -> (String, String) {
        let (status, answer) = self.send(&on_device(more));
        assert_eq!(status, 201, "{answer}");
        let id = answer["credential"]["id"].as_str().unwrap();
        assert!(id.parse::<u32>().is_ok(), "{id}");
        let message = answer["response"]["message"].as_str().unwrap();
        (message.to_owned(), answer["credential"]["identifier"].as_str().unwrap().to_owned())
    }

    /// The number and the message of an error; no number where the documents give none.
    #[track_caller]
    fn refused(&self, status: u16, body: Value) -> (Option<u64>, String) {
        let before = self.vault.credentials().len();
        let (answered, answer) = self.send(&body);
        assert_eq!(answered, status, "{answer}");
        assert_eq!(answer["code"], status);
        let response = &answer["response"];
        assert_eq!(response["status"], status);
        assert_eq!((&response["error"], &response["erro"]), (&json!(true), &json!(true)));
        assert_eq!((&response["error_code"], &response["cod_erro"]), (&json!(1), &json!(1)));
        assert_eq!(response["message"], response["mensagem"]);
        assert_eq!(self.vault.credentials().len(), before, "nothing was written");
        let message = response["message"].as_str().unwrap().to_owned();
        (answer["exception"]["code"].as_u64(), message)
    }

    #[track_caller]
    fn numbered(&self, number: u64, text: &str, more: Value) {
        let (found, message) = self.refused(400, on_device(more));
        assert_eq!((found, message), (Some(number), format!("{number}: {text}")));
    }

    #[track_caller]
    fn plainly(&self, text: &str, more: Value) {
        assert_eq!(self.refused(400, on_device(more)), (None, text.to_owned()));
    }

    fn record(&self, at: usize) -> Value {
        Value::Object(self.vault.credentials()[at].record.clone())
    }
}

/// A request for the seed's device; what is given replaces, and null removes.
fn on_device(more: Value) -> Value {
    let mut body = json!({"hostname": "w2016", "ip": "10.66.33.15", "username": "user"});
    let members = body.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    body
}

const CREATED: &str = "Credential successfully registered!";
const UPDATED: &str = "Credential updated successfully!";

#[test]
fn a_new_identifier_and_a_new_place_make_a_credential() {
    let pam = Pam::new();
    let told = pam.write(json!({"identifier": "dyaihdppaj78a547", "content": "blfjahbnaihdaa"}));
    assert_eq!(told, (CREATED.to_owned(), "dyaihdppaj78a547".to_owned()));
    assert_eq!(pam.vault.credentials()[0].id, "152");
}

#[test]
fn a_new_identifier_at_a_known_place_replaces_the_old_one() {
    let pam = Pam::new();
    pam.write(json!({"identifier": "one"}));
    let told = pam.write(json!({"identifier": "two"}));
    assert_eq!(told, (UPDATED.to_owned(), "two".to_owned()));
    let told = pam.write(json!({"identifier": "one", "username": "another"}));
    assert_eq!(told.0, CREATED, "the old name is free again");
}

#[test]
fn an_existing_identifier_precedes_the_user_name_and_may_rename() {
    let pam = Pam::new();
    pam.write(json!({"identifier": "one"}));
    pam.write(json!({"identifier": "two", "username": "other"}));
    let told = pam.write(json!({"identifier": "one", "username": "renamed"}));
    assert_eq!(told, (UPDATED.to_owned(), "one".to_owned()));
    let users: Vec<_> = pam.vault.credentials().into_iter().map(|one| one.username).collect();
    assert_eq!(users, ["renamed", "other"]);
    // Even where another credential has the place that the request names.
    let told = pam.write(json!({"identifier": "one", "username": "other", "tags": "mine"}));
    assert_eq!(told, (UPDATED.to_owned(), "one".to_owned()));
    assert_eq!((&pam.record(0)["tags"], &pam.record(1)["tags"]), (&json!("mine"), &Value::Null));
    pam.write(json!({"identifier": "one", "username": "renamed"}));
    pam.write(json!({"identifier": "one", "username": ""}));
    assert_eq!(pam.vault.credentials()[0].username, "usr", "blank is the default");
}

#[test]
fn a_blank_identifier_is_generated_for_a_new_user_and_kept_for_a_known_one() {
    let pam = Pam::new();
    let (message, made) = pam.write(json!({"identifier": ""}));
    assert_eq!(message, CREATED);
    let parts: Vec<&str> = made.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(parts[2].starts_with('7'), "{made}");
    assert_eq!(pam.write(json!({})), (UPDATED.to_owned(), made));
    assert_eq!(pam.write(json!({"username": "newusername"})).0, CREATED);
    assert_eq!(pam.vault.credentials().len(), 2);
}

#[test]
fn a_user_name_may_be_empty_and_is_usr_then() {
    let pam = Pam::new();
    assert_eq!(pam.write(json!({"username": ""})).0, CREATED);
    assert_eq!(pam.vault.credentials()[0].username, "usr");
    assert_eq!(pam.write(json!({"username": ""})).0, UPDATED);
    assert_eq!(pam.write(json!({"username": "usr"})).0, UPDATED);
}

#[test]
fn missing_fields_are_reported_in_the_documented_order() {
    let pam = Pam::new();
    let missing = json!({"hostname": null, "ip": null, "username": null, "identifier": "a b"});
    let steps = [
        (json!({}), 1004, "The device's hostname was not informed"),
        (json!({"hostname": "nowhere"}), 1005, "The device's IP was not informed"),
        (json!({"ip": "10.66.33.15"}), 1042, "Invalid username"),
        (json!({"username": ""}), 1053, "The identifier has invalid characters"),
        (json!({"identifier": "a.b-c_d"}), 1011, "Device not found"),
        (
            json!({"hostname": "w2016", "device_domain": "unknown.example"}),
            1029,
            "It is not possible to enter a domain that has not been previously registered",
        ),
        (
            json!({"device_domain": "", "jit_settings": {
                "jit": true, "enable_disable_credential": true,
            }}),
            1046,
            "Plugin not informed",
        ),
        (
            json!({"jit_settings": {
                "jit": true,
                "enable_disable_credential": true,
                "credential_enable_plugin": "LDAP",
                "credential_disable_plugin": "LDAP",
            }}),
            1047,
            "Template plugin not informed",
        ),
    ];
    let mut body = missing;
    for (more, number, text) in steps {
        let members = body.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        pam.numbered(number, text, body.clone());
    }
}

#[test]
fn an_empty_host_name_or_address_is_a_missing_one() {
    let pam = Pam::new();
    pam.numbered(1004, "The device's hostname was not informed", json!({"hostname": ""}));
    pam.numbered(1005, "The device's IP was not informed", json!({"ip": ""}));
    pam.numbered(1011, "Device not found", json!({"ip": "10.66.33.16"}));
}

#[test]
fn domains_are_listed_without_spaces() {
    let pam = Pam::new();
    pam.write(json!({"device_domain": "qakm.lab.mt4.dev,my_device_domain"}));
    let text = "It is not possible to enter a domain that has not been previously registered";
    pam.numbered(1029, text, json!({"device_domain": "qakm.lab.mt4.dev, my_device_domain"}));
    pam.numbered(1029, text, json!({"device_domain": "qakm.lab.mt4.dev,"}));
}

#[test]
fn a_missing_permission_is_reported_before_all_else() {
    let pam = Pam::with(Options { pam_write: false, ..Options::default() });
    let told = pam.refused(400, json!({}));
    assert_eq!(told, (Some(1039), "1039: Without PAM Configuration Access permission".to_owned()));
    pam.vault.configure(|options| options.pam_access = false);
    let told = pam.refused(500, json!({}));
    assert_eq!(told, (None, "You are not authorized to access this resource.".to_owned()));
}

#[test]
fn a_fault_without_a_documented_message_is_unexpected() {
    let pam = Pam::new();
    let unknown = json!({"additional_settings": {"user_credential_owner": "nobody"}});
    let told = pam.refused(500, on_device(unknown));
    assert_eq!(told, (None, "Unexpected error.".to_owned()));
    pam.write(json!({"additional_settings": {"user_credential_owner": "admin"}}));
    let (status, answer) = ask(&pam.vault, &pam.token, "GET /api/pam/credential", "");
    assert_eq!((status, &answer["response"]["error_code"]), (404, &json!(4)));
    assert_eq!(answer["response"]["message"], "Resource sub not found");
}

#[test]
fn a_new_credential_has_the_documented_defaults() {
    let pam = Pam::new();
    pam.write(json!({"surprise": true, "execution_settings": {
        "use_own_credential_to_connect": true, "surprise": 1,
    }}));
    let record = pam.record(0);
    assert_eq!(record["credential_type"], "Local User");
    for none in ["content", "tags", "site", "parent_password", "session_settings"] {
        assert_eq!(record[none], Value::Null, "{none}");
    }
    let execution = &record["execution_settings"];
    assert_eq!(execution["automatic_change"], false);
    assert_eq!(execution["status"], false);
    assert_eq!(execution["use_own_credential_to_connect"], true);
    assert_eq!(execution["change_plugin"], Value::Null);
    assert!(record.get("surprise").is_none() && execution.get("surprise").is_none());
}

#[test]
fn an_update_changes_only_the_fields_that_it_has() {
    let pam = Pam::new();
    let session = json!({"SQL Server": true, "X11 Forward": true,
        "use_own_credential_to_connect": true});
    pam.write(json!({"tags": "social", "content": "p1", "session_settings": session}));
    pam.write(json!({"content": "p2", "session_settings": {"X11 Forward": false, "RDP": true}}));
    let record = pam.record(0);
    assert_eq!((&record["tags"], &record["content"]), (&json!("social"), &json!("p2")));
    let session = &record["session_settings"];
    assert_eq!(session["SQL Server"], true);
    assert_eq!(session["X11 Forward"], false);
    assert_eq!(session["RDP"], true);
    assert_eq!(session["VNC"], false);
}

#[test]
fn another_credential_is_named_unless_the_own_one_connects() {
    let pam = Pam::new();
    let missing = |settings: &str, name: &str| {
        format!("{settings}.{name} is required unless use_own_credential_to_connect is true")
    };
    let authentication = json!({"use_own_credential_to_connect": false,
        "authentication_credential": "c", "authentication_hostname": "h"});
    for settings in ["execution_settings", "session_settings"] {
        let text = missing(settings, "authentication_credential");
        pam.plainly(&text, json!({settings: {}}));
        let text = missing(settings, "authentication_ip");
        pam.plainly(&text, json!({settings: authentication}));
        pam.write(json!({settings: {"use_own_credential_to_connect": true}}));
    }
    let text = missing("jit_settings", "authentication_credential");
    pam.plainly(&text, json!({"jit_settings": {"jit": true}}));
    pam.write(json!({"jit_settings": {"jit": false}}));
}

#[test]
fn settings_have_their_documented_types() {
    let pam = Pam::new();
    let cases = [
        ("execution_settings must be an object", json!({"execution_settings": 1})),
        (
            "session_settings.SQL Server must be a boolean",
            json!({"session_settings": {"SQL Server": 1}}),
        ),
        (
            "session_settings.macros must be an array of objects",
            json!({"session_settings": {"macros": {"remote_app": "MySQL"}}}),
        ),
        (
            "additional_settings.server_path must be a string",
            json!({"additional_settings": {"server_path": 7}}),
        ),
        (
            "additional_settings.criticality must be low, medium or high",
            json!({"additional_settings": {"criticality": "highest"}}),
        ),
        ("parent_password must be an integer", json!({"parent_password": "x"})),
        ("tags must be a string", json!({"tags": ["social"]})),
    ];
    for (text, more) in cases {
        pam.plainly(text, more);
    }
}

#[test]
fn additional_settings_are_an_object_or_an_array_and_notes_are_taken_from_either_place() {
    let pam = Pam::new();
    let settings = json!({"identifier": "own-one", "criticality": "High",
        "additional_authentication_fields": [{"name": "n", "short_name": "s", "value": "v"}]});
    let told = pam.write(json!({"additional_settings": [settings], "notes": "outside"}));
    assert_eq!(told, (CREATED.to_owned(), "own-one".to_owned()));
    let stored = pam.record(0)["additional_settings"].clone();
    assert_eq!((&stored["criticality"], &stored["notes"]), (&json!("High"), &json!("outside")));
    assert_eq!(stored["additional_authentication_fields"][0]["short_name"], "s");
    let told = pam.write(json!({"additional_settings": {"identifier": "own-one", "notes": "in"}}));
    assert_eq!(told.0, UPDATED);
    assert_eq!(pam.record(0)["additional_settings"]["notes"], "in");
    pam.write(json!({"username": "plain", "additional_settings": {"server_path": "/x"}}));
    assert_eq!(pam.record(1)["additional_settings"]["criticality"], "Medium");
}

#[test]
fn documented_just_in_time_settings_are_accepted() {
    let pam = Pam::new();
    let place = json!({"hostname": "API_DEVICE_1", "ip": "localhost"});
    let mut body = place.as_object().unwrap().clone();
    body.insert(
        "jit_settings".to_owned(),
        json!({
            "jit": true,
            "enable_disable_credential": true,
            "use_own_credential_to_connect": true,
            "credential_enable_plugin": "LDAP",
            "credential_enable_template": "AD - Activate User",
            "credential_disable_plugin": "LDAP",
            "credential_disable_template": "AD - Deactivate User",
        }),
    );
    pam.write(Value::Object(body.clone()));
    body["jit_settings"]["credential_disable_template"] = json!("Unknown");
    pam.numbered(1047, "Template plugin not informed", Value::Object(body.clone()));
    body["jit_settings"]["credential_enable_plugin"] = json!("Unknown");
    pam.numbered(1046, "Plugin not informed", Value::Object(body));
}

#[test]
fn every_documented_example_is_accepted() {
    let pam = Pam::new();
    let place = json!({"username": "Example caderno 3.32", "hostname": "API-Testing",
        "ip": "128.0.0.1"});
    let other = json!({"use_own_credential_to_connect": false,
        "authentication_credential": "cred2", "authentication_hostname": "gmail",
        "authentication_ip": "https://www.gmail.com"});
    let with = |more: Value| {
        let mut settings = other.as_object().unwrap().clone();
        settings.extend(more.as_object().unwrap().clone());
        settings
    };
    let execution = with(json!({"parent_credential": "cred2", "automatic_change": true,
        "agent_based_password_change": true, "change_plugin": "SSH", "change_template": "3COM",
        "status": true, "reconciliation_template": "3COM"}));
    let session = with(json!({"SSH": true, "SQL Server": true, "X11 Forward": true,
        "macros": [{"remote_app": "MySQL", "connectivity": "SSH"}]}));
    let additional = json!([{"identifier": "identifer", "user_credential_owner": "admin",
        "secret_key": "295B3LA1M6LRAHI2S7G1A36LMK6I4IWW", "criticality": "High"}]);
    let jit = with(json!({"jit": true, "credential_creation_and_deletion": true,
        "enable_disable_credential": false, "credential_creation_plugin": "SSH",
        "credential_creation_template": "Linux - Create User",
        "credential_deletion_plugin": "SSH",
        "credential_deletion_template": "Linux - Remove User"}));
    let examples = [
        json!({"execution_settings": execution}),
        json!({"session_settings": session}),
        json!({"additional_settings": additional, "notes": "only in network A"}),
        json!({"jit_settings": jit}),
    ];
    for (number, example) in examples.into_iter().enumerate() {
        let mut body = place.as_object().unwrap().clone();
        body.extend(example.as_object().unwrap().clone());
        let (message, _) = pam.write(Value::Object(body));
        assert_eq!(message == CREATED, number == 0, "{example}");
    }
    let record = pam.record(0);
    assert_eq!(record["execution_settings"]["reconciliation_template"], "3COM");
    assert_eq!(record["session_settings"]["macros"][0]["remote_app"], "MySQL");
    assert_eq!(record["additional_settings"]["notes"], "only in network A");
    assert_eq!(record["jit_settings"]["credential_deletion_template"], "Linux - Remove User");
    assert_eq!(pam.vault.credentials()[0].identifier, "identifer");
}

#[test]
fn a_form_is_as_good_as_json() {
    let pam = Pam::new();
    let settings = r#"{"use_own_credential_to_connect":true,"automatic_change":"true"}"#;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("hostname", "w2016"), ("ip", "10.66.33.15"), ("username", "")])
        .append_pair("execution_settings", settings)
        .finish();
    let (status, answer) = ask(&pam.vault, &pam.token, "POST /iso/pam/credential/", &form);
    assert_eq!(status, 201, "{answer}");
    assert_eq!(pam.record(0)["execution_settings"]["automatic_change"], true);
}
