//! The real binary against the development vault: real children, real sockets, a real tmpfs.
//!
//! One binary for all of them, so that they are linked once; each module is one subject.

#[path = "dev-vault/mod.rs"]
mod dev_vault;
mod harness;

mod architecture;
mod check;
mod container;
mod crash;
mod directory;
mod exec;
mod faults;
mod herd;
mod init;
mod leaks;
mod outputs;
mod plan;
mod provision;
mod resolve;
mod rotation;
mod rules;
mod settings;
mod sidecar;
mod tell;
mod tls;
