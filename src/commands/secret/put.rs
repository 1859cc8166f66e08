//! Sends documents to the vault one after the other, and prints a line for each.

mod report;

use std::cell::RefCell;
use std::io::Write;

use super::client;
use super::documents::DocumentFile;
use super::own::{Lookup, OwnCredentials};
use crate::commands::args::Documents;
use crate::commands::fatal::text;
use crate::commands::runtime::{begin, listen, print, reach, run as block_on};
use crate::config::raw::Raw;
use crate::config::settings::Vault;
use crate::exit::{Exit, Failure, chain};
use crate::logging::escape::{lines, one_line};
use crate::model::SecretName;
use crate::os::harden;
use crate::os::process::{Dispositions, own};
use crate::os::signal::Signal;
use crate::vault::documents::merge::merge;
use crate::vault::documents::{About, Flawed, Request};
use crate::vault::error::FetchError;
use crate::vault::{Client, StoredSecret, Written};
pub use report::PutScope;
use report::{Before, Loss, Progress};

/// Writes the documents of a file to the vault; with `--dry-run`, checks them and writes none.
#[cold]
pub fn run(
    raw: Raw,
    about: About,
    scope: PutScope,
    documents: &Documents,
    variable: &Lookup<'_>,
) -> Result<Exit, Failure> {
    let own = OwnCredentials::of(&raw, variable);
    let vault = if documents.dry_run {
        harden::limit();
        begin(&raw);
        // A dry run needs no vault. Where one is set, it tells what a put would replace.
        let vault = (about == About::Secrets).then(|| Vault::from_raw(raw).ok()).flatten();
        vault.map(|proven| proven.settings)
    } else {
        Some(reach(raw)?)
    };
    let found = DocumentFile::read(&documents.file)?;
    let requests = found.requests(about, &own, variable)?;
    let mode = if documents.dry_run { PutMode::Check } else { PutMode::Write };
    let progress = RefCell::new(Progress::new(names(&requests)));
    block_on(async || {
        let reached = vault
            .as_ref()
            .map_or_else(|| Err(Failure::said(Exit::Settings, "no vault is set")), client);
        let (client, unknown) = match reached {
            Ok(client) => (Some(client), String::new()),
            // The settings of a dry run may be those of another place, with files that are not here.
            Err(failure) if mode == PutMode::Check => (None, failure.message),
            Err(failure) => return Err(failure),
        };
        let progress = &progress;
        let mut put = Put { about, scope, mode, client, unknown, progress, broken: false };
        let ended = interruption()?;
        tokio::select! {
            exit = put.all(requests) => Ok(exit),
            signal = ended => Ok(interrupted(progress, mode, signal)),
        }
    })
}

fn names(documents: &[Result<Request, Flawed>]) -> Vec<String> {
    let name = |(number, document): (usize, &Result<Request, Flawed>)| match document {
        Ok(request) => request.name.clone(),
        Err(flawed) => flawed.name.clone().unwrap_or_else(|| format!("document {number}")),
    };
    (1..).zip(documents).map(name).collect()
}

/// Waits for a signal that ends the command, unless it was ignored at the start, as a shell does for
/// a job in the background.
fn interruption() -> Result<impl Future<Output = Signal>, Failure> {
    let ignored = Dispositions::read(own()).unwrap_or_default();
    let mut signals = listen()?;
    Ok(async move {
        loop {
            let signal = signals.recv().await;
            if !ignored.ignores(signal) {
                return signal;
            }
        }
    })
}

/// Shows what is written so far; each document that is not has its line, too.
fn interrupted(progress: &RefCell<Progress>, mode: PutMode, signal: Signal) -> Exit {
    let progress = progress.take();
    for name in progress.open() {
        print(&format!("failed   {}\n", one_line(name)));
    }
    say(&progress.interrupted(signal, mode.word()));
    Exit::Signalled(u8::try_from(signal.number()).unwrap_or_default())
}

/// Writes a line to stderr. A write that blocks delays nothing else.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{}\n", lines(line)).as_bytes()).ok();
}

/// The treatment of valid documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PutMode {
    /// They are sent.
    Write,
    /// They are not.
    Check,
}

impl PutMode {
    /// The word for a document that went well.
    fn word(self) -> &'static str {
        match self {
            Self::Write => "written",
            Self::Check => "valid",
        }
    }
}

/// A put of several documents.
struct Put<'a> {
    about: About,
    scope: PutScope,
    mode: PutMode,
    /// The client, unless a dry run reaches no vault.
    client: Option<Client<'a>>,
    /// The reason why there is no client.
    unknown: String,
    progress: &'a RefCell<Progress>,
    /// A line could not be written.
    broken: bool,
}

/// The failure of a document.
struct DocumentFailure {
    failure: Failure,
    /// Every further request would meet it: none is sent.
    everyones: bool,
}

impl From<FetchError> for DocumentFailure {
    fn from(error: FetchError) -> Self {
        Self { failure: error.failure(), everyones: error.is_everyones() }
    }
}

impl From<Failure> for DocumentFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, everyones: false }
    }
}

impl Put<'_> {
    /// Puts the documents in order. Returns the greatest exit code of all.
    async fn all(&mut self, documents: Vec<Result<Request, Flawed>>) -> Exit {
        let mut worst = Exit::Done;
        let mut fatal: Option<Failure> = None;
        for (number, document) in (1..).zip(documents) {
            let done = match (document, &fatal) {
                (Err(flawed), _) => Err(report::invalid(number, &flawed).into()),
                (Ok(_), Some(failure)) => Err(failure.clone().into()),
                (Ok(request), None) => self.one(number, request).await,
            };
            match done {
                Ok(line) => {
                    self.progress.borrow_mut().succeeded();
                    self.show(&line);
                }
                Err(DocumentFailure { failure, everyones }) => {
                    let name = self.progress.borrow_mut().failed();
                    if failure.exit.code() > worst.code() {
                        worst = failure.exit;
                    }
                    std::io::stderr().write_all(text(&failure).as_bytes()).ok();
                    self.show(&format!("failed   {}", one_line(&name)));
                    if everyones {
                        fatal = Some(failure);
                    }
                }
            }
        }
        if let Some(summary) = self.progress.borrow().summary(self.mode.word()) {
            say(&summary);
        }
        if self.broken && worst == Exit::Done { Exit::CannotWrite } else { worst }
    }

    fn show(&mut self, line: &str) {
        self.broken |= print(&format!("{line}\n")) != Exit::Done;
    }

    /// Puts one document; gives its line.
    async fn one(
        &mut self,
        number: usize,
        mut request: Request,
    ) -> Result<String, DocumentFailure> {
        let place = report::place(number, &request.name);
        for warning in &request.warnings {
            say(&format!("warning: {place}: {warning}"));
        }
        let before = self.before(&request).await?;
        if let (Before::Stored(stored), PutScope::Merge) = (&before, self.scope) {
            keep(&mut request, stored)?;
        }
        if let Some(notice) = report::notice(&before, &request, self.scope, &place) {
            say(&notice);
        }
        let client = self.client.as_mut().filter(|_| self.mode == PutMode::Write);
        let Some(client) = client else {
            let loss = Loss::expected(&before, &request);
            return Ok(report::line("valid", &Written::default(), &request, &loss));
        };
        // While the login hangs, nothing is written yet.
        client.reach().await?;
        self.progress.borrow_mut().sends();
        let written = client.write(self.about, &request).await?;
        let loss = Loss::brought(&before, &request, &written);
        Ok(report::line("written", &written, &request, &loss))
    }

    /// Reads what the vault stores, if a put may replace any of it.
    async fn before(&mut self, request: &Request) -> Result<Before, DocumentFailure> {
        let replaces = request.has_data() || !request.unstated().is_empty();
        let Ok(name) = SecretName::new(request.name.as_str()) else { return Ok(Before::Unneeded) };
        if self.about == About::Credentials || !replaces {
            return Ok(Before::Unneeded);
        }
        let Some(client) = &mut self.client else {
            return Ok(Before::Unknown(self.unknown.clone()));
        };
        match client.stored(&name, &request.redacted).await {
            Ok(Some(stored)) => Ok(Before::Stored(stored)),
            Ok(None) => Ok(Before::New),
            Err(error) if self.mode == PutMode::Check => {
                let why = chain(&error);
                if error.is_everyones() {
                    self.client = None;
                    self.unknown.clone_from(&why);
                }
                Ok(Before::Unknown(why))
            }
            Err(error) if self.scope == PutScope::Merge || error.is_everyones() => {
                Err(error.into())
            }
            Err(error) => Ok(Before::Unknown(chain(&error))),
        }
    }
}

/// Adds to a request what the vault stores and the document does not name.
fn keep(request: &mut Request, stored: &StoredSecret) -> Result<(), Failure> {
    let name = one_line(&request.name).into_owned();
    let cannot = |why: &str, hint: &str| {
        let message = format!("cannot merge into {name}: {}", one_line(why));
        Failure::said(Exit::Settings, message).hint(Some(hint))
    };
    if let Some(fault) = stored.fault.as_ref().filter(|_| request.has_data()) {
        let hint = "set SEGURA_PRIVATE_KEY_FILE to this authorization's key, or write the whole secret without --merge";
        return Err(cannot(&fault.to_string(), hint));
    }
    merge(request, &stored.entries, &stored.periods)
        .map_err(|error| cannot(&error.to_string(), error.hint()))
}
