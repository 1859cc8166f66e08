//! The modes: each composes the parts, and has no logic of its own.

pub mod check;
pub mod exec;
pub mod init;
pub mod manage;
mod serving;
pub mod sidecar;
