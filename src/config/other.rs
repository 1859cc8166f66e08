//! Settings of single modes: a typo in them is told by every mode that shares the pod spec, and
//! what only later versions can do is refused rather than silently left out.

use std::time::Duration;

use super::Reader;
use super::parse;
use super::raw::Raw;
use super::variables::VARIABLES;
use crate::settings::{Keeping, OnAbsent, Tell};
use crate::signal::HUP;

impl Reader {
    /// What `sidecar` needs besides the rest.
    pub(super) fn keeping(&mut self, raw: &Raw) -> Keeping {
        let on_absent =
            self.text("SEGURA_ON_ABSENT", raw.segura_on_absent.as_deref(), |text| match text {
                "keep" => Ok(OnAbsent::Keep),
                "remove" => Ok(OnAbsent::Remove),
                _ => Err("`keep` or `remove`"),
            });
        let max_stale = self.max_stale(raw);
        let give_back = self.flag("SEGURA_DEPROVISION", raw.segura_deprovision.as_deref(), false);
        let listen = self.text("SEGURA_LISTEN", raw.segura_listen.as_deref(), parse::address);
        Keeping {
            tell: self.tell(raw),
            on_absent: on_absent.unwrap_or(OnAbsent::Keep),
            max_stale,
            listen: listen.flatten(),
            give_back,
        }
    }

    pub(super) fn max_stale(&mut self, raw: &Raw) -> Option<Duration> {
        let max_stale = raw.segura_max_stale.as_deref();
        self.text("SEGURA_MAX_STALE", max_stale, parse::duration_or_off).flatten()
    }

    fn tell(&mut self, raw: &Raw) -> Tell {
        let signal = self.text("SEGURA_SIGNAL", raw.segura_signal.as_deref(), |text| {
            let signal = parse::signal(text)?;
            if signal.can_be_handled() {
                Ok(signal)
            } else {
                Err("a signal that a process can handle, such as HUP, USR1 or RTMIN+1")
            }
        });
        let process = raw.segura_signal_process.as_deref();
        let pid_file = raw.segura_signal_pid_file.as_deref();
        let command = raw.segura_notify_command.as_deref();
        let url = raw.segura_notify_url.as_deref();
        Tell {
            signal: signal.unwrap_or(HUP),
            process: self.text("SEGURA_SIGNAL_PROCESS", process, parse::process_name),
            pid_file: self.text("SEGURA_SIGNAL_PID_FILE", pid_file, parse::path),
            command: self.text("SEGURA_NOTIFY_COMMAND", command, parse::command),
            url: self.text("SEGURA_NOTIFY_URL", url, parse::loopback_url),
            withheld: withheld(),
        }
    }

    /// Settings of `exec`, and what is understood elsewhere: here only typos are told.
    pub(super) fn of_exec(&mut self, raw: &Raw) {
        let dialect = self.text(
            "SEGURA_ENV_DIALECT",
            raw.segura_env_dialect.as_deref(),
            one_of(&["shell", "dotenv", "docker", "k8s"], "`shell`, `dotenv`, `docker` or `k8s`"),
        );
        if dialect.is_some_and(|dialect| dialect != "shell") {
            self.problem("SEGURA_ENV_DIALECT", "only `shell` is in this version");
        }
        self.text(
            "SEGURA_ON_CHANGE",
            raw.segura_on_change.as_deref(),
            one_of(&["signal", "restart", "exit", "none"], "`signal`, `restart`, `exit` or `none`"),
        );
        self.flag("SEGURA_EXEC_ENV", raw.segura_exec_env.as_deref(), true);
        self.flag("SEGURA_ENV_OVERRIDE", raw.segura_env_override.as_deref(), true);
        self.text("SEGURA_RESTART_SPLAY", raw.segura_restart_splay.as_deref(), parse::duration);
        self.text("SEGURA_STOP_TIMEOUT", raw.segura_stop_timeout.as_deref(), parse::duration);
        self.text("SEGURA_STOP_SIGNAL", raw.segura_stop_signal.as_deref(), parse::signal);
        let code = raw.segura_change_exit_code.as_deref();
        self.text("SEGURA_CHANGE_EXIT_CODE", code, parse::exit_code);
        self.text("SEGURA_TERMINATION_LOG", raw.segura_termination_log.as_deref(), parse::path);
    }

    /// Outputs of later versions are refused rather than silently left out.
    pub(super) fn not_yet(&mut self, raw: &Raw) {
        for (variable, value) in [
            ("SEGURA_TEMPLATE_DIR", &raw.segura_template_dir),
            ("SEGURA_FILE_RULES", &raw.segura_file_rules),
            ("SEGURA_DECODE", &raw.segura_decode),
        ] {
            if value.is_some() {
                self.problem(variable, "is not in this version");
            }
        }
    }
}

fn one_of<'a>(
    words: &'a [&'a str],
    shape: parse::Shape,
) -> impl Fn(&str) -> Result<&'a str, parse::Shape> {
    move |text| words.iter().copied().find(|word| *word == text).ok_or(shape)
}

/// What a command that is run on a change must not see: our settings, and what leads to the vault.
fn withheld() -> Vec<String> {
    let ours = VARIABLES.iter().map(|variable| variable.name);
    let old = [
        "SENHASEGURA_URL",
        "SENHASEGURA_CLIENT_ID",
        "SENHASEGURA_CLIENT_SECRET",
        "SENHASEGURA_SECRETS_FOLDER",
        "HTTPS_PROXY",
    ];
    ours.chain(old).map(str::to_owned).collect()
}
