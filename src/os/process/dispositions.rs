//! Predicts the effect of a signal on a process, by the signals that it catches and ignores.

use std::{fs, io};

use super::gone;
use crate::os::signal::Signal;

/// Signals whose default action does not end a process (`signal(7)`): `CHLD`, `CONT`, `STOP`,
/// `TSTP`, `TTIN`, `TTOU`, `URG`, `WINCH`.
const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];

/// `SIGKILL`, which can't be caught, so there is no handler to wait for: a user who sets it wants
/// it.
const KILL: i32 = 9;

/// `SIGSEGV`: a process that blocks even this blocks all for a moment, as C libraries do around a
/// fork, and does not take signals by `sigwait(3)`.
const SEGV: i32 = 11;

/// The effect of a signal on a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The process goes on: it catches or ignores the signal, or the default is harmless. `KILL`
    /// counts as such.
    Lives,
    /// The process blocks the signal, to take it by `signalfd(2)` or `sigwait(3)`, or for a moment
    /// only; one look can't tell which.
    Blocks,
    /// The default action ends the process.
    Dies,
}

/// The signals that a process catches, ignores and blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispositions {
    caught: u64,
    ignored: u64,
    /// Signals that every thread blocks.
    blocked: u64,
}

impl Dispositions {
    /// Looks at a process; an error of kind `NotFound` says that it has ended.
    pub fn read(pid: i32) -> io::Result<Self> {
        let mut found = Self::parse(&status(&format!("/proc/{pid}/status"))?)?;
        if found.blocked != 0 {
            for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)? {
                let path = thread.map_err(gone)?.path().join("status");
                match status(&path.to_string_lossy()) {
                    Ok(text) => found.blocked &= Self::parse(&text)?.blocked,
                    // A thread that ends meanwhile takes no signal.
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

    /// True if the process ignores `signal`.
    pub fn ignores(self, signal: Signal) -> bool {
        holds(self.ignored, signal.number())
    }

    /// The effect of `signal`.
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
    fn a_process_that_neither_catches_nor_ignores_a_signal_dies() {
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
