//! The seal: the generations that this agent has published, by digest.
//!
//! A process that may write in the output directory can rename, replace and add anything at its top.
//! The seal lies in the agent's own folder, where nobody else may write, and decides what a start
//! adopts: a generation that it does not name is foreign, however it is called and whatever it
//! holds.

use serde::{Deserialize, Serialize};

use super::access::own_uid;
use super::dir::{Dir, EntryKind};
use super::{LONGEST_STATE, generation, lock};
use crate::model::Generation;
use crate::render::bundle;
use crate::secret::sha256;

/// The most generations that the seal names: the current one, and the next one during a publish.
const MOST: usize = 2;

/// A published generation, as its agent made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The name of its folder.
    pub(super) folder: String,
    /// Its number.
    pub(super) number: Generation,
    /// SHA-256 of `..bundle.json`, in hexadecimal.
    pub(super) bundle: String,
    /// SHA-256 of `..generation.json`, in hexadecimal.
    pub(super) snapshot: String,
}

/// The content of the seal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    /// The generations that a start may adopt, the newest first.
    #[serde(default)]
    pub(super) sets: Vec<Sealed>,
    /// The highest number that a generation ever had.
    #[serde(default)]
    pub(super) highest: Generation,
}

impl Seal {
    /// Names one more generation, the newest; the older of those before it is left out.
    pub(super) fn with(&self, sealed: Sealed) -> Self {
        let highest = self.highest.max(sealed.number);
        let others = self.sets.iter().filter(|set| set.folder != sealed.folder).cloned();
        let sets = std::iter::once(sealed.clone()).chain(others).take(MOST).collect();
        Self { sets, highest }
    }

    /// Names one generation alone, or none.
    pub(super) fn of(&self, sealed: Option<&Sealed>) -> Self {
        let number = sealed.map(|sealed| sealed.number).unwrap_or_default();
        Self { sets: sealed.into_iter().cloned().collect(), highest: self.highest.max(number) }
    }

    /// Tells whether the seal names this folder.
    pub(super) fn names(&self, folder: &str) -> bool {
        self.sets.iter().any(|set| set.folder == folder)
    }

    /// Finds the newest complete generation that the seal names, and restores the name of its
    /// folder.
    pub(super) fn find(&self, dir: &Dir) -> Option<(Dir, Sealed)> {
        self.sets.iter().find_map(|sealed| Some((sealed.find(dir)?, sealed.clone())))
    }
}

impl Sealed {
    /// Describes the generation in the folder `root`; none if it is incomplete.
    pub(super) fn of(root: &Dir, folder: &str, number: Generation) -> Option<Self> {
        let digest_of =
            |name, longest| root.read(name, longest).ok().map(|bytes| sha256(bytes.expose()));
        Some(Self {
            folder: folder.to_owned(),
            number,
            bundle: digest_of(bundle::FILE, bundle::LONGEST)?,
            snapshot: digest_of(generation::SNAPSHOT, LONGEST_STATE)?,
        })
    }

    /// Tells whether the folder `root` is this generation.
    pub(super) fn is_in(&self, root: &Dir) -> bool {
        Self::of(root, &self.folder, self.number).as_ref() == Some(self)
    }

    /// Opens this generation, whatever its folder is called now, and restores the folder's name.
    fn find(&self, dir: &Dir) -> Option<Dir> {
        let open = |name: &str| dir.open(name).ok().filter(|root| self.is_in(root));
        if let Some(root) = open(&self.folder) {
            return Some(root);
        }
        let name = dir.find_name(|name| name != self.folder && open(name).is_some())?;
        let root = open(&name)?;
        lock::put_back(dir, &name, &self.folder).ok()?;
        Some(root)
    }
}

/// Tells whether a generation without a seal, as version 0.1.0 made it, can only be this agent's:
/// its folder and the files in it are owned by this user, and no other user may write there.
pub(super) fn is_own(root: &Dir) -> bool {
    let file = |name| {
        root.look(name) == Ok(EntryKind::File)
            && root.stat(name).is_ok_and(|stat| stat.st_uid == own_uid())
    };
    lock::is_private(root) && file(bundle::FILE) && file(generation::SNAPSHOT)
}
