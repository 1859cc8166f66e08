//! The agent's own folder, and the lock in it by which one agent at a time uses the directory.
//!
//! A container that mounts a memory emptyDir writable may rename, replace and add names at its top,
//! since the kubelet makes it with mode 0777 and no sticky bit (`pkg/volume/emptydir`). So a name
//! proves nothing: a folder is the agent's own if this user owns it, no other user may write in it,
//! and it holds the lock.

use std::fs::File;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{self, FlockOperation, Mode};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::access::{Owner, WRITE_OF_OTHERS, own_uid};
use super::dir::{Dir, EntryKind};
use super::remove::remove_entry;
use super::{
    HOLDER, LONGEST_HOLDER, LONGEST_STATE, OWN, PENDING, STATE, UNFINISHED, WriteCause, WriteError,
};
use crate::render::bundle;

/// The file in the agent's own folder whose flock(2) one agent holds. It is made once and never
/// replaced.
const LOCK: &str = "lock";
/// A file that only generations have; a folder that holds it is none of the agent's own.
const OF_GENERATIONS: &str = "..generation.json";
/// The tries to lock a file that may be replaced meanwhile.
const TRIES: u32 = 3;
/// The time in which an agent of version 0.1.0, which has locked the directory, shows that it is
/// alive, in steps.
const SHOWS_ITSELF: (u32, Duration) = (20, Duration::from_millis(50));

/// The agent's own folder, locked as long as this value lives.
#[derive(Debug)]
pub(super) struct Own {
    /// The folder.
    pub(super) dir: Dir,
    _lock: File,
    /// The file with the holder's name, under a lock that others test without taking it
    /// (`F_GETLK`, `fcntl_locking(2)`).
    _alive: Option<File>,
}

/// Tells whether a reader takes the set of an agent of the user `owner`: its own user, root, or the
/// user of that `agent`.
pub(super) fn is_trusted(owner: u32, agent: Option<u32>) -> bool {
    owner == 0 || owner == own_uid() || Some(owner) == agent
}

/// Tells whether this user owns `dir`, and no other user may write in it.
pub(super) fn is_private(dir: &Dir) -> bool {
    fs::fstat(dir.descriptor())
        .is_ok_and(|stat| stat.st_uid == own_uid() && stat.st_mode & WRITE_OF_OTHERS == 0)
}

/// Renames what stands under `name` to a random free name, and logs it.
pub(super) fn move_aside(dir: &Dir, name: &str) -> Result<String, WriteError> {
    let aside = format!("..moved-{:016x}", fastrand::u64(..));
    dir.rename(name, &aside)
        .map_err(|error| WriteError::new("move aside", dir.path().join(name), error))?;
    tracing::warn!(
        name,
        moved_to = aside,
        "another process had put a file under a name of the agent; it was moved aside"
    );
    Ok(aside)
}

/// Gives the folder that stands under `renamed_to` its `name` again, and logs it. A file of that name
/// is moved aside.
pub(super) fn put_back(dir: &Dir, renamed_to: &str, name: &str) -> Result<(), WriteError> {
    if dir.look(name) != Err(Errno::NOENT) {
        move_aside(dir, name)?;
    }
    dir.rename(renamed_to, name)
        .map_err(|error| WriteError::new("restore", dir.path().join(name), error))?;
    tracing::warn!(
        folder = name,
        renamed_to,
        "restored the name of a folder of the agent, which another process had renamed"
    );
    Ok(())
}

impl Own {
    /// Locks the agent's own folder in `dir`, which is made if it is missing. `shown` is the owner
    /// and mode of the folder and of the files in it that readers of the set may read; `file_uid`
    /// is the owner of published files. `holder` names this agent in the error of another one that
    /// wants the directory meanwhile.
    pub(super) fn lock(
        dir: &Dir,
        shown: &Owner,
        file_uid: u32,
        holder: &str,
    ) -> Result<Self, WriteError> {
        let own = find(dir, shown, file_uid)?;
        let lock = lock(dir, &own)?;
        exclude_older(dir, &own)?;
        own.claim(shown)?;
        let alive = show_holder(&own, holder, shown);
        Ok(Self { dir: own, _lock: lock, _alive: alive })
    }

    /// Restores the name of the folder in `dir`, where another process has renamed or replaced it.
    /// An error means that the folder is out of reach.
    pub(super) fn restore(&self, dir: &Dir) -> Result<(), WriteError> {
        if self.dir.is_at(dir, OWN) {
            return Ok(());
        }
        let name = dir.find_name(|name| self.dir.is_at(dir, name));
        let name =
            name.ok_or_else(|| WriteError::new("find", dir.path().join(OWN), Errno::NOENT))?;
        put_back(dir, &name, OWN)
    }

    /// Makes the folder again in `dir`, where another process has moved it out of reach; `kept` are
    /// the files that move along, as far as they can be read.
    pub(super) fn make_again(
        &self,
        dir: &Dir,
        shown: &Owner,
        file_uid: u32,
        kept: &[&str],
    ) -> Result<Self, WriteError> {
        let holder = holder_of(&self.dir).unwrap_or_default();
        let again = Self::lock(dir, shown, file_uid, &holder)?;
        for name in kept {
            if let Ok(bytes) = self.dir.read(name, bundle::LONGEST + LONGEST_STATE) {
                again.dir.replace_private(name, bytes.expose())?;
            }
        }
        tracing::warn!(
            "made the agent's own folder ..segura again: another process had removed it"
        );
        Ok(again)
    }
}

/// Opens the agent's own folder, under whatever name it stands, or makes it.
fn find(dir: &Dir, shown: &Owner, file_uid: u32) -> Result<Dir, WriteError> {
    let there = dir.open(OWN);
    if let Ok(own) = &there
        && holds_own_lock(own)
    {
        return there.map_err(|error| WriteError::new("open", dir.path().join(OWN), error));
    }
    let is_own = |name: &str| name != OWN && dir.open(name).is_ok_and(|own| holds_own_lock(&own));
    let found = dir.find_name(is_own).and_then(|name| Some((dir.open(&name).ok()?, name)));
    if let Some((own, name)) = found
        && holds_own_lock(&own)
    {
        put_back(dir, &name, OWN)?;
        return Ok(own);
    }
    if dir.look(OWN) == Err(Errno::NOENT) {
        return dir.make(OWN);
    }
    let own = there.map_err(|error| {
        let in_the_way = WriteError::new("open", dir.path().join(OWN), WriteCause::InTheWay);
        if error == Errno::ACCESS { foreign(dir) } else { in_the_way }
    })?;
    let stat = fs::fstat(own.descriptor())
        .map_err(|error| WriteError::new("look at", dir.path().join(OWN), error))?;
    if stat.st_uid == own_uid() {
        // Version 0.1.0 made it. Where its settings let a group write in it, no file in it is
        // proof of anything; a lock that stands there can't be trusted either.
        fs::fchmod(own.descriptor(), Mode::from_raw_mode(stat.st_mode & 0o7777 & !WRITE_OF_OTHERS))
            .map_err(|error| WriteError::new("set the mode of", dir.path().join(OWN), error))?;
        // Another agent that starts now may make its lock at any moment: only a file that was there
        // before and is none is removed.
        if own.look(LOCK).is_ok() && !has_own_lock(&own) {
            remove_entry(&own, LOCK).ok();
        }
        return Ok(own);
    }
    if stat.st_uid == file_uid && !is_alive(&own) {
        return taken_over(dir, &own, shown);
    }
    Err(foreign(dir))
}

/// Makes a folder of this user in place of one that version 0.1.0 gave to `SEGURA_FILE_UID`. The
/// state and the pending record are copied: they tell what to read in the vault, and what the main
/// process was notified of.
fn taken_over(dir: &Dir, old: &Dir, shown: &Owner) -> Result<Dir, WriteError> {
    let next = format!("{OWN}.{:016x}", fastrand::u64(..));
    let own = dir.make(&next)?;
    if let Ok(bytes) = old.read(STATE, LONGEST_STATE) {
        own.write(STATE, bytes.expose(), shown)?;
    }
    if let Ok(bytes) = old.read(PENDING, LONGEST_STATE) {
        own.write_private(PENDING, bytes.expose())?;
    }
    own.claim(shown)?;
    // In one step, so that the link to the state never dangles.
    dir.exchange(&next, OWN)
        .map_err(|error| WriteError::new("replace", dir.path().join(OWN), error))?;
    remove_entry(dir, &next).ok();
    Ok(own)
}

/// The error of a directory whose `..segura` belongs to another user.
fn foreign(dir: &Dir) -> WriteError {
    match dir.stat(OWN) {
        Ok(stat) => WriteError::new(
            "use",
            dir.path(),
            WriteCause::Foreign { owner: stat.st_uid, own: own_uid() },
        ),
        Err(error) => WriteError::new("look at", dir.path().join(OWN), error),
    }
}

/// Tells whether a folder is the agent's own and holds its lock.
fn holds_own_lock(folder: &Dir) -> bool {
    is_private(folder) && has_own_lock(folder) && folder.look(OF_GENERATIONS) == Err(Errno::NOENT)
}

fn has_own_lock(folder: &Dir) -> bool {
    folder.look(LOCK) == Ok(EntryKind::File)
        && folder.stat(LOCK).is_ok_and(|stat| stat.st_uid == own_uid() && stat.st_mode & 0o077 == 0)
}

/// Takes the lock. Only this user can open its file, so no reader can hold it.
fn lock(dir: &Dir, own: &Dir) -> Result<File, WriteError> {
    let failed = |error| WriteError::new("lock", own.path().join(LOCK), error);
    for _ in 0..TRIES {
        let file = own.open_or_make_file(LOCK).map_err(failed)?;
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(held(dir, own)),
            Err(error) => return Err(failed(error)),
        }
        // Another process of this user may have replaced the file before it was locked.
        if own.is_entry(&file, LOCK) {
            return Ok(file);
        }
    }
    Err(failed(Errno::AGAIN))
}

/// Keeps agents of version 0.1.0 out, which lock the directory itself, exclusively. Each
/// reader of the directory can hold such a lock too, so it counts only if an agent shows that it
/// lives.
fn exclude_older(dir: &Dir, own: &Dir) -> Result<(), WriteError> {
    let (tries, step) = SHOWS_ITSELF;
    for _ in 0..tries {
        // The lock stays with the open directory.
        match fs::flock(dir.descriptor(), FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if is_alive(own) => return Err(held(dir, own)),
            Err(Errno::WOULDBLOCK) => sleep(step),
            Err(error) => return Err(WriteError::new("lock", dir.path(), error)),
        }
    }
    tracing::warn!(
        dir = %dir.path().display(),
        "another process has locked the output directory and is no segura-agent; its lock is ignored"
    );
    Ok(())
}

/// Tells whether an agent lives in the folder: it holds the write lock on its holder's file. A
/// query for a read lock meets no read locks, which any reader of the file can hold
/// (`fcntl_locking(2)`).
pub(super) fn is_alive(own: &Dir) -> bool {
    let holder = own.open_file(HOLDER);
    holder.is_ok_and(|holder| has_writer(&holder))
}

/// Tells whether another process holds a write lock on `file`.
pub(super) fn has_writer(file: impl AsFd) -> bool {
    matches!(fcntl_getlk(file, &Flock::from(FlockType::ReadLock)), Ok(Some(_)))
}

/// Reads the name that an agent has left in its folder.
fn holder_of(own: &Dir) -> Option<String> {
    let bytes = own.read(HOLDER, LONGEST_HOLDER).ok()?;
    String::from_utf8(bytes.expose().clone()).ok()
}

fn held(dir: &Dir, own: &Dir) -> WriteError {
    let holder = holder_of(own).filter(|holder| !holder.is_empty());
    let holder = holder.unwrap_or_else(|| "its name is unknown".to_owned());
    WriteError::new("use", dir.path(), WriteCause::Held(holder))
}

/// Shows that this agent is alive: a new file with its name, locked before anyone else can open it.
/// On a full volume the file may be empty, or the one of the agent before.
fn show_holder(own: &Dir, holder: &str, shown: &Owner) -> Option<File> {
    let next = format!("{HOLDER}{UNFINISHED}");
    let made = own.write_private(&next, holder.as_bytes());
    let made = made.or_else(|_| own.write_private(&next, b""));
    let locked = |file: File| {
        // Without this lock only `check` and a reader fail to see the agent.
        fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).ok();
        file
    };
    let renamed = made.and_then(|file| {
        let file = locked(file);
        let failed = |error| WriteError::new("show", own.path().join(HOLDER), error);
        shown.claim(&file, shown.file_mode).map_err(failed)?;
        own.rename(&next, HOLDER).map_err(failed)?;
        Ok(file)
    });
    renamed
        .inspect_err(|error| {
            let error = crate::exit::chain(error);
            tracing::warn!(
                error,
                "the holder's file could not be written: probes may not see this agent"
            );
        })
        .or_else(|_| own.open_file(HOLDER).map(locked))
        .ok()
}
