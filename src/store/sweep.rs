//! Sweeping the top of the output directory: removes generations that are no longer current, and
//! nothing that another user may have made.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use rustix::fs;

use super::access::own_uid;
use super::dir::Dir;
use super::remove::remove;
use super::top::Top;
use super::{LONGEST_STATE, generation};
use crate::exit::chain;
use crate::os::opened;

/// The mode of a folder that is being built or removed, without the set-group-ID bit that it may
/// inherit.
const CLOSED: u32 = 0o700;
/// The most names that are remembered as left, so that others can't take memory by new ones.
const MOST_LEFT: usize = 1_000;
/// The most names in one line of the log.
const MOST_NAMED: usize = 8;

/// The rules of a sweep, and the warnings that were given.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    /// A look that was not whole was logged.
    crowded: Cell<bool>,
    /// Names that were logged as left.
    left: RefCell<BTreeSet<String>>,
}

impl Sweeper {
    /// Looks at the top, and warns once if it has too many names.
    pub(super) fn look(&self, dir: &Dir) -> Top {
        let top = Top::look(dir);
        if !top.whole && !self.crowded.replace(true) {
            tracing::warn!(
                dir = %dir.path().display(),
                hint = "let the output directory hold nothing but the agent's output",
                "the output directory has too many names to look at: older generations and links of removed files may stay there"
            );
        }
        top
    }

    /// Removes the folders of `top` that are generations of the agent's, and the `named` ones,
    /// of any owner; except those in `kept`, under any name. Entries that have a
    /// generation's name alone are left, and named once.
    pub(super) fn sweep(&self, dir: &Dir, top: &Top, kept: &[&Dir], named: &[(&str, &Dir)]) {
        let mut left: Vec<&str> = top.strangers.iter().map(String::as_str).collect();
        // A look that was not whole may have missed the replaced one.
        let known = named.iter().map(|(name, _)| *name);
        for name in known.chain(top.folders.iter().map(String::as_str)) {
            if kept.iter().any(|kept| kept.is_at(dir, name)) {
                continue;
            }
            let Ok(folder) = dir.open(name) else { continue };
            let is_named = named.iter().any(|(_, named)| named.is_at(dir, name));
            if is_named || is_ours(&folder, name) {
                self.remove(dir, name, folder);
            } else if generation::is_name(name) {
                left.push(name);
            }
        }
        self.name_left(dir, &left);
    }

    /// Removes the folder `name` if it is a generation of the agent's, complete or not.
    pub(super) fn take(&self, dir: &Dir, name: &str) {
        if let Some(folder) = dir.open(name).ok().filter(|folder| is_ours(folder, name)) {
            self.remove(dir, name, folder);
        }
    }

    fn remove(&self, dir: &Dir, name: &str, folder: Dir) {
        let Err(error) = remove(dir, name, folder) else { return };
        if self.is_new(name) {
            tracing::warn!(
                name,
                error = chain(&error),
                "an older generation can't be removed and is left"
            );
        }
    }

    fn name_left(&self, dir: &Dir, left: &[&str]) {
        let new: Vec<&str> = left.iter().copied().filter(|name| self.is_new(name)).collect();
        if new.is_empty() {
            return;
        }
        let named: Vec<&str> = new.iter().copied().take(MOST_NAMED).collect();
        let (names, others) = (named.join(", "), new.len() - named.len());
        tracing::warn!(
            dir = %dir.path().display(),
            names,
            others,
            "left what has a generation's name in the output directory and is not this agent's"
        );
    }

    /// Notes that a name is left; true if it was not noted before.
    fn is_new(&self, name: &str) -> bool {
        let mut left = self.left.borrow_mut();
        left.len() < MOST_LEFT && left.insert(name.to_owned())
    }
}

/// Reports if a folder is one of the agent's: it holds the state at its publish, or it has a
/// generation's name and is closed to others, as one that is being built or removed.
fn is_ours(folder: &Dir, name: &str) -> bool {
    let uid = own_uid();
    let Ok(stat) = fs::fstat(folder.descriptor()) else { return false };
    let is_noted = || {
        let note = folder.stat(generation::SNAPSHOT);
        note.is_ok_and(|note| opened::unfit(&note, LONGEST_STATE).is_none() && note.st_uid == uid)
    };
    let is_closed = || generation::is_name(name) && stat.st_mode & 0o777 == CLOSED;
    stat.st_uid == uid && (is_noted() || is_closed())
}
