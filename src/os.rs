//! The operating system: processes, signals, clocks, watches, files that others may have made, and
//! the process's own limits.

pub mod clock;
pub mod environment;
pub mod harden;
pub mod incoming;
pub mod opened;
pub mod process;
pub mod signal;
pub mod watch;
