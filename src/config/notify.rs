//! Settings of single modes. Every mode reports their problems, since the modes share a pod spec.

use super::parse;
use super::raw::Raw;
use super::{Reader, log_settings};
use crate::config::settings::{Listen, MaxStale, Notify, Renewing, Sandbox};
use crate::logging::Format;
use crate::os::environment::Environment;
use crate::os::signal::HUP;

impl Reader {
    /// Reads the settings of a mode that renews.
    pub(super) fn renewing(&mut self, raw: &Raw) -> Renewing {
        let max_stale = self.max_stale(raw);
        let deprovisions = self.text(&raw.segura_deprovision, parse::boolean).unwrap_or(false);
        let listen = self.text(&raw.segura_listen, parse::listen);
        let sandbox = self.text(&raw.segura_sandbox, parse::sandbox);
        Renewing {
            notify: self.notify(raw),
            max_stale,
            listen: listen.unwrap_or(Listen::Off),
            deprovisions,
            sandbox: sandbox.unwrap_or(Sandbox::Off),
        }
    }

    pub(super) fn max_stale(&mut self, raw: &Raw) -> MaxStale {
        self.text(&raw.segura_max_stale, parse::max_stale).unwrap_or(MaxStale::Never)
    }

    pub(super) fn notify(&mut self, raw: &Raw) -> Notify {
        let signal = self.text(&raw.segura_signal, |text| {
            let signal = parse::signal(text)?;
            if signal.can_be_handled() {
                Ok(signal)
            } else {
                Err("a signal that a process can handle, such as HUP, USR1 or RTMIN+1")
            }
        });
        Notify {
            signal: signal.unwrap_or(HUP),
            process: self.text(&raw.segura_signal_process, parse::process_name),
            pid_file: self.text(&raw.segura_signal_pid_file, parse::path),
            command: self.text(&raw.segura_notify_command, parse::command),
            url: self.text(&raw.segura_notify_url, parse::loopback_url),
            environment: notify_environment(raw),
        }
    }

    /// Reports the problems of the log, which starts before the other settings are read.
    pub(super) fn logging(&mut self, raw: &Raw) {
        self.problems.extend(log_settings(raw, Format::Json).1);
        self.text(&raw.segura_termination_log, parse::path);
    }
}

impl Notify {
    /// Names the variable that rules out a sandbox, if one is set: a program that is started would
    /// inherit the rules, and a process outside of them does not show its executable
    /// (`proc_pid_exe(5)`, `landlock(7)`).
    pub fn unsandboxed(&self) -> Option<&'static str> {
        match (&self.command, &self.process) {
            (Some(_), _) => Some("SEGURA_NOTIFY_COMMAND"),
            (None, Some(_)) => Some("SEGURA_SIGNAL_PROCESS"),
            (None, None) => None,
        }
    }
}

/// Selects the environment of a notify command, without the proxy, which may hold a password.
fn notify_environment(raw: &Raw) -> Environment {
    let mut environment = raw.environment.clone();
    environment.remove(&[raw.https_proxy.name]);
    environment
}
