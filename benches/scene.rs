//! The base of each run: a vault, a directory in memory, a pod of its own.

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::binary::Binaries;
use crate::clock::timed;
use crate::dev_vault::{DevVault, Options};

/// The secret that the vault has from the start, and provisions an account for.
const IDENTITY: &str = "secret-postman";

/// One vault for all runs.
pub struct Scene {
    pub vault: DevVault,
    binaries: Binaries,
    pods: Cell<u32>,
}

/// Which program runs.
#[derive(Clone, Copy)]
pub enum Program {
    Agent,
    Bare,
}

impl Scene {
    pub fn new(binaries: Binaries) -> Self {
        Self { vault: DevVault::start(Options::default()), binaries, pods: Cell::new(0) }
    }

    /// A pod that the vault has not seen, so that it must be provisioned for.
    pub fn pod(&self) -> String {
        self.pods.set(self.pods.get() + 1);
        format!("bench-{}", self.pods.get())
    }

    /// The program with a pod's environment and nothing else.
    pub fn command(&self, program: Program, dir: &Path, pod: &str) -> Command {
        self.command_of("init", program, dir, pod)
    }

    /// The same, in another mode.
    pub fn command_of(&self, mode: &str, program: Program, dir: &Path, pod: &str) -> Command {
        let mut command = match program {
            Program::Agent => Command::new(&self.binaries.agent),
            Program::Bare => Command::new(&self.binaries.bare),
        };
        command.arg(mode).env_clear().envs(self.vault.env()).envs([
            ("SEGURA_IDENTITY", IDENTITY),
            ("SEGURA_POD_NAME", pod),
            ("SEGURA_DEPLOY", "bench"),
            ("SEGURA_NAMESPACE", "shop"),
            ("SEGURA_STARTUP_TIMEOUT", "5s"),
        ]);
        command.env("SEGURA_OUTPUT_DIR", dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs a program to its end, and says how long that took.
    pub fn run(&self, program: Program, dir: &Path, pod: &str) -> Outcome<Duration> {
        let mut command = self.command(program, dir, pod);
        let (took, output) = timed(|| command.output());
        let output = output?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{command:?} ended with {}: {said}", output.status).into());
        }
        Ok(took)
    }

    /// Runs a program as a new pod with a fresh directory.
    pub fn run_in_new_dir(&self, program: Program) -> Outcome<Duration> {
        let dir = memory_dir()?;
        let took = self.run(program, dir.path(), &self.pod())?;
        // What it is for: without the secret's files, any time is a good time.
        let published = dir.path().join(IDENTITY).join("username");
        if published.exists() {
            Ok(took)
        } else {
            Err(format!("{} is missing", published.display()).into())
        }
    }
}

/// A new directory on tmpfs.
pub fn memory_dir() -> Outcome<TempDir> {
    Ok(tempfile::Builder::new().prefix("segura-bench-").tempdir_in("/dev/shm")?)
}
