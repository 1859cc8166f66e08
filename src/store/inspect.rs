//! Inspecting an output directory, without a lock and without a right to write.

use std::ops::ControlFlow;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

use super::dir::{Dir, EntryKind};
use super::lock::{has_writer, is_trusted};
use super::{
    DATA, HOLDER, KEPT, LONGEST_HOLDER, LONGEST_KEPT, LONGEST_STATE, OWN, PENDING, SEAL, STATE,
    WriteCause, WriteError, generation, links,
};
use crate::config::settings::AgentUid;
use crate::os::opened::FileError;
use crate::render::bundle;
use crate::store::state::{Agent, BootMillis, Saved, State};

/// The number of tries at one look: a generation may be published during one.
const TRIES: u32 = 3;
/// More names than a generation has at its top: its state is larger than any that is read.
const MOST_NAMES: usize = 100_000;

/// The content of an output directory, as an inspection finds it.
#[derive(Debug)]
pub struct Look {
    /// The state of the current set; without a current set, that of the state file.
    pub state: Option<State>,
    /// The set is complete: `..data` leads to a generation with its state and its bundle, and each
    /// of its visible names has its link. Folders in it were complete before `..data` led to it,
    /// and are not inspected: no value is read.
    pub whole: bool,
    /// The agent that holds the directory.
    pub agent: Agent,
    /// The owner of the agent's own folder; without one, no agent has published there.
    pub owner: Option<u32>,
    /// The first of the agent's own files, folders and links that is there and is not what the agent
    /// makes.
    pub unfit: Option<WriteError>,
}

impl Look {
    /// Tells whether the agent's own folder belongs to an agent that a reader with this setting
    /// takes. Before a first set is seen, any owner may be the first.
    pub fn is_of(&self, agent: AgentUid) -> bool {
        self.owner.is_none_or(|owner| match agent {
            AgentUid::FirstSeen => true,
            AgentUid::Id(uid) => is_trusted(owner, Some(uid)),
        })
    }
}

/// Inspects `dir`, which a running agent of another process may hold.
///
/// A missing directory and an unreadable file are errors; a missing or incomplete file is none. An
/// agent must never inspect the directory that it holds itself: when a process closes any
/// descriptor of a file, it loses its locks on that file (`fcntl_locking(2)`).
pub fn look(dir: &Path) -> Result<Look, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = fs::open(dir, flags, Mode::empty())
        .map_err(|error| WriteError::new("open the output directory", dir, error))?;
    let dir = Dir::new(descriptor, dir.to_owned());
    for _ in 1..TRIES {
        let before = dir.link_target(DATA);
        let look = look_once(&dir)?;
        if dir.link_target(DATA) == before {
            return Ok(look);
        }
    }
    look_once(&dir)
}

/// The state of the generation `current`, complete or not.
fn remembered(dir: &Dir, own: &Dir, current: &str) -> Option<State> {
    Some(latest(own, generation::snapshot(dir, current)?))
}

/// The latest state of a generation whose `snapshot` this is.
pub(super) fn latest(own: &Dir, snapshot: State) -> State {
    if let Some(saved) = saved_state(own).filter(|saved| saved.generation == snapshot.generation) {
        return saved;
    }
    // A crash between the rename and the state file leaves the state of the generation before. The
    // time of the publish is then unknown, so every process counts as older than the set.
    let boot_ms = BootMillis { changed: u64::MAX, ..snapshot.boot_ms };
    State { boot_ms, ..snapshot }
}

/// The state that was saved last.
pub(super) fn saved_state(own: &Dir) -> Option<State> {
    saved(own).map(|saved| saved.state)
}

/// The state file.
pub(super) fn saved(own: &Dir) -> Option<Saved<State>> {
    serde_json::from_slice(own.read(STATE, LONGEST_STATE).ok()?.expose()).ok()
}

/// The first of the agent's own files and folders that is there and is not what the agent makes: of
/// another kind, or too large.
pub(super) fn unfit(dir: &Dir, own: &Dir, current: Option<&str>) -> Option<WriteError> {
    let stray = match generation::data_target(dir) {
        // A link to anything else is not the agent's either.
        None => dir.look(DATA).is_ok().then(|| DATA.to_owned()),
        Some(target) => Some(target)
            .filter(|target| dir.look(target).is_ok_and(|kind| kind != EntryKind::Folder)),
    };
    let stray = stray.map(|name| in_the_way(dir, &name));
    stray.or_else(|| unfit_file(dir, own, current)).or_else(|| unread_state(dir, current?))
}

/// The error of a generation whose state can't be read, or is none.
fn unread_state(dir: &Dir, current: &str) -> Option<WriteError> {
    if generation::snapshot(dir, current).is_some() {
        return None;
    }
    let generation = dir.open(current).ok()?;
    let path = generation.path().join(generation::SNAPSHOT);
    Some(match generation.look(generation::SNAPSHOT) {
        Ok(_) => WriteError::new("read", path, WriteCause::InTheWay),
        Err(error) => WriteError::new("read", path, error),
    })
}

fn in_the_way(dir: &Dir, name: &str) -> WriteError {
    WriteError::new("publish", dir.path().join(name), WriteCause::InTheWay)
}

fn unfit_file(dir: &Dir, own: &Dir, current: Option<&str>) -> Option<WriteError> {
    let generation = current.and_then(|current| dir.open(current).ok());
    let generation = generation.as_ref();
    [
        (Some(own), HOLDER, LONGEST_HOLDER),
        (Some(own), STATE, LONGEST_STATE),
        (Some(own), PENDING, LONGEST_STATE),
        (Some(own), SEAL, LONGEST_STATE),
        (Some(own), KEPT, LONGEST_KEPT),
        (generation, generation::SNAPSHOT, LONGEST_STATE),
        (generation, bundle::FILE, bundle::LONGEST),
    ]
    .into_iter()
    .find_map(|(folder, name, longest)| {
        let folder = folder?;
        let error = folder.unfit(name, longest)?;
        Some(WriteError::new("read", folder.path().join(name), error))
    })
}

fn look_once(dir: &Dir) -> Result<Look, WriteError> {
    let Some(own) = present(dir.open(OWN), "open", dir, OWN)? else {
        return Ok(Look {
            state: None,
            whole: false,
            agent: Agent::Gone,
            owner: None,
            unfit: None,
        });
    };
    let owner = fs::fstat(own.descriptor()).ok().map(|stat| stat.st_uid);
    let agent = agent(&own)?;
    let current = generation::current(dir);
    let mut unfit = unfit(dir, &own, current.as_deref());
    let published = current.as_deref().and_then(|current| remembered(dir, &own, current));
    let generation = current.as_deref().and_then(|current| dir.open(current).ok());
    let hidden = generation.as_ref().and_then(|generation| hidden(dir, generation));
    if let Some(name) = hidden.as_deref().filter(|name| dir.look(name).is_ok()) {
        unfit.get_or_insert_with(|| in_the_way(dir, name));
    }
    let whole =
        published.is_some() && hidden.is_none() && generation.is_some_and(|g| has_values(&g));
    Ok(Look { state: published.or_else(|| saved_state(&own)), whole, agent, owner, unfit })
}

/// Turns a file that is missing, or is not one that the agent makes, into `None`; any other failure
/// to open it is an error.
fn present<T>(
    found: Result<T, impl Into<FileError>>,
    what: &'static str,
    dir: &Dir,
    name: &str,
) -> Result<Option<T>, WriteError> {
    match found.map_err(Into::into) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_missing() || error.is_unfit() => Ok(None),
        Err(error) => Err(WriteError::new(what, dir.path().join(name), error)),
    }
}

/// Finds the agent that holds the directory, by its lock on the holder's file.
///
/// Each agent makes that file at its start, so an older state is of an agent before it.
fn agent(own: &Dir) -> Result<Agent, WriteError> {
    let Some(holder) = present(own.open_file(HOLDER), "read", own, HOLDER)? else {
        return Ok(Agent::Gone);
    };
    if !has_writer(&holder) {
        return Ok(Agent::Gone);
    }
    let since = holder.metadata().and_then(|file| file.modified()).ok();
    let state = present(own.open_file(STATE), "read", own, STATE)?;
    let saved = state.and_then(|state| state.metadata().and_then(|file| file.modified()).ok());
    Ok(if saved.is_some() && saved >= since { Agent::Running } else { Agent::Starting })
}

fn has_values(generation: &Dir) -> bool {
    generation.look(bundle::FILE) == Ok(EntryKind::File)
        && generation.unfit(bundle::FILE, bundle::LONGEST).is_none()
}

/// The first visible name of a generation that has no link, or else the first one beyond those that
/// a generation can have.
fn hidden(dir: &Dir, generation: &Dir) -> Option<String> {
    let mut count = 0;
    let each = generation.each_name(|name| {
        count += 1;
        if count <= MOST_NAMES && (name.starts_with("..") || links::is_ours(dir, name)) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(name.to_owned())
    });
    each.break_value()
}

#[cfg(test)]
mod tests;
