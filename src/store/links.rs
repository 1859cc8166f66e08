//! The visible names: relative links through `..data`, one for each top-level name of a set.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rustix::io::Errno;

use super::dir::{Dir, EntryKind};
use super::lock::move_aside;
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

/// Requires that a top-level name is free, or is the link that it should be.
pub(super) fn free_or_ours(dir: &Dir, name: &str) -> Result<(), WriteError> {
    free_or(dir, name, |found| found == target(name))
}

/// Makes sure that a top-level name is free, or is the link that it should be. Another process has
/// put what stands in the way if the generation in `current` has the name: it is moved aside.
pub(super) fn clear_way(dir: &Dir, name: &str, current: Option<&Dir>) -> Result<(), WriteError> {
    free_or_ours(dir, name).or_else(|error| {
        if current.is_some_and(|current| current.look(name).is_ok()) {
            move_aside(dir, name).map(drop)
        } else {
            Err(error)
        }
    })
}

/// Requires that a name is free, or is a link to an accepted target.
pub(super) fn free_or(
    dir: &Dir,
    name: &str,
    accepts: impl Fn(&str) -> bool,
) -> Result<(), WriteError> {
    match dir.look(name) {
        Err(Errno::NOENT) => Ok(()),
        Ok(EntryKind::Link) if dir.link_target(name).is_some_and(|target| accepts(&target)) => {
            Ok(())
        }
        Ok(_) => Err(WriteError::new("publish", dir.path().join(name), WriteCause::InTheWay)),
        Err(error) => Err(WriteError::new("look at", dir.path().join(name), error)),
    }
}

/// Makes the missing links, and returns their names; on error it makes none.
///
/// They are made before the rename that makes the set current. Until then they dangle, and open(2)
/// of a dangling link fails as that of a missing name does, with ENOENT.
pub(super) fn make(
    dir: &Dir,
    files: &FileSet<'_>,
    current: Option<&Dir>,
) -> Result<Vec<String>, WriteError> {
    let mut made = Vec::new();
    for name in visible(files).into_iter().filter(|name| !is_ours(dir, name)) {
        let linked = clear_way(dir, name, current).and_then(|()| {
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

/// Removes the links of a publish that failed.
pub(super) fn undo(dir: &Dir, made: &[String]) {
    for name in made {
        dir.remove_file(name).ok();
    }
}

/// Removes the links of names that the set no longer has. It follows the rename, so no reader loses
/// a name while the old set is current.
///
/// `links` are those that a look has found; if it was not whole, `before` is the generation before,
/// whose entries are the names of the others.
pub(super) fn drop_stale(
    dir: &Dir,
    files: &FileSet<'_>,
    links: &[String],
    before: Option<&Dir>,
) -> Result<(), WriteError> {
    let visible = visible(files);
    let drop = |name: &str| {
        if visible.contains(name) || !is_ours(dir, name) {
            return Ok(());
        }
        dir.remove_file(name)
            .map_err(|error| WriteError::new("remove", dir.path().join(name), error))
    };
    links.iter().try_for_each(|name| drop(name))?;
    let Some(before) = before else { return Ok(()) };
    let end = before.each_name(|name| match drop(name) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    });
    end.break_value().map_or(Ok(()), Err)
}

/// Removes those of `names` that are dangling links, which a crash before the rename leaves.
pub(super) fn drop_dangling(dir: &Dir, current: Option<&Dir>, names: &[String]) {
    for name in names {
        let exists = current.is_some_and(|current| current.look(name).is_ok());
        if !exists && is_ours(dir, name) {
            dir.remove_file(name).ok();
        }
    }
}
