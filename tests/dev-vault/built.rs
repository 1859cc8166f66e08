//! The agent's binary, built by cargo as this program was.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

const NAME: &str = "segura-agent";

/// Variables that cargo sets for a program that it runs, and that build scripts take for a change:
/// with them, what is built already would be built again.
const OF_CARGO: [&str; 5] = [
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
];

/// The command that builds the agent, with a line on stderr; its stdout is for [`executable`].
///
/// It names this program as well: by itself, the agent would be built with fewer features of its
/// libraries, and each of those libraries a second time.
pub fn command() -> Command {
    let cargo = std::env::vars_os().find(|(name, _)| name == "CARGO");
    let cargo = cargo.map_or_else(|| OsString::from("cargo"), |(_, path)| path);
    let mut command = Command::new(cargo);
    command.args(["build", "--bin", NAME, "--example", "dev-vault"]);
    command.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    command.arg("--message-format=json-render-diagnostics");
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OF_CARGO.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// The agent's path, from cargo's messages of the build.
pub fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let of_agent = message.pointer("/target/name").and_then(Value::as_str) == Some(NAME);
        let path = message.get("executable").and_then(Value::as_str).filter(|_| of_agent)?;
        Some(path.into())
    })
}
