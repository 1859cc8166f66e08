//! Secrets: list, read one, create or update.

use serde_json::value::RawValue;

use super::{
    super::{
        call::base64,
        state::State,
        store::{
            Key,
            data::{self, Fields, Kind},
            date,
            secret::Secret,
        },
        wire::{Answer, InSecret, InSecrets},
    },
    Caller, script, view,
};

/// The engines that are registered.
const ENGINES: [&str; 4] = ["Generic", "Kubernetes", "Ansible", "GitLab"];

/// The secrets that the caller's authorization is linked to.
pub fn list(state: &mut State, caller: Caller) -> Answer {
    let wire = state.wire_for(caller.authorization);
    let linked = state
        .store
        .authorization(caller.authorization)
        .map(|authorization| authorization.secrets.clone())
        .unwrap_or_default();
    let secrets = state
        .store
        .secrets
        .iter()
        .filter(|secret| linked.contains(&secret.id))
        .map(|secret| view(&wire, secret))
        .collect();
    wire.success(200, "Secrets", InSecrets { secrets })
}

/// One secret, without what was made for single pods.
pub fn read(state: &mut State, caller: Caller, identity: &str) -> Answer {
    let wire = state.wire_for(caller.authorization);
    let key = Key::Identity(identity.to_owned());
    match state.store.secret(caller.application, &key) {
        Some(secret) => {
            let secret = view(&wire, secret);
            wire.success(200, "Secret", InSecret { secret })
        }
        None => wire.not_found(),
    }
}

/// Creates or updates the secret of an identity, and raises its version.
///
/// Both are answered with the one documented message. Anything wrong with the request is found
/// before anything is changed.
pub fn write(state: &mut State, caller: Caller, params: &Fields) -> Answer {
    let wire = state.wire_for(caller.authorization);
    let change = match Change::read(state, params) {
        Ok(change) => change,
        Err(problem) => return wire.error(400, 1, problem),
    };
    let Some(secret) = state.store.upsert(caller.authorization, &change.identity) else {
        return wire.not_found();
    };
    change.apply(secret);
    let secret = view(&wire, secret);
    match state.store.place(caller.authorization) {
        Some((application, authorization)) => {
            let content = wire.application(application, authorization, vec![secret]);
            wire.success(201, "Secret created successfully.", content)
        }
        None => wire.not_found(),
    }
}

/// A write that was found to be right. What is absent stays as it is.
struct Change {
    identity: String,
    name: Option<String>,
    description: Option<String>,
    expiration_date: Option<String>,
    engine: Option<String>,
    renew: [Option<Option<u32>>; 3],
    data: Option<Data>,
}

enum Data {
    Plain(Fields),
    Script(script::Expanded),
}

impl Change {
    fn read(state: &State, params: &Fields) -> Result<Self, &'static str> {
        let engine = match params.filled("engine") {
            None => None,
            Some(name) => Some(
                ENGINES
                    .into_iter()
                    .find(|known| known.eq_ignore_ascii_case(&name))
                    .ok_or("Engine not found")?
                    .to_owned(),
            ),
        };
        let renew = [
            renew(params.last("renew_cloud_time"))?,
            renew(params.last("renew_credential_time"))?,
            renew(params.last("renew_ephemeral_credential_time"))?,
        ];
        let sent = params.last("data").or_else(|| params.last("date"));
        let data = match sent.map(document).transpose()?.flatten() {
            None => None,
            Some(text) if script::is_script(&text) => {
                let script = script::parse(&text).ok_or("Invalid data")?;
                Some(Data::Script(script.expand(&state.store.pam)))
            }
            Some(text) => {
                let fields: Fields = serde_json::from_str(&text).map_err(|_| "Invalid data")?;
                Some(Data::Plain(fields.flat().ok_or("Invalid data")?))
            }
        };
        Ok(Self {
            identity: params.filled("identity").ok_or("identity is required")?,
            name: params.filled("name"),
            description: params.text("description"),
            expiration_date: params
                .text("expiration_date")
                .map(|stated| date::spelled(&stated).unwrap_or(stated)),
            engine,
            renew,
            data,
        })
    }

    fn apply(self, secret: &mut Secret) {
        let texts = [
            (self.name, &mut secret.name),
            (self.expiration_date, &mut secret.expiration_date),
            (self.engine, &mut secret.engine),
        ];
        for (stated, field) in texts {
            if let Some(text) = stated {
                *field = text;
            }
        }
        if let Some(text) = self.description {
            secret.description = Some(text);
        }
        let times =
            [&mut secret.renew.cloud, &mut secret.renew.credential, &mut secret.renew.ephemeral];
        for (stated, field) in self.renew.into_iter().zip(times) {
            if let Some(minutes) = stated {
                *field = minutes;
            }
        }
        match self.data {
            Some(Data::Plain(fields)) => {
                secret.base = vec![data::Entry::new(Kind::Plain, fields)];
            }
            Some(Data::Script(expanded)) => expanded.apply(secret),
            None => {}
        }
        secret.bump();
    }
}

/// Minutes between renewals: absent, null or empty changes nothing, 0, false or `[]` is off.
fn renew(raw: Option<&RawValue>) -> Result<Option<Option<u32>>, &'static str> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    match raw.get().trim_matches('"') {
        "null" | "" => Ok(None),
        "[]" | "false" | "0" => Ok(Some(None)),
        digits => match digits.parse() {
            Ok(minutes) if minutes >= 10 => Ok(Some(Some(minutes))),
            _ => Err("Renewal times are integers of 10 minutes or more"),
        },
    }
}

/// The JSON text in `data`: unchanged, or in base64. Nothing for an empty one.
fn document(raw: &RawValue) -> Result<Option<String>, &'static str> {
    let text = match data::text(raw) {
        _ if raw.get() == "null" => return Ok(None),
        None => return Ok(Some(raw.get().to_owned())),
        Some(text) => text,
    };
    match text.trim() {
        "" => Ok(None),
        json if json.starts_with('{') => Ok(Some(json.to_owned())),
        coded => base64(coded)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map(Some)
            .ok_or("Invalid base64"),
    }
}
