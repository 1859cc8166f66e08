//! Settings of `exec` alone: those of its command, and those of a reader.

use std::time::Duration;

use super::parse::{self, Shape};
use super::raw::{Raw, RawVariable};
use super::{Config, Mounts, Problems, Proven, Reader};
use crate::config::settings::{
    Listen, Naming, Notify, OnChange, Reading, RenewInterval, Renewing, Running, Whereabouts,
};
use crate::os::signal::{KILL, Signal, TERM};
use crate::render::decode::Decode;
use crate::render::name::Case;

impl Config {
    /// Proves the settings of `exec`.
    pub fn for_exec(
        raw: Raw,
        mounts: Mounts,
    ) -> Result<Proven<(Self, Renewing, Running)>, Problems> {
        let mut reader = Reader::of_exec(&raw);
        let mut renewing = reader.renewing(&raw);
        reader.deprovisions = renewing.deprovisions;
        reader.without_other_processes(&raw, &mut renewing.notify);
        let running = reader.running(&raw);
        if reader.writes_nothing(&raw) && running.entries.is_none() {
            let remedy =
                "must not be false with SEGURA_OUTPUT=none: the command would get no secrets";
            reader.problem(raw.segura_exec_env.name, remedy);
        }
        if raw.segura_renew_interval.as_deref() == Some("off") && renewing.listen != Listen::Off {
            reader.warnings.push(
                "SEGURA_LISTEN has no effect with SEGURA_RENEW_INTERVAL=off: the command takes the agent's place"
                    .to_owned(),
            );
        }
        Ok(Self::proven(reader, raw, mounts)?.map(|config| (config, renewing, running)))
    }
}

impl Whereabouts {
    /// Reads these settings; their problems are reported when the role is known.
    pub fn from_raw(raw: &Raw) -> Self {
        let mut reader = Reader::default();
        let dir = if reader.writes_nothing(raw) { None } else { reader.output_dir(raw) };
        let agent_uid = reader.agent_uid(raw);
        Self { dir, agent_uid, has_vault: raw.segura_url.is_set() || raw.senhasegura_url.is_set() }
    }
}

impl Reading {
    /// Proves the settings of a reader, and no others.
    pub fn from_raw(raw: &Raw) -> Result<Proven<Self>, Problems> {
        let mut reader = Reader::of_exec(raw);
        let dir = reader.output_dir(raw);
        let agent_uid = reader.agent_uid(raw);
        let startup_timeout = reader.startup_timeout(raw);
        let follows = reader.renew(raw) != RenewInterval::Off;
        let mut notify = reader.notify(raw);
        reader.without_other_processes(raw, &mut notify);
        reader.logging(raw);
        let running = reader.running(raw);
        if raw.segura_listen.as_deref().is_some_and(|listen| listen != "off") {
            let warning = "SEGURA_LISTEN has no effect on a reader: the publishing agent serves it";
            reader.warnings.push(warning.to_owned());
        }
        reader.prove(dir.map(|dir| Self {
            dir,
            agent_uid,
            startup_timeout,
            follows,
            notify,
            running,
        }))
    }
}

impl Reader {
    /// Makes a reader for `exec`, whose environment is also the command's.
    fn of_exec(raw: &Raw) -> Self {
        Self { runs_command: true, ..Self::beside_app(raw) }
    }

    /// Removes the other processes, since `exec` notifies its own command alone.
    fn without_other_processes(&mut self, raw: &Raw, notify: &mut Notify) {
        (notify.process, notify.pid_file) = (None, None);
        for RawVariable { name, value } in [&raw.segura_signal_process, &raw.segura_signal_pid_file]
        {
            if value.is_some() {
                self.warnings.push(format!(
                    "{name} is for sidecar; exec signals its own command, as SEGURA_ON_CHANGE says"
                ));
            }
        }
    }

    pub(super) fn running(&mut self, raw: &Raw) -> Running {
        let case = self.text(&raw.segura_env_case, parse::case);
        let case = case.unwrap_or(Case::Keep);
        let mut named = |default: &str| {
            let pattern = raw.segura_env_name.as_deref().unwrap_or(default);
            let read = |pattern: &str| parse::pattern(pattern, case);
            self.value(raw.segura_env_name.name, Some(pattern), read)
        };
        let naming = named("{key}").zip(named("{identity}_{key}"));
        let naming = naming.map(|(one, several)| Naming { one, several });
        let wants_entries = self.text(&raw.segura_exec_env, parse::boolean).unwrap_or(true);
        let code = self.text(&raw.segura_change_exit_code, parse::exit_code).unwrap_or(75);
        let on_change = self.text(&raw.segura_on_change, |text| match text {
            "signal" => Ok(OnChange::Signal),
            "restart" => Ok(OnChange::Restart),
            "exit" => Ok(OnChange::Exit(code)),
            "none" => Ok(OnChange::Nothing),
            _ => Err("`signal`, `restart`, `exit` or `none`"),
        });
        let by_default = if wants_entries { OnChange::Restart } else { OnChange::Signal };
        Running {
            environment: raw.environment.clone(),
            entries: naming.filter(|_| wants_entries),
            decode: self
                .text(&raw.segura_decode, parse::globs)
                .map(Decode::new)
                .unwrap_or_default(),
            entries_win: self.text(&raw.segura_env_override, parse::boolean).unwrap_or(true),
            on_change: on_change.unwrap_or(by_default),
            splay: self
                .text(&raw.segura_restart_splay, parse::duration)
                .unwrap_or(Duration::from_secs(30)),
            stop_signal: self.text(&raw.segura_stop_signal, stop_signal).unwrap_or(TERM),
            stop_timeout: self
                .text(&raw.segura_stop_timeout, parse::duration)
                .unwrap_or(Duration::from_secs(20)),
        }
    }
}

fn stop_signal(text: &str) -> Result<Signal, Shape> {
    let signal = parse::signal(text).ok();
    let ends = |signal: &Signal| signal.can_be_handled() || *signal == KILL;
    signal.filter(ends).ok_or("a signal that stops a process, such as TERM, QUIT or INT")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::settings::StartupTimeout;

    fn raw(pairs: &[(&str, &str)]) -> Raw {
        let pairs = pairs.iter().map(|(name, value)| (name.into(), value.into()));
        Raw::from_environment(pairs)
    }

    fn problems<T: std::fmt::Debug>(result: Result<T, Problems>) -> Vec<String> {
        result.unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_reader_needs_no_settings_and_proves_only_its_own() {
        let Proven { settings: reading, warnings } = Reading::from_raw(&Raw::default()).unwrap();
        assert_eq!(reading.dir, PathBuf::from("/run/secrets/segura"));
        assert_eq!(reading.startup_timeout, StartupTimeout::After(Duration::from_secs(120)));
        assert!(reading.follows && warnings.is_empty());
        let running = reading.running;
        assert_eq!(running.on_change, OnChange::Restart);
        assert_eq!((running.splay.as_secs(), running.stop_timeout.as_secs()), (30, 20));
        assert!(running.entries_win && running.stop_signal == TERM);
        let reading = Reading::from_raw(&raw(&[
            ("SEGURA_URL", "nonsense"),
            ("SEGURA_FILE_MODE", "nonsense"),
            ("SEGURA_EXEC_ENV", "false"),
            ("SEGURA_RENEW_INTERVAL", "off"),
            ("SEGURA_SIGNAL_PROCESS", "nginx"),
            ("SEGURA_OF_THE_APP", "x"),
        ]));
        let Proven { settings: reading, warnings } = reading.unwrap();
        assert!(!reading.follows && reading.notify.process.is_none());
        assert_eq!(reading.running.on_change, OnChange::Signal);
        assert!(reading.running.entries.is_none());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn every_problem_of_a_reader_is_reported_at_once() {
        let wrong = [
            ("SEGURA_ENV_CASE", "title"),
            ("SEGURA_EXEC_ENV", "yes"),
            ("SEGURA_ON_CHANGE", "reload"),
            ("SEGURA_CHANGE_EXIT_CODE", "0"),
            ("SEGURA_ENV_OVERRIDE", "1"),
            ("SEGURA_RESTART_SPLAY", "30"),
            ("SEGURA_STOP_SIGNAL", "STOP"),
            ("SEGURA_STOP_TIMEOUT", "-1s"),
            ("SEGURA_STARTUP_TIMEOUT", "0s"),
            ("SEGURA_OUTPUT_DIR", "relative"),
        ];
        let found = problems(Reading::from_raw(&raw(&wrong)));
        for (name, _) in wrong {
            assert_eq!(found.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}");
        }
        assert_eq!(found.len(), wrong.len());
        let stops = |signal| Reading::from_raw(&raw(&[("SEGURA_STOP_SIGNAL", signal)])).is_ok();
        assert!(stops("KILL") && stops("RTMIN+3") && stops("WINCH"));
    }

    #[test]
    fn the_command_gets_all_variables_but_those_of_the_agent() {
        let raw = raw(&[
            ("SEGURA_CLIENT_SECRET", "canary"),
            ("SENHASEGURA_CLIENT_SECRET", "canary"),
            ("SEGURA_OUTPUT_DIR", "/x"),
            ("SEGURA_SERVICE_HOST", "10.0.0.1"),
            ("SEGURA_OF_THE_APP", "x"),
            ("HTTPS_PROXY", "http://p"),
            ("POD_NAME", "web-0"),
            ("PATH", "/bin"),
        ]);
        let given: Vec<&str> =
            raw.environment.as_slice().iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(
            given,
            [
                "SEGURA_SERVICE_HOST=10.0.0.1",
                "SEGURA_OF_THE_APP=x",
                "HTTPS_PROXY=http://p",
                "POD_NAME=web-0",
                "PATH=/bin"
            ]
        );
        let Reading { notify, running, .. } = Reading::from_raw(&raw).unwrap().settings;
        assert!(notify.environment.get("HTTPS_PROXY").is_none(), "it may hold a password");
        assert!(running.environment.get("HTTPS_PROXY").is_some(), "it is the app's as well");
    }

    #[test]
    fn without_an_output_the_entries_must_be_variables_and_templates_are_refused() {
        let none = [("SEGURA_OUTPUT", "none"), ("SEGURA_TEMPLATE_DIR", "/etc/templates")];
        let found = problems(Config::for_exec(raw(&none), Mounts::default()));
        let expected = "SEGURA_TEMPLATE_DIR: must not be set with SEGURA_OUTPUT=none";
        assert!(found.iter().any(|line| line == expected), "{found:?}");
        let none = [("SEGURA_OUTPUT", "none"), ("SEGURA_EXEC_ENV", "false")];
        let found = problems(Config::for_exec(raw(&none), Mounts::default()));
        assert!(found.iter().any(|line| line.contains("would get no secrets")), "{found:?}");
        let place = Whereabouts::from_raw(&raw(&none));
        assert!(place.dir.is_none() && !place.has_vault);
        let place = Whereabouts::from_raw(&raw(&[("SENHASEGURA_URL", "https://v")]));
        assert_eq!(place.dir, Some(PathBuf::from("/var/run/secrets/senhasegura")));
        assert!(place.has_vault);
    }
}
