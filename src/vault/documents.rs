//! Turns a user's documents into proven requests to the vault. Pure: the caller reads the variables
//! and files that a document refers to.
//!
//! Documents have the shape of DSM's API pages, so this and `vault/wire` alone know its names. All
//! problems of a document are reported at once, by path; no message quotes a value.

pub mod credential;
pub mod merge;
pub mod secret;
mod text;
mod walk;

use std::collections::BTreeMap;
use std::fmt;

use crate::secret::Secret;
pub use secret::{DataShape, StatedPeriod};
use text::Node;
pub use text::{LONGEST, Unreadable};
use walk::Walk;

/// The source of a text that a document only refers to, so that the document holds no secret.
#[derive(Debug, PartialEq, Eq)]
pub enum Reference {
    /// `{"from_env": NAME}`: the variable's value.
    Env(String),
    /// `{"from_file": PATH}`: the file's bytes, which must be UTF-8.
    File(String),
}

/// Reads the text of a reference, or returns the problem.
pub type Resolve<'a> = dyn Fn(&Reference) -> Result<Secret<String>, String> + 'a;

/// One problem of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct DocumentProblem {
    path: String,
    what: String,
}

impl fmt::Display for DocumentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// A document with problems.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flawed {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// All its problems.
    pub problems: Vec<DocumentProblem>,
    /// As in [`Request`].
    pub targets: Vec<String>,
}

/// The request for one document.
#[derive(Debug)]
pub struct Request {
    /// Its name in messages.
    pub name: String,
    /// JSON.
    pub body: Secret<Vec<u8>>,
    /// The names of its values.
    pub keys: Vec<String>,
    /// Texts to redact if the answer repeats them.
    pub redacted: Vec<Secret<String>>,
    /// Remarks on what is sent all the same.
    pub warnings: Vec<DocumentProblem>,
    /// The names by which the vault finds the object: two documents that share one write one object.
    pub targets: Vec<String>,
    /// The form of a secret's values.
    pub shape: DataShape,
    /// The document's statements on a secret's renewal, by field.
    pub periods: BTreeMap<&'static str, StatedPeriod>,
}

impl Request {
    /// True if it has values.
    pub fn has_data(&self) -> bool {
        self.shape != DataShape::Absent
    }

    /// The periods of renewal that the document does not state.
    pub fn unstated(&self) -> Vec<&'static str> {
        let unstated = self.periods.iter().filter(|(_, s)| **s == StatedPeriod::Unstated);
        unstated.map(|(name, _)| *name).collect()
    }
}

/// The kind of object that documents describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// `POST /iso/sctm/secret`.
    Secrets,
    /// `POST /api/pam/credential`.
    Credentials,
}

/// Reads every document of a text, in order: its request, or its problems. Two documents of one
/// object are a problem of both, since the vault would keep the last one alone.
pub fn requests(
    text: &str,
    about: About,
    resolve: &Resolve<'_>,
) -> Result<Vec<Result<Request, Flawed>>, Unreadable> {
    let read = |node: Node| {
        let walk = Walk::new(resolve);
        match about {
            About::Secrets => secret::request(walk, node),
            About::Credentials => credential::request(walk, node),
        }
    };
    let mut documents: Vec<_> = text::read(text)?.into_iter().map(read).collect();
    refuse_repeated(&mut documents, about);
    Ok(documents)
}

fn refuse_repeated(documents: &mut [Result<Request, Flawed>], about: About) {
    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, document) in (1..).zip(documents.iter()) {
        let targets = document.as_ref().map_or_else(|f| &f.targets, |request| &request.targets);
        for target in targets {
            numbers.entry(target.clone()).or_default().push(number);
        }
    }
    let (path, what) = match about {
        About::Secrets => ("identity", "secret"),
        About::Credentials => ("the document", "credential"),
    };
    for (number, document) in (1..).zip(documents.iter_mut()) {
        let targets = document.as_ref().map_or_else(|f| &f.targets, |request| &request.targets);
        let same = targets.iter().filter_map(|target| numbers.get(target)).flatten();
        let Some(other) = same.copied().find(|other| *other != number) else { continue };
        let problem = DocumentProblem {
            path: path.to_owned(),
            what: format!("document {other} writes the same {what}: leave one of them"),
        };
        match document {
            Ok(Request { name, targets, .. }) => {
                let (name, targets) = (Some(name.clone()), std::mem::take(targets));
                *document = Err(Flawed { name, problems: vec![problem], targets });
            }
            Err(flawed) => flawed.problems.push(problem),
        }
    }
}
