//! Owner and mode of one file: setting them, comparing them, and the readers that they allow.

use std::os::fd::AsFd;

use rustix::fs::{self, Gid, Mode, RawMode, Uid};
use rustix::io::Errno;

/// The rights of group and others to write.
pub(super) const WRITE_OF_OTHERS: RawMode = 0o022;

/// The user that this process acts as on files.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Owner and modes of one file, and of the folders around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) file_mode: RawMode,
    pub(super) dir_mode: RawMode,
}

impl Owner {
    /// Sets the owner and the mode of a file: the umask may have masked its mode at creation
    /// (open(2)). The owner comes first, since chown(2) clears set-ID bits.
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

    /// Names the readers of a file of this owner, in folders of the owner `around`. The members of
    /// groups are unknown: any reader counts as a member of the folder's group, if that group may
    /// enter.
    pub(super) fn readers(&self, around: &Self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Owner = Owner { uid: 10, gid: 20, file_mode: 0o440, dir_mode: 0o750 };

    #[test]
    fn readers_are_the_users_that_file_and_folders_both_allow() {
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
