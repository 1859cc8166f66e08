//! The real binary against the development vault: real children, real sockets, a real tmpfs.
//!
//! One binary for all of them, so that they are linked once; each module is one subject.

#[path = "dev-vault/mod.rs"]
mod dev_vault;
mod harness;

mod architecture;
mod authorization;
mod check;
mod commands;
mod container;
mod contributing;
mod crash;
mod deploy;
mod directory;
mod documents;
mod dry_run;
mod encrypted;
mod exec;
mod faults;
mod file_rules;
mod flood;
mod herd;
mod hidden;
mod historic;
mod init;
mod leaks;
mod limits;
mod r#loop;
mod notify;
mod outputs;
mod pages;
mod planted;
mod policy;
mod provision;
mod put;
mod recipes;
mod release;
mod resolve;
mod rotation;
mod sandbox;
mod seeds;
mod settings;
mod sidecar;
mod tls;
mod upgrade;
mod vendor;
