//! The directory on tmpfs: a new generation beside the old one, and one rename that makes it
//! current.

mod restore;

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use rustix::fs::{self, Access as Right, AtFlags};
use serde::Serialize;

use super::access::Owner;
use super::dir::{Changed, Dir, EntryKind};
use super::held::{HeldGeneration, Proof, SharedHeld};
use super::lock::{self, Own};
use super::mount::{self, Mount};
use super::owner::Owners;
use super::remove::remove_entry;
use super::seal::{Seal, Sealed};
use super::sweep::Sweeper;
use super::top::Top;
use super::{
    Backend, CurrentSet, DATA, KEPT, Keeping, Kept, KeptNote, LONGEST_KEPT, LONGEST_STATE, PENDING,
    PROBE, Pending, SEAL, STATE, STATE_TARGET, UNFINISHED, WriteCause, WriteError, generation,
    inspect, kept, links, state_json,
};
use crate::config::settings::Output;
use crate::exit::chain;
use crate::model::{Bundle, Generation, Outcome, STATE_LINK};
use crate::os::clock;
use crate::os::opened::FileError;
use crate::render::FileSet;
use crate::render::bundle::{self, Entries};
use crate::secret::sha256;
use crate::store::Published;
use crate::store::state::{Saved, ShownGeneration, State};

/// The size of the file that proves the directory: three pages of a tmpfs, for the record of a POST
/// and for the secrets that a start keeps if they can't be published. A set takes more.
const PROBED: usize = 3 * 4096;

/// The most older generations that are kept open; there are more only if they can't be removed.
const MOST_OLDER: usize = 16;

/// The output directory, locked against other agents as long as this value lives.
#[derive(Debug)]
pub struct Directory {
    dir: Dir,
    own: Own,
    owners: Owners,
    seal: Seal,
    sweeper: Sweeper,
    /// The current generation.
    held: SharedHeld,
    /// The change time of its folder at the last listing.
    listed: Option<Changed>,
    /// No visible link belongs to an older set.
    no_stale_links: bool,
    /// The generation before it, until a sweep.
    replaced: Option<HeldGeneration>,
    /// Generations before that, which may still be there: a look that was not whole missed them.
    older: Vec<HeldGeneration>,
    /// The number of the current generation; without one, the highest number so far.
    generation: Generation,
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

    /// Opens and locks the directory, finds the current generation, and removes the remains of a
    /// crash. `holder` names this agent in the error of another one that wants the directory
    /// meanwhile.
    pub fn open(output: &Output, holder: &str) -> Result<Self, WriteError> {
        let dir = match mount::find(output)? {
            Mount::There(dir) => dir,
            Mount::Within { parent, name } => {
                let owners = Owners::of(&parent, &output.access)?;
                parent.open_or_make(&name, owners.all())?
            }
        };
        let owners = Owners::of(&dir, &output.access)?;
        let own = Own::lock(&dir, &owners.shown(), owners.all().uid, holder)?;
        let seal = own.dir.read(SEAL, LONGEST_STATE).ok();
        let seal = seal.and_then(|bytes| serde_json::from_slice(bytes.expose()).ok());
        let mut store = Self {
            dir,
            own,
            owners,
            seal: seal.unwrap_or_default(),
            sweeper: Sweeper::default(),
            held: SharedHeld::default(),
            listed: None,
            no_stale_links: false,
            replaced: None,
            older: Vec::new(),
            generation: Generation::default(),
        };
        store.find_current()?;
        if let Some(error) = store.unfit() {
            error.log_unused();
        }
        store.clear();
        Ok(store)
    }

    /// A reader of the current set, valid as long as this store lives.
    pub(super) fn published(&self) -> Published {
        Published::of_agent(Rc::clone(&self.held))
    }

    fn write_seal(&mut self, seal: Seal) -> Result<(), WriteError> {
        let json = serde_json::to_vec(&seal).unwrap_or_default();
        self.own.dir.replace_private(SEAL, &json)?;
        self.seal = seal;
        Ok(())
    }

    /// Makes a folder and a file with this owner and these modes, reads the file back, and removes
    /// both.
    fn probe(&self, owner: &Owner) -> Result<(), WriteError> {
        let own = &self.own.dir;
        let probed = own.make(PROBE).and_then(|folder| {
            folder.write(PROBE, &[0; PROBED], owner)?;
            folder.claim(owner)?;
            own.open(PROBE).map_err(FileError::from).and_then(|folder| folder.read(PROBE, LONGEST_STATE)).map_err(|error| {
                WriteError::new("read back what it writes to", self.path(), error).hinting(
                    "SEGURA_FILE_MODE, SEGURA_DIR_MODE, SEGURA_FILE_UID and SEGURA_FILE_GID must let the agent itself read",
                )
            })
        });
        remove_entry(own, PROBE).ok();
        probed.map(drop)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Shows a generation to readers.
    fn shown(&self, sealed: &Sealed) -> ShownGeneration {
        ShownGeneration {
            folder: sealed.folder.clone(),
            bundle_sha256: sealed.bundle.clone(),
            generation_sha256: sealed.snapshot.clone(),
            file_uid: self.owners.all().uid,
        }
    }

    /// Shows the next generation to readers before the switch: that wakes them, and a change of the
    /// state does not.
    fn announce(&self, sealed: &Sealed) -> Result<(), WriteError> {
        match inspect::saved(&self.own.dir) {
            Some(saved) => {
                let secrets = saved.state.secrets.len();
                self.write_state(&Saved { next: Some(self.shown(sealed)), ..saved }, secrets)
            }
            // Readers of a first set are woken by the link to its state.
            None => Ok(()),
        }
    }

    fn write_state(&self, saved: &Saved<impl Serialize>, secrets: usize) -> Result<(), WriteError> {
        let mut json = state_json(saved, secrets)
            .map_err(|cause| WriteError::new("replace", self.own.dir.path().join(STATE), cause))?;
        json.push(b'\n');
        self.own.dir.replace(STATE, &json, &self.owners.shown())
    }

    /// The latest state of the current generation; none if its state at its publish is another.
    fn current_state(&self) -> Option<State> {
        let snapshot = self.held.borrow().as_ref()?.snapshot()?;
        Some(inspect::latest(&self.own.dir, snapshot))
    }

    fn current_folder(&self) -> Option<String> {
        self.held.borrow().as_ref().map(|held| held.folder.clone())
    }

    /// Reports if the current generation is this set. Its folder is held open: an open would wake a
    /// watcher of IN_OPEN in the directory (inotify(7)).
    fn is_current(&mut self, files: &FileSet<'_>) -> bool {
        let held = self.held.borrow();
        let Some(held) = held.as_ref() else {
            return false;
        };
        if !held.root.is_at(&self.dir, &held.folder) && !self.restore_folder(held) {
            return false;
        }
        // A set whose state at its publish is another can't be adopted.
        held.snapshot().is_some()
            && generation::equals(&held.root, files, &self.owners, &mut self.listed)
    }

    /// Makes a generation current by one rename: the commit point.
    fn switch_to(&self, name: &str) -> Result<(), WriteError> {
        self.dir
            .replace_link(name, DATA)
            .or_else(|error| {
                // rename(2) replaces a link, and no folder.
                if self.dir.look(DATA) != Ok(EntryKind::Folder) {
                    return Err(error);
                }
                lock::move_aside(&self.dir, DATA).map_err(|_| error)?;
                self.dir.replace_link(name, DATA)
            })
            .map_err(|error| WriteError::new("publish", self.path().join(DATA), error))
    }

    /// Removes generations that are not current; the replaced one too, unless it is `kept`.
    fn sweep_among(&self, top: &Top, kept: Option<&HeldGeneration>) {
        let held = self.held.borrow();
        let kept: Vec<&Dir> = held.iter().chain(kept).map(|held| &held.root).collect();
        let older = self.older.iter().chain(&self.replaced);
        let replaced = older.map(|held| (held.folder.as_str(), &held.root));
        self.sweeper.sweep(&self.dir, top, &kept, &replaced.collect::<Vec<_>>());
    }

    /// Removes the links of names that the current set no longer has.
    fn drop_stale(&self, files: &FileSet<'_>) -> Result<(), WriteError> {
        let top = self.sweeper.look(&self.dir);
        let before = self.replaced.as_ref().map(|held| &held.root).filter(|_| !top.whole);
        links::drop_stale(&self.dir, files, &top.links, before)
    }

    /// Removes the remains of a crash: incomplete generations, an unfinished commit, dangling
    /// links.
    fn clear(&self) {
        let top = self.sweeper.look(&self.dir);
        self.sweep_among(&top, None);
        for name in &top.unfinished {
            self.dir.remove_file(name).ok();
        }
        let own = &self.own.dir;
        own.each_name(|name| {
            if name == PROBE || name.ends_with(UNFINISHED) {
                remove_entry(own, name).ok();
            }
            ControlFlow::<()>::Continue(())
        })
        .is_continue();
        let held = self.held.borrow();
        links::drop_dangling(&self.dir, held.as_ref().map(|held| &held.root), &top.links);
    }

    /// Writes a generation, and makes it current.
    fn replace(
        &mut self,
        name: &str,
        files: &FileSet<'_>,
        state: &State,
    ) -> Result<(), WriteError> {
        let (root, snapshot) = generation::write(&self.dir, name, files, state, &self.owners)?;
        let bytes = files.iter().find(|(name, _)| name.as_str() == bundle::FILE);
        let bytes = bytes.map(|(_, content)| content.expose()).unwrap_or_default();
        let sealed = Sealed {
            folder: name.to_owned(),
            number: state.generation,
            bundle: sha256(bytes),
            snapshot: sha256(&snapshot),
        };
        let made = {
            let held = self.held.borrow();
            links::make(&self.dir, files, held.as_ref().map(|held| &held.root))?
        };
        let before = self.seal.clone();
        // The seal names the generation before it may change hands and before it is current: after
        // a crash it is found by its digests.
        let switched = self.write_seal(before.with(sealed.clone())).and_then(|()| {
            root.claim(self.owners.all())?;
            self.announce(&sealed)?;
            if !root.is_at(&self.dir, name) {
                return Err(WriteError::new("publish", root.path(), WriteCause::InTheWay));
            }
            self.switch_to(name)
        });
        if let Err(error) = switched {
            links::undo(&self.dir, &made);
            self.write_seal(before).ok();
            return Err(error);
        }
        let held =
            HeldGeneration { root, folder: name.to_owned(), proof: Proof::Sealed(sealed.clone()) };
        let replaced = self.held.borrow_mut().replace(held);
        self.older.extend(std::mem::replace(&mut self.replaced, replaced));
        self.older.retain(|held| held.root.is_at(&self.dir, &held.folder));
        self.older.truncate(MOST_OLDER);
        self.listed = None;
        self.generation = state.generation;
        // The replaced generation serves its readers for a while, and is adopted no more. If the
        // seal can't be written, it names both, the newest first.
        self.write_seal(self.seal.of(Some(&sealed))).ok();
        Ok(())
    }
}

impl Backend for Directory {
    fn prove(&self, names: &[&str]) -> Result<(), WriteError> {
        let right = Right::WRITE_OK | Right::EXEC_OK;
        fs::accessat(self.dir.descriptor(), ".", right, AtFlags::EACCESS)
            .map_err(|error| WriteError::new("write to", self.path(), error))?;
        let held = self.held.borrow();
        for name in names {
            links::clear_way(&self.dir, name, held.as_ref().map(|held| &held.root))?;
        }
        if self.dir.look(DATA).is_ok_and(|kind| kind != EntryKind::Link) {
            lock::move_aside(&self.dir, DATA)?;
        }
        links::free_or(&self.dir, STATE_LINK, |target| target == STATE_TARGET)
            .or_else(|_| lock::move_aside(&self.dir, STATE_LINK).map(drop))?;
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
        let state = self.current_state()?;
        let entries = self.held.borrow().as_ref()?.entries()?;
        let whole = entries.len() == state.secrets.len()
            && entries.keys().all(|identity| state.secret(identity).is_some());
        whole.then_some(CurrentSet { state, entries })
    }

    fn remembered(&self) -> Option<State> {
        // Without a link the set was removed. With one that leads to no state, or another file in
        // its place, the last state that was saved says what may have been provisioned.
        let saved = || self.dir.look(DATA).ok().and_then(|_| inspect::saved_state(&self.own.dir));
        self.current_state().or_else(saved)
    }

    fn unfit(&self) -> Option<WriteError> {
        inspect::unfit(&self.dir, &self.own.dir, self.current_folder().as_deref())
    }

    fn saved(&self) -> Option<State> {
        inspect::saved_state(&self.own.dir)
    }

    fn is_proven(&self) -> bool {
        self.held.borrow().as_ref().is_some_and(|held| held.sealed().is_some())
    }

    fn replaced(&self) -> Option<Entries> {
        self.replaced.as_ref()?.entries()
    }

    fn publish(
        &mut self,
        files: &FileSet<'_>,
        state: &mut State,
        now: SystemTime,
    ) -> Result<Outcome, WriteError> {
        if self.is_current(files) {
            self.seal_current();
            state.generation = self.generation;
            self.restore_links(files)?;
            return Ok(Outcome::Unchanged(self.generation));
        }
        self.restore_own();
        state.generation = self.generation.max(self.seal.highest).next();
        state.changed_at = clock::stamp(now);
        let name = generation::new_name(&self.dir, now);
        self.replace(&name, files, state).inspect_err(|_| {
            self.sweeper.take(&self.dir, &name);
        })?;
        // The new set is current, so a stale link that stays is no failure of the publish.
        self.no_stale_links = true;
        if self.replaced.is_some()
            && let Err(error) = self.drop_stale(files)
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
        let set =
            self.held.borrow().as_ref().and_then(HeldGeneration::sealed).map(|s| self.shown(s));
        self.write_state(&Saved { state, set, next: None }, state.secrets.len())?;
        if self.dir.link_target(STATE_LINK).as_deref() == Some(STATE_TARGET) {
            return Ok(());
        }
        if self.dir.look(STATE_LINK).is_ok_and(|kind| kind == EntryKind::Folder) {
            lock::move_aside(&self.dir, STATE_LINK)?;
        }
        self.dir
            .replace_link(STATE_TARGET, STATE_LINK)
            .map_err(|error| WriteError::new("make", self.path().join(STATE_LINK), error))
    }

    fn record_pending(&self, pending: &Pending) -> Result<(), WriteError> {
        let json = serde_json::to_vec(pending).unwrap_or_default();
        self.own.dir.replace_private(PENDING, &json)
    }

    fn pending_record(&self) -> Option<Pending> {
        serde_json::from_slice(self.own.dir.read(PENDING, LONGEST_STATE).ok()?.expose()).ok()
    }

    fn clear_pending(&self) {
        self.own.dir.remove_file(PENDING).ok();
    }

    fn keep(&self, note: &KeptNote, bundle: &Bundle) -> Result<Keeping, WriteError> {
        let bytes = kept::write(note, bundle);
        // Larger ones could not be read back; the next start reads them in the vault.
        if u64::try_from(bytes.expose().len()).is_ok_and(|length| length > LONGEST_KEPT) {
            let path = self.own.dir.path().join(KEPT);
            return Err(WriteError::new("keep", path, FileError::TooLarge(LONGEST_KEPT)));
        }
        self.own.dir.replace_private(KEPT, bytes.expose())?;
        Ok(Keeping::UntilPublished)
    }

    fn kept(&self) -> Option<Kept> {
        Kept::read(self.own.dir.read(KEPT, LONGEST_KEPT).ok()?.expose())
    }

    fn drop_kept(&self) {
        self.own.dir.remove_file(KEPT).ok();
    }

    fn sweep(&self) {
        self.sweep_among(&self.sweeper.look(&self.dir), None);
    }

    fn sweep_but_the_last(&self) {
        self.sweep_among(&self.sweeper.look(&self.dir), self.replaced.as_ref());
    }

    /// Removes the current set, which needs no space: it works on a full volume too.
    fn remove(&mut self) {
        self.dir.remove_file(DATA).ok();
        self.replaced = self.held.borrow_mut().take();
        // No start may adopt it. Where even that can't be written, its files are gone below.
        self.write_seal(self.seal.of(None)).ok();
        self.clear();
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.dir.descriptor())
    }
}

#[cfg(test)]
mod tests;
