//! The parts of `segura-agent`, the secrets agent for Segura DevOps Secret Manager.
//!
//! The library exists for the binary, its benches and its tests; it promises nothing to anyone
//! else. `ARCHITECTURE.md` says how data walks through it.

#![doc(hidden)]

pub mod clock;
pub mod exit;
pub mod harden;
pub mod logging;
pub mod secret;
pub mod signal;

pub mod environment;
pub mod model;
pub mod pod;
pub mod settings;
pub mod templates;

pub mod documents;
pub mod policy;
pub mod process;
pub mod render;
pub mod schedule;
pub mod shown;
pub mod state;
pub mod status;

pub mod config;
pub mod deliver;
pub mod events;
pub mod given;
pub mod install;
pub mod resolve;
pub mod serve;
pub mod store;
pub mod vault;
pub mod watch;

pub mod obtain;
pub mod pass;
pub mod put;

pub mod deprovision;
pub mod doctor;
pub mod follow;
pub mod supervise;

pub mod renew;
pub mod start;

pub mod modes;

pub mod cli;
