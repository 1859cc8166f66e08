//! The base of every test: a vault, a directory in memory, and the agent as a child process.

#![expect(clippy::panic, reason = "a helper that can't go on fails the test that called it")]

pub mod dispositions;
pub mod host;
pub mod kubelet;
pub mod kubernetes;
pub mod lines;
pub mod podman;
pub mod probes;
pub mod secret;
pub mod sidecar;
pub mod tree;
pub mod wait;

use std::collections::BTreeMap;
use std::fs;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::dev_vault::requests::READ;
use crate::dev_vault::{DevVault, Options, Provisioned};

pub use wait::{for_a_while, pause, until};

/// The seeds' own example secret, which the vault has from the start.
pub const SEED: &str = "secret-postman";
/// The pod that tests are, unless they say otherwise: its workload is `web`.
pub const POD: &str = "web-7d4b9c6f5-x2k4z";

/// A vault, an output directory on tmpfs, and the environment of a pod.
pub struct Scene {
    pub vault: Arc<DevVault>,
    pub dir: TempDir,
    env: BTreeMap<String, String>,
}

/// How a child ended, and what it printed.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scene {
    /// A vault over TLS, and a pod that asks for the seed's secret.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        dispositions::default_for_children();
        let vault = Arc::new(DevVault::start(options));
        let dir = memory_dir();
        let mut env: BTreeMap<String, String> = vault.env().into_iter().collect();
        for (name, value) in [
            ("SEGURA_IDENTITY", SEED),
            ("SEGURA_POD_NAME", POD),
            ("SEGURA_NAMESPACE", "shop"),
            ("SEGURA_STARTUP_TIMEOUT", "5s"),
            ("SEGURA_OUTPUT_DIR", &dir.path().display().to_string()),
        ] {
            env.insert(name.to_owned(), value.to_owned());
        }
        Self { vault, dir, env }
    }

    /// A scene with a set that `init` has published with the settings of `change`; the vault's list of
    /// requests is empty.
    pub fn after_init(options: Options, change: impl FnOnce(&mut Self)) -> Self {
        let mut scene = Self::with(options);
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
        change(&mut scene);
        scene.init().exits(0);
        scene.vault.clear_requests();
        scene
    }

    /// The same, when the set is due.
    pub fn with_due_set() -> Self {
        let scene = Self::after_init(Options::default(), |_| {});
        scene.wait_until_due();
        scene
    }

    /// Another pod of the same workload, with a directory of its own and the same vault.
    pub fn another_pod(&self, pod: &str) -> Self {
        let dir = memory_dir();
        let mut env = self.env.clone();
        env.insert("SEGURA_POD_NAME".to_owned(), pod.to_owned());
        env.insert("SEGURA_OUTPUT_DIR".to_owned(), dir.path().display().to_string());
        Self { vault: Arc::clone(&self.vault), dir, env }
    }

    /// Sets a variable of the pod.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a variable to the path of a new file with this content, beside the vault's own files.
    pub fn set_file(&mut self, name: &str, content: impl AsRef<[u8]>) -> &mut Self {
        let path = self.file(&name.to_lowercase(), content);
        self.set(name, &path)
    }

    /// Removes a variable of the pod.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.env.remove(name);
        self
    }

    /// The agent, with the pod's environment and nothing else.
    pub fn agent(&self, args: &[&str]) -> Command {
        dispositions::default_for_children();
        let mut command = Command::new(env!("CARGO_BIN_EXE_segura-agent"));
        command.args(args).env_clear().envs(&self.env);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command of the agent to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(self.agent(args).output().expect("the agent runs"))
    }

    /// Runs `init` to its end.
    pub fn init(&self) -> Run {
        self.run(&["init"])
    }

    /// Starts `init` and does not wait for its end.
    pub fn spawn_init(&self) -> Child {
        self.agent(&["init"]).spawn().expect("the agent starts")
    }

    /// A published file's content.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Every published file by its path as users see it, with its content.
    pub fn published(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for name in names(self.dir.path()).into_iter().filter(|name| !name.starts_with('.')) {
            collect(self.dir.path(), &name, &mut files);
        }
        files
    }

    /// Every name in the directory itself, also those that readers never see.
    pub fn entries(&self) -> Vec<String> {
        names(self.dir.path())
    }

    /// The generations in the directory, current or not.
    pub fn generations(&self) -> Vec<String> {
        self.entries().into_iter().filter(|name| name.starts_with("..2")).collect()
    }

    /// Writes a file beside the vault's own, and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.vault.dir().join(name);
        fs::write(&path, content).expect("the vault's directory is ours");
        path.display().to_string()
    }

    /// The account that the vault holds for a pod, the latest if there are several.
    #[track_caller]
    pub fn account_of(&self, identity: &str, pod: &str) -> Provisioned {
        let mut accounts = self.vault.provisioned(identity);
        accounts.retain(|account| account.pod_name == pod);
        accounts.pop().expect("the pod has an account")
    }

    /// The password that the vault holds for this pod.
    #[track_caller]
    pub fn password(&self) -> String {
        let pod = self.env.get("SEGURA_POD_NAME").expect("the scene names its pod");
        self.account_of(SEED, pod).password
    }

    /// Waits until the password that the vault holds for this pod is published.
    #[track_caller]
    pub fn wait_until_fresh(&self) {
        let password = self.password();
        until("the password is published", || self.read("secret-postman/password") == password);
    }

    /// Waits until the agent has seen that reads alone change nothing: a new version in each of its
    /// first two reads would mean that reads provision.
    #[track_caller]
    pub fn wait_until_trusted(&self) {
        let reads = self.count(READ);
        until("it has read twice", || self.count(READ) >= reads + 2);
    }

    /// The state file.
    pub fn state(&self) -> serde_json::Value {
        serde_json::from_str(&self.read(".segura.json")).expect("the state is JSON")
    }

    /// How many of [`request_lines`](Self::request_lines) are this one.
    pub fn count(&self, request: &str) -> usize {
        self.request_lines().into_iter().filter(|asked| asked == request).count()
    }

    /// Waits until a set that was fetched before now is due by an interval of one second.
    pub fn wait_until_due(&self) {
        let due = self.vault.elapsed() + Duration::from_millis(1_050);
        until("the set is due", || self.vault.elapsed() > due);
    }

    /// The requests that the vault has seen, as `METHOD path`, queries left out.
    pub fn request_lines(&self) -> Vec<String> {
        let line = |request: crate::dev_vault::Request| {
            let path = request.target.split('?').next().unwrap_or_default().to_owned();
            format!("{} {path}", request.method)
        };
        self.vault.requests().into_iter().map(line).collect()
    }
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Waits until a child has ended by itself, and returns how.
    #[track_caller]
    pub fn wait(mut child: Child) -> Self {
        until("the agent ends", || !matches!(child.try_wait(), Ok(None)));
        Self::of(child.wait_with_output().expect("it has ended"))
    }

    /// Asserts the exit code, and shows everything if it is another.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stdout, "", "stdout is the command's");
        self
    }

    /// The fatal error: the line that starts with the program's name.
    #[track_caller]
    pub fn error(&self) -> &str {
        let line = self.stderr.lines().find(|line| line.starts_with("segura-agent: "));
        line.unwrap_or_else(|| panic!("no error line in {}", self.stderr))
    }

    /// The settings that are refused, each with what it must be.
    pub fn problems(&self) -> Vec<(&str, &str)> {
        let lines = self.stderr.lines();
        lines.filter_map(|line| line.strip_prefix("  ")?.split_once(": ")).collect()
    }

    /// Asserts that the settings are refused for this variable, among others.
    #[track_caller]
    pub fn refuses(&self, variable: &str) -> &Self {
        self.exits(78);
        let names = self.problems().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(names.contains(&variable), "{variable}: {}", self.stderr);
        self
    }

    /// The line that says what to do.
    pub fn hint(&self) -> Option<&str> {
        self.stderr.lines().find_map(|line| line.strip_prefix("hint: "))
    }
}

/// SHA-256, in hexadecimal, as the state shows the digests of a set.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a signal to a child.
pub fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it was not waited for yet");
}

/// Runs every case at the same time, since most of their time is spent waiting.
pub fn side_by_side<C: Send>(cases: impl IntoIterator<Item = C>, run: impl Fn(C) + Sync) {
    let run = &run;
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || run(case));
        }
    });
}

/// A new directory on tmpfs.
pub fn memory_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("segura-").tempdir_in("/dev/shm");
    let dir = dir.expect("/dev/shm is a tmpfs that tests may write to");
    host::set_mode(dir.path(), 0o755);
    dir
}

/// A pipe that takes not one byte more; the reading end keeps it open.
pub fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = pipe().expect("a pipe");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("a pipe has flags");
    let mut filled = 0;
    while let Ok(written) = writer.write(&[b'.'; 1024]) {
        filled += written;
    }
    while writer.write(b".").is_ok() {
        filled += 1;
    }
    // A write would block now, as on a full pipe of the container runtime.
    fcntl_setfl(&writer, OFlags::empty()).expect("a pipe has flags");
    (reader, writer, filled)
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the directory can be read");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn collect(root: &Path, path: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    let full = root.join(path);
    if full.is_dir() {
        for name in names(&full) {
            collect(root, &format!("{path}/{name}"), files);
        }
    } else {
        files.insert(path.to_owned(), fs::read(&full).expect("a published file can be read"));
    }
}
