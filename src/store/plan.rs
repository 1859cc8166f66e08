//! The plan of a publish: the changes that it would make. It needs no lock and no right to write.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use rustix::fs::Stat;

use super::access::Owner;
use super::dir::Dir;
use super::mount::{self, Mount};
use super::owner::Owners;
use super::{WriteError, generation, links};
use crate::config::settings::Output;
use crate::render::FileSet;

/// The deepest folder that is entered: no set has a deeper one.
const DEEPEST: usize = 64;
/// The number of published files beyond the set's own that are compared.
const MOST_GONE: usize = 10_000;

/// A set compared with the output directory. Its text is one line for each file.
#[derive(Debug, Default)]
pub struct Plan {
    /// The files, by path.
    files: Vec<Planned>,
    /// The set is current, modes and owners of folders included: a publish would write nothing.
    is_current: bool,
    /// Warnings: a line for each rule of `SEGURA_FILE_RULES` that matches none of the files.
    pub remarks: Vec<String>,
    /// The readers that the files would have, in words.
    pub readers: String,
}

/// One file: as it would be, and as it is.
#[derive(Debug)]
struct Planned {
    path: String,
    change: FileChange,
    /// Its metadata after the publish; for a file that would be removed, the present one.
    file: FileMeta,
    /// Its present metadata, if that differs.
    was: Option<FileMeta>,
}

/// The change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileChange {
    /// The file would be new.
    New,
    /// Its bytes, mode or owner would differ.
    Changed,
    /// The file would stay as it is.
    Same,
    /// The file would be removed.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMeta {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
}

impl Plan {
    /// The whole plan in one line.
    pub fn summary(&self) -> String {
        if self.is_current {
            return format!("{} files are already as they would be written", self.files.len());
        }
        let count = |change| self.files.iter().filter(|file| file.change == change).count();
        let counts = [FileChange::New, FileChange::Changed, FileChange::Gone, FileChange::Same]
            .map(|change| format!("{} {change}", count(change)));
        let counts = counts.join(", ");
        if count(FileChange::Same) == self.files.len() {
            return format!(
                "a new generation would be published, though no file of it differs: {counts}"
            );
        }
        format!("a new generation would be published: {counts}")
    }
}

/// Compares `files` with the current generation in the directory of `output`.
pub fn plan(output: &Output, files: &FileSet<'_>) -> Result<Plan, WriteError> {
    let (dir, owners) = match mount::find(output)? {
        Mount::There(dir) => {
            let owners = Owners::of(&dir, &output.access)?;
            (Some(dir), owners)
        }
        Mount::Within { parent, .. } => (None, Owners::of(&parent, &output.access)?),
    };
    let mut wanted = BTreeMap::new();
    for (name, content) in files.iter().filter(|(name, _)| !name.is_hidden()) {
        if let Some(dir) = &dir {
            links::free_or_ours(dir, name.top())?;
        }
        wanted.insert(name.as_str(), (owners.file(name), content.expose()));
    }
    let mut planned = Vec::new();
    let mut remarks = owners.idle(files);
    let root = dir.and_then(|dir| dir.open(&generation::current(&dir)?).ok());
    if let Some(root) = &root {
        let mut left = wanted.len().saturating_mul(DEEPEST).saturating_add(MOST_GONE);
        let walk = each_file(root, "", &mut left, &mut |folder, name, path| {
            let Some(was) = folder.stat(name).ok().as_ref().map(FileMeta::of) else { return };
            planned.push(match wanted.remove(path.as_str()) {
                None => Planned { path, change: FileChange::Gone, file: was, was: None },
                Some((owner, bytes)) => {
                    let file = FileMeta::wanted(owner, bytes);
                    let same = folder.holds(name, bytes, owner);
                    let change = if same { FileChange::Same } else { FileChange::Changed };
                    Planned { path, change, file, was: (was != file).then_some(was) }
                }
            });
        });
        if walk.is_break() {
            remarks.push("the published set has too many files to compare each".to_owned());
        }
    }
    let new = wanted.into_iter().map(|(path, (owner, bytes))| Planned {
        path: path.to_owned(),
        change: FileChange::New,
        file: FileMeta::wanted(owner, bytes),
        was: None,
    });
    planned.extend(new);
    planned.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
    let is_current = root.is_some_and(|root| generation::equals(&root, files, &owners, &mut None));
    Ok(Plan { files: planned, is_current, remarks, readers: owners.readers() })
}

/// Visits each visible file of a generation: its folder, its name, its path. Breaks after `left`
/// entries, and at folders that are deeper than those of any set: others may have made them.
fn each_file(
    dir: &Dir,
    above: &str,
    left: &mut usize,
    visit: &mut impl FnMut(&Dir, &str, String),
) -> ControlFlow<()> {
    dir.each_name(|name| {
        if name.starts_with("..") {
            return ControlFlow::Continue(());
        }
        let next = left.checked_sub(1).filter(|_| above.matches('/').count() < DEEPEST);
        let Some(next) = next else { return ControlFlow::Break(()) };
        *left = next;
        let path = format!("{above}{name}");
        match dir.open(name) {
            Ok(folder) => each_file(&folder, &format!("{path}/"), left, visit),
            Err(_) => {
                visit(dir, name, path);
                ControlFlow::Continue(())
            }
        }
    })
}

impl FileMeta {
    fn of(stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, size }
    }

    fn wanted(owner: &Owner, bytes: &[u8]) -> Self {
        let size = bytes.len() as u64;
        Self { mode: owner.file_mode, uid: owner.uid, gid: owner.gid, size }
    }
}

impl fmt::Display for FileMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = format!("{}:{}", self.uid, self.gid);
        write!(f, "{:04o}  {owner:<11}  {:>8}", self.mode, self.size)
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Same => "same",
            Self::Gone => "gone",
        })
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7}  {}  {}", self.change, self.file, self.path)?;
        if let Some(FileMeta { mode, uid, gid, size }) = self.was {
            write!(f, "  (was {mode:04o} {uid}:{gid} {size})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.iter().try_for_each(|file| writeln!(f, "{file}"))
    }
}
