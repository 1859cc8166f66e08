//! The operating system: processes, signals, clocks, watches, and the process's own limits.

pub mod clock;
pub mod environment;
pub mod harden;
pub mod incoming;
pub mod process;
pub mod signal;
pub mod watch;
