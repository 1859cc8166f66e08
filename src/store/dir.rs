//! A directory by its descriptor: every operation takes one name in it, and follows no link.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::access::{Owner, own_uid};
use super::{UNFINISHED, WriteCause, WriteError};
use crate::os::clock;
use crate::os::opened::{self, FileError};
use crate::secret::Secret;

/// The beginning of the suffix of links that are made for a rename.
pub(super) const NEXT: &str = "_tmp-";
/// The most names of one look: another process may make any number of them.
pub(super) const MOST_NAMES: usize = 10_000;
/// The longest time of one look.
pub(super) const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// The number of names that are looked at however long it takes: a container may have to wait for
/// its share of a processor after each of them (`cpu.max`, "Control Group v2").
pub(super) const LEAST_NAMES: usize = 256;
/// The flags of an open that takes a folder alone, and follows no link.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The mode of a folder until it is complete: no other user may enter.
const PRIVATE_DIR: Mode = Mode::RWXU;
/// The mode of a file until it is complete, and of the agent's private files.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// The rights of a folder's owner, and those of group and others.
const OWNER: u32 = 0o700;
const OTHERS: u32 = 0o077;
/// The access control lists that a new folder inherits from a directory with a default one
/// (`acl(5)`): they would let others in, and pass on to the files in it.
const ACLS: [&str; 2] = ["system.posix_acl_default", "system.posix_acl_access"];

/// An open directory, and its path for errors.
#[derive(Debug)]
pub(super) struct Dir {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// The time of a directory's last change (`st_ctim`, `stat(3type)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed(i128, i128);

/// The kind of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Folder,
    Link,
    Other,
}

impl Dir {
    pub(super) fn new(descriptor: OwnedFd, path: PathBuf) -> Self {
        Self { descriptor, path }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open(&self, name: &str) -> Result<Self, Errno> {
        let descriptor = fs::openat(&self.descriptor, name, FOLDER, Mode::empty())?;
        Ok(Self { descriptor, path: self.path.join(name) })
    }

    /// Opens a folder that is not named in errors, whose name may be any.
    pub(super) fn enter(&self, name: &CStr) -> Result<Self, Errno> {
        let descriptor = fs::openat(&self.descriptor, name, FOLDER, Mode::empty())?;
        Ok(Self { descriptor, path: PathBuf::new() })
    }

    /// Makes a folder that no other user may enter yet.
    pub(super) fn make(&self, name: &str) -> Result<Self, WriteError> {
        let failed = |error| WriteError::new("make", self.path.join(name), error);
        fs::mkdirat(&self.descriptor, name, PRIVATE_DIR).map_err(failed)?;
        let made = self.open(name).map_err(failed)?;
        for list in ACLS {
            // Where there is none, or the file system has none, there is nothing to remove.
            fs::fremovexattr(&made.descriptor, list).ok();
        }
        // Another process may have put another folder under the name since it was made.
        let stat = fs::fstat(&made.descriptor).map_err(failed)?;
        let own = stat.st_uid == own_uid();
        if !own || stat.st_mode & OTHERS != 0 || !made.has(0) {
            return Err(WriteError::new("make", self.path.join(name), WriteCause::InTheWay));
        }
        // The umask may have cleared bits (mkdir(2)).
        if stat.st_mode & OWNER != OWNER {
            fs::fchmod(&made.descriptor, PRIVATE_DIR).map_err(failed)?;
        }
        Ok(made)
    }

    /// Makes the symbolic link `name` to `target` in place of what stands there, in one step.
    /// Another process sees the old one or the new.
    pub(super) fn replace_link(&self, target: &str, name: &str) -> Result<(), Errno> {
        // A random name: another process can't be prepared for it.
        let next = format!("{name}{NEXT}{:016x}", fastrand::u64(..));
        self.link(target, &next)?;
        let made = self.stat(&next)?;
        self.rename(&next, name).inspect_err(|_| {
            self.remove_file(&next).ok();
        })?;
        let there = self.stat(name)?;
        if is_same(&made, &there) { Ok(()) } else { Err(Errno::EXIST) }
    }

    /// Opens a folder, which is made if it is missing, and sets its owner and mode.
    pub(super) fn open_or_make(&self, name: &str, owner: &Owner) -> Result<Self, WriteError> {
        let dir = match self.open(name) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => self.make(name)?,
            Err(error) => return Err(WriteError::new("open", self.path.join(name), error)),
        };
        dir.claim(owner)?;
        Ok(dir)
    }

    /// Sets the folder's owner and mode: its readers may enter from now on.
    pub(super) fn claim(&self, owner: &Owner) -> Result<(), WriteError> {
        owner.claim(&self.descriptor, owner.dir_mode).map_err(|error| {
            not_allowed(WriteError::new("set the owner and mode of", &self.path, error))
        })
    }

    /// Makes the folder this user's, and closes it to all others.
    pub(super) fn close_to_others(&self) -> Result<(), Errno> {
        let uid = own_uid();
        if fs::fstat(&self.descriptor)?.st_uid != uid {
            fs::fchown(&self.descriptor, Some(Uid::from_raw(uid)), None)?;
        }
        fs::fchmod(&self.descriptor, PRIVATE_DIR)
    }

    /// The time of the last change of the entries, the mode or the owner.
    pub(super) fn changed(&self) -> Option<Changed> {
        let stat = fs::fstat(&self.descriptor).ok()?;
        Some(Changed(stat.st_ctime.into(), stat.st_ctime_nsec.into()))
    }

    /// Reports if `name` in `parent` is this directory (`st_dev`, `st_ino`).
    pub(super) fn is_at(&self, parent: &Self, name: &str) -> bool {
        parent.is_entry(&self.descriptor, name)
    }

    /// Reports if the entry `name` is the open `file`.
    pub(super) fn is_entry(&self, file: impl AsFd, name: &str) -> bool {
        matches!((fs::fstat(file), self.stat(name)), (Ok(here), Ok(there)) if is_same(&here, &there))
    }

    pub(super) fn is_owned(&self, owner: &Owner) -> bool {
        fs::fstat(&self.descriptor).is_ok_and(|stat| owner.has(&stat, owner.dir_mode))
    }

    /// Writes a new file, which only this user may read until it is complete; one of that name is
    /// removed first.
    pub(super) fn write(
        &self,
        name: &str,
        bytes: &[u8],
        owner: &Owner,
    ) -> Result<File, WriteError> {
        let file = self.write_private(name, bytes)?;
        self.claim_file(&file, name, owner)?;
        Ok(file)
    }

    /// Writes a new file that only this user may read; one of that name is removed first.
    pub(super) fn write_private(&self, name: &str, bytes: &[u8]) -> Result<File, WriteError> {
        let failed = |what| move |error: Errno| WriteError::new(what, self.path.join(name), error);
        let file = match self.make_file(name) {
            Err(Errno::EXIST) => self
                .remove_file(name)
                .map_err(failed("replace"))
                .and_then(|()| self.make_file(name).map_err(failed("make"))),
            made => made.map_err(failed("make")),
        };
        self.fill(file?, name, bytes)
    }

    /// Writes a new file, which only this user may read until it is complete; one of that name is
    /// an error.
    pub(super) fn create(&self, name: &str, bytes: &[u8], owner: &Owner) -> Result<(), WriteError> {
        let file = self
            .make_file(name)
            .map_err(|error| WriteError::new("make", self.path.join(name), error))?;
        let file = self.fill(file, name, bytes)?;
        self.claim_file(&file, name, owner)
    }

    fn make_file(&self, name: &str) -> Result<File, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.descriptor, name, flags, PRIVATE_FILE)?;
        Ok(file.into())
    }

    /// Opens a file to lock it, which is made if it is missing; only this user may open a new one.
    pub(super) fn open_or_make_file(&self, name: &str) -> Result<File, Errno> {
        let access = OFlags::RDWR | OFlags::CREATE;
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        fs::openat(&self.descriptor, name, flags, PRIVATE_FILE).map(File::from)
    }

    fn fill(&self, mut file: File, name: &str, bytes: &[u8]) -> Result<File, WriteError> {
        file.write_all(bytes).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            WriteError::new("write", self.path.join(name), errno)
        })?;
        Ok(file)
    }

    fn claim_file(&self, file: &File, name: &str, owner: &Owner) -> Result<(), WriteError> {
        owner.claim(file, owner.file_mode).map_err(|error| {
            let what = "set the owner and mode of";
            not_allowed(WriteError::new(what, self.path.join(name), error))
        })
    }

    /// Writes a file under an unfinished name, then renames it over `name` in one step (rename(2)).
    pub(super) fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        owner: &Owner,
    ) -> Result<(), WriteError> {
        let next = format!("{name}{UNFINISHED}");
        self.write(&next, bytes, owner)?;
        self.finish(&next, name)
    }

    /// Writes a file that only this user may read, and renames it over `name` in one step.
    pub(super) fn replace_private(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let next = format!("{name}{UNFINISHED}");
        let written = self.write_private(&next, bytes).and_then(|file| {
            // The umask may have cleared bits (open(2)).
            fs::fchmod(&file, PRIVATE_FILE)
                .map_err(|error| WriteError::new("set the mode of", self.path.join(name), error))?;
            self.finish(&next, name)
        });
        written.inspect_err(|_| {
            // On a full volume, half of a file would take the space of the next try.
            self.remove_file(&next).ok();
        })
    }

    fn finish(&self, next: &str, name: &str) -> Result<(), WriteError> {
        self.rename(next, name)
            .map_err(|error| WriteError::new("replace", self.path.join(name), error))
    }

    /// Reads a file of at most `longest` bytes.
    pub(super) fn read(&self, name: &str, longest: u64) -> Result<Secret<Vec<u8>>, FileError> {
        opened::read(self.open_file(name)?, longest)
    }

    /// Reports if a file has these bytes, this owner and this mode.
    pub(super) fn holds(&self, name: &str, bytes: &[u8], owner: &Owner) -> bool {
        let Ok(mut file) = self.open_file(name) else {
            return false;
        };
        let sized = fs::fstat(&file).is_ok_and(|stat| {
            owner.has(&stat, owner.file_mode)
                && u64::try_from(stat.st_size) == Ok(bytes.len() as u64)
        });
        if !sized {
            return false;
        }
        let mut chunk = Secret::new(vec![0; bytes.len().clamp(1, 8192)]);
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok(read @ 1..) = file.read(chunk.expose_mut()) else {
                return false;
            };
            let (Some(here), Some((there, after))) =
                (chunk.expose().get(..read), rest.split_at_checked(read))
            else {
                return false;
            };
            if here != there {
                return false;
            }
            rest = after;
        }
        true
    }

    /// The reason why a file that is there is not a regular one of at most `longest` bytes.
    ///
    /// It opens nothing: a process that closes a descriptor of its holder's file would lose its
    /// lock on it (`fcntl_locking(2)`).
    pub(super) fn unfit(&self, name: &str, longest: u64) -> Option<FileError> {
        opened::unfit(&self.stat(name).ok()?, longest)
    }

    /// Opens a regular file to be read.
    pub(super) fn open_file(&self, name: &str) -> Result<File, FileError> {
        opened::beneath(&self.descriptor, name)
    }

    pub(super) fn link(&self, target: &str, name: &str) -> Result<(), Errno> {
        fs::symlinkat(target, &self.descriptor, name)
    }

    pub(super) fn link_target(&self, name: &str) -> Option<String> {
        fs::readlinkat(&self.descriptor, name, Vec::new()).ok()?.into_string().ok()
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        fs::renameat(&self.descriptor, from, &self.descriptor, to)
    }

    /// Gives each of two entries the name of the other, in one step (renameat2(2)).
    pub(super) fn exchange(&self, one: &str, other: &str) -> Result<(), Errno> {
        let flags = RenameFlags::EXCHANGE;
        fs::renameat_with(&self.descriptor, one, &self.descriptor, other, flags)
    }

    pub(super) fn remove_file(&self, name: &str) -> Result<(), Errno> {
        fs::unlinkat(&self.descriptor, name, AtFlags::empty())
    }

    /// The metadata of the entry `name` itself, not of a link's target.
    pub(super) fn stat(&self, name: &str) -> Result<Stat, Errno> {
        fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The kind of the entry `name` itself, not of a link's target.
    pub(super) fn look(&self, name: &str) -> Result<EntryKind, Errno> {
        Ok(match fs::FileType::from_raw_mode(self.stat(name)?.st_mode) {
            fs::FileType::RegularFile => EntryKind::File,
            fs::FileType::Directory => EntryKind::Folder,
            fs::FileType::Symlink => EntryKind::Link,
            fs::FileType::Fifo
            | fs::FileType::Socket
            | fs::FileType::CharacterDevice
            | fs::FileType::BlockDevice
            | fs::FileType::Unknown => EntryKind::Other,
        })
    }

    /// Visits the names in the directory that are UTF-8, until a visit breaks; the agent makes no
    /// others.
    pub(super) fn each_name<B>(
        &self,
        mut visit: impl FnMut(&str) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Ok(entries) = fs::Dir::read_from(&self.descriptor) else {
            return ControlFlow::Continue(());
        };
        for entry in entries.map_while(Result::ok) {
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => visit(name)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Finds the first name that is accepted, among as many as one look takes.
    pub(super) fn find_name(&self, mut accept: impl FnMut(&str) -> bool) -> Option<String> {
        let (mut count, began) = (0, clock::boot());
        let found = self.each_name(|name| {
            count += 1;
            if accept(name) {
                return ControlFlow::Break(Some(name.to_owned()));
            }
            let is_late = || clock::boot().saturating_sub(began) > LONGEST_LOOK;
            if count > MOST_NAMES || (count > LEAST_NAMES && is_late()) {
                return ControlFlow::Break(None);
            }
            ControlFlow::Continue(())
        });
        found.break_value().flatten()
    }

    /// Reports if the directory has exactly `count` names.
    pub(super) fn has(&self, count: usize) -> bool {
        let Ok(entries) = fs::Dir::read_from(&self.descriptor) else { return false };
        let is_listed = |entry: &fs::DirEntry| ![c".", c".."].contains(&entry.file_name());
        let listed = entries.map_while(Result::ok).filter(is_listed);
        listed.take(count.saturating_add(1)).count() == count
    }
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Makes a missing file no error.
pub(super) fn missing_is_fine(error: Errno) -> Result<(), Errno> {
    if error == Errno::NOENT { Ok(()) } else { Err(error) }
}

fn not_allowed(error: WriteError) -> WriteError {
    error.hinting(
        "without CAP_CHOWN all files have the agent's own uid and one of its groups: leave SEGURA_FILE_UID and SEGURA_FILE_GID unset and use fsGroup",
    )
}
