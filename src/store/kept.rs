//! Secrets that were provisioned and could not be published: kept in the agent's own folder, so
//! that a crash loop provisions once.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::Bundle;
use crate::render::bundle::{self, Entries};
use crate::secret::{Secret, SecretBuf};
use crate::store::state::{Origin, SecretState, join};

/// The properties of kept secrets, without their values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNote {
    /// The origin that they were provisioned for.
    pub origin: Origin,
    /// The vault's data of each.
    pub secrets: Vec<SecretState>,
    /// Some of them may have been deprovisioned: no start publishes them.
    #[serde(default)]
    pub given_back: bool,
}

/// Kept secrets.
#[derive(Debug)]
pub struct Kept {
    /// Their properties.
    pub note: KeptNote,
    /// Their values.
    entries: Entries,
}

/// The time for which a store keeps secrets that are not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Until they are published, by this process or one after it.
    UntilPublished,
    /// As long as this process lives.
    InProcess,
}

#[derive(Deserialize)]
struct File<'a> {
    note: KeptNote,
    #[serde(borrow)]
    entries: &'a RawValue,
}

impl Kept {
    /// Reads the output of [`write`]; none for anything else.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let File { note, entries } = serde_json::from_slice(bytes).ok()?;
        let entries = bundle::read(entries.get().as_bytes())?;
        let whole = note.secrets.iter().all(|secret| entries.contains_key(&secret.identity));
        whole.then_some(Self { note, entries })
    }

    /// Gives the secrets.
    pub fn into_bundle(self) -> Bundle {
        join(&self.note.secrets, self.entries)
    }
}

/// Writes the properties and the values of kept secrets.
pub(super) fn write(note: &KeptNote, bundle: &Bundle) -> Secret<Vec<u8>> {
    let note = serde_json::to_vec(note).unwrap_or_default();
    let entries = bundle::write(bundle);
    let mut bytes = SecretBuf::with_capacity(note.len() + entries.expose().len() + 32);
    bytes.push(b"{\"note\":");
    bytes.push(&note);
    bytes.push(b",\"entries\":");
    bytes.push(entries.expose());
    bytes.push(b"}\n");
    bytes.into_secret()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::render::tests::bundle;
    use crate::store::state::tests::origin;

    fn note_of(bundle: &Bundle) -> KeptNote {
        let secrets = bundle.secrets.iter();
        let secrets =
            secrets.map(|(name, set)| SecretState::of(name, set, None, Duration::from_secs(7)));
        KeptNote { origin: origin(), secrets: secrets.collect(), given_back: false }
    }

    #[test]
    fn kept_secrets_are_read_back_with_all_that_was_known() {
        let written = bundle(&[
            ("a/b", &[&[("z", "1\n\0"), ("a", "")], &[("z", "é")]]),
            ("db", &[&[("password", "p\"}")]]),
        ]);
        let note = note_of(&written);
        let kept = Kept::read(write(&note, &written).expose()).unwrap();
        assert_eq!(kept.note, note);
        let again = kept.into_bundle();
        assert_eq!(note_of(&again), note);
        let values = |bundle: &Bundle| bundle::write(bundle).expose().clone();
        assert_eq!(values(&again), values(&written));
    }

    #[test]
    fn a_file_that_is_incomplete_is_not_read() {
        let written = bundle(&[("db", &[&[("k", "v")]])]);
        let (note, bytes) = (note_of(&written), write(&note_of(&written), &written));
        for end in [0, 1, bytes.expose().len() / 2, bytes.expose().len() - 2] {
            assert!(Kept::read(bytes.expose().get(..end).unwrap()).is_none(), "{end}");
        }
        assert!(Kept::read(write(&note, &Bundle::default()).expose()).is_none());
    }
}
