//! The end of a process, and the holder of a terminal.

use std::fmt;

use crate::os::signal::Signal;

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(Signal),
}

impl End {
    /// The exit code that reports it; for a signal, 128 plus its number, as shells do (POSIX, "Exit
    /// Status for Commands").
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal.number().try_into().unwrap_or(0)),
        }
    }
}

/// `SIGTERM`, or `exit code 3`
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => signal.fmt(f),
        }
    }
}

/// The foreground process group of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// There is no terminal.
    Nobody,
    /// The command's group.
    Command,
    /// The agent's own group.
    Ourselves,
    /// Another group.
    Other,
}
