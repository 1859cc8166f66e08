//! The directory on tmpfs: a new generation beside the old one, and one rename that makes it
//! current.

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{self, Access as Right, AtFlags, FlockOperation};
use rustix::io::Errno;

use super::access::Owner;
use super::dir::{Changed, Dir};
use super::mount::{self, Mount};
use super::owner::Owners;
use super::{
    Backend, CurrentSet, DATA, DATA_NEXT, HOLDER, OWN, PENDING, PROBE, Pending, STATE,
    STATE_TARGET, UNFINISHED, WriteCause, WriteError, generation, inspect, links,
};
use crate::config::settings::Output;
use crate::exit::chain;
use crate::model::{Generation, Outcome, STATE_LINK};
use crate::os::clock;
use crate::render::FileSet;
use crate::render::bundle::{self, Entries};
use crate::store::state::State;

/// The output directory, locked against other agents as long as this value lives.
#[derive(Debug)]
pub struct Directory {
    dir: Dir,
    own: Dir,
    owners: Owners,
    /// The folder of the current generation.
    current: Option<String>,
    /// The folder of `current`, open.
    root: Option<Dir>,
    /// The folder's change time at its last listing.
    listed: Option<Changed>,
    /// No visible link belongs to an older set.
    no_stale_links: bool,
    /// The folder of the generation before it, until a sweep.
    replaced: Option<String>,
    generation: Generation,
    /// The file with the holder's name, under a lock that `check` tests without taking it
    /// (`F_GETLK`, `fcntl_locking(2)`); a test of the flock(2) would have to take that.
    _alive: File,
}

impl Directory {
    /// Holds the directory as an agent of this mode, and logs who can read the files.
    pub fn hold(output: &Output, mode: &str) -> Result<Self, WriteError> {
        let pid = std::process::id();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let store = Self::open(output, &format!("{mode}, pid {pid}, in {host}"))?;
        let readers = store.owners.readers();
        tracing::info!(
            dir = %store.path().display(),
            "published files will be readable by {readers}"
        );
        Ok(store)
    }

    /// Opens and locks the directory, and removes the remains of a crash. `holder` names this agent
    /// in the error of another one that wants the directory meanwhile.
    pub fn open(output: &Output, holder: &str) -> Result<Self, WriteError> {
        let dir = match mount::find(output)? {
            Mount::There(dir) => dir,
            Mount::Within { parent, name } => {
                let owners = Owners::of(&parent, &output.access)?;
                parent.open_or_make(&name, owners.all())?
            }
        };
        lock(&dir)?;
        let owners = Owners::of(&dir, &output.access)?;
        let own = dir.open_or_make(OWN, owners.all())?;
        let alive = own.write(HOLDER, holder.as_bytes(), owners.all())?;
        // Without this lock only `check` and a reader fail to see the agent: flock(2) guards the
        // directory.
        fs::fcntl_lock(&alive, FlockOperation::NonBlockingLockExclusive).ok();
        let current = generation::current(&dir);
        let generation = current
            .as_deref()
            .and_then(|name| generation::snapshot(&dir, name))
            .map_or_else(Generation::default, |state| state.generation);
        let store = Self {
            dir,
            own,
            owners,
            current,
            root: None,
            listed: None,
            no_stale_links: false,
            replaced: None,
            generation,
            _alive: alive,
        };
        store.clear();
        Ok(store)
    }

    /// Makes a file with this owner and mode, reads it back, and removes it.
    fn probe(&self, owner: &Owner) -> Result<(), WriteError> {
        self.own.write(PROBE, &[0; 64], owner).map(drop)?;
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

    fn entries(&self, generation: &str) -> Option<Entries> {
        let bytes = self.dir.open(generation).ok()?.read(bundle::FILE).ok()?;
        bundle::read(bytes.expose())
    }

    /// Reports if the current generation is this set. Its folder is kept open: an open would wake a
    /// watcher of IN_OPEN in the directory (inotify(7)).
    fn is_current(&mut self, files: &FileSet<'_>) -> bool {
        let Some(name) = self.current.as_deref() else {
            return false;
        };
        let held = self.root.take().filter(|root| root.is_at(&self.dir, name));
        if held.is_none() {
            self.listed = None;
        }
        self.root = held.or_else(|| self.dir.open(name).ok());
        let Self { root, owners, listed, .. } = self;
        root.as_ref().is_some_and(|root| generation::equals(root, files, owners, listed))
    }

    /// Restores the missing links to the current set, and removes the links of older sets.
    fn restore_links(&mut self, files: &FileSet<'_>) -> Result<(), WriteError> {
        let mut missing = links::make(&self.dir, files)?;
        if let Some(name) = &self.current
            && self.dir.link_target(DATA).as_deref() != Some(name)
        {
            self.switch_to(name)?;
            missing.push(DATA.to_owned());
        }
        if !missing.is_empty() {
            let names = missing.join(", ");
            tracing::warn!(names, "restored links that another process had removed");
        }
        // A listing opens the directory, which wakes a watcher of IN_OPEN (inotify(7)).
        if !self.no_stale_links {
            links::drop_stale(&self.dir, files)?;
            self.no_stale_links = true;
        }
        Ok(())
    }

    fn build(&self, name: &str, files: &FileSet<'_>, state: &State) -> Result<(), WriteError> {
        generation::write(&self.dir, name, files, state, &self.owners)
    }

    /// Makes a generation current by one rename: the commit point.
    fn switch_to(&self, name: &str) -> Result<(), WriteError> {
        self.dir
            .remove_file(DATA_NEXT)
            .or_else(missing_is_fine)
            .and_then(|()| {
                self.dir.link(name, DATA_NEXT)?;
                self.dir.rename(DATA_NEXT, DATA)
            })
            .map_err(|error| {
                self.dir.remove_file(DATA_NEXT).ok();
                WriteError::new("publish", self.path(), error)
            })
    }

    fn sweep_among(&self, names: &[String], kept: Option<&str>) {
        let others = generation::others(names, self.current.as_deref()).into_iter();
        for name in others.filter(|name| Some(*name) != kept) {
            self.dir.remove_tree(name).ok();
        }
    }

    /// Removes the remains of a crash: incomplete generations, an unfinished commit, dangling
    /// links.
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

impl Backend for Directory {
    fn prove(&self, names: &[&str]) -> Result<(), WriteError> {
        let right = Right::WRITE_OK | Right::EXEC_OK;
        fs::accessat(self.dir.descriptor(), ".", right, AtFlags::EACCESS)
            .map_err(|error| WriteError::new("write to", self.path(), error))?;
        for name in names {
            links::free_or_ours(&self.dir, name)?;
        }
        links::free_or(&self.dir, DATA, |_| true)?;
        links::free_or(&self.dir, DATA_NEXT, |_| true)?;
        links::free_or(&self.dir, STATE_LINK, |target| target == STATE_TARGET)?;
        self.probe(self.owners.all())?;
        for (glob, owner) in self.owners.rules() {
            self.probe(owner).map_err(|error| error.for_rule(glob))?;
        }
        Ok(())
    }

    fn idle_rules(&self, files: &FileSet<'_>) -> Vec<String> {
        self.owners.idle(files)
    }

    fn current_set(&self) -> Option<CurrentSet> {
        let state = self.remembered()?;
        let entries = self.entries(self.current.as_deref()?)?;
        let whole = entries.len() == state.secrets.len()
            && entries.keys().all(|identity| state.secret(identity).is_some());
        whole.then_some(CurrentSet { state, entries })
    }

    fn remembered(&self) -> Option<State> {
        inspect::remembered(&self.dir, &self.own, self.current.as_deref()?)
    }

    fn replaced(&self) -> Option<Entries> {
        self.entries(self.replaced.as_deref()?)
    }

    fn publish(
        &mut self,
        files: &FileSet<'_>,
        state: &mut State,
        now: SystemTime,
    ) -> Result<Outcome, WriteError> {
        if self.is_current(files) {
            state.generation = self.generation;
            self.restore_links(files)?;
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
        if let Err(error) = self.switch_to(&name) {
            links::undo(&self.dir, &made);
            self.dir.remove_tree(&name).ok();
            return Err(error);
        }
        self.replaced = self.current.replace(name);
        self.generation = state.generation;
        // The new set is current, so a stale link that stays is no failure of the publish.
        self.no_stale_links = true;
        if self.replaced.is_some()
            && let Err(error) = links::drop_stale(&self.dir, files)
        {
            self.no_stale_links = false;
            tracing::warn!(
                error = chain(&error),
                "the link of a removed file could not be removed"
            );
        }
        Ok(Outcome::Published(self.generation))
    }

    fn recheck(&mut self) {
        (self.no_stale_links, self.listed) = (false, None);
    }

    /// Rewrites the state, and restores its link if that is missing.
    fn save(&self, state: &State) -> Result<(), WriteError> {
        let mut json = serde_json::to_vec(state).unwrap_or_default();
        json.push(b'\n');
        self.own.replace(STATE, &json, self.owners.all())?;
        if self.dir.link_target(STATE_LINK).as_deref() == Some(STATE_TARGET) {
            return Ok(());
        }
        self.dir
            .link(STATE_TARGET, STATE_LINK)
            .map_err(|error| WriteError::new("make", self.path().join(STATE_LINK), error))
    }

    fn record_pending(&self, pending: &Pending) -> Result<(), WriteError> {
        let json = serde_json::to_vec(pending).unwrap_or_default();
        self.own.replace(PENDING, &json, self.owners.all())
    }

    fn pending_record(&self) -> Option<Pending> {
        serde_json::from_slice(self.own.read(PENDING).ok()?.expose()).ok()
    }

    fn clear_pending(&self) {
        self.own.remove_file(PENDING).ok();
    }

    fn sweep(&self) {
        self.sweep_among(&self.dir.names(), None);
    }

    fn sweep_but_the_last(&self) {
        self.sweep_among(&self.dir.names(), self.replaced.as_deref());
    }

    /// Removes the current set, which needs no space: it works on a full volume too.
    fn remove(&mut self) {
        self.dir.remove_file(DATA).ok();
        (self.current, self.root) = (None, None);
        self.clear();
    }
}

fn missing_is_fine(error: Errno) -> Result<(), Errno> {
    if error == Errno::NOENT { Ok(()) } else { Err(error) }
}

fn lock(dir: &Dir) -> Result<(), WriteError> {
    match fs::flock(dir.descriptor(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let holder = dir.open(OWN).and_then(|own| own.read(HOLDER)).ok();
            let holder = holder.and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
            let holder = holder.unwrap_or_else(|| "it has left no name".to_owned());
            Err(WriteError::new("use", dir.path(), WriteCause::Held(holder)))
        }
        Err(error) => Err(WriteError::new("lock", dir.path(), error)),
    }
}

#[cfg(test)]
mod tests;
