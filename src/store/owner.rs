//! The owner and mode of each file and folder, from the settings and the output directory.

use rustix::fs::{self, RawMode};

use super::WriteError;
use super::access::{Owner, WRITE_OF_OTHERS, own_uid};
use super::dir::Dir;
use crate::config::settings::{Access, FileGid, FileUid};
use crate::render::{FileName, FileSet};

const SET_GID: RawMode = 0o2000;

/// The owner and mode of all files and folders, and of the files that have others.
#[derive(Debug)]
pub(super) struct Owners {
    all: Owner,
    /// The settings name the group.
    named_group: bool,
    ruled: Vec<Ruled>,
}

/// A rule: the owner and mode of the files that match a glob.
#[derive(Debug)]
pub(super) struct Ruled {
    glob: String,
    owner: Owner,
}

impl Owners {
    /// Makes the owners of files in `dir` by the settings. As the kernel does (inode(7)), files of
    /// a set-group-ID directory get its group, and folders the bit too; the kubelet sets it on a
    /// volume with fsGroup (Kubernetes API reference, PodSecurityContext).
    pub(super) fn of(dir: &Dir, access: &Access) -> Result<Self, WriteError> {
        let stat = fs::fstat(dir.descriptor())
            .map_err(|error| WriteError::new("look at", dir.path(), error))?;
        let set_gid = stat.st_mode & SET_GID;
        let inherited =
            if set_gid == 0 { rustix::process::getegid().as_raw() } else { stat.st_gid };
        let all = Owner {
            uid: match access.uid {
                FileUid::Agent => own_uid(),
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
        let named_group = matches!(access.gid, FileGid::Id(_));
        Ok(Self { all, named_group, ruled: ruled.collect() })
    }

    /// The owner of folders, and of files that match no rule.
    pub(super) fn all(&self) -> &Owner {
        &self.all
    }

    /// The owner of the agent's own folder and of the files in it that hold no secret: this user,
    /// so that no other one can change them. All readers of the set may read them.
    pub(super) fn shown(&self) -> Owner {
        let uid = own_uid();
        let gid = rustix::process::getegid().as_raw();
        // The owner of the set is then one of the others.
        let (search, read) = if self.all.uid != uid || self.all.gid != gid && self.named_group {
            (0o011, 0o044)
        } else {
            (0, 0)
        };
        Owner {
            uid,
            gid: self.all.gid,
            file_mode: self.all.file_mode & !WRITE_OF_OTHERS | 0o400 | read,
            dir_mode: self.all.dir_mode & 0o2755 | 0o700 | search,
        }
    }

    /// The owner of one file.
    pub(super) fn file(&self, name: &FileName) -> &Owner {
        let mut ruled = self.ruled.iter().filter(|_| !name.is_hidden());
        ruled.find(|rule| rule.matches(name)).map_or(&self.all, |rule| &rule.owner)
    }

    /// The rules, each of which is proved to be possible before a secret is provisioned.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&str, &Owner)> {
        self.ruled.iter().map(|rule| (rule.glob.as_str(), &rule.owner))
    }

    /// Makes a line for each rule that matches no file of the set, such as one with a typo.
    pub(super) fn idle(&self, files: &FileSet<'_>) -> Vec<String> {
        let matches = |rule: &&Ruled| files.keys().any(|n| !n.is_hidden() && rule.matches(n));
        let idle = self.ruled.iter().filter(|rule| !matches(rule));
        idle.map(|rule| format!("no published file matches {} of SEGURA_FILE_RULES", rule.glob))
            .collect()
    }

    /// Names the readers of the files, in words.
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
