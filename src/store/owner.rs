//! Whom created files and folders belong to, and who may read them.

use std::os::fd::AsFd;

use rustix::fs::{self, Gid, Mode, RawMode, Uid};
use rustix::io::Errno;

use super::WriteError;
use super::beneath::Dir;
use crate::render::{FileName, FileSet};
use crate::settings::Access;

const SET_GID: RawMode = 0o2000;

/// What one file has, and the folders around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) file_mode: RawMode,
    pub(super) dir_mode: RawMode,
}

impl Owner {
    /// Gives a file what it should have and a umask may have kept from it; the owner first, since a
    /// change of owner drops mode bits.
    pub(super) fn claim(self, descriptor: impl AsFd, mode: RawMode) -> Result<(), Errno> {
        let stat = fs::fstat(&descriptor)?;
        if self.has(&stat, mode) {
            return Ok(());
        }
        if stat.st_uid != self.uid || stat.st_gid != self.gid {
            fs::fchown(&descriptor, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        fs::fchmod(&descriptor, Mode::from_raw_mode(mode))
    }

    pub(super) fn has(self, stat: &fs::Stat, mode: RawMode) -> bool {
        stat.st_uid == self.uid && stat.st_gid == self.gid && stat.st_mode & 0o7777 == mode
    }

    /// Who may read a file that has this, in folders that have `around`. Who is in which group is
    /// not known: a folder that some group may enter may let a file's readers in.
    fn readers(&self, around: &Self) -> String {
        let enters = |bits: RawMode| around.dir_mode & bits != 0;
        let may = |bits: RawMode| self.file_mode & bits != 0;
        if may(0o004) && enters(0o001) {
            return "everyone".to_owned();
        }
        let user = if self.uid == around.uid { 0o100 } else { 0o011 };
        let group = if self.gid == around.gid { 0o010 } else { 0o011 };
        let user = (may(0o400) && enters(user)).then(|| format!("uid {}", self.uid));
        let group = (may(0o040) && enters(group)).then(|| format!("gid {}", self.gid));
        let both: Vec<String> = [user, group].into_iter().flatten().collect();
        if both.is_empty() { "root alone".to_owned() } else { both.join(" and ") }
    }
}

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
            uid: access.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
            gid: access.gid.unwrap_or(inherited),
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

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Owner = Owner { uid: 10, gid: 20, file_mode: 0o440, dir_mode: 0o750 };

    #[test]
    fn readers_are_those_whom_file_and_folders_let_in() {
        for (owner, around, readers) in [
            (ALL, ALL, "uid 10 and gid 20"),
            (Owner { file_mode: 0o444, ..ALL }, ALL, "uid 10 and gid 20"),
            (Owner { file_mode: 0o444, ..ALL }, Owner { dir_mode: 0o755, ..ALL }, "everyone"),
            (Owner { file_mode: 0o400, ..ALL }, ALL, "uid 10"),
            (Owner { file_mode: 0o000, ..ALL }, ALL, "root alone"),
            (Owner { uid: 11, file_mode: 0o600, ..ALL }, ALL, "uid 11"),
            (Owner { uid: 11, ..ALL }, Owner { dir_mode: 0o700, ..ALL }, "root alone"),
            (Owner { gid: 21, file_mode: 0o040, ..ALL }, ALL, "gid 21"),
        ] {
            assert_eq!(owner.readers(&around), readers, "{owner:?} in {around:?}");
        }
    }
}
