//! One generation: a folder with all files of a set, built out of sight.

use std::time::{Duration, SystemTime};

use super::dir::{Changed, Dir};
use super::owner::Owners;
use super::{DATA, WriteError};
use crate::render::{FileName, FileSet};
use crate::store::state::State;

/// What was known of the set when it was published; not compared, since it holds times.
const SNAPSHOT: &str = "..generation.json";

/// A generation's folder, named like the kubelet's: hidden, by time, in UTC.
pub(super) fn name(now: SystemTime) -> String {
    let time = humantime::format_rfc3339_nanos(now).to_string();
    let plain = |c| if matches!(c, '-' | 'T' | ':') { '_' } else { c };
    format!("..{}", time.trim_end_matches('Z').chars().map(plain).collect::<String>())
}

/// A name that nothing has: a clock that stands still or was set back must not give one again.
pub(super) fn new_name(dir: &Dir, mut now: SystemTime) -> String {
    while dir.look(&name(now)).is_ok() {
        now += Duration::from_nanos(1);
    }
    name(now)
}

fn is_name(name: &str) -> bool {
    name.strip_prefix("..2")
        .is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'_' | b'.')))
}

/// The folder that `..data` leads to, if it is a generation.
pub(super) fn standing(dir: &Dir) -> Option<String> {
    named(dir).filter(|name| dir.open(name).is_ok())
}

/// What `..data` says that the folder is called, there or not.
pub(super) fn named(dir: &Dir) -> Option<String> {
    dir.link_target(DATA).filter(|name| is_name(name))
}

/// Among `names`, generations other than the one that stands.
pub(super) fn others<'a>(names: &'a [String], current: Option<&str>) -> Vec<&'a str> {
    let names = names.iter().map(String::as_str);
    names.filter(|name| is_name(name) && Some(*name) != current).collect()
}

/// What was known of a generation when it was published.
pub(super) fn snapshot(dir: &Dir, name: &str) -> Option<State> {
    let bytes = dir.open(name).and_then(|dir| dir.read(SNAPSHOT)).ok()?;
    serde_json::from_slice(bytes.expose()).ok()
}

/// Writes a whole generation; what it leaves on error is the caller's to remove.
pub(super) fn write(
    dir: &Dir,
    name: &str,
    files: &FileSet<'_>,
    state: &State,
    owners: &Owners,
) -> Result<(), WriteError> {
    let root = dir.make(name)?;
    walk(
        &root,
        files,
        Dir::make,
        // What is in a folder is all there before those it is for may see it.
        |folder, _| folder.claim(owners.all()),
        |folder, file, path, bytes| folder.create(file, bytes, owners.file(path)),
    )?;
    let snapshot = serde_json::to_vec(state).unwrap_or_default();
    root.create(SNAPSHOT, &snapshot, owners.all())?;
    root.claim(owners.all())
}

/// Whether a generation is this set: to the byte, mode and owner, and nothing besides.
///
/// `listed` is when its root was last seen to hold nothing besides; as long as it has not changed
/// since, it need not be listed again, which who watches the directory above would see.
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
    // All that should be there is, so as many as there should be are no others.
    let full = |folder: Dir, inside: usize| {
        if folder.names().len() == inside { Ok(()) } else { Err(Different) }
    };
    let changed = root.changed();
    let Ok(inside) = walk(root, files, folder, full, file) else {
        return false;
    };
    let full = changed.is_some() && *listed == changed || root.names().len() == inside + 1;
    *listed = changed.filter(|_| full);
    full && root.is_owned(owners.all())
}

struct Different;

/// Goes through the files of a set below `root`: into each folder, to each file, out again with the
/// number of what is in it. Says how much is in the root.
///
/// Files come folder by folder, so only the folders that lead to the current one are open.
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
        // The innermost first, as `rev` has it.
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

/// A folder on the way.
struct OpenFolder<'a> {
    name: &'a str,
    dir: Dir,
    inside: usize,
}
