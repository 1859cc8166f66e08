//! The data script of `POST /iso/sctm/secret`: access keys, credentials and key/value pairs.

use std::{collections::BTreeMap, mem};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::store::{
    data::{Entry, Fields, Kind, SENSITIVE},
    pam::Pam,
    secret::Secret,
};

/// The names under which a registered credential shows what has no label.
const CREDENTIAL: [(&str, &str); 4] = [
    ("host", "hostname"),
    ("user", "username"),
    ("password", "password"),
    ("additional_information", "additional_information"),
];

/// A script as it is sent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Script {
    access_keys: Vec<AccessKey>,
    credentials: Vec<Credential>,
    key_value: Option<Content>,
}

#[derive(Deserialize)]
struct AccessKey {
    access_key: Content,
}

#[derive(Deserialize)]
struct Credential {
    credential: Content,
}

#[derive(Deserialize)]
struct Content {
    fields: Fields,
}

/// What a script makes of a secret.
pub struct Expanded {
    own: Vec<Entry>,
    pairs: BTreeMap<String, Box<RawValue>>,
}

/// Whether a document is a script, and not plain data.
pub fn is_script(text: &str) -> bool {
    serde_json::from_str::<Fields>(text).is_ok_and(|fields| {
        ["access_keys", "credentials", "key_value"]
            .iter()
            .any(|part| fields.last(part).is_some_and(|raw| !raw.get().starts_with('"')))
    })
}

/// Reads a script. Every value becomes text, or is null.
pub fn parse(text: &str) -> Option<Script> {
    let mut script: Script = serde_json::from_str(text).ok()?;
    let keys = script.access_keys.iter_mut().map(|key| &mut key.access_key);
    let credentials = script.credentials.iter_mut().map(|one| &mut one.credential);
    for content in keys.chain(credentials).chain(&mut script.key_value) {
        content.fields = mem::take(&mut content.fields).flat()?;
    }
    Some(script)
}

impl Script {
    /// Turns labels into names.
    ///
    /// An access key is an entry of its own, with an empty `TTL`. So is a credential that PAM
    /// knows; of any other, the labelled fields join the key/value pairs, a later label winning.
    pub fn expand(self, pam: &Pam) -> Expanded {
        let mut own = Vec::new();
        let mut pairs = BTreeMap::new();
        for AccessKey { access_key } in self.access_keys {
            // Each cloud has names of its own, and they stay in their order.
            let names = access_key.fields.0.iter().map(|(name, _)| name.as_str());
            let names: Vec<_> =
                names.filter(|name| !name.ends_with("_label")).map(|name| (name, name)).collect();
            let mut entry = labelled(Kind::CloudKey, &access_key.fields, &names);
            entry.fields.set_text("TTL", "");
            own.push(entry);
        }
        for Credential { credential } in self.credentials {
            let fields = credential.fields;
            let [host, user] = ["host", "user"].map(|name| fields.text(name));
            let known = pam.credentials.iter().find(|known| {
                Some(&known.hostname) == host.as_ref() && Some(&known.username) == user.as_ref()
            });
            if let Some(known) = known {
                let mut entry = labelled(Kind::Credential, &fields, &CREDENTIAL);
                entry.fields.set_text("ip", &known.ip);
                own.push(entry);
                continue;
            }
            for (name, _) in CREDENTIAL {
                if let (Some(label), Some(value)) = (label(&fields, name), fields.last(name)) {
                    pairs.insert(label, value.to_owned());
                }
            }
        }
        if let Some(Content { fields }) = self.key_value {
            pairs.extend(fields.0);
        }
        Expanded { own, pairs }
    }
}

impl Expanded {
    /// Replaces a secret's entries. Its earlier key/value pairs stay where no new one has the name.
    pub fn apply(self, secret: &mut Secret) {
        let mut pairs: BTreeMap<String, Box<RawValue>> = secret
            .base
            .drain(..)
            .filter(|entry| entry.kind == Kind::KeyValue)
            .flat_map(|entry| entry.fields.0)
            .collect();
        pairs.extend(self.pairs);
        secret.base = self.own;
        if !pairs.is_empty() {
            let fields = Fields(pairs.into_iter().collect());
            secret.base.push(Entry::new(Kind::KeyValue, fields));
        }
    }
}

fn label(fields: &Fields, name: &str) -> Option<String> {
    fields.filled(&format!("{name}_label"))
}

fn labelled(kind: Kind, fields: &Fields, names: &[(&str, &str)]) -> Entry {
    let mut shown = Fields::default();
    let mut sealed = Vec::new();
    for &(name, default) in names {
        let Some(value) = fields.last(name) else {
            continue;
        };
        let label = label(fields, name).unwrap_or_else(|| default.to_owned());
        shown.set(&label, value.to_owned());
        if SENSITIVE.contains(&name) {
            sealed.push(label);
        }
    }
    Entry { kind, fields: shown, sealed }
}
