//! The use of an output directory by this process: to publish in it, or to read another agent's
//! set.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::inspect::{Look, look};
use super::lock::is_trusted;
use crate::config::settings::AgentUid;
use crate::store::state::Agent;

/// The state of an output directory, as a process that does not hold it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This process may not write there.
    ReadOnly,
    /// A running agent holds it.
    Held,
    /// No agent holds it, and a complete set is published there.
    Left,
    /// It has files of an agent of another user, which may be running.
    Hidden,
    /// Any other directory, a missing one too: its use will show an error, if there is one.
    Free,
}

impl Place {
    /// Inspects `dir` without a lock: an agent that starts in the same moment is not seen.
    pub fn of(dir: &Path, agent: AgentUid) -> Self {
        let right = Access::WRITE_OK | Access::EXEC_OK;
        let mut allowed = accessat(CWD, dir, right, AtFlags::EACCESS);
        if allowed == Err(Errno::PERM) {
            // A seccomp profile older than faccessat2(2), of Linux 5.8, may refuse the call with
            // EPERM; the raw faccessat(2) takes no flags (access(2)).
            allowed = accessat(CWD, dir, right, AtFlags::empty());
        }
        if let Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) = allowed {
            return Self::ReadOnly;
        }
        match look(dir) {
            Ok(Look { agent: Agent::Starting | Agent::Running, owner, .. }) => {
                let agent = match agent {
                    AgentUid::FirstSeen => None,
                    AgentUid::Id(uid) => Some(uid),
                };
                // An agent of another user is followed only by a reader that needs no vault.
                if owner.is_some_and(|owner| is_trusted(owner, agent)) {
                    Self::Held
                } else {
                    Self::Hidden
                }
            }
            Ok(Look { whole: true, state: Some(state), .. }) if !state.given_back => Self::Left,
            Err(error) if error.is_denied() => Self::Hidden,
            Ok(_) | Err(_) => Self::Free,
        }
    }

    /// The reason to read the set with any settings: another agent publishes there.
    pub fn reason_to_read(self) -> Option<&'static str> {
        match self {
            Self::ReadOnly => Some("the directory is not writable"),
            Self::Held => Some("a running agent holds the directory"),
            Self::Left | Self::Hidden | Self::Free => None,
        }
    }

    /// The reason to read the set without a configured vault: another agent publishes there, or a
    /// set was left there.
    pub fn reason_to_read_without_vault(self) -> Option<&'static str> {
        match self {
            Self::Left => Some("a set is published there, and no vault is configured"),
            Self::Hidden => Some(
                "the directory belongs to an agent of another user, and no vault is configured",
            ),
            Self::ReadOnly | Self::Held | Self::Free => self.reason_to_read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_agents_set_is_read_and_without_a_vault_a_left_one_too() {
        for (place, with_vault, without) in [
            (Place::ReadOnly, true, true),
            (Place::Held, true, true),
            (Place::Left, false, true),
            (Place::Hidden, false, true),
            (Place::Free, false, false),
        ] {
            assert_eq!(place.reason_to_read().is_some(), with_vault, "{place:?}");
            assert_eq!(place.reason_to_read_without_vault().is_some(), without, "{place:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Place::of(dir.path(), AgentUid::FirstSeen), Place::Free);
        assert_eq!(Place::of(&dir.path().join("missing"), AgentUid::FirstSeen), Place::Free);
        assert_eq!(Place::of(Path::new("/proc/self"), AgentUid::FirstSeen), Place::ReadOnly);
    }
}
