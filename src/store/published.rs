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
use super::{LONGEST_STATE, OWN, STATE, WriteCause, WriteError, generation, lock};
use crate::config::settings::AgentUid;
use crate::model::Generation;
use crate::os::opened::FileError;
use crate::render::bundle;
use crate::secret::{Secret, sha256};
use crate::store::state::{Saved, ShownGeneration, State};

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
    /// The directory of another agent, and what was seen there.
    Other(Rc<Other>),
}

/// The directory of another agent.
#[derive(Debug)]
struct Other {
    dir: PathBuf,
    agent: AgentUid,
    seen: RefCell<SeenGeneration>,
}

/// The set that was read last.
#[derive(Debug, Default)]
struct SeenGeneration {
    /// The owner of the agent's own folder, since the first set.
    owner: Option<u32>,
    folder: String,
    /// Its number in this process, which only grows.
    number: Generation,
    /// Its number as its agent counts.
    generation: Generation,
    /// The time of its fetch, by the boot clock.
    fetched: u64,
}

/// A set, and what its agent says of it.
struct OtherSet {
    folder: String,
    owner: u32,
    fetched: u64,
    set: Set,
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
    ///
    /// It belongs to this process's user, to root, or to the user of that `agent`: the other users
    /// of a volume can put any file there.
    pub fn of_another(dir: &Path, agent: AgentUid) -> Self {
        Self(SetPlace::Other(Rc::new(Other {
            dir: dir.to_owned(),
            agent,
            seen: RefCell::default(),
        })))
    }

    /// The current set; `None` if there is none, or it was deprovisioned.
    pub fn set(&self) -> Result<Option<Set>, WriteError> {
        match &self.0 {
            SetPlace::Own(held) => own(&held.borrow()),
            SetPlace::Memory(memory) => Ok(memory.set()),
            SetPlace::Other(other) => other.set(),
        }
    }
}

impl Other {
    fn set(&self) -> Result<Option<Set>, WriteError> {
        let Some(OtherSet { folder, owner, fetched, set }) = self.read()? else { return Ok(None) };
        let mut seen = self.seen.borrow_mut();
        if seen.folder != folder {
            // An older generation of the agent's own can be played back by renames alone.
            if set.generation <= seen.generation && fetched <= seen.fetched {
                return Err(WriteError::new("read the set in", &self.dir, WriteCause::Changed));
            }
            if seen.owner.is_none()
                && !lock::is_trusted(owner, None)
                && self.agent == AgentUid::FirstSeen
            {
                tracing::info!(
                    uid = owner,
                    "following the sets of the user that was seen first; SEGURA_AGENT_UID can name it"
                );
            }
            let number = set.generation.max(seen.number.next());
            let generation = set.generation;
            *seen = SeenGeneration { owner: Some(owner), folder, number, generation, fetched };
        }
        Ok(Some(Set { generation: seen.number, ..set }))
    }

    /// Reads the set that the agent's state shows.
    fn read(&self) -> Result<Option<OtherSet>, WriteError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = fs::open(&self.dir, flags, Mode::empty())
            .map_err(|error| WriteError::new("open the output directory", &self.dir, error))?;
        let dir = Dir::new(descriptor, self.dir.clone());
        let failed = |error| {
            WriteError::new("read the set in", &self.dir, error).hinting(
                "let this user read it: the same runAsUser as the agent that publishes it, or fsGroup",
            )
        };
        for _ in 0..TRIES {
            match self.read_once(&dir) {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(refused)) => return Err(refused),
                // The generation was replaced and removed meanwhile.
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(None)
    }

    fn read_once(&self, dir: &Dir) -> Result<Result<Option<OtherSet>, WriteError>, FileError> {
        let refused = |cause| Ok(Err(WriteError::new("read the set in", &self.dir, cause)));
        let own = dir.open(OWN)?;
        let owner = fs::fstat(own.descriptor())?.st_uid;
        let agent = match (self.agent, self.seen.borrow().owner) {
            (AgentUid::Id(uid), _) => Some(uid),
            (AgentUid::FirstSeen, seen) => Some(seen.unwrap_or(owner)),
        };
        if !lock::is_trusted(owner, agent) {
            return refused(WriteCause::NotFollowed(owner));
        }
        let bytes = match read(&own, STATE, LONGEST_STATE)? {
            Ok(bytes) => bytes,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let Ok(saved) = serde_json::from_slice::<Saved<State>>(bytes.expose()) else {
            return refused(WriteCause::System(Errno::BADMSG));
        };
        let target = generation::data_target(dir);
        let leads_to = |set: &ShownGeneration| Some(&set.folder) == target.as_ref();
        let set = saved.next.filter(leads_to).or(saved.set);
        let folder = match &set {
            Some(set) => set.folder.clone(),
            // Version 0.1.0 shows none: its set is where `..data` leads.
            None => target.ok_or(FileError::System(Errno::NOENT))?,
        };
        let root = dir.open(&folder)?;
        let bundle = read(&root, bundle::FILE, bundle::LONGEST)?;
        let snapshot = read(&root, generation::SNAPSHOT, LONGEST_STATE)?;
        let (bundle, snapshot) = match (bundle, snapshot) {
            (Ok(bundle), Ok(snapshot)) => (bundle, snapshot),
            (Err(unfit), _) | (_, Err(unfit)) => return Ok(Err(unfit)),
        };
        let is_proven = match &set {
            Some(set) => {
                sha256(bundle.expose()) == set.bundle_sha256
                    && sha256(snapshot.expose()) == set.generation_sha256
            }
            None => fs::fstat(root.descriptor())?.st_uid == owner,
        };
        if !is_proven {
            return refused(WriteCause::Changed);
        }
        let Ok(published) = serde_json::from_slice::<State>(snapshot.expose()) else {
            return Err(FileError::System(Errno::NOENT));
        };
        if published.given_back {
            return Ok(Ok(None));
        }
        let entries = bundle::read(bundle.expose()).ok_or(FileError::System(Errno::BADMSG))?;
        let fetched = published.boot_ms.fetched;
        Ok(Ok(Some(OtherSet { folder, owner, fetched, set: Set::of(&published, entries) })))
    }
}

/// Reads a file of the other agent's; one that is not what an agent makes is named.
fn read(
    folder: &Dir,
    name: &str,
    longest: u64,
) -> Result<Result<Secret<Vec<u8>>, WriteError>, FileError> {
    match folder.read(name, longest) {
        Err(error) if error.is_unfit() => {
            Ok(Err(WriteError::new("read", folder.path().join(name), error)))
        }
        read => read.map(Ok),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::access::own_uid;
    use crate::store::state::BootMillis;
    use crate::store::state::tests::state;

    /// Publishes a set as another agent does; its fetch is at `fetched`.
    fn generation(dir: &Path, folder: &str, number: u64, value: &str, fetched: u64) {
        let root = dir.join(folder);
        std::fs::create_dir_all(&root).unwrap();
        let bundle = format!(r#"{{"db":[{{"k":"{value}"}}]}}"#);
        std::fs::write(root.join(bundle::FILE), &bundle).unwrap();
        let boot_ms = BootMillis { fetched, ..BootMillis::default() };
        let given_back = value.is_empty();
        let state = State { generation: Generation(number), given_back, boot_ms, ..state() };
        let snapshot = serde_json::to_vec(&state).unwrap();
        std::fs::write(root.join(generation::SNAPSHOT), &snapshot).unwrap();
        let set = Some(ShownGeneration {
            folder: folder.to_owned(),
            bundle_sha256: sha256(bundle.as_bytes()),
            generation_sha256: sha256(&snapshot),
            file_uid: own_uid(),
        });
        show(dir, &Saved { state, set, next: None });
    }

    fn show(dir: &Path, saved: &Saved<State>) {
        std::fs::create_dir_all(dir.join(OWN)).unwrap();
        std::fs::write(dir.join(OWN).join(STATE), serde_json::to_vec(saved).unwrap()).unwrap();
    }

    fn name(second: u32) -> String {
        format!("..2026_11_22_11_30_{second:02}.000000001")
    }

    fn follow(dir: &Path) -> Published {
        Published::of_another(dir, AgentUid::FirstSeen)
    }

    #[test]
    fn a_reader_sees_one_set_after_another_and_its_numbers_grow() {
        let dir = tempfile::tempdir().unwrap();
        let published = follow(dir.path());
        let seen = || published.set().unwrap().map(|set| set.generation.0);
        assert_eq!(seen(), None);
        generation(dir.path(), &name(1), 7, "a", 1);
        assert_eq!((seen(), seen()), (Some(7), Some(7)));
        assert_eq!(published.set().unwrap().unwrap().identities, 1);
        generation(dir.path(), &name(2), 1, "b", 2);
        assert_eq!((seen(), seen()), (Some(8), Some(8)), "that agent started again");
        generation(dir.path(), &name(3), 9, "", 3);
        assert_eq!(seen(), None, "it was deprovisioned");
        generation(dir.path(), &name(4), 20, "d", 4);
        assert_eq!(seen(), Some(20));
        let missing = follow(&dir.path().join("missing"));
        assert!(missing.set().unwrap_err().to_string().contains("cannot open"));
    }

    #[test]
    fn a_reader_takes_no_set_but_the_one_that_the_state_shows() {
        type Forge = fn(&Path);
        let forgeries: [(&str, Forge); 4] = [
            ("other values", |dir| {
                std::fs::write(dir.join(name(1)).join(bundle::FILE), r#"{"db":[{"k":"x"}]}"#)
                    .unwrap();
            }),
            ("another state", |dir| {
                let state = serde_json::to_vec(&state()).unwrap();
                std::fs::write(dir.join(name(1)).join(generation::SNAPSHOT), state).unwrap();
            }),
            ("an older set that is played back", |dir| {
                std::fs::rename(dir.join("older"), dir.join(name(0))).unwrap();
                generation(dir, &name(0), 6, "old", 0);
            }),
            ("half of a state", |dir| std::fs::write(dir.join(OWN).join(STATE), "{").unwrap()),
        ];
        for (what, forge) in forgeries {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("older")).unwrap();
            generation(dir.path(), &name(1), 7, "a", 1);
            let published = follow(dir.path());
            assert!(published.set().unwrap().is_some(), "{what}");
            forge(dir.path());
            assert!(published.set().is_err(), "{what}");
        }
    }

    #[test]
    fn a_reader_follows_no_user_but_its_own_and_those_that_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        generation(dir.path(), &name(1), 1, "a", 1);
        let owner = own_uid();
        assert!(lock::is_trusted(owner, None) && lock::is_trusted(0, None));
        assert!(
            !lock::is_trusted(owner + 1, None) && !lock::is_trusted(owner + 1, Some(owner + 2))
        );
        assert!(lock::is_trusted(owner + 1, Some(owner + 1)));
        let published = Published::of_another(dir.path(), AgentUid::Id(owner + 1));
        assert!(published.set().unwrap().is_some(), "its own user is always followed");
    }
}
