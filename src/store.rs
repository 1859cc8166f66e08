//! The output directory: a new generation is built out of sight, then one rename shows it.
//!
//! The shape is that of a Kubernetes secret volume: `..data` links to the generation, and the names
//! users see are links through it. Every path goes through the directory's descriptor, beneath it,
//! one part at a time, without following links. A failure leaves what was published as it was.
//!
//! What the agent keeps for itself lies in `..segura`, where rewriting it wakes no watcher of the
//! directory, and inside each generation, so that a set and what is known of it change together.

mod beneath;
mod directory;
mod generation;
mod links;
pub mod look;
mod memory;
mod mount;
mod owner;
mod place;
mod plan;
mod published;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::model::{Outcome, SecretName};
use crate::render::FileSet;
use crate::render::bundle::Entries;
use crate::settings::Output;
use crate::state::{Origin, State};
pub use directory::Directory;
pub use memory::Memory;
pub use place::Place;
pub use plan::{Plan, plan};
pub use published::{Published, Set};

/// How long a replaced generation stays for readers in the middle of it.
pub const LINGER: Duration = Duration::from_secs(2);
/// The link that one rename turns from one generation to the next.
const DATA: &str = "..data";
/// Its next value, for the moment before the rename.
const DATA_NEXT: &str = "..data_tmp";
/// The agent's own folder.
const OWN: &str = "..segura";
const STATE: &str = "state.json";
/// Where the link to the state leads.
const STATE_TARGET: &str = "..segura/state.json";
const HOLDER: &str = "holder";
const PENDING: &str = "pending.json";
const PROBE: &str = "probe";
/// What a file is called until it takes its place.
const UNFINISHED: &str = ".tmp";
/// `f_type` of file systems that live in memory (`statfs(2)`).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// What could not be done to which path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}", path = .path.display())]
pub struct WriteError {
    what: &'static str,
    path: PathBuf,
    #[source]
    cause: WriteCause,
    hint: Option<&'static str>,
}

#[derive(Debug, thiserror::Error)]
enum WriteCause {
    #[error(transparent)]
    System(#[from] Errno),
    #[error("it is on a disk, not on tmpfs or ramfs")]
    OnDisk,
    #[error("another segura-agent holds it: {0}")]
    Held(String),
    #[error("something that the agent did not make is in the way")]
    InTheWay,
    #[error("as SEGURA_FILE_RULES has it for {glob}: {cause}")]
    Ruled { glob: String, cause: Errno },
}

impl WriteError {
    fn new(what: &'static str, path: impl Into<PathBuf>, cause: impl Into<WriteCause>) -> Self {
        Self { what, path: path.into(), cause: cause.into(), hint: None }
    }

    fn hinting(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// The same, where it is one rule of `SEGURA_FILE_RULES` that can't be had.
    fn for_rule(self, glob: &str) -> Self {
        let WriteCause::System(cause @ (Errno::ACCESS | Errno::PERM)) = self.cause else {
            return self;
        };
        Self { cause: WriteCause::Ruled { glob: glob.to_owned(), cause }, hint: None, ..self }
    }

    /// How a start ends that gives up on it, ready to be shown.
    pub fn failure(&self) -> Failure {
        Failure::new(Exit::CannotWrite, self).hint(self.hint())
    }

    /// Whether it is that another agent holds the directory.
    pub fn is_held(&self) -> bool {
        matches!(self.cause, WriteCause::Held(_))
    }

    /// Whether it is that we may not.
    fn is_denied(&self) -> bool {
        matches!(self.cause, WriteCause::System(Errno::ACCESS | Errno::PERM))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        self.hint.or(match self.cause {
            WriteCause::System(Errno::NOSPC | Errno::DQUOT) => {
                Some("the volume is full: raise the sizeLimit of the memory emptyDir")
            }
            WriteCause::System(Errno::ROFS) => {
                Some("the agent's own mount of the volume must not be readOnly")
            }
            WriteCause::System(Errno::ACCESS | Errno::PERM) => {
                Some("set fsGroup in the pod's securityContext, or run as the owner of the volume")
            }
            WriteCause::Held(_) => Some("give each agent an output directory of its own"),
            WriteCause::InTheWay => {
                Some("let the output directory hold nothing but the agent's output")
            }
            WriteCause::Ruled { .. } => {
                Some(
                    "each rule must leave the agent itself able to read; a uid but the agent's own takes CAP_CHOWN and CAP_FOWNER, and CAP_DAC_READ_SEARCH where the mode shuts the agent out; a gid must be one of the agent's",
                )
            }
            WriteCause::System(_) | WriteCause::OnDisk => None,
        })
    }
}

/// A set that stands in the directory, as its own agent's memory tells it.
#[derive(Debug)]
pub struct Standing {
    /// What is remembered of it.
    pub state: State,
    /// Its values.
    pub entries: Entries,
}

/// Identities that are being provisioned: should this process die now, the next one must look
/// before it asks again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// For whom.
    pub origin: Origin,
    /// Which.
    pub identities: Vec<SecretName>,
}

/// Where a set is published: nobody else publishes there as long as this lives.
#[derive(Debug)]
pub enum Store {
    /// In the output directory.
    Directory(Box<Directory>),
    /// Nowhere: `SEGURA_OUTPUT=none`.
    Memory(Memory),
}

impl Store {
    /// Holds the output as an agent of this mode, and says who will be able to read; without an
    /// output, nobody will.
    pub fn hold(output: Option<&Output>, mode: &str) -> Result<Self, WriteError> {
        match output {
            Some(output) => Directory::hold(output, mode).map(Box::new).map(Self::Directory),
            None => Ok(Self::Memory(Memory::default())),
        }
    }

    /// The way to read what is published here, good for as long as this lives.
    pub fn published(&self) -> Published {
        match self {
            Self::Directory(directory) => Published::of_agent(directory.path()),
            Self::Memory(memory) => Published::in_memory(memory.clone()),
        }
    }

    /// Proves, without showing anything, that files can be made as they are wanted; see
    /// [`Directory::prove`].
    pub fn prove<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), WriteError> {
        match self {
            Self::Directory(directory) => directory.prove(names),
            Self::Memory(_) => Ok(()),
        }
    }

    /// A line for each rule of `SEGURA_FILE_RULES` that is about none of the files.
    pub fn idle_rules(&self, files: &FileSet<'_>) -> Vec<String> {
        match self {
            Self::Directory(directory) => directory.idle_rules(files),
            Self::Memory(_) => Vec::new(),
        }
    }

    /// The set that stands, if it is whole and its memory can be read.
    pub fn standing(&self) -> Option<Standing> {
        match self {
            Self::Directory(directory) => directory.standing(),
            Self::Memory(memory) => memory.standing(),
        }
    }

    /// What is remembered of the set that stands, whole or not.
    pub fn remembered(&self) -> Option<State> {
        match self {
            Self::Directory(directory) => directory.remembered(),
            Self::Memory(_) => None,
        }
    }

    /// The values of the set that stood before the one that stands, until it is swept.
    pub fn replaced(&self) -> Option<Entries> {
        match self {
            Self::Directory(directory) => directory.replaced(),
            Self::Memory(memory) => memory.replaced(),
        }
    }

    /// Replaces the published set as one step, and completes `state` with what came of it. On error
    /// the old set stands. Nothing is touched where nothing differs.
    pub fn publish(
        &mut self,
        files: &FileSet<'_>,
        state: &mut State,
        now: SystemTime,
    ) -> Result<Outcome, WriteError> {
        match self {
            Self::Directory(directory) => directory.publish(files, state, now),
            Self::Memory(memory) => Ok(memory.publish(files, state, now)),
        }
    }

    /// Something else may have touched the output: the next publish looks at all of it.
    pub fn suspect(&mut self) {
        match self {
            Self::Directory(directory) => directory.suspect(),
            Self::Memory(_) => {}
        }
    }

    /// Rewrites the state.
    pub fn save(&self, state: &State) -> Result<(), WriteError> {
        match self {
            Self::Directory(directory) => directory.save(state),
            Self::Memory(memory) => {
                memory.save(state);
                Ok(())
            }
        }
    }

    /// Remembers what is being provisioned, where memory outlives this process.
    pub fn intend(&self, pending: &Pending) -> Result<(), WriteError> {
        match self {
            Self::Directory(directory) => directory.intend(pending),
            Self::Memory(_) => Ok(()),
        }
    }

    /// What an agent before this one has provisioned for the same origin, or was about to when it
    /// died: to be looked for before it is asked for.
    pub fn intended(&self, origin: &Origin) -> Vec<SecretName> {
        let stood = self.remembered().filter(|state| state.origin == *origin && !state.given_back);
        let mut identities = stood.map(|state| state.names()).unwrap_or_default();
        for identity in self.pending(origin) {
            if !identities.contains(&identity) {
                identities.push(identity);
            }
        }
        identities
    }

    /// What an agent before this one was about to provision for the same origin when it died.
    pub fn pending(&self, origin: &Origin) -> Vec<SecretName> {
        let pending = match self {
            Self::Directory(directory) => directory.pending(),
            Self::Memory(_) => None,
        };
        let pending = pending.filter(|pending| pending.origin == *origin);
        pending.map(|pending| pending.identities).unwrap_or_default()
    }

    /// Forgets what was being provisioned: it is published, or given back.
    pub fn settle(&self) {
        match self {
            Self::Directory(directory) => directory.settle(),
            Self::Memory(_) => {}
        }
    }

    /// Removes sets that no longer stand.
    pub fn sweep(&self) {
        match self {
            Self::Directory(directory) => directory.sweep(),
            Self::Memory(memory) => memory.sweep(),
        }
    }

    /// The same, but keeps the one that was replaced last.
    pub fn sweep_but_the_last(&self) {
        match self {
            Self::Directory(directory) => directory.sweep_but_the_last(),
            Self::Memory(_) => {}
        }
    }

    /// Removes the set that stands: nothing is left to be read or adopted.
    pub fn remove(&mut self) {
        match self {
            Self::Directory(directory) => directory.remove(),
            Self::Memory(memory) => memory.remove(),
        }
    }
}
