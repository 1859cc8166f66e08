//! `POST /iso/cicd/variables`: a pipeline's variables become secrets by a mapping.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    super::{
        call::base64,
        state::State,
        store::{
            data::{Entry, Fields, Kind},
            pam::Pam,
        },
        wire::Answer,
    },
    Caller,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mapping {
    access_keys: Vec<Named<Fields>>,
    credentials: Vec<Named<Place>>,
    key_value: Vec<Named<Vec<String>>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    fields: T,
}

/// Each field names a variable.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    host: Option<String>,
    user: Option<String>,
    password: Option<String>,
    additional_information: Option<String>,
}

/// Writes one secret for each name in the mapping, with the values of the variables it names.
///
/// Variables that no mapping names are not kept, and a mapping's unknown variables are left out.
pub fn write(state: &mut State, caller: Caller, params: &Fields) -> Answer {
    let wire = state.wire();
    let text = |name| match params.filled(name) {
        None => Some(String::new()),
        Some(coded) => String::from_utf8(base64(&coded)?).ok(),
    };
    let (Some(env), Some(map)) = (text("env"), text("map")) else {
        return wire.error(400, 1, "Invalid base64");
    };
    let variables: HashMap<&str, &str> =
        env.lines().filter_map(|line| line.split_once('=')).collect();
    let mapping =
        if map.trim().is_empty() { Ok(Mapping::default()) } else { serde_json::from_str(&map) };
    let Ok(mapping) = mapping else {
        return wire.error(400, 1, "Invalid mapping");
    };
    let mut secrets: Vec<(String, Vec<Entry>)> = Vec::new();
    for (name, entry) in mapping.entries(&variables, &state.store.pam) {
        match secrets.iter_mut().find(|(known, _)| *known == name) {
            Some((_, entries)) => entries.push(entry),
            None => secrets.push((name, vec![entry])),
        }
    }
    for (name, entries) in secrets {
        if let Some(secret) = state.store.upsert(caller.authorization, &name) {
            secret.base = entries;
            secret.bump();
        }
    }
    wire.success(200, "Variables registered successfully.", ())
}

impl Mapping {
    fn entries(self, variables: &HashMap<&str, &str>, pam: &Pam) -> Vec<(String, Entry)> {
        let value = |variable: Option<String>| variables.get(variable?.as_str()).copied();
        let fields = |pairs: Vec<(&str, Option<&str>)>| {
            let mut fields = Fields::default();
            for (name, value) in pairs {
                if let Some(value) = value {
                    fields.set_text(name, value);
                }
            }
            fields
        };
        let keys = self.access_keys.into_iter().map(|Named { name, fields: keys }| {
            // Each cloud has names of its own.
            let named = keys.0.iter().map(|(name, _)| (name.as_str(), value(keys.text(name))));
            let fields = fields(named.chain([("TTL", Some(""))]).collect());
            (name, Entry::new(Kind::CloudKey, fields))
        });
        let credentials = self.credentials.into_iter().map(|Named { name, fields: place }| {
            let (host, user) = (value(place.host), value(place.user));
            let rest = [
                ("password", value(place.password)),
                ("additional_information", value(place.additional_information)),
            ];
            let known = pam.credentials.iter().find(|known| {
                Some(known.hostname.as_str()) == host && Some(known.username.as_str()) == user
            });
            // What PAM doesn't know is stored as key/value pairs, under the mapping's own names.
            let (kind, names) = match known {
                Some(_) => (Kind::Credential, ["hostname", "username"]),
                None => (Kind::KeyValue, ["host", "user"]),
            };
            let [host_name, user_name] = names;
            let mut pairs = vec![(host_name, host), (user_name, user)];
            pairs.extend(rest);
            pairs.push(("ip", known.map(|known| known.ip.as_str())));
            (name, Entry::new(kind, fields(pairs)))
        });
        let pairs = self.key_value.into_iter().map(|Named { name, fields: named }| {
            let mut fields = Fields::default();
            for variable in named {
                if let Some(value) = variables.get(variable.as_str()) {
                    fields.set_text(&variable, value);
                }
            }
            (name, Entry::new(Kind::KeyValue, fields))
        });
        keys.chain(credentials).chain(pairs).collect()
    }
}
