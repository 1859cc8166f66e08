//! The base of the tests of `exec`: wrappers of all kinds, and commands that never outlive them.

use std::io::{PipeWriter, pipe};
use std::ops::Deref;
use std::process::Command;

use crate::dev_vault::Options;
use crate::harness::{Run, Scene, sidecar::Sidecar};

/// Has a script hold on to its standard input, through a child that only waits for its end.
pub const HOLD: &str = "exec 3<&0; (read -r _ <&3) & held=$!";
/// Has a script wait for the end of its standard input, and hear every signal meanwhile.
pub const WAIT: &str = "while wait $held; [ $? -gt 128 ]; do :; done";

/// How a set that is obtained once is run on: under supervision, and with the agent gone.
pub const SUPERVISED_AND_NOT: [&str; 2] = ["1h", "off"];

/// A wrapper whose command reads from us: it ends with this, even if the test fails.
pub struct Held {
    wrapper: Sidecar,
    input: PipeWriter,
}

impl Held {
    /// Starts a wrapper.
    pub fn spawn(mut command: Command) -> Self {
        let (reader, input) = pipe().expect("a pipe");
        command.stdin(reader);
        Self { wrapper: Sidecar::spawn(command), input }
    }

    /// Starts a wrapper around a script that begins with [`HOLD`] and ends with [`WAIT`].
    pub fn script(scene: &Scene, script: &str) -> Self {
        Self::spawn(scene.wrapper(&["/bin/sh", "-c", &format!("{HOLD}\n{script}\n{WAIT}")]))
    }

    /// Ends the command's standard input, and returns how the wrapper ended.
    #[track_caller]
    pub fn release(self) -> Run {
        drop(self.input);
        self.wrapper.wait()
    }

    /// Says how the wrapper ended by itself.
    #[track_caller]
    pub fn wait(self) -> Run {
        self.wrapper.wait()
    }
}

impl Deref for Held {
    type Target = Sidecar;

    fn deref(&self) -> &Sidecar {
        &self.wrapper
    }
}

impl Scene {
    /// A wrapper around a command, not yet started.
    pub fn wrapper(&self, words: &[&str]) -> Command {
        let mut command = self.agent(&["exec", "--"]);
        command.args(words);
        command
    }

    /// The same, started by a shell's script, which finds the whole command line in `"$@"`.
    pub fn wrapper_by(&self, script: &str, words: &[&str]) -> Command {
        let wrapper = self.wrapper(words);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(wrapper.get_program()).args(wrapper.get_args());
        command.env_clear();
        command.envs(wrapper.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    /// A set of one secret that needs no provisioning, obtained by `init`, so that each wrapper
    /// adopts it; the vault's list of requests is empty.
    pub fn with_published_set() -> Self {
        Self::with_published_set_after(|_| {})
    }

    /// The same, after a change of the scene.
    pub fn with_published_set_after(change: impl FnOnce(&mut Self)) -> Self {
        Self::after_init(Options::default(), |scene| {
            scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "application5");
            scene.set("SEGURA_RENEW_INTERVAL", "1h");
            change(scene);
        })
    }
}

/// The only line of its kind, without what it begins with.
#[track_caller]
pub fn only_line<'a>(run: &'a Run, beginning: &str) -> &'a str {
    let lines: Vec<&str> =
        run.stderr.lines().filter_map(|line| line.strip_prefix(beginning)).collect();
    assert_eq!(lines.len(), 1, "{beginning:?} in {}", run.stderr);
    lines.first().copied().unwrap_or_default()
}

/// Lines of the log that hold this, each with the level that it has.
pub fn log_lines<'a>(run: &'a Run, part: &str) -> Vec<(&'a str, &'a str)> {
    let level = |line: &'a str| {
        ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
            .into_iter()
            .find(|level| line.contains(&format!("\"level\":\"{level}\"")))
            .unwrap_or("none")
    };
    let lines = run.stderr.lines().filter(|line| line.contains(part));
    lines.map(|line| (level(line), line)).collect()
}
