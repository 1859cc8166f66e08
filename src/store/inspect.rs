//! A look at an output directory, without a lock and without a right to write.

use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::dir::{Dir, EntryKind};
use super::{DATA, HOLDER, OWN, STATE, WriteError, generation, links};
use crate::render::bundle;
use crate::store::state::{Agent, BootMillis, State};

/// How often a look begins anew because a generation was published meanwhile.
const TRIES: u32 = 3;

/// What an output directory shows.
#[derive(Debug)]
pub struct Look {
    /// What is remembered of the set that stands; where none stands, what the state file still says.
    pub state: Option<State>,
    /// All of the set is there: `..data` leads to a generation whose record and bundle are there,
    /// and each name of it that users see has its link. What is beneath was complete before
    /// `..data` led to it, and is not looked at: no value is read.
    pub whole: bool,
    /// Whether an agent holds the directory.
    pub agent: Agent,
}

/// Looks at `dir`, which may belong to a living agent of another process.
///
/// A directory that is missing and a file that may not be read are errors; a file that is missing
/// or torn is not. The agent itself must never look at the directory that it holds: closing the
/// file of its lock would give the lock up (`fcntl_locking(2)`).
pub fn look(dir: &Path) -> Result<Look, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = fs::open(dir, flags, Mode::empty())
        .map_err(|error| WriteError::new("open the output directory", dir, error))?;
    let dir = Dir::new(descriptor, dir.to_owned());
    for _ in 1..TRIES {
        let before = dir.link_target(DATA);
        let look = once(&dir)?;
        if dir.link_target(DATA) == before {
            return Ok(look);
        }
    }
    once(&dir)
}

/// What is remembered of the generation `current`, whole or not.
pub(super) fn remembered(dir: &Dir, own: &Dir, current: &str) -> Option<State> {
    let snapshot = generation::snapshot(dir, current)?;
    if let Some(kept) = kept(own).filter(|kept| kept.generation == snapshot.generation) {
        return Some(kept);
    }
    // A crash between the rename and the state leaves the state of the generation before. Then no
    // process can be said to be younger than the set.
    let boot_ms = BootMillis { changed: u64::MAX, ..snapshot.boot_ms };
    Some(State { boot_ms, ..snapshot })
}

fn kept(own: &Dir) -> Option<State> {
    serde_json::from_slice(own.read(STATE).ok()?.expose()).ok()
}

fn once(dir: &Dir) -> Result<Look, WriteError> {
    let Some(own) = present(dir.open(OWN), "open", dir, OWN)? else {
        return Ok(Look { state: None, whole: false, agent: Agent::Gone });
    };
    let agent = agent(&own)?;
    let current = generation::standing(dir);
    let standing = current.as_deref().and_then(|current| remembered(dir, &own, current));
    let whole = standing.is_some() && current.is_some_and(|current| is_whole(dir, &current));
    Ok(Look { state: standing.or_else(|| kept(&own)), whole, agent })
}

/// What is there, if anything is; that it may not be opened is an error.
fn present<T>(
    found: Result<T, Errno>,
    what: &'static str,
    dir: &Dir,
    name: &str,
) -> Result<Option<T>, WriteError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(WriteError::new(what, dir.path().join(name), error)),
    }
}

/// The agent that holds the directory, as its lock on the holder's file shows it.
///
/// The file is made anew by each agent, so a state that is older is of an agent before it.
fn agent(own: &Dir) -> Result<Agent, WriteError> {
    let Some(holder) = present(own.open_file(HOLDER), "read", own, HOLDER)? else {
        return Ok(Agent::Gone);
    };
    let Ok(Some(_)) = fcntl_getlk(&holder, &Flock::from(FlockType::WriteLock)) else {
        return Ok(Agent::Gone);
    };
    let since = holder.metadata().and_then(|file| file.modified()).ok();
    let state = present(own.open_file(STATE), "read", own, STATE)?;
    let said = state.and_then(|state| state.metadata().and_then(|file| file.modified()).ok());
    Ok(if said.is_some() && said >= since { Agent::Running } else { Agent::Starting })
}

fn is_whole(dir: &Dir, current: &str) -> bool {
    let Ok(generation) = dir.open(current) else {
        return false;
    };
    let shown = |name: &String| name.starts_with("..") || links::is_ours(dir, name);
    generation.look(bundle::FILE) == Ok(EntryKind::File) && generation.names().iter().all(shown)
}

#[cfg(test)]
mod tests;
