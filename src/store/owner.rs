//! The owner and mode of each file and folder, as settings and the directory have them.

use rustix::fs::{self, RawMode};

use super::WriteError;
use super::access::Owner;
use super::dir::Dir;
use crate::config::settings::{Access, FileGid, FileUid};
use crate::render::{FileName, FileSet};

const SET_GID: RawMode = 0o2000;

/// What every file and folder has, and what single files have instead.
#[derive(Debug)]
pub(super) struct Owners {
    all: Owner,
    ruled: Vec<Ruled>,
}

/// Files that are to have something else.
#[derive(Debug)]
pub(super) struct Ruled {
    glob: String,
    owner: Owner,
}

impl Owners {
    /// What `access` wants of things in `dir`; a set-gid directory hands its group down.
    pub(super) fn of(dir: &Dir, access: &Access) -> Result<Self, WriteError> {
        let stat = fs::fstat(dir.descriptor())
            .map_err(|error| WriteError::new("look at", dir.path(), error))?;
        let set_gid = stat.st_mode & SET_GID;
        let inherited =
            if set_gid == 0 { rustix::process::getegid().as_raw() } else { stat.st_gid };
        let all = Owner {
            uid: match access.uid {
                FileUid::Agent => rustix::process::geteuid().as_raw(),
                FileUid::Id(uid) => uid,
            },
            gid: match access.gid {
                FileGid::Inherited => inherited,
                FileGid::Id(gid) => gid,
            },
            file_mode: access.file_mode,
            dir_mode: access.dir_mode | set_gid,
        };
        let ruled = access.rules.iter().map(|rule| Ruled {
            glob: rule.glob.clone(),
            owner: Owner {
                uid: rule.uid.unwrap_or(all.uid),
                gid: rule.gid.unwrap_or(all.gid),
                file_mode: rule.mode.unwrap_or(all.file_mode),
                dir_mode: all.dir_mode,
            },
        });
        Ok(Self { all, ruled: ruled.collect() })
    }

    /// What folders have, and files that no rule is about: the agent's own among them.
    pub(super) fn all(&self) -> &Owner {
        &self.all
    }

    /// What a file has.
    pub(super) fn file(&self, name: &FileName) -> &Owner {
        let mut ruled = self.ruled.iter().filter(|_| !name.is_hidden());
        ruled.find(|rule| rule.matches(name)).map_or(&self.all, |rule| &rule.owner)
    }

    /// The rules, each of which has to be possible before anything is provisioned.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&str, &Owner)> {
        self.ruled.iter().map(|rule| (rule.glob.as_str(), &rule.owner))
    }

    /// A line for each rule that no file of the set matches, as one with a typo does not.
    pub(super) fn idle(&self, files: &FileSet<'_>) -> Vec<String> {
        let matches = |rule: &&Ruled| files.keys().any(|n| !n.is_hidden() && rule.matches(n));
        let idle = self.ruled.iter().filter(|rule| !matches(rule));
        idle.map(|rule| format!("no published file matches {} of SEGURA_FILE_RULES", rule.glob))
            .collect()
    }

    /// Who will be able to read, in words.
    pub(super) fn readers(&self) -> String {
        let all = self.all.readers(&self.all);
        let ruled = self.ruled.iter();
        let ruled =
            ruled.map(|rule| format!("; {} by {}", rule.glob, rule.owner.readers(&self.all)));
        all + &ruled.collect::<String>()
    }
}

impl Ruled {
    fn matches(&self, name: &FileName) -> bool {
        fast_glob::glob_match(&self.glob, name.as_str())
    }
}
