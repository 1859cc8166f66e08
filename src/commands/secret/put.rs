//! Sends documents to the vault one after the other, and prints a line for each.

use std::io::Write;

use super::client;
use super::documents::DocumentFile;
use super::own::{Lookup, OwnCredentials};
use crate::commands::args::Documents;
use crate::commands::fatal::text;
use crate::commands::runtime::{begin, print, reach, run as block_on};
use crate::config::raw::Raw;
use crate::exit::{Exit, Failure};
use crate::logging::escape::one_line;
use crate::os::harden;
use crate::vault::documents::{About, Flawed, Request};
use crate::vault::{Client, Written};

/// Writes the documents of a file to the vault; with `--dry-run`, checks them and sends none.
#[cold]
pub fn run(
    raw: Raw,
    about: About,
    documents: &Documents,
    variable: &Lookup<'_>,
) -> Result<Exit, Failure> {
    let own = OwnCredentials::of(&raw, variable);
    let vault = if documents.dry_run {
        harden::limit();
        begin(&raw);
        None
    } else {
        Some(reach(raw)?)
    };
    let found = DocumentFile::read(&documents.file)?;
    let requests = found.requests(about, &own, variable)?;
    let mut broken = false;
    let show = |line| match line {
        PutLine::Result(line) => {
            broken |= print(&format!("{}\n", one_line(&line))) != Exit::Done;
        }
        // A write that blocks delays nothing else.
        PutLine::Failed(failure) => {
            std::io::stderr().write_all(text(&failure).as_bytes()).ok();
        }
    };
    let exit = block_on(async || {
        let mut client = vault.as_ref().map(client).transpose()?;
        Ok(put(about, requests, client.as_mut(), show).await)
    })?;
    Ok(if broken && exit == Exit::Done { Exit::CannotWrite } else { exit })
}

/// A line to show.
#[derive(Debug)]
enum PutLine {
    /// The line of a document, for stdout: result, name, and facts from the vault.
    Result(String),
    /// The failure of a document, for stderr.
    Failed(Failure),
}

/// Sends the valid documents in order, or none without a client. Returns the greatest exit code of
/// all documents.
async fn put(
    about: About,
    documents: Vec<Result<Request, Flawed>>,
    mut client: Option<&mut Client<'_>>,
    mut show: impl FnMut(PutLine),
) -> Exit {
    let mut worst = Exit::Done;
    // The failure that every further request would meet: none is sent.
    let mut fatal: Option<Failure> = None;
    for (number, document) in (1..).zip(documents) {
        let (name, done) = match document {
            Err(flawed) => {
                let failure = invalid(number, &flawed);
                let name = flawed.name.unwrap_or_else(|| format!("document {number}"));
                (name, Err(failure))
            }
            Ok(request) => {
                let done = match (&mut client, &fatal) {
                    (None, _) => Ok(line("valid", &request.name, &Written::default(), &request)),
                    (Some(_), Some(failure)) => Err(failure.clone()),
                    (Some(client), None) => client
                        .write(about, &request)
                        .await
                        .map(|written| line("written", &request.name, &written, &request))
                        .map_err(|error| {
                            fatal = error.is_everyones().then(|| error.failure());
                            error.failure()
                        }),
                };
                (request.name, done)
            }
        };
        match done {
            Ok(line) => show(PutLine::Result(line)),
            Err(failure) => {
                if failure.exit.code() > worst.code() {
                    worst = failure.exit;
                }
                show(PutLine::Failed(failure));
                show(PutLine::Result(format!("failed   {name}")));
            }
        }
    }
    worst
}

/// Formats `written  NAME  id=…  version=…  keys=…`; words and order are stable.
fn line(became: &str, name: &str, written: &Written, request: &Request) -> String {
    let mut line = format!("{became:<7}  {name}");
    let mut add = |key: &str, value: &str| line += &format!("  {key}={value}");
    if !written.id.is_empty() {
        add("id", &written.id);
    }
    if let Some(version) = &written.version {
        add("version", version);
    }
    if let Some(identifier) = &written.identifier {
        add("identifier", identifier);
    }
    add("keys", &written.keys.as_ref().unwrap_or(&request.keys).join(","));
    line
}

/// Makes a failure of the problems of the document of this `number`, counted from 1.
fn invalid(number: usize, flawed: &Flawed) -> Failure {
    let name =
        flawed.name.as_ref().map(|name| format!(", {},", one_line(name))).unwrap_or_default();
    let message = format!("document {number}{name} is invalid");
    Failure::said(Exit::Settings, message).listing(&flawed.problems)
}
