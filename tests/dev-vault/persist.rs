//! The store in a file that is rewritten after each change, and survives a restart.

use std::{
    fs, io,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::store::Store;

/// What this file's shape is called; another is refused.
const FORMAT: u32 = 1;

/// Keeps a store in a file.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    last: Vec<u8>,
}

/// What a file holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    format: u32,
    /// Everything that is stored.
    pub store: Store,
    /// The key that opens what the vault encrypts, PKCS#8 PEM.
    pub private_key: Option<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    store: &'a Store,
    private_key: Option<&'a str>,
}

impl Keeper {
    /// Reads what a vault before has kept; nothing if there is no file yet.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Kept>)> {
        let keeper = Self { path: path.to_owned(), last: Vec::new() };
        let shown = path.display();
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((keeper, None)),
            Err(error) => {
                return Err(io::Error::other(format!(
                    "cannot read the state file {shown}: {error}"
                )));
            }
        };
        match Kept::read(&text) {
            Ok(kept) => Ok((keeper, Some(kept))),
            Err(flaw) => {
                let remedy = "move it away to start with an empty vault";
                let problem = format!("the state file {shown} is damaged ({flaw}); {remedy}");
                Err(io::Error::new(ErrorKind::InvalidData, problem))
            }
        }
    }

    /// Writes the store, if it has changed. A reader finds the old file or the new, and whole.
    pub fn save(&mut self, store: &Store, private_key: Option<&str>) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&Written { format: FORMAT, store, private_key })?;
        text.push(b'\n');
        if text == self.last {
            return Ok(());
        }
        self.replace(&text).map_err(|error| {
            let shown = self.path.display();
            io::Error::other(format!("cannot write the state file {shown}: {error}"))
        })?;
        self.last = text;
        Ok(())
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or_else(|| Path::new("."));
        // Such a file is its owner's alone from the start.
        let mut file = tempfile::Builder::new().prefix(".dev-vault-").tempfile_in(dir)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        fs::File::open(dir)?.sync_all()
    }
}

impl Kept {
    /// Reads a file, or reports its fault without its content.
    fn read(text: &[u8]) -> Result<Self, String> {
        let kept: Self = serde_json::from_slice(text)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
        if kept.format != FORMAT {
            return Err(format!("its format is {}, not {FORMAT}", kept.format));
        }
        match kept.store.flaw() {
            Some(flaw) => Err(flaw.to_owned()),
            None => Ok(kept),
        }
    }
}
