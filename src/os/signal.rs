//! Owns signal numbers and their names.
//!
//! The type is a number, since nix's enumeration lacks the real-time signals.

use std::fmt;

/// A signal by its number on this architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signal(i32);

/// `SIGHUP`.
pub const HUP: Signal = Signal(1);
/// `SIGINT`.
pub const INT: Signal = Signal(2);
/// `SIGQUIT`.
pub const QUIT: Signal = Signal(3);
/// `SIGUSR1`.
#[cfg(test)]
pub(crate) const USR1: Signal = Signal(10);
/// `SIGSTOP`.
#[cfg(test)]
pub(crate) const STOP: Signal = Signal(19);
/// `SIGKILL`.
pub const KILL: Signal = Signal(9);
/// `SIGTERM`.
pub const TERM: Signal = Signal(15);
/// `SIGCHLD`.
pub const CHLD: Signal = Signal(17);
/// `SIGCONT`.
pub const CONT: Signal = Signal(18);
/// `SIGTSTP`.
pub const TSTP: Signal = Signal(20);
/// `SIGTTIN`.
pub const TTIN: Signal = Signal(21);
/// `SIGTTOU`.
pub const TTOU: Signal = Signal(22);

/// Names of the numbers 1 to 31 on x86-64 and arm64 (`signal(7)`); other architectures differ.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The first and last real-time signal that the C library leaves to programs: it keeps 32 and 33
/// for its threads (`signal(7)`, "Real-time signals").
const REAL_TIME: (i32, i32) = (34, 64);

impl Signal {
    /// The number, as `kill(2)` takes it.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The signal of this number, those that the C library keeps for itself included.
    pub fn of(number: i32) -> Option<Self> {
        (1..=REAL_TIME.1).contains(&number).then_some(Self(number))
    }

    /// True if a process may catch or ignore it: not `SIGKILL`, not `SIGSTOP` (`signal(7)`).
    pub fn can_be_handled(self) -> bool {
        !matches!(self.0, 9 | 19)
    }

    /// Reads `HUP`, `SIGHUP`, `1`, `RTMIN+3` or `RTMAX-1`, in any case of letters.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = if let Ok(number) = name.parse::<i32>() {
            number
        } else if let Some(rest) = name.strip_prefix("RTMIN") {
            REAL_TIME.0 + offset(rest, '+')?
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            REAL_TIME.1 - offset(rest, '-')?
        } else {
            let index = NAMES.iter().position(|known| *known == name)?;
            i32::try_from(index).ok()? + 1
        };
        let known = (1..=31).contains(&number) || (REAL_TIME.0..=REAL_TIME.1).contains(&number);
        known.then_some(Self(number))
    }
}

fn offset(rest: &str, sign: char) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    rest.strip_prefix(sign)?.parse().ok().filter(|offset| (0..=30).contains(offset))
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = usize::try_from(self.0 - 1).ok().and_then(|index| NAMES.get(index));
        match named {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 < REAL_TIME.0 => write!(f, "signal {}", self.0),
            None => write!(f, "SIGRTMIN+{}", self.0 - REAL_TIME.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        for (text, expected) in [
            ("HUP", Some(1)),
            ("sighup", Some(1)),
            ("15", Some(15)),
            ("USR2", Some(12)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("0", None),
            ("32", None),
            ("65", None),
            ("RTMIN-1", None),
            ("RTMIN+31", None),
            ("HANGUP", None),
            ("", None),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), expected, "{text}");
        }
    }

    #[test]
    fn signals_are_shown_by_their_names() {
        assert_eq!(TERM.to_string(), "SIGTERM");
        assert_eq!(Signal::parse("RTMIN+2").unwrap().to_string(), "SIGRTMIN+2");
        assert_eq!(Signal::of(33).unwrap().to_string(), "signal 33");
    }
}
