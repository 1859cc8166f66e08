//! The real binary against the development vault: real children, real sockets, a real tmpfs.
//!
//! One binary for all of them, so that they are linked once; each module is one subject.

#[path = "dev-vault/mod.rs"]
mod dev_vault;
mod harness;

mod architecture;
mod carry;
mod check;
mod container;
mod crash;
mod deploy;
mod directory;
mod documents;
mod doors;
mod encrypted;
mod exec;
mod faults;
mod herd;
mod historic;
mod init;
mod leaks;
mod manage;
mod outputs;
mod pages;
mod plan;
mod policy;
mod provision;
mod recipes;
mod release;
mod resolve;
mod rotation;
mod rules;
mod seeds;
mod settings;
mod sidecar;
mod tell;
mod tls;
mod upgrade;
mod vendor;
