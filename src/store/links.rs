//! The names that users see: relative links through `..data`, one for each top-level name.

use std::collections::BTreeSet;

use rustix::io::Errno;

use super::dir::{Dir, EntryKind};
use super::{DATA, WriteCause, WriteError};
use crate::render::FileSet;

fn visible<'a>(files: &'a FileSet<'_>) -> BTreeSet<&'a str> {
    files.keys().filter(|name| !name.is_hidden()).map(|name| name.top()).collect()
}

fn target(name: &str) -> String {
    format!("{DATA}/{name}")
}

pub(super) fn is_ours(dir: &Dir, name: &str) -> bool {
    dir.link_target(name).is_some_and(|found| found == target(name))
}

/// Refuses a top-level name that something else has.
pub(super) fn free_or_ours(dir: &Dir, name: &str) -> Result<(), WriteError> {
    free_or(dir, name, |found| found == target(name))
}

/// Refuses a name that is taken by anything but a link to a target that will do.
pub(super) fn free_or(
    dir: &Dir,
    name: &str,
    will_do: impl Fn(&str) -> bool,
) -> Result<(), WriteError> {
    match dir.look(name) {
        Err(Errno::NOENT) => Ok(()),
        Ok(EntryKind::Link) if dir.link_target(name).is_some_and(|target| will_do(&target)) => {
            Ok(())
        }
        Ok(_) => Err(WriteError::new("publish", dir.path().join(name), WriteCause::InTheWay)),
        Err(error) => Err(WriteError::new("look at", dir.path().join(name), error)),
    }
}

/// Makes the links that are missing, and says which; on error it makes none.
///
/// They come before the rename that gives them a meaning: until then they lead nowhere, and a name
/// that leads nowhere is as absent to a reader as one that is not there.
pub(super) fn make(dir: &Dir, files: &FileSet<'_>) -> Result<Vec<String>, WriteError> {
    let mut made = Vec::new();
    for name in visible(files).into_iter().filter(|name| !is_ours(dir, name)) {
        let linked = free_or_ours(dir, name).and_then(|()| {
            dir.link(&target(name), name)
                .map_err(|error| WriteError::new("make", dir.path().join(name), error))
        });
        if let Err(error) = linked {
            undo(dir, &made);
            return Err(error);
        }
        made.push(name.to_owned());
    }
    Ok(made)
}

/// Takes back links that turned out to lead nowhere.
pub(super) fn undo(dir: &Dir, made: &[String]) {
    for name in made {
        dir.remove_file(name).ok();
    }
}

/// Removes links to names that are gone; they follow the rename, so no reader loses an old name
/// while the old set stands.
pub(super) fn drop_stale(dir: &Dir, files: &FileSet<'_>) -> Result<(), WriteError> {
    let visible = visible(files);
    for name in dir.names() {
        if !visible.contains(name.as_str()) && is_ours(dir, &name) {
            dir.remove_file(&name)
                .map_err(|error| WriteError::new("remove", dir.path().join(&name), error))?;
        }
    }
    Ok(())
}

/// Removes those of `names` that lead nowhere, as a crash before the rename leaves them.
pub(super) fn drop_dangling(dir: &Dir, current: Option<&str>, names: &[String]) {
    let current = current.and_then(|name| dir.open(name).ok());
    for name in names {
        let leads = current.as_ref().is_some_and(|current| current.look(name).is_ok());
        if !leads && is_ours(dir, name) {
            dir.remove_file(name).ok();
        }
    }
}
