//! Parts of every command: the log, the mounts, the runtime, and the ways to end.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};

use super::fatal::{LONGEST_MESSAGE, brief, text};
use crate::config::raw::Raw;
use crate::config::settings::Vault;
use crate::config::{self, Mounts, Problems, Proven};
use crate::exit::{Exit, Failure};
use crate::inputs::pod::{Mounted, SERVICE_ACCOUNT};
use crate::inputs::templates::Found;
use crate::logging::{self, escape};
use crate::os::harden;
use crate::os::incoming::Terminations;
use crate::os::opened;

/// Starts the log with its settings.
pub(super) fn begin(raw: &Raw) {
    let terminal = std::io::stderr().is_terminal();
    let auto = if terminal { logging::Format::Text } else { logging::Format::Json };
    let (log, _) = config::log_settings(raw, auto);
    logging::start(log);
}

/// Reads the template directory and the files that Kubernetes mounts.
pub(super) fn mounts(raw: &Raw) -> Mounts {
    let templates = raw.segura_template_dir.as_deref().map(|dir| Found::read(Path::new(dir)));
    Mounts {
        account: Mounted::read(Path::new(SERVICE_ACCOUNT)),
        templates: templates.unwrap_or_default(),
    }
}

/// Limits the process, starts the log, reads the mounts, and proves the settings of a command.
pub(super) fn prove<T>(
    raw: Raw,
    prover: fn(Raw, Mounts) -> Result<Proven<T>, Problems>,
) -> Result<Proven<T>, Problems> {
    harden::limit();
    begin(&raw);
    let mounts = mounts(&raw);
    prover(raw, mounts)
}

/// Prepares a command: [`prove`]s its settings, and logs their warnings.
pub(super) fn prepare<T>(
    raw: Raw,
    prover: fn(Raw, Mounts) -> Result<Proven<T>, Problems>,
) -> Result<T, Failure> {
    prove(raw, prover).map(accept).map_err(|problems| invalid(&problems))
}

/// Logs the warnings of settings, and returns the settings.
pub(super) fn accept<T>(Proven { settings, warnings }: Proven<T>) -> T {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    settings
}

/// Reads the settings of the vault, for a command that only sends requests.
pub(super) fn reach(raw: Raw) -> Result<Vault, Failure> {
    harden::limit();
    begin(&raw);
    Vault::from_raw(raw).map(accept).map_err(|problems| invalid(&problems))
}

/// Runs the asynchronous part of a command to its end.
pub(super) fn run<T>(mode: impl AsyncFnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut outcome = None;
    drive(pin!(async { outcome = Some(mode().await) }))?;
    outcome.unwrap_or_else(|| {
        Err(Failure::said(
            Exit::Bug,
            "cannot tell how the command ended: its exit status is unknown",
        ))
    })
}

/// Blocks on a future that is not generic: the code of one runtime serves all commands.
fn drive(mode: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The agent has a few connections and two signals; room for more events would waste memory.
        .max_io_events_per_tick(16)
        .build()
        .map_err(|error| bug("start the runtime", &error))?;
    runtime.block_on(mode);
    Ok(())
}

/// Listens for the signals that end a command.
pub(super) fn listen() -> Result<Terminations, Failure> {
    Terminations::listen().map_err(|error| bug("listen to signals", &error))
}

/// Makes a failure of the problems of the settings.
pub(super) fn invalid(problems: &Problems) -> Failure {
    Failure::new(Exit::Settings, problems).listing(&problems.0)
}

/// Makes a failure of a system call that can fail only by a bug.
pub(super) fn bug(what: &str, error: &std::io::Error) -> Failure {
    Failure::said(Exit::Bug, format!("cannot {what}: {error}"))
}

/// Writes lines of text to stdout, hidden characters escaped; the exit code reports a failure.
pub fn print(text: &str) -> Exit {
    match std::io::stdout().write_all(escape::lines(text).as_bytes()) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::CannotWrite,
    }
}

/// Prints a line to stdout; a failure to write is ignored.
pub(super) fn show(line: String) {
    print(&format!("{}\n", escape::one_line(&line)));
}

/// The file of the container's termination message, if it exists.
#[derive(Debug)]
pub struct TerminationLog {
    path: PathBuf,
    opened: OnceCell<Option<File>>,
}

impl TerminationLog {
    /// Notes the path; opens nothing.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), opened: OnceCell::new() }
    }

    /// Opens the file, which stays as it is, before a sandbox denies that. Says on stderr why there is
    /// none, if another kind of file is there.
    pub fn open(&self) -> Option<&File> {
        let open = || match opened::to_overwrite(&self.path) {
            Ok(log) => Some(log),
            Err(error) => {
                if error.is_unfit() {
                    let path = self.path.display();
                    logging::say(&format!(
                        "segura-agent: cannot write the termination message to {path}: {error}"
                    ));
                }
                None
            }
        };
        self.opened.get_or_init(open).as_ref()
    }

    /// Replaces the content; a failure is ignored, since the text is on stderr as well.
    fn write(&self, text: &str) {
        if let Some(mut log) = self.open() {
            log.set_len(0).and_then(|()| log.write_all(text.as_bytes())).ok();
        }
    }
}

/// Shows a fatal error, on stderr and in the container's termination message.
pub fn end(failure: &Failure, log: Option<&TerminationLog>) -> Exit {
    if matches!(failure.exit, Exit::Signalled(_)) {
        return failure.exit;
    }
    logging::say(&text(failure));
    if let Some(log) = log {
        log.write(&brief(failure, LONGEST_MESSAGE));
    }
    failure.exit
}

/// Shows a fatal error of a command that people run by hand, on stderr alone: the termination
/// message belongs to the container's own process.
pub fn by_hand(failure: Failure) -> Exit {
    end(&failure, None)
}
