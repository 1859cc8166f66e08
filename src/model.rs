//! Types that every wing uses: identities, secrets, faults, generations, and retries.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::secret::Secret;

/// The pod's identity, as requests to the vault name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodIdentity {
    /// `pod_name`.
    pub name: String,
    /// The pod's UID, which is not sent: it tells a new pod from an earlier one of the same name.
    pub uid: Option<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `deploy`: the workload that the pod belongs to.
    pub deploy: String,
}

/// The reason why a name can't be a file or folder below the output directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// The name, or a part of it, is empty.
    #[error("is empty or has an empty part")]
    Empty,
    /// `.`, `..`, or a part that starts with `..`, as the agent's own files do.
    #[error("has a part that is `.` or starts with `..`")]
    Dots,
    /// A slash in the name of one file.
    #[error("holds a `/`")]
    Slash,
    /// A control character: NUL ends a path, a newline forges lines in listings.
    #[error("holds a control character")]
    Control,
    /// Longer than Linux's `NAME_MAX` for a part, or than 2048 bytes in all.
    #[error("is too long: at most 255 bytes a part, 2048 in all")]
    Long,
    /// More than 32 parts: each is a folder that is open while a set is written.
    #[error("has more than 32 parts")]
    Deep,
    /// A name that the agent itself uses.
    #[error("is a name that the agent uses itself")]
    Reserved,
}

/// The name of the link to the state, in the output directory.
pub const STATE_LINK: &str = ".segura.json";

const LONGEST_PART: usize = 255;
const LONGEST_PATH: usize = 2048;
/// The most parts of an identity.
const DEEPEST: usize = 32;

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
        if identity.split('/').count() > DEEPEST {
            return Err(NameProblem::Deep);
        }
        identity.split('/').try_for_each(check_part)?;
        if identity.split('/').next() == Some(STATE_LINK) {
            return Err(NameProblem::Reserved);
        }
        Ok(Self(identity))
    }

    /// The identity in the vault's spelling.
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
    /// The lifetime, if the key is `TTL`: DSM gives it in seconds, as text; `""` or null is none.
    pub fn lifetime(&self) -> Option<Duration> {
        let seconds = self.value.expose().trim().parse::<u32>().ok().filter(|_| self.key == TTL);
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// The key of an entry's lifetime.
pub const TTL: &str = "TTL";

/// One data entry: the items that belong together, such as a user name and its password.
pub type Entry = Vec<Item>;

/// The shortest period, in minutes, in which the vault renews a part of a secret; none if all are
/// off.
pub type RenewMinutes = Option<u32>;

/// One secret, as the vault sent it.
///
/// Entries keep their order; scalars keep their spelling (`1e3` stays `1e3`).
#[derive(Debug)]
pub struct SecretSet {
    /// `secret_id`, as text.
    pub id: String,
    /// `secret_name`.
    pub name: String,
    /// `version`, as text; empty if the vault has none.
    pub version: String,
    /// `engine`.
    pub engine: String,
    /// `expiration_date`, verbatim: DSM's pages name no time zone, and several formats.
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

    /// This secret with other data.
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

    /// The keys that several entries have with different values.
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

/// The reason why one secret of a well-formed answer can't be used. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The identity can't be a folder.
    #[error("the identity {identity:?} {problem}")]
    Identity {
        /// In the vault's spelling, shortened.
        identity: String,
        /// The problem.
        problem: NameProblem,
    },
    /// A key can't be a file.
    #[error("the key {key:?} of {identity} {problem}")]
    Key {
        /// The secret it belongs to.
        identity: SecretName,
        /// In the vault's spelling, shortened.
        key: String,
        /// The problem.
        problem: NameProblem,
    },
    /// A secret that is not an object, or has no identity.
    #[error("secret number {number} in the answer has no identity")]
    Nameless {
        /// Its place in the answer, from 1.
        number: usize,
    },
    /// Further secrets without a valid identity.
    #[error("{count} more secrets in the answer have no valid identity")]
    More {
        /// Their number.
        count: usize,
    },
    /// An id that is too long to be kept.
    #[error("the id of {identity} is longer than 1 KiB")]
    Id {
        /// The secret in question.
        identity: SecretName,
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
    /// A string that is not Unicode text, such as half a surrogate pair.
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
    /// A list with fewer entries than were provisioned for this pod.
    #[error(
        "the application's list holds fewer entries of {identity} than the vault provisioned for this pod"
    )]
    Less {
        /// The secret in question.
        identity: SecretName,
    },
    /// The vault could not encrypt the value, and sent its error message in its place.
    #[error(
        "the vault could not encrypt {key:?} of {identity} and sent its own error as the value"
    )]
    NotEncrypted {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
    /// A value that the private key does not decrypt.
    #[error("the value of {key:?} of {identity} can't be decrypted with the private key")]
    NotDecrypted {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
}

impl Fault {
    /// The faulty secret's identity, if it is one that can be published.
    pub fn identity(&self) -> Option<&SecretName> {
        match self {
            Self::Identity { .. } | Self::Nameless { .. } | Self::More { .. } => None,
            Self::Text { identity, .. }
            | Self::Key { identity, .. }
            | Self::Id { identity }
            | Self::Twice { identity }
            | Self::Data { identity }
            | Self::Empty { identity }
            | Self::Less { identity }
            | Self::NotEncrypted { identity, .. }
            | Self::NotDecrypted { identity, .. } => Some(identity),
        }
    }
}

/// The secrets of one answer, or of several: sound ones, and the faults of the others.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Usable secrets by identity.
    pub secrets: BTreeMap<SecretName, SecretSet>,
    /// The faults of secrets that can't be used.
    pub faults: Vec<Fault>,
    /// `secret_id` of every secret that has one, usable or not.
    pub ids: BTreeMap<SecretName, String>,
    /// Warnings about secrets that are published all the same; never hold a value.
    pub remarks: Vec<String>,
}

impl Bundle {
    /// True if the answer names the secret, usable or not.
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

/// The result of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The current generation has the same bytes, modes and owners already.
    Unchanged(Generation),
    /// A new generation is current.
    Published(Generation),
}

impl Outcome {
    /// The current generation.
    pub fn generation(self) -> Generation {
        match self {
            Self::Unchanged(generation) | Self::Published(generation) => generation,
        }
    }
}

/// The retry that a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Try again after the usual wait.
    Backoff,
    /// Try again after this time at least, as the vault asked.
    After(Duration),
    /// Another try can't succeed.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_that_are_unsafe_paths_are_refused() {
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
        assert_eq!(SecretName::new("a/".repeat(32) + "a"), Err(NameProblem::Deep));
        assert!(SecretName::new("a/".repeat(31) + &"x".repeat(255)).is_ok());
        assert_eq!(check_part("a/b"), Err(NameProblem::Slash));
    }

    fn item(key: &str, value: &str) -> Item {
        Item { key: key.to_owned(), value: Secret::new(value.to_owned()) }
    }

    #[test]
    fn the_last_entry_wins_and_only_different_values_collide() {
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
