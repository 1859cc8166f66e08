//! `runb`, the vendor's pipeline client, in its releases of 2022 and of 2025.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::DeserializeOwned};

use super::go::{self, Application, Response, Secret, decode, empty, or_zero};
use crate::dev_vault::{DevVault, Options, Quirks};

const MAPPING: &str = r#"{
    "access_keys": [{"name": "AWS_VARIABLES", "type": "aws", "fields": {
        "access_key_id": "AWS_ACCESS_KEY_ID_VARIABLE",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY_VARIABLE"
    }}],
    "credentials": [{"name": "CREDENTIAL_VARIABLES", "fields": {
        "user": "USER_VARIABLE", "password": "PASSWORD_VARIABLE", "host": "HOST_VARIABLE"
    }}],
    "key_value": [{"name": "SECRET_VARIABLES", "fields": ["SHELL", "NOT_THERE"]}]
}"#;
const ENVIRONMENT: &str = "AWS_ACCESS_KEY_ID_VARIABLE=AKIA??>>\n\
    AWS_SECRET_ACCESS_KEY_VARIABLE=a/b+c==\nUSER_VARIABLE=joe\nPASSWORD_VARIABLE=çã~~~\n\
    HOST_VARIABLE=db\nSHELL=/bin/sh\nOTHER=kept out";
const TRIPLE: [(&str, &str); 3] =
    [("application", "shop"), ("environment", "prod"), ("system", "web")];

/// The answers' top level: what any of the program's structures reads of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(deserialize_with = "or_zero")]
    id: String,
    #[serde(deserialize_with = "or_zero")]
    signature: String,
    #[serde(deserialize_with = "or_zero")]
    error: String,
    #[serde(deserialize_with = "or_zero")]
    message: String,
    #[serde(deserialize_with = "or_zero")]
    expires_in: i64,
    #[serde(deserialize_with = "or_zero")]
    token_type: String,
    #[serde(deserialize_with = "or_zero")]
    access_token: String,
    #[serde(deserialize_with = "or_zero")]
    application: Application,
    #[serde(alias = "Secrets", deserialize_with = "or_zero")]
    secrets: Vec<Secret>,
    #[serde(deserialize_with = "or_zero")]
    response: Response,
}

/// The program's session. It ignores statuses, and sends its last token with every next request.
struct Runb<'a> {
    vault: &'a DevVault,
    pair: (String, String),
    token: Option<String>,
}

impl<'a> Runb<'a> {
    fn new(vault: &'a DevVault) -> Self {
        let pair = (vault.client_id().to_owned(), vault.client_secret().to_owned());
        Self { vault, pair, token: None }
    }

    fn call(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Result<Answer, String> {
        let reply = go::call(self.vault, method, path, self.token.as_deref(), form);
        checked(decode::<Answer>(&reply.body)?)
    }

    fn authenticate(&mut self) -> Result<(), String> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.pair.0),
            ("client_secret", &self.pair.1),
        ];
        let answer = self.call("POST", "/iso/oauth2/token", &form)?;
        assert_eq!(answer.token_type, "Bearer");
        assert_eq!(answer.expires_in, 3600);
        self.token = Some(format!("Bearer {}", answer.access_token));
        Ok(())
    }

    /// Registers the application, and goes on with the pair it is answered.
    fn register(&mut self) -> Result<(), String> {
        self.authenticate()?;
        let answer = self.call("POST", "/iso/dapp/Application", &TRIPLE)?;
        if !answer.id.is_empty() && !answer.signature.is_empty() {
            self.pair = (answer.id, answer.signature);
        }
        Ok(())
    }

    fn post_variables(&mut self, more: &[(&str, &str)]) -> Result<(), String> {
        self.authenticate()?;
        let (env, map) = (coded(ENVIRONMENT), coded(MAPPING));
        let mut form = vec![("env", env.as_str()), ("map", map.as_str())];
        form.extend(more);
        self.call("POST", "/iso/cicd/variables", &form).map(drop)
    }

    fn read(&mut self, path: &str) -> Result<Answer, String> {
        self.authenticate()?;
        self.call("GET", path, &[])
    }
}

fn checked(answer: Answer) -> Result<Answer, String> {
    if !answer.error.is_empty() {
        return Err(answer.message);
    }
    if answer.response.error {
        return Err(answer.response.message);
    }
    Ok(answer)
}

/// Standard base64 in the program's own alphabet.
fn coded(text: &str) -> String {
    STANDARD.encode(text).replace('+', "-").replace('/', "_").replace('=', ",")
}

/// What the program writes for a pipeline: one variable a key, the last one winning.
fn injected(secrets: &[Secret]) -> BTreeMap<&str, &str> {
    let entries = secrets.iter().flat_map(|secret| &secret.data).flatten();
    entries.map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or_default())).collect()
}

fn expected() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("access_key_id", "AKIA??>>"),
        ("secret_access_key", "a/b+c=="),
        ("TTL", ""),
        ("host", "db"),
        ("user", "joe"),
        ("password", "çã~~~"),
        ("SHELL", "/bin/sh"),
    ])
}

#[test]
fn the_client_of_2022_runs_from_registration_to_the_application() {
    let vault = empty();
    let mut runb = Runb::new(&vault);
    runb.register().unwrap();
    assert_ne!(runb.pair.0, vault.client_id());
    runb.post_variables(&[]).unwrap();
    let answer = runb.read("/iso/dapp/Application").unwrap();
    let application = &answer.application;
    assert_eq!((answer.response.status, answer.response.error_code), (200, 0));
    assert_eq!(application.name, "shop");
    assert_eq!((application.system.as_str(), application.environment.as_str()), ("web", "prod"));
    assert_eq!(application.description, "");
    assert_eq!(application.tags, [""]);
    assert_eq!(injected(&application.secrets), expected());
    let paths = [
        "POST /iso/oauth2/token",
        "POST /iso/dapp/Application",
        "POST /iso/oauth2/token",
        "POST /iso/cicd/variables",
        "POST /iso/oauth2/token",
        "GET /iso/dapp/Application",
    ];
    let asked = vault.requests();
    let asked = asked.iter().map(|request| format!("{} {}", request.method, request.target));
    assert!(asked.eq(paths), "{:?}", vault.requests());
    assert!(vault.requests().iter().all(|request| request.status == Some(200)));
}

#[test]
fn both_clients_run_against_a_vault_of_before_4_0() {
    let vault = empty();
    vault.configure(|options| options.quirks = Quirks::legacy());
    let mut runb = Runb::new(&vault);
    runb.register().unwrap();
    assert_ne!(runb.pair.0, vault.client_id());
    runb.post_variables(&[]).unwrap();
    let answer = runb.read("/iso/dapp/Application").unwrap();
    assert_eq!(injected(&answer.application.secrets), expected());
    let answer = runb.read("/iso/sctm/secret").unwrap();
    assert_eq!(injected(&answer.secrets), expected());
}

#[test]
fn the_client_of_2025_runs_from_registration_to_the_list() {
    let vault = empty();
    let mut runb = Runb::new(&vault);
    runb.register().unwrap();
    runb.post_variables(&[]).unwrap();
    let answer = runb.read("/iso/sctm/secret").unwrap();
    assert_eq!(injected(&answer.secrets), expected());
    let versions = answer.secrets.iter().map(|secret| secret.version.as_str());
    assert!(versions.eq(["1", "1", "1"]));
    assert!(answer.secrets.iter().all(|secret| secret.engine == "Generic"));
    runb.post_variables(&[]).unwrap();
    let answer = runb.read("/iso/sctm/secret").unwrap();
    assert!(answer.secrets.iter().all(|secret| secret.version == "2"));
}

#[test]
fn the_first_release_also_sends_helm_and_an_empty_mapping() {
    let vault = empty();
    let mut runb = Runb::new(&vault);
    runb.register().unwrap();
    runb.post_variables(&[("helm", "")]).unwrap();
    runb.authenticate().unwrap();
    let env = coded(ENVIRONMENT);
    let form = [("env", env.as_str()), ("map", "")];
    runb.call("POST", "/iso/cicd/variables", &form).unwrap();
    assert_eq!(runb.read("/iso/dapp/Application").unwrap().application.secrets.len(), 3);
}

#[test]
fn the_token_before_is_sent_for_the_next_one_and_ignored() {
    let vault = empty();
    let mut runb = Runb::new(&vault);
    runb.authenticate().unwrap();
    let first = runb.token.clone();
    runb.authenticate().unwrap();
    assert_ne!(runb.token, first);
    assert_eq!(vault.requests().last().unwrap().header("authorization"), first.as_deref());
    // The older token still opens the vault.
    runb.token = first;
    runb.call("GET", "/iso/dapp/Application", &[]).unwrap();
    for stale in ["Bearer ", "Bearer no.such.token"] {
        runb.token = Some(stale.to_owned());
        runb.authenticate().unwrap();
    }
}

#[test]
fn registering_again_gives_the_same_pair() {
    let vault = empty();
    let (mut one, mut other) = (Runb::new(&vault), Runb::new(&vault));
    one.register().unwrap();
    other.register().unwrap();
    assert_eq!(one.pair, other.pair);
    // The program registers with the pair it got, too.
    one.register().unwrap();
    assert_eq!(one.pair, other.pair);
}

#[test]
fn where_registration_is_forbidden_only_a_known_application_is_answered() {
    let vault = empty();
    let mut runb = Runb::new(&vault);
    runb.register().unwrap();
    let pair = runb.pair.clone();
    vault.configure(|options| options.registration = false);
    let mut again = Runb::new(&vault);
    again.register().unwrap();
    assert_eq!(again.pair, pair);
    let unknown = [("application", "other"), ("environment", "prod"), ("system", "web")];
    let refused = again.call("POST", "/iso/dapp/Application", &unknown).unwrap_err();
    assert_eq!(refused, "You are not authorized to access this resource.");
}

#[test]
fn the_errors_are_those_the_client_can_show() {
    let vault = empty();
    let mut runb = Runb::new(&vault);
    runb.authenticate().unwrap();
    runb.pair.1 = "wrong".to_owned();
    assert_eq!(runb.authenticate().unwrap_err(), "Client authentication failed");
    vault.set_enabled(false);
    let refused = runb.call("GET", "/iso/dapp/Application", &[]).unwrap_err();
    assert_eq!(refused, "Inactive authorization");
    vault.set_enabled(true);
    let refused = runb.call("POST", "/iso/cicd/variables", &[("env", "%")]).unwrap_err();
    assert_eq!(refused, "Invalid base64");
}

#[test]
fn a_number_where_the_client_reads_text_would_be_noticed_here() {
    let vault = DevVault::start(Options::default());
    fn fails<T: DeserializeOwned>(runb: &mut Runb<'_>) -> bool {
        runb.authenticate().unwrap();
        let token = runb.token.as_deref();
        let reply = go::call(runb.vault, "GET", "/iso/dapp/Application", token, &[]);
        decode::<T>(&reply.body).is_err()
    }
    let mut runb = Runb::new(&vault);
    assert!(!fails::<Answer>(&mut runb));
    for quirks in [
        Quirks { numbers: true, ..Quirks::default() },
        Quirks { object_data: true, ..Quirks::default() },
    ] {
        vault.configure(|options| options.quirks = quirks);
        assert!(fails::<Answer>(&mut runb), "{quirks:?}");
    }
    vault.configure(|options| options.quirks = Quirks { nulls: true, ..Quirks::default() });
    assert!(!fails::<Answer>(&mut runb), "null is a text's zero");
}
