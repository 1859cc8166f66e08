//! What a command is started with: its words, the container's environment, and the entries of the
//! set that stands at that moment.

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

/// How a command is started.
#[derive(Debug)]
pub struct Launch {
    program: Program,
    published: Published,
    base: Environment,
    entries: Option<Naming>,
    decode: Decode,
    entries_win: bool,
    said: RefCell<Warned>,
}

/// What has been said of the environment and is still so.
#[derive(Debug, Default)]
struct Warned {
    withheld: String,
    contested: String,
    no_text: String,
}

impl Launch {
    /// The command, and the way to the set.
    pub fn new(program: Program, published: Published, running: &Running) -> Self {
        Self {
            program,
            published,
            base: running.environment.clone(),
            entries: running.entries.clone(),
            decode: running.decode.clone(),
            entries_win: running.entries_win,
            said: RefCell::default(),
        }
    }

    /// The command.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Proves that there is such a command, before anything is done for it.
    pub fn prove(&self) -> Result<(), Failure> {
        // No entry has a say in where programs are looked for.
        let found = self.program.find(self.base.get("PATH"));
        found.map(drop).map_err(|error| self.failed(&error, &self.base))
    }

    /// The environment of a command that were started now, and which generation is in it.
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
            self.say(withheld.join(", "), contested.join(", "), no_text.unwrap_or_default());
        }
        self.prove_room(&environment)?;
        Ok((set.generation, environment))
    }

    /// Becomes the command; returns only if that fails.
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

    /// How a command that can't be run ends us, as shells have it.
    pub fn failed(&self, error: &io::Error, environment: &Environment) -> Failure {
        let asked = self.program.asked().to_string_lossy();
        let said = |exit, cause: &str| Failure::said(exit, format!("cannot run {asked}: {cause}"));
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
            "write out the image's own ENTRYPOINT and CMD, which exec can't see; PATH must lead to the program",
        ))
    }

    /// The kernel would refuse a command for its environment only after the one before had ended.
    fn prove_room(&self, environment: &Environment) -> Result<(), Failure> {
        let texts = environment.as_slice().iter().chain(self.program.words());
        // Each has a pointer beside its bytes.
        let needed: usize =
            texts.map(|text| text.as_bytes_with_nul().len() + size_of::<usize>()).sum();
        if needed <= room() { Ok(()) } else { Err(too_long()) }
    }

    /// Says once what is not as one might think.
    fn say(&self, withheld: String, contested: String, no_text: String) {
        let mut said = self.said.borrow_mut();
        if !no_text.is_empty() && said.no_text != no_text {
            tracing::info!(
                keys = no_text,
                "these values are not text once SEGURA_DECODE has decoded them: they are not put into the environment"
            );
        }
        if !withheld.is_empty() && said.withheld != withheld {
            tracing::info!(
                names = withheld,
                hint = "SEGURA_ENV_NAME gives entries other names",
                "entries are never put into an environment under these names"
            );
        }
        if !contested.is_empty() && said.contested != contested {
            let names = contested.as_str();
            if self.entries_win {
                tracing::info!(names, "entries replace variables of the container");
            } else {
                tracing::info!(names, "variables of the container stay in place of entries");
            }
        }
        *said = Warned { withheld, contested, no_text };
    }
}

fn too_long() -> Failure {
    let message = "cannot put the entries into the environment: with the container's variables they are longer than the kernel takes";
    Failure::said(Exit::Settings, message).hint(Some(
        "set SEGURA_EXEC_ENV=false and read the entries from files, which may be of any length",
    ))
}
