//! The current generation, held open: its folder's name may lead elsewhere by now.

use std::cell::RefCell;
use std::rc::Rc;

use super::dir::Dir;
use super::seal::Sealed;
use super::{LONGEST_STATE, generation};
use crate::render::bundle::{self, Entries};
use crate::secret::{Secret, sha256};
use crate::store::state::State;

/// The generation that is current in an output directory.
#[derive(Debug)]
pub(super) struct HeldGeneration {
    /// Its folder.
    pub(super) root: Dir,
    /// The name of the folder.
    pub(super) folder: String,
    /// Its proof; none if the generation may be foreign.
    pub(super) proof: Proof,
}

/// The proof that a generation is this agent's.
#[derive(Debug)]
pub(super) enum Proof {
    /// The seal names it.
    Sealed(Sealed),
    /// There is none.
    None,
}

/// The generation that the agent of this process holds, shared with those who read it.
pub(super) type SharedHeld = Rc<RefCell<Option<HeldGeneration>>>;

impl HeldGeneration {
    /// The seal's entry, if there is one.
    pub(super) fn sealed(&self) -> Option<&Sealed> {
        match &self.proof {
            Proof::Sealed(sealed) => Some(sealed),
            Proof::None => None,
        }
    }

    /// Reads its values; none if they are not those that were published, or not proven.
    pub(super) fn entries(&self) -> Option<Entries> {
        let bytes = self.read(bundle::FILE, bundle::LONGEST, &self.sealed()?.bundle)?;
        bundle::read(bytes.expose())
    }

    /// Reads its state at its publish; none if it is not that which was published.
    pub(super) fn snapshot(&self) -> Option<State> {
        match self.sealed() {
            Some(sealed) => {
                let bytes = self.read(generation::SNAPSHOT, LONGEST_STATE, &sealed.snapshot)?;
                serde_json::from_slice(bytes.expose()).ok()
            }
            None => generation::snapshot_in(&self.root),
        }
    }

    fn read(&self, name: &str, longest: u64, digest: &str) -> Option<Secret<Vec<u8>>> {
        self.root.read(name, longest).ok().filter(|bytes| sha256(bytes.expose()) == digest)
    }
}
