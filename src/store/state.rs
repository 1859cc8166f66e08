//! The state of a set: its origin, its age, and its failures. It holds no value.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::FailureClass;
use crate::model::{Bundle, Entry, Generation, RenewMinutes, SecretName, SecretSet};

/// The origin of a set: the vault, the client and the pod. A set of another origin is never
/// adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The vault's base URL.
    pub url: String,
    /// SHA-256 of the client id, in hexadecimal.
    pub client: String,
    /// The kind of request that fetches the set.
    pub source: String,
    /// The identities of the settings, in order.
    pub identities: Vec<String>,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's UID.
    pub pod_uid: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
}

impl Origin {
    /// The first difference to another origin, in the words of the settings.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let identities = (self.identities != other.identities).then_some("SEGURA_IDENTITY");
        self.difference_of_pod(other).or(identities)
    }

    /// The first difference to another origin besides the identities: what was provisioned for one
    /// of them is the same account whichever others are wanted.
    pub fn difference_of_pod(&self, other: &Self) -> Option<&'static str> {
        let differences = [
            (self.url != other.url, "SEGURA_URL"),
            (self.client != other.client, "the client id"),
            (self.source != other.source, "SEGURA_SOURCE"),
            (self.pod_name != other.pod_name, "the pod's name"),
            (self.pod_uid != other.pod_uid, "the pod's UID"),
            (self.namespace != other.namespace, "the namespace"),
        ];
        differences.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}

/// The vault's data of one published secret, without its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretState {
    /// Its identity.
    pub identity: SecretName,
    /// `secret_id`.
    pub secret_id: String,
    /// `secret_name`.
    pub name: String,
    /// `version`.
    pub version: String,
    /// `engine`.
    pub engine: String,
    /// `expiration_date`, verbatim.
    pub expiration_date: String,
    /// The shortest `renew_*_time` that is enabled.
    pub renew_minutes: RenewMinutes,
    /// The time at which this version was first seen, by the boot clock, in milliseconds.
    #[serde(default)]
    pub seen: u64,
    /// The class of the failure that holds a newer version back, if one is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl SecretState {
    /// Makes the state of `set`, which was read at `boot`; `before` is its last state.
    pub fn of(
        identity: &SecretName,
        set: &SecretSet,
        before: Option<&Self>,
        boot: Duration,
    ) -> Self {
        let same = before.filter(|before| before.version == set.version);
        Self {
            identity: identity.clone(),
            secret_id: set.id.clone(),
            name: set.name.clone(),
            version: set.version.clone(),
            engine: set.engine.clone(),
            expiration_date: set.expiration.clone(),
            renew_minutes: set.renew,
            seen: same.map_or_else(|| millis(boot), |before| before.seen),
            error: None,
        }
    }
}

/// Times by the boot clock, in milliseconds. It counts time in suspension, and a change of the wall
/// clock does not affect it (CLOCK_BOOTTIME, clock_gettime(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootMillis {
    /// The time at which the vault last confirmed the set.
    pub fetched: u64,
    /// The time at which the set is due again; `None` is never.
    pub next_due: Option<u64>,
    /// The time at which the current generation was published.
    #[serde(default)]
    pub changed: u64,
    /// The time by which the next heartbeat of the agent's loop is due: after it, the loop counts
    /// as stuck. `None` if no agent renews the set.
    #[serde(default)]
    pub silent_until: Option<u64>,
}

/// The kind of request that renews the set, as `SEGURA_REFRESH=auto` has settled it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Settled {
    /// `GET` provision, as long as the vault has that route.
    #[default]
    Get,
    /// `GET` application: the vault has no `GET` provision.
    Application,
}

/// The state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The current generation.
    pub generation: Generation,
    /// The generation that the main process was last notified of.
    pub notified: Generation,
    /// The published secrets, by identity.
    pub secrets: Vec<SecretState>,
    /// The time at which the vault last confirmed the set, in RFC 3339, UTC.
    pub fetched_at: String,
    /// The time at which the current generation was published, in RFC 3339, UTC.
    pub changed_at: String,
    /// The time at which the set is due again, in RFC 3339, UTC; `None` is never.
    pub next_due: Option<String>,
    /// Failed passes since the last success.
    pub failures: u64,
    /// The class of the last failure.
    pub last_error: Option<String>,
    /// The same times by the boot clock, from which ages are computed.
    pub boot_ms: BootMillis,
    /// The origin of the set.
    pub origin: Origin,
    /// The kind of request that renews the set.
    #[serde(default)]
    pub refresh: Settled,
    /// The set can't be adopted: it was deprovisioned, or the vault no longer has it.
    #[serde(default)]
    pub given_back: bool,
    /// Files of templates that are not rendered: the vault no longer has a secret that they name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The published generation, as its agent shows it to readers: a folder that is not so is none of
/// its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownGeneration {
    /// The name of its folder.
    pub folder: String,
    /// SHA-256 of `..bundle.json`, in hexadecimal.
    pub bundle_sha256: String,
    /// SHA-256 of `..generation.json`, in hexadecimal.
    pub generation_sha256: String,
    /// The owner of its files.
    pub file_uid: u32,
}

/// The state file of an agent that proves its set to readers. That of version 0.1.0 has no `set`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved<S> {
    /// The state.
    #[serde(flatten)]
    pub state: S,
    /// The set that it describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<ShownGeneration>,
    /// The set that `..data` is about to lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ShownGeneration>,
}

impl State {
    /// Reports if the set is due, at `boot` by the boot clock.
    ///
    /// A time before the fetch means that the set is of another boot: then it is due.
    pub fn is_due(&self, boot: Duration) -> bool {
        let now = millis(boot);
        let Some(due) = self.boot_ms.next_due else {
            return false;
        };
        now >= due || now < self.boot_ms.fetched
    }

    /// Records that a newer version of `name` is held back, by a failure of this class.
    pub fn hold_back(&mut self, name: &SecretName, class: FailureClass) {
        for secret in self.secrets.iter_mut().filter(|secret| secret.identity == *name) {
            secret.error = Some(class.label().to_owned());
        }
    }

    /// The identities of the published secrets.
    pub fn names(&self) -> Vec<SecretName> {
        self.secrets.iter().map(|secret| secret.identity.clone()).collect()
    }

    /// Joins the state of the published secrets with their values; see [`join`].
    pub fn bundle(&self, entries: BTreeMap<SecretName, Vec<Entry>>) -> Bundle {
        join(&self.secrets, entries)
    }

    /// The state of one secret.
    pub fn secret(&self, identity: &SecretName) -> Option<&SecretState> {
        self.secrets.iter().find(|secret| secret.identity == *identity)
    }
}

/// Joins the state of secrets with their values; a secret without values is left out.
pub fn join(secrets: &[SecretState], mut entries: BTreeMap<SecretName, Vec<Entry>>) -> Bundle {
    let secrets = secrets.iter().filter_map(|known| {
        let set = SecretSet {
            id: known.secret_id.clone(),
            name: known.name.clone(),
            version: known.version.clone(),
            engine: known.engine.clone(),
            expiration: known.expiration_date.clone(),
            renew: known.renew_minutes,
            entries: entries.remove(&known.identity)?,
        };
        Some((known.identity.clone(), set))
    });
    Bundle { secrets: secrets.collect(), ..Bundle::default() }
}

/// The agent that holds the set, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// No agent is running.
    Gone,
    /// The agent is running, and has not written the state yet.
    Starting,
    /// The agent is running, and the state is its own.
    Running,
}

/// Converts a time to the unit of the state, milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn origin() -> Origin {
        Origin {
            url: "https://vault.example".to_owned(),
            client: "00".to_owned(),
            source: "provision".to_owned(),
            identities: vec!["db".to_owned()],
            pod_name: "web-0".to_owned(),
            pod_uid: Some("u".to_owned()),
            namespace: Some("shop".to_owned()),
        }
    }

    pub(crate) fn state() -> State {
        State {
            generation: Generation(1),
            notified: Generation(0),
            secrets: Vec::new(),
            fetched_at: String::new(),
            changed_at: String::new(),
            next_due: None,
            failures: 0,
            last_error: None,
            boot_ms: BootMillis { fetched: 1_000, next_due: Some(5_000), ..BootMillis::default() },
            origin: origin(),
            refresh: Settled::Get,
            given_back: false,
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_set_is_due_by_the_boot_clock() {
        for (now, next_due, due) in [
            (1_000, Some(5_000), false),
            (4_999, Some(5_000), false),
            (5_000, Some(5_000), true),
            (999, Some(5_000), true),
            (99_000, None, false),
        ] {
            let boot_ms = BootMillis { fetched: 1_000, next_due, ..BootMillis::default() };
            let state = State { boot_ms, ..state() };
            assert_eq!(state.is_due(Duration::from_millis(now)), due, "{now} {next_due:?}");
        }
    }

    #[test]
    fn origins_differ_by_everything_they_hold() {
        let other = |change: fn(&mut Origin)| {
            let mut other = origin();
            change(&mut other);
            origin().difference(&other)
        };
        assert_eq!(other(|_| ()), None);
        assert_eq!(other(|o| o.url.push('x')), Some("SEGURA_URL"));
        assert_eq!(other(|o| o.client.push('x')), Some("the client id"));
        assert_eq!(other(|o| o.source.push('x')), Some("SEGURA_SOURCE"));
        assert_eq!(other(|o| o.identities.clear()), Some("SEGURA_IDENTITY"));
        assert_eq!(other(|o| o.pod_name.push('x')), Some("the pod's name"));
        assert_eq!(other(|o| o.pod_uid = None), Some("the pod's UID"));
        assert_eq!(other(|o| o.namespace = None), Some("the namespace"));
    }

    #[test]
    fn the_state_survives_its_file() {
        let bytes = serde_json::to_vec(&state()).unwrap();
        assert_eq!(serde_json::from_slice::<State>(&bytes).unwrap(), state());
    }
}
