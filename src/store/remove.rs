//! Removing a folder of the agent's with its content, however much of it others have made: level by
//! level, in a bounded number of steps.

use std::ffi::CString;

use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::dir::{Dir, missing_is_fine};
use super::generation::SNAPSHOT;

/// The deepest folder that is entered, each by a descriptor of its own. A published file lies in 34
/// folders at most: 32 of its identity, one of its entry, and the generation.
const DEEPEST: usize = 64;
/// The most folders of one level that are kept in memory.
const MOST_FOLDERS: usize = 256;
/// The most entries of one removal.
const MOST_ENTRIES: usize = 1_000_000;

/// The reason why a folder is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotRemoved {
    #[error(transparent)]
    System(#[from] Errno),
    #[error("its folders are too deep")]
    TooDeep,
    #[error("it has too many entries")]
    TooMany,
    #[error("a file system is mounted in it")]
    Mounted,
}

/// A folder on the way to the one that is being emptied.
struct Level {
    dir: Dir,
    name: CString,
    /// Folders in it that are still to be removed.
    folders: Vec<CString>,
}

/// Removes the open `folder`, which is `name` in `parent`.
///
/// The state at its publish goes last, and its mode is set first: an interrupted removal leaves a
/// folder that the next sweep takes. On an error the rest stays.
pub(super) fn remove(parent: &Dir, name: &str, folder: Dir) -> Result<(), NotRemoved> {
    folder.close_to_others().ok();
    let device = fs::fstat(folder.descriptor())?.st_dev;
    let mut left = MOST_ENTRIES;
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let mut open = vec![Level { dir: folder, name, folders: Vec::new() }];
    loop {
        let depth = open.len();
        let Some(level) = open.last_mut() else { return Ok(()) };
        if level.folders.is_empty() {
            let last = if depth == 1 { SNAPSHOT } else { "" };
            level.folders = remove_files(&level.dir, last, &mut left)?;
        }
        if let Some(inside) = level.folders.pop() {
            if depth == DEEPEST {
                return Err(NotRemoved::TooDeep);
            }
            let dir = level.dir.enter(&inside)?;
            if fs::fstat(dir.descriptor())?.st_dev != device {
                return Err(NotRemoved::Mounted);
            }
            open.push(Level { dir, name: inside, folders: Vec::new() });
        } else if let Some(empty) = open.pop() {
            if depth == 1 {
                empty.dir.remove_file(SNAPSHOT).or_else(missing_is_fine)?;
            }
            let above = open.last().map_or(parent, |level| &level.dir);
            fs::unlinkat(above.descriptor(), &empty.name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Removes the entry `name` of `parent`: a folder with its content, a link without its target.
pub(super) fn remove_entry(parent: &Dir, name: &str) -> Result<(), NotRemoved> {
    match parent.open(name) {
        Ok(folder) => remove(parent, name, folder),
        Err(_) => Ok(parent.remove_file(name)?),
    }
}

/// Removes the entries of a folder that are no folders, but `last`; returns the first of the others.
fn remove_files(dir: &Dir, last: &str, left: &mut usize) -> Result<Vec<CString>, NotRemoved> {
    let mut folders = Vec::new();
    for entry in fs::Dir::read_from(dir.descriptor())? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) || name.to_bytes() == last.as_bytes() {
            continue;
        }
        *left = left.checked_sub(1).ok_or(NotRemoved::TooMany)?;
        match fs::unlinkat(dir.descriptor(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Linux says EISDIR, POSIX EPERM (unlink(2)); a folder alone can be entered.
            Err(Errno::ISDIR | Errno::PERM) => folders.push(name.to_owned()),
            Err(error) => return Err(error.into()),
        }
        if folders.len() == MOST_FOLDERS {
            break;
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use rustix::fs::{Mode, OFlags};

    fn dir(path: &Path) -> Dir {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Dir::new(fs::open(path, flags, Mode::empty()).unwrap(), path.to_owned())
    }

    fn removed(top: &Path) -> Result<(), NotRemoved> {
        let parent = dir(top);
        remove(&parent, "folder", parent.open("folder").unwrap())
    }

    /// Makes `depth` folders in one another below `top`, from the innermost out.
    fn nest(top: &Path, depth: usize) {
        let innermost = top.join("folder");
        std::fs::create_dir(&innermost).unwrap();
        for _ in 1..depth {
            let around = top.join("around");
            std::fs::create_dir(&around).unwrap();
            std::fs::rename(&innermost, around.join("x")).unwrap();
            std::fs::rename(&around, &innermost).unwrap();
        }
    }

    #[test]
    fn a_folder_goes_with_all_that_is_in_it_and_no_link_is_followed() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("folder");
        for inside in 0..600 {
            let inside = folder.join(inside.to_string()).join("deeper");
            std::fs::create_dir_all(&inside).unwrap();
            std::fs::write(inside.join("file"), "x").unwrap();
        }
        std::fs::write(folder.join(SNAPSHOT), "x").unwrap();
        std::fs::write(top.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../kept", folder.join("link")).unwrap();
        std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
        assert_eq!(removed(top.path()), Ok(()));
        assert!(!folder.exists() && top.path().join("kept").exists());
    }

    #[test]
    fn a_folder_that_is_too_deep_is_left_with_its_state() {
        for (depth, gone) in [(DEEPEST, true), (DEEPEST + 1, false), (2_000, false)] {
            let top = tempfile::tempdir_in("/dev/shm").unwrap();
            nest(top.path(), depth);
            let note = top.path().join("folder").join(SNAPSHOT);
            std::fs::write(&note, "x").unwrap();
            let expected = if gone { Ok(()) } else { Err(NotRemoved::TooDeep) };
            assert_eq!(removed(top.path()), expected, "{depth}");
            assert_eq!(note.exists(), !gone, "{depth}");
        }
    }
}
