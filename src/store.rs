//! The output directory: a new generation is built out of sight, then one rename shows it.
//!
//! The shape is that of a Kubernetes secret volume: `..data` links to the generation, and the names
//! users see are links through it. Every path goes through the directory's descriptor, beneath it,
//! one part at a time, without following links. A failure leaves what was published as it was.
//!
//! What the agent keeps for itself lies in `..segura`, where rewriting it wakes no watcher of the
//! directory, and inside each generation, so that a set and what is known of it change together.

mod beneath;
mod generation;
mod links;
pub mod look;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{self, Access as Right, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::exit::{Exit, Failure, chain};
use crate::model::{Generation, Outcome, STATE_LINK, SecretName};
use crate::render::FileSet;
use crate::render::bundle::{self, Entries};
use crate::settings::{Disk, Output};
use crate::state::{Origin, State};
use beneath::{Changed, Dir, Owner};

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
}

impl WriteError {
    fn new(what: &'static str, path: impl Into<PathBuf>, cause: impl Into<WriteCause>) -> Self {
        Self { what, path: path.into(), cause: cause.into(), hint: None }
    }

    fn hinting(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// How a start ends that gives up on it, ready to be shown.
    pub fn failure(&self) -> Failure {
        Failure::new(Exit::CannotWrite, self).hint(self.hint())
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

/// The output directory, held against any other agent as long as this lives.
#[derive(Debug)]
pub struct Store {
    dir: Dir,
    own: Dir,
    owner: Owner,
    /// The folder of the generation that stands.
    current: Option<String>,
    /// The same, open.
    root: Option<Dir>,
    /// When it was last listed.
    listed: Option<Changed>,
    /// No name shows that is not of the set that stands.
    tidy: bool,
    /// The one that stood before it, until it is swept.
    replaced: Option<String>,
    generation: Generation,
    /// The file of the holder's name, under a lock that can be asked for without being taken.
    _alive: File,
}

impl Store {
    /// Holds the directory as an agent of this mode, and says who will be able to read.
    pub fn hold(output: &Output, mode: &str) -> Result<Self, WriteError> {
        let pid = std::process::id();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let store = Self::open(output, &format!("{mode}, pid {pid}, in {host}"))?;
        let readers = store.owner.readers();
        tracing::info!(dir = %store.path().display(), "published files will be readable by {readers}");
        Ok(store)
    }

    /// Opens and locks the directory, and clears what a crash has left; `holder` names this agent
    /// to the next one that comes too early.
    pub fn open(output: &Output, holder: &str) -> Result<Self, WriteError> {
        let descriptor = open_dir(output)?;
        let dir = Dir::new(descriptor, output.dir.clone());
        require_memory(&dir, output.disk)?;
        lock(&dir)?;
        let owner = Owner::of(&dir, &output.access)?;
        let own = dir.open_or_make(OWN, &owner)?;
        let alive = own.write(HOLDER, holder.as_bytes(), &owner)?;
        // Where a file system knows no such locks, only `check` is the poorer for it.
        fs::fcntl_lock(&alive, FlockOperation::NonBlockingLockExclusive).ok();
        let current = generation::standing(&dir);
        let generation = current
            .as_deref()
            .and_then(|name| generation::snapshot(&dir, name))
            .map_or_else(Generation::default, |state| state.generation);
        let store = Self {
            dir,
            own,
            owner,
            current,
            root: None,
            listed: None,
            tidy: false,
            replaced: None,
            generation,
            _alive: alive,
        };
        store.clear();
        Ok(store)
    }

    /// Proves, without showing anything, that files can be made as they are wanted: rights, owners,
    /// space. `names` are top-level names that will be needed.
    pub fn prove<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), WriteError> {
        let right = Right::WRITE_OK | Right::EXEC_OK;
        fs::accessat(self.dir.descriptor(), ".", right, AtFlags::EACCESS)
            .map_err(|error| WriteError::new("write to", self.path(), error))?;
        for name in names {
            links::free_or_ours(&self.dir, name)?;
        }
        links::free_or(&self.dir, DATA, |_| true)?;
        links::free_or(&self.dir, DATA_NEXT, |_| true)?;
        links::free_or(&self.dir, STATE_LINK, |target| target == STATE_TARGET)?;
        self.own.write(PROBE, &[0; 64], &self.owner).map(drop)?;
        let readable = self.own.read(PROBE).map_err(|error| {
            WriteError::new("read back what it writes to", self.path(), error)
                .hinting("SEGURA_FILE_MODE, SEGURA_FILE_UID and SEGURA_FILE_GID must let the agent itself read")
        });
        self.own.remove_file(PROBE).ok();
        readable.map(|_| ())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The set that stands, if it is whole and its memory can be read.
    pub fn standing(&self) -> Option<Standing> {
        let state = self.remembered()?;
        let entries = self.entries(self.current.as_deref()?)?;
        let whole = entries.len() == state.secrets.len()
            && entries.keys().all(|identity| state.secret(identity).is_some());
        whole.then_some(Standing { state, entries })
    }

    /// The values of the set that stood before the one that stands, until it is swept.
    pub fn replaced(&self) -> Option<Entries> {
        self.entries(self.replaced.as_deref()?)
    }

    fn entries(&self, generation: &str) -> Option<Entries> {
        let bytes = self.dir.open(generation).ok()?.read(bundle::FILE).ok()?;
        bundle::read(bytes.expose())
    }

    /// What is remembered of the set that stands, whole or not.
    pub fn remembered(&self) -> Option<State> {
        look::remembered(&self.dir, &self.own, self.current.as_deref()?)
    }

    /// Replaces the published files as one step, and completes `state` with what came of it.
    ///
    /// Readers see the old set or the new, never a mixture. On error the old set stands. Nothing is
    /// touched where bytes, modes and owners are equal.
    pub fn publish(
        &mut self,
        files: &FileSet<'_>,
        state: &mut State,
        now: SystemTime,
    ) -> Result<Outcome, WriteError> {
        if self.stands(files) {
            state.generation = self.generation;
            self.mend(files)?;
            return Ok(Outcome::Unchanged(self.generation));
        }
        state.generation = self.generation.next();
        state.changed_at = clock::stamp(now);
        let name = generation::new_name(&self.dir, now);
        self.build(&name, files, state).inspect_err(|_| {
            self.dir.remove_tree(&name).ok();
        })?;
        let made = links::make(&self.dir, files).inspect_err(|_| {
            self.dir.remove_tree(&name).ok();
        })?;
        if let Err(error) = self.turn_to(&name) {
            links::undo(&self.dir, &made);
            self.dir.remove_tree(&name).ok();
            return Err(error);
        }
        self.replaced = self.current.replace(name);
        self.generation = state.generation;
        // The new set stands, so a name that is left over is no failure of it.
        self.tidy = true;
        if self.replaced.is_some()
            && let Err(error) = links::drop_stale(&self.dir, files)
        {
            self.tidy = false;
            tracing::warn!(error = chain(&error), "a name that is gone still shows");
        }
        Ok(Outcome::Published(self.generation))
    }

    /// Whether what stands is this set. Its folder is kept open, so that not even a watcher of every
    /// access to the directory sees it being compared.
    fn stands(&mut self, files: &FileSet<'_>) -> bool {
        let Some(name) = self.current.as_deref() else {
            return false;
        };
        let held = self.root.take().filter(|root| root.is_at(&self.dir, name));
        if held.is_none() {
            self.listed = None;
        }
        self.root = held.or_else(|| self.dir.open(name).ok());
        let Self { root, owner, listed, .. } = self;
        root.as_ref().is_some_and(|root| generation::equals(root, files, owner, listed))
    }

    /// Something else may have touched the directory: the next publish looks at all of it.
    pub fn suspect(&mut self) {
        (self.tidy, self.listed) = (false, None);
    }

    /// Puts back the links to a set that stands.
    fn mend(&mut self, files: &FileSet<'_>) -> Result<(), WriteError> {
        let mut missing = links::make(&self.dir, files)?;
        if let Some(name) = &self.current
            && self.dir.link_target(DATA).as_deref() != Some(name)
        {
            self.turn_to(name)?;
            missing.push(DATA.to_owned());
        }
        if !missing.is_empty() {
            let names = missing.join(", ");
            tracing::warn!(names, "put back links that something else had removed");
        }
        // Looking for names that are gone would be seen by who watches the directory.
        if !self.tidy {
            links::drop_stale(&self.dir, files)?;
            self.tidy = true;
        }
        Ok(())
    }

    fn build(&self, name: &str, files: &FileSet<'_>, state: &State) -> Result<(), WriteError> {
        generation::write(&self.dir, name, files, state, &self.owner)
    }

    /// The commit point.
    fn turn_to(&self, name: &str) -> Result<(), WriteError> {
        self.dir
            .remove_file(DATA_NEXT)
            .or_else(absent_is_fine)
            .and_then(|()| {
                self.dir.link(name, DATA_NEXT)?;
                self.dir.rename(DATA_NEXT, DATA)
            })
            .map_err(|error| {
                self.dir.remove_file(DATA_NEXT).ok();
                WriteError::new("publish", self.path(), error)
            })
    }

    /// Rewrites the state and makes sure that its link is there.
    pub fn save(&self, state: &State) -> Result<(), WriteError> {
        let mut json = serde_json::to_vec(state).unwrap_or_default();
        json.push(b'\n');
        self.own.replace(STATE, &json, &self.owner)?;
        if self.dir.link_target(STATE_LINK).as_deref() == Some(STATE_TARGET) {
            return Ok(());
        }
        self.dir
            .link(STATE_TARGET, STATE_LINK)
            .map_err(|error| WriteError::new("make", self.path().join(STATE_LINK), error))
    }

    /// Remembers what is being provisioned.
    pub fn intend(&self, pending: &Pending) -> Result<(), WriteError> {
        let json = serde_json::to_vec(pending).unwrap_or_default();
        self.own.replace(PENDING, &json, &self.owner)
    }

    /// What an agent before this one has provisioned for the same origin, or was about to when it
    /// died: to be looked for before it is asked for.
    pub fn intended(&self, origin: &Origin) -> Vec<SecretName> {
        let stood = self.remembered().filter(|state| state.origin == *origin && !state.given_back);
        let stood = stood.into_iter().flat_map(|state| state.secrets);
        let mut identities: Vec<SecretName> = stood.map(|secret| secret.identity).collect();
        for identity in self.pending(origin) {
            if !identities.contains(&identity) {
                identities.push(identity);
            }
        }
        identities
    }

    /// What an agent before this one was about to provision for the same origin when it died.
    pub fn pending(&self, origin: &Origin) -> Vec<SecretName> {
        let bytes = self.own.read(PENDING).ok();
        let pending =
            bytes.and_then(|bytes| serde_json::from_slice::<Pending>(bytes.expose()).ok());
        let pending = pending.filter(|pending| pending.origin == *origin);
        pending.map(|pending| pending.identities).unwrap_or_default()
    }

    /// Forgets what was being provisioned: it is published, or given back.
    pub fn settle(&self) {
        self.own.remove_file(PENDING).ok();
    }

    /// Removes generations that no longer stand.
    pub fn sweep(&self) {
        self.sweep_among(&self.dir.names(), None);
    }

    /// The same, but keeps the one that was replaced last.
    pub fn sweep_but_the_last(&self) {
        self.sweep_among(&self.dir.names(), self.replaced.as_deref());
    }

    fn sweep_among(&self, names: &[String], kept: Option<&str>) {
        let others = generation::others(names, self.current.as_deref()).into_iter();
        for name in others.filter(|name| Some(*name) != kept) {
            self.dir.remove_tree(name).ok();
        }
    }

    /// Removes the set that stands, which takes no room: nothing is left to be read or adopted.
    pub fn remove(&mut self) {
        self.dir.remove_file(DATA).ok();
        (self.current, self.root) = (None, None);
        self.clear();
    }

    /// Clears what a crash may have left: half a generation, half a commit, links into nothing.
    fn clear(&self) {
        let names = self.dir.names();
        self.sweep_among(&names, None);
        self.dir.remove_file(DATA_NEXT).ok();
        let unfinished = |name: &String| name == PROBE || name.ends_with(UNFINISHED);
        for name in self.own.names().into_iter().filter(unfinished) {
            self.own.remove_file(&name).ok();
        }
        links::drop_dangling(&self.dir, self.current.as_deref(), &names);
    }
}

fn absent_is_fine(error: Errno) -> Result<(), Errno> {
    if error == Errno::NOENT { Ok(()) } else { Err(error) }
}

fn open_dir(output: &Output) -> Result<OwnedFd, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| {
        fs::open(path, flags, Mode::empty())
            .map_err(|error| WriteError::new("open the output directory", path, error))
    };
    let missing = match open(&output.dir) {
        Ok(descriptor) => return Ok(descriptor),
        Err(error) if matches!(error.cause, WriteCause::System(Errno::NOENT)) => {
            error.hinting("mount an emptyDir with medium: Memory there, or set SEGURA_OUTPUT_DIR")
        }
        Err(error) => return Err(error),
    };
    let (Some(parent), Some(last), true) =
        (output.dir.parent(), output.dir.file_name(), output.create_last)
    else {
        return Err(missing);
    };
    let parent = Dir::new(open(parent)?, parent.to_owned());
    require_memory(&parent, output.disk)?;
    let owner = Owner::of(&parent, &output.access)?;
    parent.open_or_make(&last.to_string_lossy(), &owner).map(Dir::into_descriptor)
}

fn require_memory(dir: &Dir, disk: Disk) -> Result<(), WriteError> {
    let system = fs::fstatfs(dir.descriptor())
        .map_err(|error| WriteError::new("look at the file system of", dir.path(), error))?;
    // The type is a signed or unsigned word by architecture; the magic numbers fit 32 bits.
    #[expect(clippy::cast_sign_loss, reason = "magic numbers are compared as bits")]
    let kind = (system.f_type as u64) & 0xffff_ffff;
    match disk {
        _ if IN_MEMORY.contains(&kind) => Ok(()),
        Disk::Allow => Ok(()),
        Disk::Warn => {
            let dir = dir.path().display();
            tracing::warn!(%dir, "secrets are published to a disk; mount a memory emptyDir there");
            Ok(())
        }
        Disk::Refuse => Err(WriteError::new("publish to", dir.path(), WriteCause::OnDisk)
            .hinting("mount an emptyDir with medium: Memory there, or set SEGURA_ALLOW_DISK=true")),
    }
}

fn lock(dir: &Dir) -> Result<(), WriteError> {
    match fs::flock(dir.descriptor(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let holder = dir.open(OWN).and_then(|own| own.read(HOLDER)).ok();
            let holder = holder.and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
            let holder = holder.unwrap_or_else(|| "it has not said its name".to_owned());
            Err(WriteError::new("use", dir.path(), WriteCause::Held(holder)))
        }
        Err(error) => Err(WriteError::new("lock", dir.path(), error)),
    }
}

#[cfg(test)]
mod tests;
