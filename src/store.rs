//! The output directory: a new generation is built under a hidden name, then one rename makes it
//! current.
//!
//! The layout is that of a Kubernetes secret volume (`pkg/volume/util/atomic_writer.go`): `..data`
//! links to the generation, and the visible names are links through it. Every path goes through the
//! directory's descriptor, beneath it, one part at a time, without following links. A failure
//! leaves what was published as it was.
//!
//! The agent's own files are in `..segura`, where a rewrite wakes no watcher of the directory
//! (`inotify(7)` is not recursive), and in each generation, so that a set and its state change
//! together.

mod access;
mod dir;
mod directory;
mod generation;
mod held;
mod holder;
pub mod inspect;
mod kept;
mod links;
mod lock;
mod memory;
mod mount;
mod owner;
mod pending;
mod plan;
mod published;
mod remove;
mod seal;
mod set;
pub mod state;
mod sweep;
mod top;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use serde::Serialize;

use crate::config::settings::Destination;
use crate::exit::{Exit, Failure, chain};
use crate::model::{Bundle, Outcome, SecretName};
use crate::os::opened::FileError;
use crate::os::sandbox;
use crate::render::FileSet;
use crate::render::bundle::{self, Entries};
use crate::store::state::{Origin, State};
pub use directory::Directory;
pub use holder::Place;
pub use kept::{Keeping, Kept, KeptNote};
pub use memory::Memory;
pub use pending::{Pending, Posted};
pub use plan::{Plan, plan};
pub use published::Published;
pub use set::Set;

/// The time that a replaced generation stays for readers that have opened it.
pub const LINGER: Duration = Duration::from_secs(2);
/// The link to the current generation, which one rename replaces.
const DATA: &str = "..data";
/// The agent's own folder.
const OWN: &str = "..segura";
const STATE: &str = "state.json";
/// The target of the link to the state.
const STATE_TARGET: &str = "..segura/state.json";
const HOLDER: &str = "holder";
const PENDING: &str = "pending.json";
const KEPT: &str = "kept.json";
const PROBE: &str = "probe";
/// The seal's file in the agent's own folder.
const SEAL: &str = "seal";
/// The suffix of a file's name until the file is complete.
const UNFINISHED: &str = ".tmp";
/// The most bytes of a state, in its file or in a generation, and of a record of what is pending.
const LONGEST_STATE: u64 = 4 * 1024 * 1024;
/// The most bytes of the secrets that a start keeps, with their states.
const LONGEST_KEPT: u64 = bundle::LONGEST + LONGEST_STATE;
/// The most bytes of a holder's name.
const LONGEST_HOLDER: u64 = 4096;
/// `f_type` of file systems that live in memory (`statfs(2)`).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The failure of one operation on one path.
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
    #[error(transparent)]
    Unfit(FileError),
    #[error("it is on a disk, not on tmpfs or ramfs")]
    OnDisk,
    #[error("another segura-agent holds it: {0}")]
    Held(String),
    #[error("the state of so many secrets is larger than 4 MiB")]
    TooManySecrets,
    #[error("something that the agent did not make is in the way")]
    InTheWay,
    #[error("it belongs to an agent of uid {owner}, and this agent runs as uid {own}")]
    Foreign { owner: u32, own: u32 },
    #[error("another process has changed it since it was published")]
    Changed,
    #[error("it belongs to uid {0}, and is not followed")]
    NotFollowed(u32),
    #[error("by SEGURA_FILE_RULES for {glob}: {cause}")]
    Ruled { glob: String, cause: Errno },
}

impl From<FileError> for WriteCause {
    fn from(error: FileError) -> Self {
        match error {
            FileError::System(error) => Self::System(error),
            FileError::Kind(_) | FileError::TooLarge(_) | FileError::OnProcfs => Self::Unfit(error),
        }
    }
}

impl WriteError {
    fn new(what: &'static str, path: impl Into<PathBuf>, cause: impl Into<WriteCause>) -> Self {
        Self { what, path: path.into(), cause: cause.into(), hint: None }
    }

    fn hinting(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// Names the rule of `SEGURA_FILE_RULES` that the agent lacks the rights for, if that is the
    /// cause.
    fn for_rule(self, glob: &str) -> Self {
        let WriteCause::System(cause @ (Errno::ACCESS | Errno::PERM)) = self.cause else {
            return self;
        };
        Self { cause: WriteCause::Ruled { glob: glob.to_owned(), cause }, hint: None, ..self }
    }

    /// The failure of a start that this error ends.
    pub fn failure(&self) -> Failure {
        let exit = match self.cause {
            WriteCause::TooManySecrets => Exit::Malformed,
            WriteCause::System(_)
            | WriteCause::Unfit(_)
            | WriteCause::OnDisk
            | WriteCause::Held(_)
            | WriteCause::InTheWay
            | WriteCause::Foreign { .. }
            | WriteCause::Changed
            | WriteCause::NotFollowed(_)
            | WriteCause::Ruled { .. } => Exit::CannotWrite,
        };
        Failure::new(exit, self).hint(self.hint())
    }

    /// Logs that the file of this error, in the place of one of the agent's own, is not used.
    pub fn log_unused(&self) {
        tracing::warn!(
            error = chain(self),
            hint = self.hint(),
            "a file in the place of the agent's own is not used"
        );
    }

    /// Reports if the cause is that another agent holds the directory.
    pub fn is_held(&self) -> bool {
        matches!(self.cause, WriteCause::Held(_))
    }

    /// Reports if a reader can't take the set that is there, which another one may replace.
    pub fn is_untrusted(&self) -> bool {
        matches!(self.cause, WriteCause::Changed | WriteCause::NotFollowed(_))
    }

    /// Reports if the cause is a missing right.
    fn is_denied(&self) -> bool {
        matches!(self.cause, WriteCause::System(Errno::ACCESS | Errno::PERM))
    }

    /// The remedy, if there is a known one.
    pub fn hint(&self) -> Option<&'static str> {
        self.hint.or_else(|| match self.cause {
            // The sizeLimit of a memory emptyDir is the size of its tmpfs (Kubernetes docs,
            // "Volumes").
            WriteCause::System(Errno::NOSPC | Errno::DQUOT) => {
                Some("the volume is full: raise the sizeLimit of the memory emptyDir")
            }
            WriteCause::System(Errno::ROFS) => {
                Some("the agent's own mount of the volume must not be readOnly")
            }
            // With fsGroup the kubelet gives the volume that group and group write access
            // (Kubernetes API reference, PodSecurityContext).
            WriteCause::System(Errno::ACCESS) if sandbox::denies_writing(&self.path) => {
                Some("set SEGURA_SANDBOX=off, and report this: the agent's sandbox denies what the directory's mode allows")
            }
            WriteCause::System(Errno::ACCESS | Errno::PERM) => {
                Some("set fsGroup in the pod's securityContext, or run as the owner of the volume")
            }
            WriteCause::Held(_) => Some("give each agent an output directory of its own"),
            WriteCause::InTheWay | WriteCause::Unfit(_) => {
                Some("let the output directory hold nothing but the agent's output")
            }
            WriteCause::TooManySecrets => {
                Some("name fewer secrets with SEGURA_IDENTITY, or share them among several agents")
            }
            WriteCause::Ruled { .. } => {
                Some(
                    "each rule must let the agent itself read; a uid other than the agent's needs CAP_CHOWN and CAP_FOWNER, and CAP_DAC_READ_SEARCH if the mode denies the agent; a gid must be one of the agent's",
                )
            }
            WriteCause::Foreign { .. } => Some(
                "give all agents of the volume one runAsUser, or each an output directory of its own",
            ),
            WriteCause::NotFollowed(_) => Some(
                "set SEGURA_AGENT_UID to the uid of the agent that publishes there; any other owner is no agent of this pod",
            ),
            WriteCause::System(_) | WriteCause::OnDisk | WriteCause::Changed => None,
        })
    }
}

/// Writes a state of this number of `secrets` as it is read back. One that is too large to be read back is an error, as soon as
/// it would be if each of its secrets were held back.
fn state_json(state: &impl Serialize, secrets: usize) -> Result<Vec<u8>, WriteCause> {
    /// The longest `"error":"…",` of a secret.
    const CLASS: usize = 32;
    let json = serde_json::to_vec(state).unwrap_or_default();
    let most = json.len().saturating_add(secrets.saturating_mul(CLASS));
    if u64::try_from(most).is_ok_and(|most| most > LONGEST_STATE) {
        return Err(WriteCause::TooManySecrets);
    }
    Ok(json)
}

/// The published set, as the agent that publishes it can adopt it.
#[derive(Debug)]
pub struct CurrentSet {
    /// Its state.
    pub state: State,
    /// Its values.
    pub entries: Entries,
}

/// The place of one published set: the output directory, or this process alone.
///
/// The defaults are those of a place that keeps nothing beyond this process.
pub trait Backend: fmt::Debug {
    /// Proves that files can be published as the settings want them: rights, owners, space. No user
    /// sees anything of it. `names` are the top-level names that will be needed.
    fn prove(&self, _names: &[&str]) -> Result<(), WriteError> {
        Ok(())
    }

    /// Makes a line for each rule of `SEGURA_FILE_RULES` that matches none of the files.
    fn idle_rules(&self, _files: &FileSet<'_>) -> Vec<String> {
        Vec::new()
    }

    /// The current set, if it is complete and its state can be read.
    fn current_set(&self) -> Option<CurrentSet>;

    /// The state of the current set, complete or not, which may be of an agent before this one.
    fn remembered(&self) -> Option<State> {
        None
    }

    /// The state that was saved last, whether or not its set can still be found.
    fn saved(&self) -> Option<State> {
        None
    }

    /// Tells whether the current set is this agent's own beyond doubt.
    fn is_proven(&self) -> bool {
        true
    }

    /// The values of the set before the current one, until a sweep removes it.
    fn replaced(&self) -> Option<Entries>;

    /// Replaces the published set as one step, and completes `state` with the generation and the
    /// time of the change.
    ///
    /// Readers see the old set or the new, never a mixture. On error the old set stays current. If
    /// the set is current already, only links are restored.
    fn publish(
        &mut self,
        files: &FileSet<'_>,
        state: &mut State,
        now: SystemTime,
    ) -> Result<Outcome, WriteError>;

    /// Makes the next publish compare the whole output: another process may have changed it.
    fn recheck(&mut self) {}

    /// Rewrites the state.
    fn save(&self, state: &State) -> Result<(), WriteError>;

    /// Records identities that are being provisioned, where records outlive this process.
    fn record_pending(&self, _pending: &Pending) -> Result<(), WriteError> {
        Ok(())
    }

    /// The record of [`Backend::record_pending`], by this agent or one before it.
    fn pending_record(&self) -> Option<Pending> {
        None
    }

    /// A file of the agent's own that is there and is not what the agent makes, if there is one.
    fn unfit(&self) -> Option<WriteError> {
        None
    }

    /// Drops the record of [`Backend::record_pending`]: no account is without a set, and no POST
    /// bounds another.
    fn clear_pending(&self) {}

    /// Keeps secrets that were provisioned and are not published yet, in place of those kept
    /// before. `note` has the properties of those in `bundle`.
    fn keep(&self, _note: &KeptNote, _bundle: &Bundle) -> Result<Keeping, WriteError> {
        Ok(Keeping::InProcess)
    }

    /// Gives the secrets of [`Backend::keep`], by this agent or one before it.
    fn kept(&self) -> Option<Kept> {
        None
    }

    /// Drops the secrets of [`Backend::keep`]: they are published, or deprovisioned.
    fn drop_kept(&self) {}

    /// Removes sets that are no longer current.
    fn sweep(&self);

    /// Removes sets that are no longer current, except the one that was replaced last.
    fn sweep_but_the_last(&self) {}

    /// Removes the current set: nothing is left to be read or adopted.
    fn remove(&mut self);

    /// The output directory, if there is one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The record of [`Backend::record_pending`] for this origin. The identities of the settings
    /// may have changed since: each is provisioned by itself.
    fn pending(&self, origin: &Origin) -> Option<Pending> {
        self.pending_record().filter(|pending| pending.origin.difference_of_pod(origin).is_none())
    }

    /// Identities that an agent before this one has provisioned and published for the same origin:
    /// they are read before they are provisioned.
    fn to_read_first(&self, origin: &Origin) -> Vec<SecretName> {
        let states = [self.remembered(), self.saved()].into_iter().flatten();
        let published = states.filter(|state| state.origin == *origin && !state.given_back);
        published.flat_map(|state| state.names()).collect()
    }
}

/// The [`Backend`] of this agent: no other agent publishes there as long as this lives.
#[derive(Debug)]
pub struct Store {
    backend: Box<dyn Backend>,
    published: Published,
}

impl Store {
    /// Holds the destination as an agent of this mode, and logs who can read the files.
    pub fn hold(destination: &Destination, mode: &str) -> Result<Self, WriteError> {
        let output = match destination {
            Destination::Directory(output) => output,
            Destination::Memory => {
                let memory = Memory::default();
                let published = Published::in_memory(memory.clone());
                return Ok(Self { backend: Box::new(memory), published });
            }
        };
        let directory = Directory::hold(output, mode)?;
        let published = directory.published();
        Ok(Self { backend: Box::new(directory), published })
    }

    /// A reader of the published set, valid as long as this store is held.
    pub fn published(&self) -> Published {
        self.published.clone()
    }
}

impl Deref for Store {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.backend
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.backend
    }
}
