//! The main process: a copy of a shell under a unique name.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::harness::{Scene, until};

/// Writes down each signal and the value that is published at it, once `$GO` is there. Its head
/// has two children that do the same.
const SCRIPT: &str = r#"
role=$1
signalled() { printf '%s %s %s\n' "$role" "$1" "$(<"$FILE")" >>"$LOG"; }
[ "$role" = head ] && for n in 1 2; do "$APP" "$0" child & done
printf '%s starts\n' "$role" >>"$LOG"
until [ -e "$GO" ]; do sleep 0.02; done
for signal in HUP USR1 RTMIN+3; do trap "signalled $signal" "$signal"; done
printf '%s ready\n' "$role" >>"$LOG"
while :; do sleep 600 & wait $!; done
"#;

/// A shell under its own name, in a folder of its own.
pub struct App {
    dir: TempDir,
    name: String,
    file: PathBuf,
}

/// A run of it and its children, killed when this is dropped.
pub struct Running {
    child: Child,
}

impl App {
    /// Prepares an app that reads `app/password` of a scene. It is ready for signals from the start.
    pub fn new(scene: &Scene) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("shop-{}-{number}", std::process::id());
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        // Not copied by this process, whose open descriptor a child might hold at the wrong moment.
        let copied = Command::new("cp").arg("/bin/bash").arg(dir.path().join(&name)).status();
        assert!(copied.is_ok_and(|status| status.success()), "there is no bash to copy");
        fs::write(dir.path().join("script"), SCRIPT).expect("it is new");
        let app = Self { dir, name, file: scene.path("app/password") };
        app.add_handlers();
        app
    }

    /// Prepares an app that handles no signal yet, starts it, and has a scene's agent signal it.
    pub fn without_handlers(scene: &mut Scene) -> (Self, Running) {
        let app = Self::new(scene);
        app.delay_handlers();
        let running = app.start();
        scene.set("SEGURA_SIGNAL_PROCESS", app.name());
        (app, running)
    }

    /// The name of its executable.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its own folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes it handle signals.
    pub fn add_handlers(&self) {
        fs::write(self.path("go"), "").expect("the directory is ours");
    }

    /// Makes later starts handle no signal until [`add_handlers`](Self::add_handlers).
    pub fn delay_handlers(&self) {
        fs::remove_file(self.path("go")).expect("it went");
    }

    /// Starts it, and waits until it and its children have started.
    pub fn start(&self) -> Running {
        let mut command = Command::new(self.path(&self.name));
        let before = self.lines().len();
        command.arg(self.path("script")).arg("head").env_clear().process_group(0);
        command.env("PATH", "/usr/bin:/bin").env("APP", self.path(&self.name));
        command.env("FILE", &self.file).env("LOG", self.path("log")).env("GO", self.path("go"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running { child: command.spawn().expect("the shell starts") };
        let lines = if self.path("go").exists() { 6 } else { 3 };
        until("the app and its children have started", || self.lines().len() >= before + lines);
        running
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Each process and the signal that it got, with the value that was published then.
    pub fn notified(&self) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines.filter(|line| !line.ends_with(" starts") && !line.ends_with(" ready")).collect()
    }

    /// Waits until it was notified so often, and asserts how, over all its runs.
    #[track_caller]
    pub fn until_notified(&self, expected: &[&str]) {
        until("the app is notified", || self.notified().len() >= expected.len());
        assert_eq!(self.notified(), expected);
    }
}

impl Running {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        self.child.wait().ok();
    }
}
