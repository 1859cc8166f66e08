//! A look at the top of the output directory, where others may make any number of names.

use std::ops::ControlFlow;

use rustix::fs::FileType;

use super::dir::{Dir, LEAST_NAMES, LONGEST_LOOK, MOST_NAMES, NEXT};
use super::{DATA, OWN, generation, links};
use crate::model::STATE_LINK;
use crate::os::clock;

/// The entries of one look that may be the agent's. It is never a listing of all names.
#[derive(Debug, Default)]
pub(super) struct Top {
    /// Links through `..data`, as the visible names are.
    pub(super) links: Vec<String>,
    /// Folders, without the agent's own one.
    pub(super) folders: Vec<String>,
    /// Links that were made for a rename: the remains of a crash.
    pub(super) unfinished: Vec<String>,
    /// Entries under a generation's name that are no folders.
    pub(super) strangers: Vec<String>,
    /// All names were looked at.
    pub(super) whole: bool,
}

impl Top {
    /// Looks at the names in the order of the directory, until there are too many.
    ///
    /// The directory is read as it is looked at, since renames can keep an end from ever coming
    /// (tmpfs of Linux 6.6 to 6.10, `offset_readdir` in `fs/libfs.c`).
    pub(super) fn look(dir: &Dir) -> Self {
        let (mut top, mut count, began) = (Self::default(), 0, clock::boot());
        let end = dir.each_name(|name| {
            count += 1;
            let is_late = || clock::boot().saturating_sub(began) > LONGEST_LOOK;
            if count > MOST_NAMES || (count > LEAST_NAMES && is_late()) {
                return ControlFlow::Break(());
            }
            top.add(dir, name);
            ControlFlow::Continue(())
        });
        top.whole = end.is_continue();
        top
    }

    fn add(&mut self, dir: &Dir, name: &str) {
        if [DATA, OWN, STATE_LINK].contains(&name) {
            return;
        }
        let Ok(stat) = dir.stat(name) else { return };
        let list = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => &mut self.folders,
            FileType::Symlink if links::is_ours(dir, name) => &mut self.links,
            FileType::Symlink if is_unfinished(name) => &mut self.unfinished,
            FileType::Symlink
            | FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                if !generation::is_name(name) {
                    return;
                }
                &mut self.strangers
            }
        };
        list.push(name.to_owned());
    }
}

fn is_unfinished(name: &str) -> bool {
    [DATA, STATE_LINK]
        .iter()
        .any(|link| name.strip_prefix(link).is_some_and(|rest| rest.starts_with(NEXT)))
}
