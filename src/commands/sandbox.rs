//! The sandbox of `sidecar`: its needs by the settings, and the line that says what holds.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::runtime::TerminationLog;
use crate::config::parse;
use crate::config::settings::{Config, Renewing, Sandbox};
use crate::exit::{Exit, Failure};
use crate::os::sandbox::{ABI, Needs, Ports, Rules, Unruled};
use crate::store::Store;
use crate::vault::resolve;

/// The port of DNS, which asks by TCP where an answer is too long for UDP (RFC 7766).
const DNS: u16 = 53;

/// The rules that the settings ask for, or the reason why there are none.
#[derive(Debug)]
pub enum Intended {
    /// `SEGURA_SANDBOX=off`.
    Off,
    /// This variable rules them out.
    RuledOut(&'static str),
    /// These.
    Rules(Rules),
}

impl Intended {
    /// Finds the rules for these settings and the ABI of a kernel, which is asked for only if it counts.
    /// Restricts nothing.
    pub fn of(config: &Config, renewing: &Renewing, kernel: impl FnOnce() -> ABI) -> Self {
        match (renewing.sandbox, renewing.notify.unsandboxed()) {
            (Sandbox::Off, _) => Self::Off,
            (Sandbox::Auto | Sandbox::Require, Some(variable)) => Self::RuledOut(variable),
            (Sandbox::Auto | Sandbox::Require, None) => {
                Self::Rules(Rules::of(needs(config, renewing), kernel()))
            }
        }
    }
}

/// Holds the process to its sandbox, and logs what holds. It must have no second thread yet, and
/// keeps the directory that it publishes in and its termination log.
pub fn enter(
    config: &Config,
    renewing: &Renewing,
    store: &Store,
    log: &TerminationLog,
    kernel: impl FnOnce() -> ABI,
) -> Result<(), Failure> {
    let rules = match Intended::of(config, renewing, kernel) {
        Intended::Off => return Ok(()),
        Intended::RuledOut(variable) => {
            tracing::info!("the sandbox is off: {variable} rules it out");
            return Ok(());
        }
        Intended::Rules(rules) => rules,
    };
    let Some(writes) = store.descriptor() else { return Ok(()) };
    log.open();
    let failed = rules.hold(writes).err();
    let ports = ports(if failed.is_some() { &Ports::Any } else { &rules.ports });
    match (failed.as_ref(), &rules.folders) {
        (None, Ok(folders)) => tracing::info!(
            reads = listed(folders.iter().map(|folder| folder.display())),
            ports,
            "the sandbox is on: the agent can write beneath its output directory alone"
        ),
        (Some(reason), _) | (None, Err(reason)) => {
            if renewing.sandbox == Sandbox::Require {
                return Err(required(reason));
            }
            tracing::info!(ports, "the sandbox has no rules on files: {reason}");
        }
    }
    Ok(())
}

/// Makes the failure of a start whose settings require rules on files.
pub(super) fn required(reason: &Unruled) -> Failure {
    Failure::said(Exit::Settings, format!("cannot enter the sandbox: {reason}")).hint(Some(match reason {
        Unruled::Root(_) => "put the file into a folder that exists when the agent starts, or set SEGURA_SANDBOX=auto",
        Unruled::Missing | Unruled::Old | Unruled::Failed(_) => {
            "set SEGURA_SANDBOX=auto to start with the rules that the kernel has"
        }
    }))
}

/// Names the ports that can be connected to.
pub(super) fn ports(ports: &Ports) -> String {
    match ports {
        Ports::Any => "any".to_owned(),
        Ports::Only(ports) => listed(ports.iter()),
    }
}

/// Joins names by commas.
pub(super) fn listed(names: impl Iterator<Item = impl ToString>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// The needs of a sidecar after its start.
fn needs(config: &Config, renewing: &Renewing) -> Needs {
    let (vault, notify) = (&config.vault, &renewing.notify);
    let mut files = vault.files();
    files.extend(notify.pid_file.clone());
    // The process that the file names is looked at there.
    let trees = notify.pid_file.iter().map(|_| PathBuf::from("/proc")).collect();
    let proxy = vault.proxy.as_ref().and_then(|proxy| parse::proxy(proxy.expose()).ok());
    let urls = [Some(&vault.url), notify.url.as_ref()];
    let ports: BTreeSet<u16> =
        urls.into_iter().flatten().filter_map(|url| url.port_or_known_default()).collect();
    let ports = ports.into_iter().chain(proxy).chain([DNS]).collect();
    Needs { files, system: resolve::FILES.map(PathBuf::from).into(), trees, ports }
}
