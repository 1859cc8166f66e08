//! What an output directory is to whoever comes to it: theirs to publish in, or another agent's.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::inspect::{Look, look};
use crate::store::state::Agent;

/// What a directory is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// We may not write there.
    ReadOnly,
    /// A living agent holds it.
    Held,
    /// Nobody holds it, and a whole set stands there.
    Left,
    /// An agent of another user has been there, and may be alive.
    Hidden,
    /// None of these: what is wrong with it shows when it is used.
    Free,
}

impl Place {
    /// Looks at `dir`. Nothing is locked; an agent that comes in the same moment is not seen.
    pub fn of(dir: &Path) -> Self {
        let right = Access::WRITE_OK | Access::EXEC_OK;
        let mut allowed = accessat(CWD, dir, right, AtFlags::EACCESS);
        if allowed == Err(Errno::PERM) {
            // Some sandboxes say so of a call that they don't know.
            allowed = accessat(CWD, dir, right, AtFlags::empty());
        }
        if let Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) = allowed {
            return Self::ReadOnly;
        }
        match look(dir) {
            Ok(Look { agent: Agent::Starting | Agent::Running, .. }) => Self::Held,
            Ok(Look { whole: true, state: Some(state), .. }) if !state.given_back => Self::Left,
            Err(error) if error.is_denied() => Self::Hidden,
            Ok(_) | Err(_) => Self::Free,
        }
    }

    /// Gives the reason to read it, whatever the settings: another agent publishes there.
    pub fn reason_to_read(self) -> Option<&'static str> {
        match self {
            Self::ReadOnly => Some("the directory is not writable"),
            Self::Held => Some("a running agent holds the directory"),
            Self::Left | Self::Hidden | Self::Free => None,
        }
    }

    /// Gives the reason to read it where no vault is configured: that, or a set to be read.
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
    fn a_reader_comes_to_what_is_anothers_or_what_it_cannot_renew() {
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
        assert_eq!(Place::of(dir.path()), Place::Free);
        assert_eq!(Place::of(&dir.path().join("missing")), Place::Free);
        assert_eq!(Place::of(Path::new("/proc/self")), Place::ReadOnly);
    }
}
