//! PAM: the devices that are registered, and the credentials on them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::data::Fields;

/// Devices, credentials, and the names that settings may refer to.
#[derive(Debug)]
pub struct Pam {
    /// Credentials can only be made on these.
    pub devices: Vec<Device>,
    /// In the order they were made.
    pub credentials: Vec<Credential>,
    /// Domains that a device may be said to be in.
    pub domains: Vec<&'static str>,
    /// Plugins that just-in-time settings may name.
    pub plugins: Vec<&'static str>,
    /// Templates that just-in-time settings may name.
    pub templates: Vec<&'static str>,
    next_id: u32,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its host name.
    pub hostname: String,
    /// Its address.
    pub ip: String,
}

/// A stored credential.
#[derive(Clone, Debug, Serialize)]
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
    /// All that was ever sent for it; the latest value of each parameter.
    pub sent: Fields,
}

impl Default for Pam {
    fn default() -> Self {
        let devices = [
            ("w2016", "10.66.33.15"),
            ("API-Testing", "128.0.0.1"),
            ("TEAM-PRODUTOS-Windows-Server-2016-001", "10.66.32.13"),
            ("WinSUP", "10.66.32.10"),
        ];
        Self {
            devices: devices
                .into_iter()
                .map(|(hostname, ip)| Device { hostname: hostname.to_owned(), ip: ip.to_owned() })
                .collect(),
            credentials: Vec::new(),
            domains: vec!["example.com", "corp.example"],
            plugins: vec!["SSH", "Windows RPC", "Microsoft SQL Server"],
            templates: vec!["3COM", "Linux", "Windows"],
            next_id: 151,
        }
    }
}

impl Pam {
    /// Makes a credential, or updates the one that the identifier or the place names.
    ///
    /// An identifier that exists decides. Else host name, address and user name do, and a new
    /// identifier replaces the old one; a blank one leaves it. Answers the credential and whether
    /// it is new.
    pub fn write(&mut self, device: Device, username: &str, sent: Fields) -> (&Credential, bool) {
        let identifier = identifier(&sent);
        let found = self
            .credentials
            .iter()
            .position(|known| Some(&known.identifier) == identifier.as_ref())
            .or_else(|| {
                self.credentials.iter().position(|known| {
                    known.username == username
                        && known.hostname == device.hostname
                        && known.ip == device.ip
                })
            });
        let new = found.is_none();
        let at = found.unwrap_or(self.credentials.len());
        if new {
            self.next_id += 1;
            self.credentials.push(Credential {
                id: self.next_id.to_string(),
                identifier: uuid_v7(),
                username: String::new(),
                hostname: String::new(),
                ip: String::new(),
                sent: Fields::default(),
            });
        }
        let credential =
            self.credentials.get_mut(at).expect("the position was found, or just pushed");
        if let Some(identifier) = identifier {
            credential.identifier = identifier;
        }
        username.clone_into(&mut credential.username);
        credential.hostname = device.hostname;
        credential.ip = device.ip;
        for (name, value) in sent.0 {
            credential.sent.set(&name, value);
        }
        (credential, new)
    }
}

/// The identifier a request states, unless it is blank.
pub fn identifier(sent: &Fields) -> Option<String> {
    sent.filled("identifier")
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
