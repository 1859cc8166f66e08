//! Turns a user's documents into proven requests to the vault. Pure: the caller reads the variables
//! and files that a document refers to.
//!
//! Documents have the shape of DSM's API pages, so this and `vault/wire` alone know its names. All
//! problems of a document are reported at once, by path; no message quotes a value.

pub mod credential;
pub mod secret;
mod text;
mod walk;

use std::fmt;

use crate::secret::Secret;
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
#[derive(Debug, PartialEq, Eq)]
pub struct Flawed {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// All its problems.
    pub problems: Vec<DocumentProblem>,
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
}

/// The kind of object that documents describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// `POST /iso/sctm/secret`.
    Secrets,
    /// `POST /api/pam/credential`.
    Credentials,
}

/// Reads every document of a text, in order: its request, or its problems.
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
    Ok(text::read(text)?.into_iter().map(read).collect())
}
