//! The commands, one file each. A command composes the parts and decides nothing itself.

pub mod args;
pub mod check;
pub mod credential;
pub mod deprovision;
pub mod doctor;
pub mod dry_run;
pub mod exec;
mod fatal;
pub mod historic;
pub mod init;
pub mod install;
pub mod runtime;
pub mod sandbox;
pub mod secret;
mod serving;
pub mod sidecar;
