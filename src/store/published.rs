//! Reading the published set without a lock: for the agent that publishes it, and for a reader.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::held::{HeldGeneration, SharedHeld};
use super::memory::Memory;
use super::set::Set;
use super::{WriteCause, WriteError, generation};
use crate::model::Generation;
use crate::render::bundle;

/// The number of tries at one read: a generation may be replaced and removed during one.
const TRIES: u32 = 8;

/// A reader of the published set. Clones share the numbers that they count.
#[derive(Clone, Debug)]
pub struct Published(SetPlace);

#[derive(Clone, Debug)]
enum SetPlace {
    /// The generation that this process's own agent holds.
    Own(SharedHeld),
    Memory(Memory),
    /// The directory of another agent, and the generation that was seen last.
    Other(PathBuf, Rc<RefCell<SeenGeneration>>),
}

#[derive(Debug, Default)]
struct SeenGeneration {
    folder: String,
    number: Generation,
}

impl Published {
    pub(super) fn of_agent(held: SharedHeld) -> Self {
        Self(SetPlace::Own(held))
    }

    pub(super) fn in_memory(memory: Memory) -> Self {
        Self(SetPlace::Memory(memory))
    }

    /// A reader of the set that another agent publishes in `dir`. The numbers of its sets only
    /// grow, even if that agent starts its own again at 1.
    pub fn of_another(dir: &Path) -> Self {
        Self(SetPlace::Other(dir.to_owned(), Rc::default()))
    }

    /// The current set; `None` if there is none, or it was deprovisioned.
    pub fn set(&self) -> Result<Option<Set>, WriteError> {
        match &self.0 {
            SetPlace::Own(held) => own(&held.borrow()),
            SetPlace::Memory(memory) => Ok(memory.set()),
            SetPlace::Other(dir, seen) => {
                let Some((folder, set)) = read(dir)? else { return Ok(None) };
                let mut seen = seen.borrow_mut();
                if seen.folder != folder {
                    let number = set.generation.max(seen.number.next());
                    *seen = SeenGeneration { folder, number };
                }
                Ok(Some(Set { generation: seen.number, ..set }))
            }
        }
    }
}

/// Reads the generation that this process's own agent holds.
fn own(held: &Option<HeldGeneration>) -> Result<Option<Set>, WriteError> {
    let Some(held) = held else { return Ok(None) };
    let changed = || WriteError::new("read the set in", held.root.path(), WriteCause::Changed);
    let state = held.snapshot().ok_or_else(changed)?;
    if state.given_back {
        return Ok(None);
    }
    Ok(Some(Set::of(&state, held.entries().ok_or_else(changed)?)))
}

/// Reads the current generation: the name of its folder, and its set.
fn read(path: &Path) -> Result<Option<(String, Set)>, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = fs::open(path, flags, Mode::empty())
        .map_err(|error| WriteError::new("open the output directory", path, error))?;
    let dir = Dir::new(descriptor, path.to_owned());
    let mut tries = TRIES;
    while let Some(folder) = generation::data_target(&dir) {
        tries -= 1;
        match read_once(&dir, &folder) {
            Ok(set) => return Ok(set.map(|set| (folder, set))),
            // The generation was replaced and removed meanwhile.
            Err(Errno::NOENT) if tries > 0 => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => {
                return Err(WriteError::new("read the set in", path, error).hinting(
                    "let this user read it: the same runAsUser as the agent that publishes it, or fsGroup",
                ));
            }
        }
    }
    Ok(None)
}

fn read_once(dir: &Dir, folder: &str) -> Result<Option<Set>, Errno> {
    let root = dir.open(folder)?;
    let bytes = root.read(bundle::FILE)?;
    let state = generation::snapshot(dir, folder).ok_or(Errno::NOENT)?;
    if state.given_back {
        return Ok(None);
    }
    let entries = bundle::read(bytes.expose()).ok_or(Errno::BADMSG)?;
    Ok(Some(Set::of(&state, entries)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::state::State;
    use crate::store::state::tests::state;

    fn generation(dir: &Path, folder: &str, number: u64, value: &str, given_back: bool) {
        let root = dir.join(folder);
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join(bundle::FILE), format!(r#"{{"db":[{{"k":"{value}"}}]}}"#))
            .unwrap();
        let state = State { generation: Generation(number), given_back, ..state() };
        let json = serde_json::to_vec(&state).unwrap();
        std::fs::write(root.join("..generation.json"), json).unwrap();
        let next = dir.join("..next");
        symlink(folder, &next).unwrap();
        std::fs::rename(next, dir.join("..data")).unwrap();
    }

    #[test]
    fn a_reader_sees_one_set_after_another_and_its_numbers_grow() {
        let dir = tempfile::tempdir().unwrap();
        let published = Published::of_another(dir.path());
        let seen = || published.set().unwrap().map(|set| set.generation.0);
        assert_eq!(seen(), None);
        let name = |second: u32| format!("..2026_11_22_11_30_{second:02}.000000001");
        generation(dir.path(), &name(1), 7, "a", false);
        assert_eq!((seen(), seen()), (Some(7), Some(7)));
        assert_eq!(published.set().unwrap().unwrap().identities, 1);
        generation(dir.path(), &name(2), 1, "b", false);
        assert_eq!((seen(), seen()), (Some(8), Some(8)), "that agent started again");
        generation(dir.path(), &name(3), 9, "c", true);
        assert_eq!(seen(), None, "it was deprovisioned");
        generation(dir.path(), &name(4), 20, "d", false);
        assert_eq!(seen(), Some(20));
        std::fs::write(dir.path().join(name(4)).join(bundle::FILE), "{").unwrap();
        assert!(published.set().is_err());
        let missing = Published::of_another(&dir.path().join("missing"));
        assert!(missing.set().unwrap_err().to_string().contains("cannot open"));
    }
}
