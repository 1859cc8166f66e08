//! The commands, one file each. A command composes the parts, and has no logic of its own.

pub mod args;
pub mod check;
pub mod doctor;
pub mod dry_run;
pub mod exec;
pub mod init;
pub mod install;
pub mod manage;
pub mod secret;
mod serving;
pub mod sidecar;
