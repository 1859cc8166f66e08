//! The vault's JSON: envelopes, errors, and how a secret is shown.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    encrypt::Sealer,
    options::Quirks,
    store::{
        Application,
        authorization::Authorization,
        data::{self, Entry, Fields},
        secret::Secret,
    },
};

/// The gateway's answer to what it doesn't know or doesn't allow.
pub const NO_ROUTE: &str = r#"{"message":"no Route matched with those values"}"#;

/// A whole HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside `Content-Type` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// JSON, except in faults.
    pub body: String,
}

impl Answer {
    /// This text.
    pub fn raw(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// This value as JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("answers hold nothing that JSON can't");
        Self::raw(status, body)
    }

    /// The gateway knows no such route, or doesn't let the caller know of it.
    pub fn no_route() -> Self {
        Self::raw(404, NO_ROUTE)
    }

    /// The gateway refuses a token that is no longer good.
    pub fn expired() -> Self {
        Self::raw(401, r#"{"exp":"token expired"}"#)
    }

    /// The gateway refuses a token that it hasn't made.
    pub fn invalid_signature() -> Self {
        Self::raw(401, r#"{"message":"Invalid signature"}"#)
    }
}

/// What decides the shape of answers.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Departures from the documents.
    pub quirks: Quirks,
    /// Present if sensitive values leave encrypted.
    pub sealer: Option<Arc<Sealer>>,
}

impl Wire {
    /// A success with content beside the envelope.
    pub fn success(&self, status: u16, message: &str, content: impl Serialize) -> Answer {
        self.envelope(status, message, 0, content)
    }

    /// An error. Code 1 is the usual one; 4 goes with "Resource sub not found".
    pub fn error(&self, status: u16, error_code: u16, message: &str) -> Answer {
        self.envelope(status, message, error_code, ())
    }

    /// The vault's answer to a route or a thing that isn't there.
    pub fn not_found(&self) -> Answer {
        self.error(404, 4, "Resource sub not found")
    }

    /// The vault's answer where something goes wrong that it has no words for.
    pub fn unexpected(&self) -> Answer {
        self.error(500, 1, "Unexpected error.")
    }

    /// A business error with its number.
    pub fn business(&self, number: u16, text: &str) -> Answer {
        let message = format!("{number}: {text}");
        let exception = json!({"code": number, "message": message, "detail": null});
        self.envelope(400, &message, 1, Exception { exception })
    }

    fn envelope(&self, status: u16, message: &str, code: u16, content: impl Serialize) -> Answer {
        let english = !self.quirks.portuguese_only;
        let envelope = Envelope {
            code: english.then_some(status),
            response: Response {
                status: self.quirks.inner_status.unwrap_or(status),
                message: english.then_some(message),
                error: english.then_some(code != 0),
                error_code: english.then_some(code),
                detail: english.then_some(""),
                mensagem: message,
                erro: code != 0,
                cod_erro: english.then_some(code),
            },
            tenant: english.then_some("Segura"),
            content,
        };
        Answer::json(status, &envelope)
    }

    /// A secret with these entries.
    pub fn secret(&self, secret: &Secret, entries: Vec<Entry>) -> SecretView {
        let entries: Vec<Entry> = entries.into_iter().map(|entry| self.seal(entry)).collect();
        self.view(secret, Self::data(entries, self.quirks.object_data))
    }

    /// A secret with these entries, in the answer of provision.
    pub fn provisioned(&self, secret: &Secret, entries: Vec<Entry>) -> SecretView {
        let entries: Vec<Entry> = entries.into_iter().map(|entry| self.seal(entry)).collect();
        let object = self.quirks.object_data || self.quirks.object_provisioned;
        self.view(secret, Self::data(entries, object))
    }

    fn data(entries: Vec<Entry>, object: bool) -> Data {
        if object {
            Data::Object(data::flatten(&entries))
        } else {
            Data::Array(entries.into_iter().map(|entry| entry.fields).collect())
        }
    }

    fn view(&self, secret: &Secret, data: Data) -> SecretView {
        let renew = |minutes: Option<u32>| minutes.map_or(Value::Bool(false), Value::from);
        SecretView {
            secret_id: self.number(&secret.id),
            secret_name: secret.name.clone(),
            identity: secret.identity.clone(),
            version: self.number(&secret.version),
            description: match &secret.description {
                Some(text) => Some(json!(text)),
                None => self.quirks.nulls.then_some(Value::Null),
            },
            expiration_date: self.blank(&secret.expiration_date),
            engine: secret.engine.clone(),
            renew_cloud_time: renew(secret.renew.cloud),
            renew_credential_time: renew(secret.renew.credential),
            renew_ephemeral_credential_time: renew(secret.renew.ephemeral),
            data,
        }
    }

    /// An application with these secrets.
    pub fn application(
        &self,
        application: &Application,
        authorization: &Authorization,
        secrets: Vec<SecretView>,
    ) -> InApplication {
        InApplication {
            application: ApplicationView {
                name: application.name.clone(),
                description: application.description.clone(),
                tags: application.tags.clone(),
                system: authorization.system.clone(),
                environment: authorization.environment.clone(),
                secrets,
            },
        }
    }

    fn seal(&self, mut entry: Entry) -> Entry {
        if let Some(sealer) = &self.sealer {
            for name in &entry.sealed {
                if let Some(text) = entry.fields.text(name) {
                    entry.fields.set_text(name, &sealer.seal(&text));
                }
            }
        }
        entry
    }

    fn number(&self, text: &str) -> Value {
        match text.parse::<u64>() {
            Ok(number) if self.quirks.numbers => json!(number),
            _ => self.blank(text),
        }
    }

    fn blank(&self, text: &str) -> Value {
        if text.is_empty() && self.quirks.nulls { Value::Null } else { json!(text) }
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    response: Response<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
struct Response<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    mensagem: &'a str,
    erro: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cod_erro: Option<u16>,
}

#[derive(Serialize)]
struct Exception {
    exception: Value,
}

/// Content of one secret.
#[derive(Serialize)]
pub struct InSecret {
    /// The secret.
    pub secret: SecretView,
}

/// Content of a list of secrets. The capital is the specification's.
#[derive(Serialize)]
pub struct InSecrets {
    /// The secrets.
    #[serde(rename = "Secrets")]
    pub secrets: Vec<SecretView>,
}

/// Content of an application.
#[derive(Serialize)]
pub struct InApplication {
    application: ApplicationView,
}

#[derive(Serialize)]
struct ApplicationView {
    name: String,
    description: Option<String>,
    tags: Vec<String>,
    system: String,
    environment: String,
    secrets: Vec<SecretView>,
}

/// A secret as it is answered.
#[derive(Serialize)]
pub struct SecretView {
    secret_id: Value,
    secret_name: String,
    identity: String,
    version: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Value>,
    expiration_date: Value,
    engine: String,
    renew_cloud_time: Value,
    renew_credential_time: Value,
    renew_ephemeral_credential_time: Value,
    data: Data,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Array(Vec<Fields>),
    Object(Fields),
}
