//! Documents from a file or stdin, and the files and variables that they refer to.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use super::own::{Lookup, OwnCredentials};
use crate::exit::{Exit, Failure};
use crate::secret::{Secret, SecretBuf};
use crate::vault::documents::{About, Flawed, LONGEST, Reference, Request, requests};

/// The text of a file.
#[derive(Debug)]
pub struct DocumentFile {
    name: String,
    /// Directory that relative paths in it start from.
    dir: PathBuf,
    text: Secret<String>,
}

impl DocumentFile {
    /// Reads `file`, or stdin if it is `-`.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let from_stdin = file.as_os_str() == "-";
        let name = if from_stdin { "stdin".to_owned() } else { file.display().to_string() };
        let text = if from_stdin {
            text(stdin().lock())
        } else {
            File::open(file).map_err(|error| error.to_string()).and_then(text)
        };
        let text = text
            .map_err(|why| Failure::said(Exit::Settings, format!("cannot read {name}: {why}")))?;
        let dir = file.parent().filter(|_| !from_stdin).map(Path::to_owned).unwrap_or_default();
        Ok(Self { name, dir, text })
    }

    /// Makes the request of every document; `lookup` looks up environment variables. A reference to
    /// one of the agent's `own` credentials is a problem of the document.
    pub fn requests(
        &self,
        about: About,
        own: &OwnCredentials,
        lookup: &Lookup<'_>,
    ) -> Result<Vec<Result<Request, Flawed>>, Failure> {
        let resolve = |reference: &Reference| match reference {
            Reference::Env(name) => {
                let value =
                    lookup(name).ok_or_else(|| format!("the variable {name} is not set"))?;
                own.refuse_variable(name, &value)?;
                let text =
                    value.into_string().map_err(|_| format!("the variable {name} is not UTF-8"));
                text.map(Secret::new)
            }
            Reference::File(path) => {
                let unread = |why| format!("the file {path} can't be read: {why}");
                let path = self.dir.join(path);
                let file = File::open(&path).map_err(|error| unread(error.to_string()))?;
                own.refuse_file(&path, &file)?;
                text(file).map_err(unread)
            }
        };
        requests(self.text.expose(), about, &resolve).map_err(|error| {
            let message = format!("cannot read the documents in {}: {error}", self.name);
            Failure::said(Exit::Settings, message)
        })
    }
}

fn text(source: impl Read) -> Result<Secret<String>, String> {
    let mut bytes = SecretBuf::with_capacity(4096);
    let mut chunk = Secret::new(vec![0; 64 * 1024]);
    let mut source = source.take(LONGEST as u64 + 1);
    loop {
        match source.read(chunk.expose_mut()).map_err(|error| error.to_string())? {
            0 => break,
            read => bytes.push(chunk.expose().get(..read).unwrap_or_default()),
        }
    }
    let bytes = bytes.into_secret();
    if bytes.expose().len() > LONGEST {
        return Err("it is longer than 4 MiB".to_owned());
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| "it is not UTF-8")?;
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;
    use crate::config::raw::Raw;

    #[test]
    fn a_reference_is_read_beside_the_document_and_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key.pem"), "line\n").unwrap();
        fs::write(dir.path().join("latin"), b"\xff").unwrap();
        let path = dir.path().join("doc.yaml");
        fs::write(&path, "identity: a\ndata:\n  k: {from_file: key.pem}\n  e: {from_env: E}\n")
            .unwrap();
        let lookup = |name: &str| (name == "E").then(|| OsString::from("env"));
        let own = OwnCredentials::of(&Raw::default(), &lookup);
        let documents = DocumentFile::read(&path).unwrap();
        let request = documents.requests(About::Secrets, &own, &lookup).unwrap().remove(0).unwrap();
        let values: Vec<&str> = request.redacted.iter().map(|s| s.expose().as_str()).collect();
        assert_eq!(values[..2], ["line\n", "env"]);
        fs::write(&path, "identity: a\ndata:\n  k: {from_file: latin}\n  e: {from_env: F}\n")
            .unwrap();
        let documents = DocumentFile::read(&path).unwrap();
        let flawed =
            documents.requests(About::Secrets, &own, &lookup).unwrap().remove(0).unwrap_err();
        let problems: Vec<String> = flawed.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "data.k: the file latin can't be read: it is not UTF-8",
                "data.e: the variable F is not set"
            ]
        );
        assert!(DocumentFile::read(&dir.path().join("missing")).is_err());
        fs::write(dir.path().join("long"), vec![b'x'; LONGEST + 1]).unwrap();
        fs::write(&path, "identity: a\ndata: {k: {from_file: long}}\n").unwrap();
        let documents = DocumentFile::read(&path).unwrap();
        assert!(documents.requests(About::Secrets, &own, &lookup).unwrap().remove(0).is_err());
    }
}
