//! One secret, the accounts made for pods, and how both change.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::data::{self, Entry, Fields, Kind};

/// A stored secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The vault's number for it, as text.
    pub id: String,
    /// What requests call it.
    pub identity: String,
    /// What people call it.
    pub name: String,
    /// A number as text; empty before the first write.
    pub version: String,
    /// Left out of answers where it is absent.
    pub description: Option<String>,
    /// `Y-m-d H:i:s`, or empty.
    pub expiration_date: String,
    /// Generic, Kubernetes, Ansible or GitLab.
    pub engine: String,
    /// How often its parts are renewed.
    pub renew: Renew,
    /// What every reader sees.
    pub base: Vec<Entry>,
    /// What single pods were given, oldest first.
    pub accounts: Vec<Account>,
    /// Where provisioning makes accounts.
    pub profile: Profile,
    /// Whether a rotation changes its base entries, too.
    pub rotates: bool,
    /// The application it belongs to.
    pub application: u32,
}

/// Minutes between renewals; none is off.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Of cloud access keys.
    pub cloud: Option<u32>,
    /// Of credentials.
    pub credential: Option<u32>,
    /// Of ephemeral credentials.
    pub ephemeral: Option<u32>,
}

/// The credential profile that provisioning works by.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// User names start with it.
    pub name: String,
    /// The device on which accounts are made.
    pub hostname: String,
    /// The device's address.
    pub ip: String,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "SQLServer".to_owned(),
            hostname: "TEAM-PRODUTOS-Windows-Server-2016-001".to_owned(),
            ip: "10.66.32.13".to_owned(),
        }
    }
}

/// Who asks. All three are empty where the request names none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// `pod_name` or `pod_nome`.
    pub name: String,
    /// `deploy`.
    pub deploy: String,
    /// `namespace`.
    pub namespace: String,
}

/// An account that was made for one pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Whose it is.
    pub pod: Pod,
    /// The profile's name and 13 hexadecimal digits.
    pub username: String,
    /// Replaced at each rotation.
    pub password: String,
    /// The lifetime the entry states.
    pub ttl: Option<String>,
}

impl Secret {
    /// An empty secret.
    pub fn new(application: u32, id: &str, identity: &str) -> Self {
        Self {
            id: id.to_owned(),
            identity: identity.to_owned(),
            name: identity.to_owned(),
            version: String::new(),
            description: None,
            expiration_date: String::new(),
            engine: "Generic".to_owned(),
            renew: Renew::default(),
            base: Vec::new(),
            accounts: Vec::new(),
            profile: Profile::default(),
            rotates: false,
            application,
        }
    }

    /// Raises the version; what isn't a number starts again at 1.
    pub fn bump(&mut self) {
        self.version = (self.version.parse().unwrap_or(0_u64) + 1).to_string();
    }

    /// What a reader gets: the base entries, and those of the pod that asks.
    pub fn entries(&self, pod: Option<&Pod>) -> Vec<Entry> {
        let own = self
            .accounts
            .iter()
            .filter(|account| pod == Some(&account.pod))
            .map(|account| account.entry(&self.profile));
        self.base.iter().cloned().chain(own).collect()
    }

    /// Makes one more account for a pod.
    pub fn provision(&mut self, pod: Pod, ttl: Option<String>) {
        self.accounts.push(Account {
            pod,
            username: format!("{}_{:013x}", self.profile.name, fastrand::u64(..) >> 12),
            password: password(),
            ttl,
        });
        self.bump();
    }

    /// Removes a pod's accounts, and returns their number.
    pub fn deprovision(&mut self, pod: &Pod) -> usize {
        let before = self.accounts.len();
        self.accounts.retain(|account| account.pod != *pod);
        let gone = before - self.accounts.len();
        if gone > 0 {
            self.bump();
        }
        gone
    }

    /// Changes the passwords of accounts, and the sensitive values of a secret that rotates.
    pub fn rotate(&mut self) {
        let mut changed = !self.accounts.is_empty();
        for account in &mut self.accounts {
            account.password = password();
        }
        for entry in self.base.iter_mut().filter(|_| self.rotates) {
            for name in &entry.sealed {
                entry.fields.set_text(name, &password());
                changed = true;
            }
        }
        if changed {
            self.bump();
        }
    }

    /// Takes over what a whole-secret document states, and leaves the rest as it is.
    pub fn apply(&mut self, document: Document) -> serde_json::Result<()> {
        if let Some(data) = document.data {
            self.base = data::entries(data.get())?;
            self.bump();
        }
        let texts = [
            (document.secret_id, &mut self.id),
            (document.secret_name, &mut self.name),
            (document.version, &mut self.version),
            (document.expiration_date, &mut self.expiration_date),
            (document.engine, &mut self.engine),
        ];
        for (stated, field) in texts {
            if let Some(text) = stated {
                *field = text;
            }
        }
        self.description = document.description.or_else(|| self.description.take());
        self.profile = document.profile.unwrap_or_else(|| self.profile.clone());
        self.rotates = document.rotates.unwrap_or(self.rotates);
        Ok(())
    }
}

impl Account {
    fn entry(&self, profile: &Profile) -> Entry {
        let mut fields = Fields::default();
        fields.set_text("hostname", &profile.hostname);
        fields.set_text("username", &self.username);
        fields.set_text("password", &self.password);
        fields.set("additional_information", RawValue::NULL.to_owned());
        fields.set_text("ip", &profile.ip);
        if let Some(ttl) = &self.ttl {
            fields.set_text("TTL", ttl);
        }
        Entry::new(Kind::Credential, fields)
    }
}

/// A whole secret as the library and the admin route take it. All but the identity may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Which secret is meant, where the route doesn't say.
    pub identity: Option<String>,
    secret_id: Option<String>,
    #[serde(alias = "name")]
    secret_name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    expiration_date: Option<String>,
    engine: Option<String>,
    data: Option<Box<RawValue>>,
    profile: Option<Profile>,
    rotates: Option<bool>,
}

impl Document {
    /// Whether its data can be applied.
    pub fn check(&self) -> serde_json::Result<()> {
        match &self.data {
            Some(data) => data::entries(data.get()).map(drop),
            None => Ok(()),
        }
    }
}

/// A password such as a generator makes: letters, digits and a few signs.
pub fn password() -> String {
    const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!#%*+-=?@_";
    (0..20).filter_map(|_| fastrand::choice(ALPHABET)).map(|&byte| char::from(byte)).collect()
}
