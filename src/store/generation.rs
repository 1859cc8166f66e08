//! One generation: a folder with all files of a set, built under a hidden name.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::dir::{Changed, Dir};
use super::owner::Owners;
use super::{DATA, LONGEST_STATE, WriteError, state_json};
use crate::render::{FileName, FileSet};
use crate::store::state::State;

/// The state of the set at its publish. It holds times, so it is not compared.
pub(super) const SNAPSHOT: &str = "..generation.json";

/// Makes the name of a generation's folder in the form of the kubelet's, hidden, by the time in UTC
/// (`newTimestampDir` in `pkg/volume/util/atomic_writer.go`), with nanoseconds for its random
/// suffix.
pub(super) fn name(now: SystemTime) -> String {
    let time = humantime::format_rfc3339_nanos(now).to_string();
    let plain = |c| if matches!(c, '-' | 'T' | ':') { '_' } else { c };
    format!("..{}", time.trim_end_matches('Z').chars().map(plain).collect::<String>())
}

/// Makes a name that is free: the wall clock may give the same time again, after it was set back or
/// between two of its ticks.
pub(super) fn new_name(dir: &Dir, mut now: SystemTime) -> String {
    while dir.look(&name(now)).is_ok() {
        now += Duration::from_nanos(1);
    }
    name(now)
}

/// Reports if a name has the form of a generation's.
pub(super) fn is_name(name: &str) -> bool {
    name.strip_prefix("..2")
        .is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'_' | b'.')))
}

/// The folder of the current generation, if `..data` leads to one.
pub(super) fn current(dir: &Dir) -> Option<String> {
    data_target(dir).filter(|name| dir.open(name).is_ok())
}

/// The folder that `..data` names, which may be missing.
pub(super) fn data_target(dir: &Dir) -> Option<String> {
    dir.link_target(DATA).filter(|name| is_name(name))
}

/// Reads the state of a generation at its publish.
pub(super) fn snapshot(dir: &Dir, name: &str) -> Option<State> {
    snapshot_in(&dir.open(name).ok()?)
}

/// Reads the state of the generation in the folder `root` at its publish.
pub(super) fn snapshot_in(root: &Dir) -> Option<State> {
    serde_json::from_slice(root.read(SNAPSHOT, LONGEST_STATE).ok()?.expose()).ok()
}

/// The state of a generation at its publish, and the mark of those that have a seal.
#[derive(Serialize)]
struct Snapshot<'a> {
    #[serde(flatten)]
    state: &'a State,
    sealed: bool,
}

#[derive(Deserialize)]
struct Mark {
    #[serde(default)]
    sealed: bool,
}

/// Tells whether the generation in `root` was made with a seal, as all are since version 0.2.0.
pub(super) fn had_seal(root: &Dir) -> bool {
    let mark = root.read(SNAPSHOT, LONGEST_STATE).ok();
    let mark = mark.and_then(|bytes| serde_json::from_slice::<Mark>(bytes.expose()).ok());
    mark.is_some_and(|mark| mark.sealed)
}

/// Writes a complete generation, which no other user may enter until its folder is claimed. Gives
/// the folder, and the bytes of the snapshot. On error the caller removes the remains.
pub(super) fn write(
    dir: &Dir,
    name: &str,
    files: &FileSet<'_>,
    state: &State,
    owners: &Owners,
) -> Result<(Dir, Vec<u8>), WriteError> {
    let snapshot = state_json(&Snapshot { state, sealed: true }, state.secrets.len())
        .map_err(|cause| WriteError::new("make", dir.path().join(name).join(SNAPSHOT), cause))?;
    let root = dir.make(name)?;
    walk(
        &root,
        files,
        Dir::make,
        // Readers may enter a folder only once it is complete.
        |folder, _| folder.claim(owners.all()),
        |folder, file, path, bytes| folder.create(file, bytes, owners.file(path)),
    )?;
    root.create(SNAPSHOT, &snapshot, owners.all())?;
    Ok((root, snapshot))
}

/// Reports if a generation is exactly this set: every byte, mode and owner, and no other file.
///
/// `listed` is the change time of the root at its last listing, which found no other file. While
/// the time is the same no listing is needed, which would wake a watcher of IN_OPEN in the
/// directory above (inotify(7)).
pub(super) fn equals(
    root: &Dir,
    files: &FileSet<'_>,
    owners: &Owners,
    listed: &mut Option<Changed>,
) -> bool {
    let folder = |dir: &Dir, name: &str| {
        dir.open(name).ok().filter(|folder| folder.is_owned(owners.all())).ok_or(Different)
    };
    let file = |dir: &Dir, name: &str, path: &FileName, bytes: &[u8]| {
        if dir.holds(name, bytes, owners.file(path)) { Ok(()) } else { Err(Different) }
    };
    // Every expected entry was found, so an equal count means that there is no other.
    let full = |folder: Dir, inside: usize| {
        if folder.has(inside) { Ok(()) } else { Err(Different) }
    };
    let changed = root.changed();
    let Ok(inside) = walk(root, files, folder, full, file) else {
        return false;
    };
    let full = changed.is_some() && *listed == changed || root.has(inside + 1);
    *listed = changed.filter(|_| full);
    full && root.is_owned(owners.all())
}

struct Different;

/// Walks the files of a set below `root`: enters each folder, visits each file, and leaves each
/// folder with the number of its entries. Returns the number of entries in the root.
///
/// The set is sorted by folder, so only the folders on the path to the file are open.
fn walk<E>(
    root: &Dir,
    files: &FileSet<'_>,
    enter: impl Fn(&Dir, &str) -> Result<Dir, E>,
    leave: impl Fn(Dir, usize) -> Result<(), E>,
    visit: impl Fn(&Dir, &str, &FileName, &[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let mut open: Vec<OpenFolder<'_>> = Vec::new();
    let mut inside = 0;
    for (path, content) in files {
        let mut parts: Vec<&str> = path.parts().collect();
        let file = parts.pop().unwrap_or_default();
        let common = open.iter().zip(&parts).take_while(|(open, part)| open.name == **part).count();
        // The innermost folder is left first.
        open.drain(common..).rev().try_for_each(|folder| leave(folder.dir, folder.inside))?;
        for part in parts.iter().skip(common) {
            let dir = enter(open.last().map_or(root, |open| &open.dir), part)?;
            *open.last_mut().map_or(&mut inside, |open| &mut open.inside) += 1;
            open.push(OpenFolder { name: part, dir, inside: 0 });
        }
        visit(open.last().map_or(root, |open| &open.dir), file, path, content.expose())?;
        *open.last_mut().map_or(&mut inside, |open| &mut open.inside) += 1;
    }
    open.drain(..).rev().try_for_each(|folder| leave(folder.dir, folder.inside))?;
    Ok(inside)
}

/// An open folder on the path to a file, and the number of its entries so far.
struct OpenFolder<'a> {
    name: &'a str,
    dir: Dir,
    inside: usize,
}
