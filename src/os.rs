//! The operating system: processes, signals, clocks, watches, files that others may have made, and
//! the limits and rules that the process sets itself.

pub mod clock;
pub mod environment;
pub mod harden;
pub mod incoming;
pub mod opened;
pub mod process;
pub mod sandbox;
pub mod signal;
pub mod swap;
pub mod watch;
