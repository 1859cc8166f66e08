//! Settings that this mode does not use: a typo in them is told by every mode that shares the pod
//! spec, and what only later versions can do is refused rather than silently left out.

use super::Reader;
use super::parse::{self, Shape};
use super::raw::Raw;

impl Reader {
    /// Settings that other modes use: a typo in them is told by every mode that shares the pod spec.
    pub(super) fn other_modes(&mut self, raw: &Raw) {
        fn one_of<'a>(words: &'a [&str], shape: Shape) -> impl Fn(&str) -> Result<(), Shape> + 'a {
            move |text| {
                if words.contains(&text) { Ok(()) } else { Err(shape) }
            }
        }
        let dialects = ["shell", "dotenv", "docker", "k8s"];
        let on_change = ["signal", "restart", "exit", "none"];
        let word = raw.segura_on_absent.as_deref();
        self.text("SEGURA_ON_ABSENT", word, one_of(&["keep", "remove"], "`keep` or `remove`"));
        let word = raw.segura_env_dialect.as_deref();
        let shape = "`shell`, `dotenv`, `docker` or `k8s`";
        let dialect = self.text("SEGURA_ENV_DIALECT", word, one_of(&dialects, shape));
        if dialect.is_some() && word != Some("shell") {
            self.problem("SEGURA_ENV_DIALECT", "only `shell` is in this version");
        }
        let word = raw.segura_on_change.as_deref();
        let shape = "`signal`, `restart`, `exit` or `none`";
        self.text("SEGURA_ON_CHANGE", word, one_of(&on_change, shape));
        if self.flag("SEGURA_DEPROVISION", raw.segura_deprovision.as_deref(), false) {
            self.problem(
                "SEGURA_DEPROVISION",
                "must not be set for init, which ends before the app starts",
            );
        }
        self.flag("SEGURA_EXEC_ENV", raw.segura_exec_env.as_deref(), true);
        self.flag("SEGURA_ENV_OVERRIDE", raw.segura_env_override.as_deref(), true);
        self.text("SEGURA_MAX_STALE", raw.segura_max_stale.as_deref(), parse::duration_or_off);
        self.text("SEGURA_RESTART_SPLAY", raw.segura_restart_splay.as_deref(), parse::duration);
        self.text("SEGURA_STOP_TIMEOUT", raw.segura_stop_timeout.as_deref(), parse::duration);
        self.text("SEGURA_SIGNAL", raw.segura_signal.as_deref(), parse::signal);
        self.text("SEGURA_STOP_SIGNAL", raw.segura_stop_signal.as_deref(), parse::signal);
        self.text("SEGURA_SIGNAL_PID_FILE", raw.segura_signal_pid_file.as_deref(), parse::path);
        self.text("SEGURA_NOTIFY_COMMAND", raw.segura_notify_command.as_deref(), parse::command);
        self.text("SEGURA_NOTIFY_URL", raw.segura_notify_url.as_deref(), parse::loopback_url);
        let code = raw.segura_change_exit_code.as_deref();
        self.text("SEGURA_CHANGE_EXIT_CODE", code, parse::exit_code);
        self.text("SEGURA_LISTEN", raw.segura_listen.as_deref(), parse::address);
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
