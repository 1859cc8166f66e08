//! Owns the words the rest is written in: identities, secrets, files, and how a failure is retried.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::secret::Secret;

/// Who this pod is, as the vault is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodIdentity {
    /// `pod_name`.
    pub name: String,
    /// The pod's UID, which the vault is not told: a new pod of an old name is another pod.
    pub uid: Option<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `deploy`: the workload that the pod belongs to.
    pub deploy: String,
}

/// Why a name can't be a file or folder below the output directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing to name a file by.
    #[error("is empty or has an empty part")]
    Empty,
    /// `.`, `..`, or anything that starts with `..`, as the agent's own files do.
    #[error("has a part that is `.` or starts with `..`")]
    Dots,
    /// A slash where one file is to be named.
    #[error("holds a `/`")]
    Slash,
    /// NUL, newline and their like, which would forge lines in listings.
    #[error("holds a control character")]
    Control,
    /// Longer than file systems take.
    #[error("is too long: at most 255 bytes a part, 2048 in all")]
    Long,
    /// A name that the agent itself uses.
    #[error("is a name that the agent uses itself")]
    Reserved,
}

/// The name of the link to the state, in the output directory.
pub const STATE_LINK: &str = ".segura.json";

const LONGEST_PART: usize = 255;
const LONGEST_PATH: usize = 2048;

/// Checks one file or folder name.
pub fn check_part(part: &str) -> Result<(), NameProblem> {
    match part {
        "" => Err(NameProblem::Empty),
        "." => Err(NameProblem::Dots),
        _ if part.starts_with("..") => Err(NameProblem::Dots),
        _ if part.contains('/') => Err(NameProblem::Slash),
        _ if part.chars().any(char::is_control) => Err(NameProblem::Control),
        _ if part.len() > LONGEST_PART => Err(NameProblem::Long),
        _ => Ok(()),
    }
}

/// A secret's identity, proven to be a path that stays below the output directory.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl TryFrom<String> for SecretName {
    type Error = NameProblem;

    fn try_from(identity: String) -> Result<Self, NameProblem> {
        Self::new(identity)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl SecretName {
    /// Proves `identity`; slashes nest.
    pub fn new(identity: impl Into<String>) -> Result<Self, NameProblem> {
        let identity = identity.into();
        if identity.len() > LONGEST_PATH {
            return Err(NameProblem::Long);
        }
        identity.split('/').try_for_each(check_part)?;
        if identity.split('/').next() == Some(STATE_LINK) {
            return Err(NameProblem::Reserved);
        }
        Ok(Self(identity))
    }

    /// The identity as the vault spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first folder below the output directory.
    pub fn top(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One key and its value, in the spelling that is published.
#[derive(Debug)]
pub struct Item {
    /// Proven with [`check_part`].
    pub key: String,
    /// The text that is published: a string's content, a scalar's JSON spelling, null as nothing.
    pub value: Secret<String>,
}

impl Item {
    /// What a `TTL` says, which the vault gives in seconds; no other key says anything.
    pub fn lifetime(&self) -> Option<Duration> {
        let seconds = self.value.expose().trim().parse::<u32>().ok().filter(|_| self.key == TTL);
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// The key under which the vault tells how long an entry lives.
pub const TTL: &str = "TTL";

/// One data entry: the items that belong together, such as a user name and its password.
pub type Entry = Vec<Item>;

/// How often the vault says that it renews a secret's parts, in minutes; the shortest that is on.
pub type RenewMinutes = Option<u32>;

/// What the vault says of one secret.
///
/// Entries keep their order; scalars keep their spelling (`1e3` stays `1e3`).
#[derive(Debug)]
pub struct SecretSet {
    /// `secret_id`, as text.
    pub id: String,
    /// `secret_name`.
    pub name: String,
    /// `version`, as text; empty where the vault has none.
    pub version: String,
    /// `engine`.
    pub engine: String,
    /// `expiration_date`, verbatim: its time zone is unknown.
    pub expiration: String,
    /// The shortest `renew_*_time` that is on.
    pub renew: RenewMinutes,
    /// The data, in the vault's order.
    pub entries: Vec<Entry>,
}

impl SecretSet {
    /// See [`flat`].
    pub fn flat(&self) -> Flat<'_> {
        flat(&self.entries)
    }

    /// The same secret with other data.
    pub fn with(&self, entries: Vec<Entry>) -> Self {
        Self {
            id: self.id.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            engine: self.engine.clone(),
            expiration: self.expiration.clone(),
            renew: self.renew,
            entries,
        }
    }

    /// Keys that stand in several entries with values that differ.
    pub fn collisions(&self) -> Vec<&str> {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let mut colliding = Vec::new();
        for item in self.items() {
            let value = item.value.expose().as_str();
            let before = seen.insert(&item.key, value);
            if before.is_some_and(|before| before != value) {
                colliding.push(item.key.as_str());
            }
        }
        colliding.sort_unstable();
        colliding.dedup();
        colliding
    }

    /// Every item of every entry, in order.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.entries.iter().flatten()
    }
}

/// Values by key.
pub type Flat<'a> = BTreeMap<&'a str, &'a Secret<String>>;

/// The items of `entries`, flattened: the last entry that has a key gives its value.
pub fn flat(entries: &[Entry]) -> Flat<'_> {
    entries.iter().flatten().map(|item| (item.key.as_str(), &item.value)).collect()
}

/// Why one secret of an otherwise sound answer can't be used. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The identity can't be a folder.
    #[error("the identity {identity:?} {problem}")]
    Identity {
        /// As the vault spells it.
        identity: String,
        /// What is wrong with it.
        problem: NameProblem,
    },
    /// A key can't be a file.
    #[error("the key {key:?} of {identity} {problem}")]
    Key {
        /// The secret it belongs to.
        identity: SecretName,
        /// As the vault spells it.
        key: String,
        /// What is wrong with it.
        problem: NameProblem,
    },
    /// A secret that is no object, or has no identity.
    #[error("secret number {number} in the answer has no identity")]
    Nameless {
        /// Its place in the answer, from 1.
        number: usize,
    },
    /// The same identity twice in one answer.
    #[error("the answer lists {identity} twice")]
    Twice {
        /// The identity in question.
        identity: SecretName,
    },
    /// Data that is neither an object nor an array of objects.
    #[error("the data of {identity} is neither an object nor an array of objects")]
    Data {
        /// The secret in question.
        identity: SecretName,
    },
    /// A string that is no Unicode text, such as half a surrogate pair.
    #[error("the value of {key:?} of {identity} is not valid text")]
    Text {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
    /// A secret without a single item.
    #[error("{identity} holds no values")]
    Empty {
        /// The secret in question.
        identity: SecretName,
    },
    /// A list that leaves out what was made for this pod.
    #[error(
        "the application's list holds fewer entries of {identity} than the vault provisioned for this pod"
    )]
    Less {
        /// The secret in question.
        identity: SecretName,
    },
    /// The vault could not encrypt the value, and says so in its place.
    #[error(
        "the vault could not encrypt {key:?} of {identity} and sent its own error as the value"
    )]
    NotEncrypted {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
    /// A value that the private key does not open.
    #[error("the value of {key:?} of {identity} can't be decrypted with the private key")]
    NotDecrypted {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
}

impl Fault {
    /// The identity at fault, where it is one that can be published.
    pub fn identity(&self) -> Option<&SecretName> {
        match self {
            Self::Identity { .. } | Self::Nameless { .. } => None,
            Self::Text { identity, .. }
            | Self::Key { identity, .. }
            | Self::Twice { identity }
            | Self::Data { identity }
            | Self::Empty { identity }
            | Self::Less { identity }
            | Self::NotEncrypted { identity, .. }
            | Self::NotDecrypted { identity, .. } => Some(identity),
        }
    }
}

/// What one answer, or several, brought: sound secrets, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Sound secrets by identity.
    pub secrets: BTreeMap<SecretName, SecretSet>,
    /// Secrets that can't be used.
    pub faults: Vec<Fault>,
    /// `secret_id` of every secret that has one, sound or not.
    pub ids: BTreeMap<SecretName, String>,
    /// What looks wrong and is published all the same; never holds a value.
    pub remarks: Vec<String>,
}

impl Bundle {
    /// Whether the answer names it, soundly or not.
    pub fn holds(&self, name: &SecretName) -> bool {
        self.secrets.contains_key(name)
            || self.faults.iter().any(|fault| fault.identity() == Some(name))
    }
}

/// The number of a published set in its output directory, from 1.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one pass achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What stands is already this, to the byte, mode and owner.
    Unchanged(Generation),
    /// A new generation stands.
    Published(Generation),
}

impl Outcome {
    /// The generation that stands now.
    pub fn generation(self) -> Generation {
        match self {
            Self::Unchanged(generation) | Self::Published(generation) => generation,
        }
    }
}

/// What a failure asks of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Try again after the usual wait.
    Backoff,
    /// The vault asked for at least this much peace.
    After(Duration),
    /// Trying again can't help.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_that_leave_hide_or_break_are_refused() {
        let long = "x".repeat(256);
        for (identity, expected) in [
            ("db", Ok(())),
            ("cart/americanas/npf/cassandra", Ok(())),
            (".pgpass", Ok(())),
            ("a b", Ok(())),
            ("", Err(NameProblem::Empty)),
            ("a//b", Err(NameProblem::Empty)),
            ("/etc", Err(NameProblem::Empty)),
            ("a/", Err(NameProblem::Empty)),
            (".", Err(NameProblem::Dots)),
            ("..", Err(NameProblem::Dots)),
            ("../../escape", Err(NameProblem::Dots)),
            ("a/../b", Err(NameProblem::Dots)),
            ("..data", Err(NameProblem::Dots)),
            ("a/..data", Err(NameProblem::Dots)),
            ("a\0b", Err(NameProblem::Control)),
            ("a\nb", Err(NameProblem::Control)),
            (".segura.json", Err(NameProblem::Reserved)),
            (".segura.json/x", Err(NameProblem::Reserved)),
            (long.as_str(), Err(NameProblem::Long)),
        ] {
            assert_eq!(SecretName::new(identity).map(|_| ()), expected, "{identity:?}");
        }
        assert_eq!(SecretName::new("a/".repeat(1100) + "a"), Err(NameProblem::Long));
        assert_eq!(check_part("a/b"), Err(NameProblem::Slash));
    }

    fn item(key: &str, value: &str) -> Item {
        Item { key: key.to_owned(), value: Secret::new(value.to_owned()) }
    }

    #[test]
    fn the_last_entry_wins_and_only_disagreement_collides() {
        let set = SecretSet {
            id: String::new(),
            name: String::new(),
            version: String::new(),
            engine: String::new(),
            expiration: String::new(),
            renew: None,
            entries: vec![
                vec![item("user", "a"), item("host", "h"), item("only", "1")],
                vec![item("user", "b"), item("host", "h")],
            ],
        };
        assert_eq!(set.flat().get("user").unwrap().expose(), "b");
        assert_eq!(set.flat().len(), 3);
        assert_eq!(set.collisions(), ["user"]);
    }
}
