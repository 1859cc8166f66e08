//! The parts of `segura-agent`, the secrets agent for Segura DevOps Secret Manager.
//!
//! The library exists for the binary, its benches and its tests; it promises nothing to anyone
//! else. `ARCHITECTURE.md` says how data walks through it.

#![doc(hidden)]

pub mod exit;
pub mod logging;
pub mod secret;

pub mod os;

pub mod model;

pub mod inputs;

pub mod render;

pub mod config;

pub mod notify;
pub mod store;
pub mod vault;

pub mod probes;

pub mod lifecycle;

pub mod supervise;

pub mod commands;
