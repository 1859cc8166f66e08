//! Documents to the vault, one after the other: each is told in one line, whatever became of the
//! others.

use crate::commands::secret::table::plain;
use crate::exit::{Exit, Failure};
use crate::vault::documents::{About, Flawed, Request};
use crate::vault::{Client, Written};

/// What is to be shown.
#[derive(Debug)]
pub enum Line {
    /// The one line of a document, for stdout: what became of it, its name, and what is known of it.
    Told(String),
    /// Why one failed, for stderr.
    Failed(Failure),
}

/// Sends what can be sent, in order; without a client nothing is. Says how it all ended: as the
/// worst of it did.
pub async fn put(
    about: About,
    documents: Vec<Result<Request, Flawed>>,
    mut client: Option<&mut Client<'_>>,
    mut show: impl FnMut(Line),
) -> Exit {
    let mut worst = Exit::Done;
    // What would meet every request is not asked for again.
    let mut barred: Option<Failure> = None;
    for (number, document) in (1..).zip(documents) {
        let (name, done) = match document {
            Err(flawed) => {
                let name = flawed.name.clone().unwrap_or_else(|| format!("document {number}"));
                let failure = invalid(&name, &flawed);
                (name, Err(failure))
            }
            Ok(request) => {
                let done = match (&mut client, &barred) {
                    (None, _) => Ok(line("valid", &request.name, &Written::default(), &request)),
                    (Some(_), Some(failure)) => Err(failure.clone()),
                    (Some(client), None) => client
                        .write(about, &request)
                        .await
                        .map(|written| line("written", &request.name, &written, &request))
                        .map_err(|error| {
                            barred = error.is_everyones().then(|| error.failure());
                            error.failure()
                        }),
                };
                (request.name, done)
            }
        };
        match done {
            Ok(line) => show(Line::Told(line)),
            Err(failure) => {
                if failure.exit.code() > worst.code() {
                    worst = failure.exit;
                }
                show(Line::Failed(failure));
                show(Line::Told(format!("failed   {}", plain(&name))));
            }
        }
    }
    worst
}

/// `written  NAME  id=…  version=…  keys=…`: words and order are stable.
fn line(became: &str, name: &str, written: &Written, request: &Request) -> String {
    let mut line = format!("{became:<7}  {}", plain(name));
    let mut add = |key: &str, value: &str| line += &format!("  {key}={}", plain(value));
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

fn invalid(name: &str, flawed: &Flawed) -> Failure {
    let problems = flawed.problems.iter().map(|problem| format!("\n  {problem}"));
    let problems = problems.collect::<String>();
    Failure::said(Exit::Settings, format!("the document of {} is invalid{problems}", plain(name)))
}
