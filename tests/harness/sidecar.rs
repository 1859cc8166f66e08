//! A long-lived agent as a child: its output is read while it runs, and it is killed with its test.

#![expect(
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use super::dispositions::default_for_children;
use super::wait::{until_seen, within};
use super::{Run, Scene, lines, send, until};

/// A running sidecar or wrapper; killed when it is dropped.
pub struct Sidecar {
    child: Child,
    logged: Arc<Mutex<Vec<String>>>,
    printed: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<()>>,
}

impl Scene {
    /// Starts a sidecar and does not wait.
    pub fn sidecar(&self) -> Sidecar {
        Sidecar::spawn(self.agent(&["sidecar"]))
    }

    /// Starts a wrapper around a command and does not wait.
    pub fn exec(&self, words: &[&str]) -> Sidecar {
        let words: Vec<&str> = ["exec", "--"].iter().chain(words).copied().collect();
        Sidecar::spawn(self.agent(&words))
    }

    /// Runs a command in a wrapper, to the end of both.
    #[track_caller]
    pub fn exec_to_end(&self, words: &[&str]) -> Run {
        self.exec(words).wait()
    }

    /// Starts a sidecar and waits until it renews its published set.
    #[track_caller]
    pub fn renewing_sidecar(&self) -> Sidecar {
        let before = self.modified("holder");
        let sidecar = self.sidecar();
        until("the sidecar renews its set", || self.is_renewed_since(before));
        sidecar
    }

    /// When the agent last wrote one of its own files.
    fn modified(&self, name: &str) -> Option<SystemTime> {
        fs::metadata(self.path("..segura").join(name)).ok()?.modified().ok()
    }

    /// Whether another agent than the one that took the directory at `before` has begun to renew: from
    /// then on it promises more than what a start promises for it.
    fn is_renewed_since(&self, before: Option<SystemTime>) -> bool {
        let holder = self.modified("holder");
        if holder == before {
            return false;
        }
        let own = self.modified("state.json").is_some_and(|at| Some(at) >= holder);
        let now = clock_gettime(ClockId::Boottime).tv_sec.unsigned_abs() * 1_000;
        let promised = |state: &serde_json::Value| state["boot_ms"]["silent_until"].as_u64();
        // The first state is written before the link that users read it by.
        let shown = self.path(".segura.json").exists();
        if !own || !shown {
            return false;
        }
        let state = self.state();
        // Before the switch, the state of an earlier agent is written again with the next set.
        let switched = state["next"].is_null();
        switched && promised(&state).is_some_and(|until| until > now + 100_000)
    }

    /// How many passes have failed since the last success.
    pub fn failures(&self) -> u64 {
        self.state()["failures"].as_u64().expect("a number")
    }

    /// The class of the failure that an identity is held back for.
    pub fn held_back(&self, identity: &str) -> Option<String> {
        let state = self.state();
        let secrets = state["secrets"].as_array().expect("a list");
        let secret = secrets.iter().find(|secret| secret["identity"] == identity)?;
        secret["error"].as_str().map(str::to_owned)
    }
}

impl Sidecar {
    /// Starts a command, and reads its stdout and stderr if they are pipes.
    pub fn spawn(mut command: Command) -> Self {
        default_for_children();
        let mut child = command.spawn().expect("the agent starts");
        let logged = Arc::new(Mutex::new(Vec::new()));
        let listener = child.stderr.take().map(|stderr| {
            let logged = Arc::clone(&logged);
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    logged.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            })
        });
        let printed = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stdout.take().map(|mut stdout| {
            let printed = Arc::clone(&printed);
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stdout.read(&mut bytes) {
                    let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
                    printed.extend_from_slice(&bytes[..length]);
                }
            })
        });
        Self { child, logged, printed, reader, listener }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What a wrapped command has printed so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.printed()).into_owned()
    }

    /// The same, to the byte.
    pub fn printed(&self) -> Vec<u8> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a wrapped command has printed this.
    #[track_caller]
    pub fn until_printed(&self, part: &str) {
        let prints = |printed: &String| printed.contains(part);
        until_seen(&format!("it prints {part:?}"), || self.stdout(), prints);
    }

    /// Every line of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many lines of the log hold this.
    pub fn times_logged(&self, part: &str) -> usize {
        self.log().iter().filter(|line| line.contains(part)).count()
    }

    /// The warnings so far, but for the one that the seed's entries always cause.
    pub fn warnings(&self) -> Vec<String> {
        let counts =
            |line: &String| line.contains("\"WARN\"") && !line.contains(lines::ENTRIES_DIFFER);
        self.log().into_iter().filter(counts).collect()
    }

    /// Warnings and errors of a log in text.
    pub fn text_warnings(&self) -> Vec<String> {
        let bad =
            |line: &String| [" WARN ", "ERROR ", "segura-agent: "].iter().any(|b| line.contains(b));
        self.log().into_iter().filter(bad).collect()
    }

    /// Waits until a line of the log holds this, and returns the first such line.
    #[track_caller]
    pub fn until_logged(&self, part: &str) -> String {
        let holds = |log: &Vec<String>| log.iter().any(|line| line.contains(part));
        let log = until_seen(&format!("it logs {part:?}"), || self.log(), holds);
        log.into_iter().find(|line| line.contains(part)).unwrap_or_default()
    }

    /// Asserts that there are so many warnings, once the last of them has been read.
    #[track_caller]
    pub fn assert_warned(&self, times: usize, what: &str) {
        until("the warnings are read", || self.warnings().len() >= times);
        assert_eq!(self.warnings().len(), times, "{what}: {:?}", self.warnings());
    }

    /// Asserts that so many lines hold this, once the last of them has been read.
    #[track_caller]
    pub fn assert_logged(&self, part: &str, times: usize, what: &str) {
        until("the lines are read", || self.times_logged(part) >= times);
        assert_eq!(self.times_logged(part), times, "{what}: {:?}", self.log());
    }

    pub fn send(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Whether it has ended and its whole log is read.
    pub fn has_ended(&self) -> bool {
        self.listener.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end, and returns how it ended with all that it printed.
    #[track_caller]
    pub fn wait(mut self) -> Run {
        until("the sidecar ends", || !matches!(self.child.try_wait(), Ok(None)));
        self.end()
    }

    /// Sends SIGTERM as the kubelet does, waits for its end, and asserts code 0.
    #[track_caller]
    pub fn stop(self) -> Run {
        self.send(Signal::TERM);
        let run = self.wait();
        run.exits(0);
        run
    }

    /// Kills it at once.
    pub fn kill(mut self) -> Run {
        self.send(Signal::KILL);
        self.end()
    }

    fn end(&mut self) -> Run {
        let status = self.child.wait().expect("it is ours");
        for listener in [self.listener.take(), self.reader.take()].into_iter().flatten() {
            // A command that the agent has started may keep the pipe open for longer than it.
            within(Duration::from_secs(1), || listener.is_finished());
        }
        Run { code: status.code(), stdout: self.stdout(), stderr: self.log().join("\n") }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A command whose standard input stays open until the test ends or drops it.
pub fn with_stdin(mut command: Command) -> Command {
    command.stdin(Stdio::piped());
    command
}

/// A free port of loopback.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}
