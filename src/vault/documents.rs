//! Documents that a user writes for the vault: from text to requests that are proven. Pure: what a
//! document refers to is read by whoever gives it.
//!
//! Their shape is that of the vault's own pages, so this and `vault/wire` alone know its names. All
//! that is wrong with a document is told at once, by path; values are never quoted.

pub mod credential;
pub mod secret;
mod text;
mod walk;

use std::fmt;

use crate::secret::Secret;
use text::Node;
pub use text::{LONGEST, Unreadable};
use walk::Walk;

/// Where a text comes from that a document leaves out, so that it can be kept among other sources.
#[derive(Debug, PartialEq, Eq)]
pub enum Reference {
    /// `{"from_env": NAME}`: the variable's value.
    Env(String),
    /// `{"from_file": PATH}`: the file's bytes, which must be UTF-8.
    File(String),
}

/// Reads what a document refers to, or says why it can't.
pub type Resolve<'a> = dyn Fn(&Reference) -> Result<Secret<String>, String> + 'a;

/// One thing that is wrong with a document.
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

/// A document with which something is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Flawed {
    /// What it is called, as far as it says.
    pub name: Option<String>,
    /// All that is wrong with it.
    pub problems: Vec<DocumentProblem>,
}

/// What is sent for one document.
#[derive(Debug)]
pub struct Request {
    /// What messages call it.
    pub name: String,
    /// JSON.
    pub body: Secret<Vec<u8>>,
    /// What it holds, by name.
    pub keys: Vec<String>,
    /// What the answer may repeat and nobody may read.
    pub redacted: Vec<Secret<String>>,
}

/// What documents are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// `POST /iso/sctm/secret`.
    Secrets,
    /// `POST /api/pam/credential`.
    Credentials,
}

/// Reads every document of a text; each that is flawed stands in the place of its request.
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
