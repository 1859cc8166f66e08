//! One generation: a folder with all files of a set, built out of sight.

use std::time::{Duration, SystemTime};

use super::beneath::{Dir, Found, Owner};
use super::{DATA, WriteError};
use crate::render::FileSet;
use crate::state::State;

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
    let name = dir.link_target(DATA).filter(|name| is_name(name))?;
    dir.open(&name).ok().map(|_| name)
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
    owner: &Owner,
) -> Result<(), WriteError> {
    let root = dir.make(name)?;
    walk(
        &root,
        files,
        Dir::make,
        // What is in a folder is all there before those it is for may see it.
        |folder| folder.claim(owner),
        |folder, file, bytes| folder.create(file, bytes, owner),
    )?;
    let snapshot = serde_json::to_vec(state).unwrap_or_default();
    root.create(SNAPSHOT, &snapshot, owner)?;
    root.claim(owner)
}

/// Whether a generation is this set: to the byte, mode and owner, and nothing besides.
pub(super) fn equals(dir: &Dir, name: &str, files: &FileSet<'_>, owner: &Owner) -> bool {
    let folder = |dir: &Dir, name: &str| {
        dir.open(name).ok().filter(|folder| folder.is_owned(owner)).ok_or(Different)
    };
    let file = |dir: &Dir, name: &str, bytes: &[u8]| {
        if dir.holds(name, bytes, owner) { Ok(()) } else { Err(Different) }
    };
    let Ok(root) = folder(dir, name) else {
        return false;
    };
    // Every file is there, so as many files as there should be are no others.
    walk(&root, files, folder, |_| Ok(()), file).is_ok() && count(&root) == Some(files.len() + 1)
}

struct Different;

/// Goes through the files of a set below `root`: into each folder, to each file, out again.
///
/// Files come folder by folder, so only the folders that lead to the current one are open.
fn walk<E>(
    root: &Dir,
    files: &FileSet<'_>,
    enter: impl Fn(&Dir, &str) -> Result<Dir, E>,
    leave: impl Fn(Dir) -> Result<(), E>,
    visit: impl Fn(&Dir, &str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut open: Vec<(&str, Dir)> = Vec::new();
    for (path, content) in files {
        let mut parts: Vec<&str> = path.parts().collect();
        let file = parts.pop().unwrap_or_default();
        let common = open.iter().zip(&parts).take_while(|(open, part)| open.0 == **part).count();
        // The innermost first, as `rev` has it.
        open.drain(common..).rev().try_for_each(|(_, folder)| leave(folder))?;
        for part in parts.iter().skip(common) {
            let folder = enter(open.last().map_or(root, |(_, dir)| dir), part)?;
            open.push((part, folder));
        }
        visit(open.last().map_or(root, |(_, dir)| dir), file, content.expose())?;
    }
    open.drain(..).rev().try_for_each(|(_, folder)| leave(folder))
}

/// How many files are in a folder and beneath; `None` if anything else is.
fn count(dir: &Dir) -> Option<usize> {
    let mut files = 0;
    for name in dir.names() {
        files += match dir.look(&name).ok()? {
            Found::File => 1,
            Found::Folder => count(&dir.open(&name).ok()?)?,
            Found::Link | Found::Other => return None,
        };
    }
    Some(files)
}
