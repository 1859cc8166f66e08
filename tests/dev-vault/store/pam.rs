//! PAM: the devices that are registered, and the credentials on them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    data::Fields,
    settings::{ADDITIONAL, EXECUTION, JIT, SESSION, Shape},
};

/// Domains that a device may have.
pub const DOMAINS: [&str; 4] =
    ["example.com", "corp.example", "qakm.lab.mt4.dev", "my_device_domain"];
/// Plugins that just-in-time settings may name.
pub const PLUGINS: [&str; 4] = ["SSH", "LDAP", "Windows RPC", "Microsoft SQL Server"];
/// Templates that just-in-time settings may name.
pub const TEMPLATES: [&str; 7] = [
    "3COM",
    "Linux",
    "Windows",
    "Linux - Create User",
    "Linux - Remove User",
    "AD - Activate User",
    "AD - Deactivate User",
];
/// Users of the vault, who may own a credential.
pub const USERS: [&str; 2] = ["admin", "operator"];

/// The parameters that are text, and that a new credential hasn't.
const TEXTS: [&str; 12] = [
    "content",
    "additional",
    "tags",
    "domain",
    "type",
    "vendor",
    "model",
    "site",
    "device_domain",
    "device_tags",
    "connectivities",
    "session_remote_config",
];
const SHAPES: [Shape; 4] = [EXECUTION, SESSION, ADDITIONAL, JIT];

/// The user of a credential whose request leaves the name blank.
const USER: &str = "usr";

/// Devices and credentials.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pam {
    /// Credentials can only be made on these.
    pub devices: Vec<Device>,
    /// In the order they were made.
    pub credentials: Vec<Credential>,
    next_id: u32,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its host name.
    pub hostname: String,
    /// Its address.
    pub ip: String,
}

/// A stored credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The vault's number for it, as text.
    pub id: String,
    /// What requests call it.
    pub identifier: String,
    /// `usr` where the request gave none.
    pub username: String,
    /// Of its device.
    pub hostname: String,
    /// Of its device.
    pub ip: String,
    /// Every documented parameter, with the documents' defaults.
    pub record: Map<String, Value>,
    /// All that was ever sent for it; the latest value of each parameter.
    pub sent: Fields,
}

/// A request for a credential, whose parts were found to be right.
#[derive(Debug)]
pub struct Wanted {
    /// What the request calls it, unless that is blank.
    pub identifier: Option<String>,
    /// Nothing where it was sent empty.
    pub username: Option<String>,
    /// The device it is on.
    pub device: Device,
    /// The documented parameters it states.
    pub stated: Map<String, Value>,
    /// All that was sent.
    pub sent: Fields,
}

impl Default for Pam {
    fn default() -> Self {
        let devices = [
            ("w2016", "10.66.33.15"),
            ("API-Testing", "128.0.0.1"),
            ("API_DEVICE_1", "localhost"),
            ("TEAM-PRODUTOS-Windows-Server-2016-001", "10.66.32.13"),
            ("WinSUP", "10.66.32.10"),
        ];
        Self {
            devices: devices
                .into_iter()
                .map(|(hostname, ip)| Device { hostname: hostname.to_owned(), ip: ip.to_owned() })
                .collect(),
            credentials: Vec::new(),
            next_id: 151,
        }
    }
}

impl Pam {
    /// Registers a device, unless it is there.
    pub fn register(&mut self, device: Device) {
        if !self.devices.contains(&device) {
            self.devices.push(device);
        }
    }

    /// The credential that a request means.
    ///
    /// An identifier that exists decides. Else host name, address and user name do.
    fn find(&self, wanted: &Wanted) -> Option<usize> {
        let user = wanted.username.as_deref().unwrap_or(USER);
        let named = |known: &Credential| Some(&known.identifier) == wanted.identifier.as_ref();
        let placed = |known: &Credential| {
            known.username == user
                && known.hostname == wanted.device.hostname
                && known.ip == wanted.device.ip
        };
        let mut known = self.credentials.iter();
        known.position(named).or_else(|| self.credentials.iter().position(placed))
    }

    /// What a credential's settings would be after a request.
    pub fn record(&self, wanted: &Wanted) -> Map<String, Value> {
        let found = self.find(wanted).and_then(|at| self.credentials.get(at));
        let mut record = found.map_or_else(new_record, |known| known.record.clone());
        for (name, value) in &wanted.stated {
            let shape = SHAPES.iter().find(|shape| shape.name == name);
            match (shape, value.as_object()) {
                (Some(shape), Some(stated)) => {
                    let before = record.get(name).and_then(Value::as_object).cloned();
                    let mut settings = before.unwrap_or_else(|| shape.defaults());
                    settings.extend(stated.clone());
                    record.insert(name.clone(), Value::Object(settings));
                }
                _ => drop(record.insert(name.clone(), value.clone())),
            }
        }
        record
    }

    /// Makes a credential, or updates the identified one, and returns whether it is new.
    ///
    /// A new identifier replaces the old one; a blank one leaves it. A blank user name is `usr`, of a
    /// credential that is known as well: the page has this default and names no exception.
    pub fn write(&mut self, wanted: Wanted) -> (&Credential, bool) {
        let record = self.record(&wanted);
        let found = self.find(&wanted);
        let at = found.unwrap_or(self.credentials.len());
        if found.is_none() {
            self.next_id += 1;
            self.credentials.push(Credential {
                id: self.next_id.to_string(),
                identifier: uuid_v7(),
                username: USER.to_owned(),
                hostname: String::new(),
                ip: String::new(),
                record: Map::new(),
                sent: Fields::default(),
            });
        }
        let credential =
            self.credentials.get_mut(at).expect("the position was found, or just pushed");
        if let Some(identifier) = wanted.identifier {
            credential.identifier = identifier;
        }
        credential.username = wanted.username.unwrap_or_else(|| USER.to_owned());
        credential.hostname = wanted.device.hostname;
        credential.ip = wanted.device.ip;
        credential.record = record;
        for (name, value) in wanted.sent.0 {
            credential.sent.set(&name, value);
        }
        (credential, found.is_none())
    }
}

/// The documented parameters that a request states, each of its type.
pub fn stated(sent: &Fields) -> Result<Map<String, Value>, String> {
    let mut stated = Map::new();
    for name in TEXTS.into_iter().chain(["credential_type"]) {
        if sent.last(name).is_some_and(|raw| raw.get().starts_with(['{', '['])) {
            return Err(format!("{name} must be a string"));
        }
        if let Some(text) = sent.filled(name) {
            stated.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(parent) = sent.filled("parent_password") {
        let id: u64 = parent.parse().map_err(|_| "parent_password must be an integer")?;
        stated.insert("parent_password".to_owned(), json!(id));
    }
    for shape in SHAPES {
        let raw = sent.last(shape.name).and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Some(raw) = raw.filter(|raw| *raw != Value::Null && *raw != json!("")) else {
            continue;
        };
        stated.insert(shape.name.to_owned(), Value::Object(shape.read(&raw)?));
    }
    // The documents have notes in two places.
    if let Some(notes) = sent.filled("notes") {
        let additional = stated.entry(ADDITIONAL.name).or_insert_with(|| json!({}));
        if let Some(additional) = additional.as_object_mut() {
            additional.insert("notes".to_owned(), json!(notes));
        }
    }
    Ok(stated)
}

fn new_record() -> Map<String, Value> {
    let nothing = TEXTS.into_iter().chain(["parent_password"]).chain(SHAPES.map(|one| one.name));
    let mut record: Map<_, _> = nothing.map(|name| (name.to_owned(), Value::Null)).collect();
    record.insert("credential_type".to_owned(), json!("Local User"));
    record
}

#[expect(
    clippy::disallowed_methods,
    reason = "a UUID of version 7 starts with the wall clock, and nothing is decided by it"
)]
fn uuid_v7() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |age| age.as_millis()) & 0xffff_ffff_ffff;
    let (a, b) = (fastrand::u16(..) & 0x0fff, fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-7{a:03x}-{:04x}-{:012x}",
        millis >> 16,
        millis & 0xffff,
        (b >> 48) & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}
