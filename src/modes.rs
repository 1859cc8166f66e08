//! The modes: each composes the parts, and has no logic of its own.

pub mod check;
pub mod exec;
pub mod init;
mod serving;
pub mod sidecar;
