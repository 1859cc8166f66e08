//! `POST /iso/cicd/variables`: a pipeline's variables become secrets by a mapping.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    super::{
        call::base64,
        state::State,
        store::data::{Entry, Fields, Kind},
        wire::Answer,
    },
    Caller,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mapping {
    access_keys: Vec<Named<HashMap<String, String>>>,
    credentials: Vec<Named<HashMap<String, String>>>,
    key_value: Vec<Named<Vec<String>>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    fields: T,
}

/// Writes one secret for each mapping, with the values of the variables that it names.
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
    for (name, entry) in mapping.entries(&variables) {
        if let Some(secret) = state.store.upsert(caller.authorization, &name) {
            secret.base = vec![entry];
            secret.bump();
        }
    }
    wire.success(200, "Variables registered successfully.", ())
}

impl Mapping {
    fn entries(self, variables: &HashMap<&str, &str>) -> Vec<(String, Entry)> {
        let entry = |kind, names: Vec<(String, String)>| {
            let mut fields = Fields::default();
            for (name, variable) in names {
                if let Some(value) = variables.get(variable.as_str()) {
                    fields.set_text(&name, value);
                }
            }
            Entry::new(kind, fields)
        };
        let keyed = |kind, mappings: Vec<Named<HashMap<String, String>>>| {
            mappings.into_iter().map(move |mapping| {
                let mut names: Vec<_> = mapping.fields.into_iter().collect();
                names.sort();
                (mapping.name, entry(kind, names))
            })
        };
        let pairs = self.key_value.into_iter().map(|mapping| {
            let names = mapping.fields.into_iter();
            let names = names.map(|name| (name.clone(), name)).collect();
            (mapping.name, entry(Kind::KeyValue, names))
        });
        keyed(Kind::CloudKey, self.access_keys)
            .chain(keyed(Kind::Credential, self.credentials))
            .chain(pairs)
            .collect()
    }
}
