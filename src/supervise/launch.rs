//! The parameters of the command's start: its arguments, the container's environment, and the
//! entries of the set that is current at that moment.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;

use crate::config::settings::{Naming, Running};
use crate::exit::{Exit, Failure};
use crate::lifecycle::publish::PublishError;
use crate::model::Generation;
use crate::os::environment::Environment;
use crate::os::process::{Mask, Program, become_it, room};
use crate::render::decode::Decode;
use crate::render::environment::{is_withheld, variables};
use crate::store::Published;

/// The start of a command.
#[derive(Debug)]
pub struct Launch {
    program: Program,
    published: Published,
    base: Environment,
    entries: Option<Naming>,
    decode: Decode,
    entries_win: bool,
    logged: RefCell<Logged>,
}

/// The lists of variables that were logged last.
#[derive(Debug, Default)]
struct Logged {
    withheld: String,
    contested: String,
    no_text: String,
}

impl Launch {
    /// Prepares starts of `program` with the `published` set.
    pub fn new(program: Program, published: Published, running: &Running) -> Self {
        Self {
            program,
            published,
            base: running.environment.clone(),
            entries: running.entries.clone(),
            decode: running.decode.clone(),
            entries_win: running.entries_win,
            logged: RefCell::default(),
        }
    }

    /// Gives the command.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Checks that the command exists, before any request is sent for it.
    pub fn prove(&self) -> Result<(), Failure> {
        // The container's PATH alone decides where a program is found: no secret may replace the
        // command.
        let found = self.program.find(self.base.get("PATH"));
        found.map(drop).map_err(|error| self.failed(&error, &self.base))
    }

    /// Composes the environment for a start of the command now; gives the generation that it holds
    /// as well.
    pub fn prepare(&self) -> Result<(Generation, Environment), Failure> {
        self.prove()?;
        let set = self.published.set().map_err(|error| error.failure())?;
        let set = set.ok_or_else(|| {
            Failure::said(Exit::CannotWrite, "cannot read the set: it was removed")
        })?;
        let mut environment = self.base.clone();
        if let Some(naming) = &self.entries {
            let refused = |error| PublishError::Render(error).failure();
            let decoded = self.decode.set(&set.entries).map_err(refused)?;
            let entries = decoded.as_ref().map_or(&set.entries, |(entries, _)| entries);
            let secrets = entries.iter().map(|(name, entries)| (name, entries.as_slice()));
            let named = variables(secrets, naming.of(set.identities)).map_err(refused)?;
            let (mut withheld, mut contested) = (Vec::new(), Vec::new());
            for (name, (_, _, value)) in &named {
                if is_withheld(name) {
                    withheld.push(name.as_str());
                    continue;
                }
                let is_set = self.base.get(name).is_some();
                if is_set {
                    contested.push(name.as_str());
                }
                if self.entries_win || !is_set {
                    environment.set(OsStr::new(name), OsStr::new(value.expose()));
                }
            }
            let no_text = decoded.as_ref().map(|(_, left_out)| left_out.join(", "));
            self.log_changes(
                withheld.join(", "),
                contested.join(", "),
                no_text.unwrap_or_default(),
            );
        }
        self.prove_room(&environment)?;
        Ok((set.generation, environment))
    }

    /// Replaces the agent by the command (execve); returns only if that fails.
    pub fn become_it(&self, mask: Mask) -> Failure {
        match self.prepare() {
            Ok((generation, environment)) => {
                tracing::info!(
                    %generation,
                    command = self.program.name(),
                    "the command takes the agent's place; nothing will be renewed"
                );
                let error = become_it(&self.program, &environment, mask);
                self.failed(&error, &environment)
            }
            Err(failure) => failure,
        }
    }

    /// Gives the agent's end for a command that can't be run.
    pub fn failed(&self, error: &io::Error, environment: &Environment) -> Failure {
        let program = self.program.asked().to_string_lossy();
        let said =
            |exit, cause: &str| Failure::said(exit, format!("cannot run {program}: {cause}"));
        if error.kind() == io::ErrorKind::ArgumentListTooLong {
            return too_long();
        }
        if error.kind() == io::ErrorKind::PermissionDenied {
            return said(Exit::NotRunnable, "permission denied")
                .hint(Some("the file must be executable for the user of the container"));
        }
        if ![io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) {
            return said(Exit::NotRunnable, &error.to_string());
        }
        if self.program.find(environment.get("PATH")).is_ok() {
            return said(Exit::NotFound, "its interpreter or dynamic loader is not found").hint(
                Some("the image must hold the interpreter of its #! line, or its dynamic loader"),
            );
        }
        said(Exit::NotFound, "not found").hint(Some(
            "give exec the image's own ENTRYPOINT and CMD, which it can't see; the program must be on PATH",
        ))
    }

    /// Checks the size of the arguments and the environment: the kernel would refuse it only after
    /// the running command had ended.
    fn prove_room(&self, environment: &Environment) -> Result<(), Failure> {
        let texts = environment.as_slice().iter().chain(self.program.words());
        // Linux counts the pointers to the strings as well (`fs/exec.c`, `bprm_stack_limits`).
        let needed: usize =
            texts.map(|text| text.as_bytes_with_nul().len() + size_of::<usize>()).sum();
        if needed <= room() { Ok(()) } else { Err(too_long()) }
    }

    /// Logs variables that are withheld, contested or no text, whenever they have changed.
    fn log_changes(&self, withheld: String, contested: String, no_text: String) {
        let mut logged = self.logged.borrow_mut();
        if !no_text.is_empty() && logged.no_text != no_text {
            tracing::info!(
                keys = no_text,
                "these values are not text once SEGURA_DECODE has decoded them: they are not put into the environment"
            );
        }
        if !withheld.is_empty() && logged.withheld != withheld {
            tracing::info!(
                names = withheld,
                hint = "set SEGURA_ENV_NAME to give entries other names",
                "entries are never put into an environment under these names"
            );
        }
        if !contested.is_empty() && logged.contested != contested {
            let names = contested.as_str();
            if self.entries_win {
                tracing::info!(names, "entries replace variables of the container");
            } else {
                tracing::info!(names, "variables of the container override entries");
            }
        }
        *logged = Logged { withheld, contested, no_text };
    }
}

fn too_long() -> Failure {
    let message = "cannot put the entries into the environment: with the container's variables they are longer than the kernel takes";
    Failure::said(Exit::Settings, message).hint(Some(
        "set SEGURA_EXEC_ENV=false and read the entries from files, which may be of any length",
    ))
}
