//! The list of a recorded directory: one line for each name, in the order of their paths.
//!
//! A line holds kind, mode, uid, gid and path, and a link's target. The word `own` stands for the uid
//! or gid that the agent ran with. Git keeps no owner, no mode but one bit, and no empty folder: the
//! list has them, and the bytes of files lie beside it.

use std::fmt;
use std::path::PathBuf;

/// One name in a recorded directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub mode: u32,
    pub uid: Owner,
    pub gid: Owner,
    /// Path below the output directory, in UTF-8 and without blanks.
    pub path: String,
}

/// Kind of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File,
    /// A symbolic link, with its target.
    Link(String),
}

/// Owner or group of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The agent's own.
    Own,
    /// Another, by number.
    Other(u32),
}

impl Entry {
    /// Reads a line of a list; `None` for anything else.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (kind, mode) = (words.next()?, u32::from_str_radix(words.next()?, 8).ok()?);
        let (uid, gid) = (Owner::parse(words.next()?)?, Owner::parse(words.next()?)?);
        let path = words.next()?.to_owned();
        let kind = match kind {
            "folder" => Kind::Folder,
            "file" => Kind::File,
            "link" => Kind::Link(words.next()?.to_owned()),
            _ => return None,
        };
        words.next().is_none().then_some(Self { kind, mode, uid, gid, path })
    }

    /// Path of a file's bytes beside the list. No part of it begins with a dot: tools that pack,
    /// ignore or clean up files treat such names in ways of their own.
    pub fn stored(&self) -> PathBuf {
        self.path.split('/').map(|part| part.trim_start_matches('.')).collect()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, mode, uid, gid, path } = self;
        match kind {
            Kind::Folder => write!(f, "folder {mode:04o} {uid} {gid} {path}"),
            Kind::File => write!(f, "file   {mode:04o} {uid} {gid} {path}"),
            Kind::Link(target) => write!(f, "link   {mode:04o} {uid} {gid} {path} {target}"),
        }
    }
}

impl Owner {
    fn parse(word: &str) -> Option<Self> {
        if word == "own" { Some(Self::Own) } else { word.parse().ok().map(Self::Other) }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own "),
            Self::Other(id) => write!(f, "{id:4}"),
        }
    }
}
