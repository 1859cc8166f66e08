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
    // Files come folder by folder, so only the folders that lead to the current one are open.
    let mut open: Vec<(&str, Dir)> = Vec::new();
    for (path, content) in files {
        let mut parts: Vec<&str> = path.parts().collect();
        let file = parts.pop().unwrap_or_default();
        let common = open.iter().zip(&parts).take_while(|(open, part)| open.0 == **part).count();
        close(&mut open, common, owner)?;
        for part in parts.iter().skip(common) {
            let folder = open.last().map_or(&root, |(_, dir)| dir).make(part)?;
            open.push((part, folder));
        }
        open.last().map_or(&root, |(_, dir)| dir).create(file, content.expose(), owner)?;
    }
    close(&mut open, 0, owner)?;
    let snapshot = serde_json::to_vec(state).unwrap_or_default();
    root.create(SNAPSHOT, &snapshot, owner)?;
    root.claim(owner)
}

/// Shows the innermost folders, down to `depth`, to those they are for.
fn close(open: &mut Vec<(&str, Dir)>, depth: usize, owner: &Owner) -> Result<(), WriteError> {
    while open.len() > depth {
        if let Some((_, dir)) = open.pop() {
            dir.claim(owner)?;
        }
    }
    Ok(())
}

/// Whether a generation is this set: to the byte, mode and owner, and nothing besides.
pub(super) fn equals(dir: &Dir, name: &str, files: &FileSet<'_>, owner: &Owner) -> bool {
    let Ok(root) = dir.open(name) else {
        return false;
    };
    if !root.is_owned(owner) {
        return false;
    }
    let mut open: Vec<(&str, Dir)> = Vec::new();
    for (path, content) in files {
        let mut parts: Vec<&str> = path.parts().collect();
        let file = parts.pop().unwrap_or_default();
        let common = open.iter().zip(&parts).take_while(|(open, part)| open.0 == **part).count();
        open.truncate(common);
        for part in parts.iter().skip(common) {
            let Ok(folder) = open.last().map_or(&root, |(_, dir)| dir).open(part) else {
                return false;
            };
            if !folder.is_owned(owner) {
                return false;
            }
            open.push((part, folder));
        }
        if !open.last().map_or(&root, |(_, dir)| dir).holds(file, content.expose(), owner) {
            return false;
        }
    }
    // Every file is there, so as many files as there should be are no others.
    count(&root) == Some(files.len() + 1)
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
