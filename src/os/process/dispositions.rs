//! What a signal would do to a process, from what it catches and ignores.

use std::{fs, io};

use super::gone;
use crate::os::signal::Signal;

/// Default actions that end nothing (`signal(7)`): `CHLD`, `CONT`, `STOP`, `TSTP`, `TTIN`, `TTOU`,
/// `URG`, `WINCH`.
const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];

/// It can't be caught, so there is nothing to wait for: who names it wants it.
const KILL: i32 = 9;

/// Nobody takes `SEGV` by hand: who blocks it as well blocks everything, for the moment of a fork.
const SEGV: i32 = 11;

/// What a process does at a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It goes on: caught, ignored, or harmless by default. `KILL` counts as such.
    Lives,
    /// It blocks it, to take it by hand (`signalfd(2)`, `sigwait(3)`) or for a moment only; one look
    /// can't tell.
    Blocks,
    /// It dies: nothing stands before the default action.
    Dies,
}

/// The signals that a process catches, ignores and blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispositions {
    caught: u64,
    ignored: u64,
    /// By every thread.
    blocked: u64,
}

impl Dispositions {
    /// Looks at a process; an error of kind `NotFound` says that it is gone.
    pub fn read(pid: i32) -> io::Result<Self> {
        let mut found = Self::parse(&status(&format!("/proc/{pid}/status"))?)?;
        if found.blocked != 0 {
            for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)? {
                let path = thread.map_err(gone)?.path().join("status");
                match status(&path.to_string_lossy()) {
                    Ok(text) => found.blocked &= Self::parse(&text)?.blocked,
                    // A thread that ends meanwhile takes nothing.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    fn parse(status: &str) -> io::Result<Self> {
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        };
        match (mask("SigCgt:"), mask("SigIgn:"), mask("SigBlk:")) {
            (Some(caught), Some(ignored), blocked) => {
                Ok(Self { caught, ignored, blocked: blocked.unwrap_or(0) })
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Whether it ignores `signal`.
    pub fn ignores(self, signal: Signal) -> bool {
        holds(self.ignored, signal.number())
    }

    /// What `signal` would do.
    pub fn reaction(self, signal: Signal) -> Reaction {
        let number = signal.number();
        if number == KILL || HARMLESS.contains(&number) || holds(self.caught | self.ignored, number)
        {
            Reaction::Lives
        } else if holds(self.blocked, number) && !holds(self.blocked, SEGV) {
            Reaction::Blocks
        } else {
            Reaction::Dies
        }
    }
}

fn holds(mask: u64, number: i32) -> bool {
    let bit = u32::try_from(number - 1).ok().and_then(|at| 1_u64.checked_shl(at));
    bit.is_some_and(|bit| mask & bit != 0)
}

fn status(path: &str) -> io::Result<String> {
    let bytes = fs::read(path).map_err(gone)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_neither_catches_nor_ignores_dies() {
        let status = "Name:\tx\nSigBlk:\t0000000000000800\nSigIgn:\t0000000000000001\n\
                      SigCgt:\t0000001000000200\n";
        let found = Dispositions::parse(status).unwrap();
        for (signal, expected) in [
            ("HUP", Reaction::Lives),
            ("USR1", Reaction::Lives),
            ("USR2", Reaction::Blocks),
            ("TERM", Reaction::Dies),
            ("RTMIN+3", Reaction::Lives),
            ("RTMIN+4", Reaction::Dies),
            ("RTMAX", Reaction::Dies),
            ("CHLD", Reaction::Lives),
            ("WINCH", Reaction::Lives),
            ("STOP", Reaction::Lives),
            ("TSTP", Reaction::Lives),
            ("KILL", Reaction::Lives),
            ("IO", Reaction::Dies),
        ] {
            assert_eq!(found.reaction(Signal::parse(signal).unwrap()), expected, "{signal}");
        }
        let all = Dispositions { blocked: u64::MAX, ..found };
        assert_eq!(all.reaction(Signal::parse("USR2").unwrap()), Reaction::Dies);
        assert!(Dispositions::parse("Name:\tx\n").is_err());
    }
}
