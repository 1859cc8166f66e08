//! The end of a process, and the holder of a terminal.

use std::fmt;

use crate::os::signal::Signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(Signal),
}

impl End {
    /// The exit code that tells of it, which for a signal is 128 more than its number.
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

/// Who has the terminal, as its foreground process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// There is no terminal.
    Nobody,
    /// The command's group.
    Command,
    /// Our own.
    Ourselves,
    /// Another one.
    Other,
}
