//! Holds the process to what it needs after its start, by Landlock (`landlock(7)`): one directory
//! that it writes, folders that it reads, and ports that it connects to.
//!
//! A thread keeps the rules that it was started with, so the rules come before any other thread. A
//! program inherits them, so a process that starts programs of others does without.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{Error, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub use landlock::ABI;
use landlock::{
    Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    RestrictSelf, Ruleset, RulesetAttr, RulesetCreatedAttr, make_bitflags,
};
use nix::sys::prctl;
use rustix::fs::{Access as Right, AtFlags, CWD, Mode, OFlags, accessat, open};
use rustix::io::Errno;

/// The newest ABI whose rights the rules ask for; the tests have run on a kernel that has it.
pub const NEWEST: ABI = ABI::V7;
/// The links that a path may lead through, as `path_resolution(7)` has it.
const MOST_LINKS: u32 = 40;
/// The link of a Kubernetes volume, which the kubelet turns to another folder beside it at each
/// update (`pkg/volume/util/atomic_writer.go`).
const TURNED: &str = "..data";

/// The rules hold this process.
static HELD: AtomicBool = AtomicBool::new(false);

/// The needs of a process after its start.
#[derive(Debug, Default)]
pub struct Needs {
    /// Files of which each may be replaced, or appear later.
    pub files: Vec<PathBuf>,
    /// Files of the system, which are read if they exist.
    pub system: Vec<PathBuf>,
    /// Folders that are read with all that is in them.
    pub trees: Vec<PathBuf>,
    /// Ports of TCP that it connects to, at any address.
    pub ports: BTreeSet<u16>,
}

/// The reason why no rule governs files.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unruled {
    /// The kernel has no Landlock that can be used.
    #[error("the kernel has no Landlock, or a seccomp profile denies it")]
    Missing,
    /// The kernel's Landlock forbids renaming, whatever a rule says.
    #[error("the kernel's Landlock is older than ABI 2, of Linux 5.19")]
    Old,
    /// A file lies in the root folder, or would appear there: a rule would open the whole system.
    #[error("{0} lies in /, or its first folder is missing, so that all files would be readable")]
    Root(String),
    /// A system call failed.
    #[error("{0}")]
    Failed(String),
}

/// The ports that a process may connect to by TCP.
#[derive(Debug, PartialEq, Eq)]
pub enum Ports {
    /// All: the kernel's Landlock does not govern connections before ABI 4, of Linux 6.7.
    Any,
    /// These.
    Only(BTreeSet<u16>),
}

/// The rules by which the kernel holds a process to its needs.
#[derive(Debug)]
pub struct Rules {
    abi: ABI,
    /// The folders that can be read, or the reason why no rule governs files.
    pub folders: Result<BTreeSet<PathBuf>, Unruled>,
    /// The ports that can be connected to.
    pub ports: Ports,
}

/// Finds the ABI of the kernel's Landlock; restricts nothing.
pub fn kernel() -> ABI {
    let status = RestrictSelf::default().no_new_privs(false).apply();
    status.map_or(ABI::Unsupported, |status| status.landlock.into())
}

/// Lists the rights that rules take away at an ABI, but for those that single rules give.
pub fn governed(abi: ABI) -> (BitFlags<AccessFs>, BitFlags<AccessNet>) {
    let abi = abi.min(NEWEST);
    // Before ABI 2 a rename between folders is always denied, and no right gives it back.
    let files = if abi < ABI::V2 { BitFlags::EMPTY } else { AccessFs::from_all(abi) };
    (files, AccessNet::from_all(abi))
}

impl Rules {
    /// Makes the rules for these needs at this ABI, by the links as they are now.
    pub fn of(needs: Needs, abi: ABI) -> Self {
        let (files, net) = governed(abi);
        let folders = if abi == ABI::Unsupported {
            Err(Unruled::Missing)
        } else if files.is_empty() {
            Err(Unruled::Old)
        } else {
            folders(&needs)
        };
        let ports = if net.is_empty() { Ports::Any } else { Ports::Only(needs.ports) };
        Self { abi, folders, ports }
    }

    /// Holds this thread, and all that it starts from now on, to the rules, and keeps it from new
    /// privileges. `writes` is the directory that it may write.
    ///
    /// Descriptors that are open keep their rights.
    pub fn hold(&self, writes: BorrowedFd<'_>) -> Result<(), Unruled> {
        // A program with the set-user-ID bit would gain rights that rules on files don't know.
        prctl::set_no_new_privs().map_err(|error| Unruled::Failed(error.to_string()))?;
        self.restrict(writes).map_err(|error| Unruled::Failed(error.to_string()))
    }

    fn restrict(&self, writes: BorrowedFd<'_>) -> Result<(), Box<dyn std::error::Error>> {
        let (files, net) = governed(self.abi);
        if self.folders.is_err() && self.ports == Ports::Any {
            return Ok(());
        }
        let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        if self.folders.is_ok() {
            ruleset = ruleset.handle_access(files)?;
        }
        if self.ports != Ports::Any {
            ruleset = ruleset.handle_access(net)?;
        }
        let mut rules = ruleset.create()?;
        if let Ok(folders) = &self.folders {
            rules = rules.add_rule(PathBeneath::new(writes, written() & files))?;
            for folder in folders {
                rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, read()))?;
            }
        }
        if let Ports::Only(ports) = &self.ports {
            for port in ports {
                rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
            }
        }
        rules.restrict_self()?;
        HELD.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// The rights beneath a folder that is read.
fn read() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

/// The rights beneath the directory that is written: no devices, sockets or programs, and no rename
/// from one folder to another.
fn written() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | RemoveFile | RemoveDir | MakeReg | MakeDir | MakeSym
    })
}

fn folders(needs: &Needs) -> Result<BTreeSet<PathBuf>, Unruled> {
    let mut found: BTreeSet<PathBuf> = BTreeSet::new();
    for file in &needs.files {
        let led = led_through(file);
        if led.contains(Path::new("/")) {
            return Err(Unruled::Root(file.display().to_string()));
        }
        found.extend(led);
    }
    for file in &needs.system {
        found.extend(led_through(file).into_iter().filter(|folder| folder != Path::new("/")));
    }
    found.extend(needs.trees.iter().filter(|tree| tree.is_dir()).cloned());
    // A rule for a folder is one for all below it, and the kubelet may remove one of those.
    let covered = |folder: &PathBuf| folder.ancestors().skip(1).any(|above| found.contains(above));
    Ok(found.iter().filter(|folder| !covered(folder)).cloned().collect())
}

/// Lists the folders in which a path finds its file and the links to it, free of links: also those
/// in which the kubelet turns `..data`. Of a folder that is missing, its nearest ancestor.
fn led_through(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut ahead: Vec<OsString> = parts(path);
    while let Some(part) = ahead.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let Ok(metadata) = fs::symlink_metadata(&next) else { break };
        if !metadata.is_symlink() {
            if !metadata.is_dir() {
                break;
            }
            at = next;
            continue;
        }
        if ahead.is_empty() || part == TURNED {
            found.insert(at.clone());
        }
        links += 1;
        let Some(target) = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS) else { break };
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        ahead.extend(parts(&target));
    }
    found.insert(at);
    found
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.iter().filter(|part| *part != "/" && *part != ".");
    parts.rev().map(ToOwned::to_owned).collect()
}

/// Words the error of opening `path` to read, with a remark if the rules deny it and its mode does
/// not. Landlock does not govern `access(2)`.
pub fn unread(path: &Path, error: impl Display) -> String {
    let denied = || {
        // Without O_NONBLOCK, open(2) of a FIFO waits for a writer (fifo(7)).
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = open(path, flags, Mode::empty());
        matches!(opened, Err(Errno::ACCESS)) && may(path, Right::READ_OK)
    };
    if is_held() && denied() { remarked(error) } else { error.to_string() }
}

/// Words the error of a connection by TCP, with a remark if the rules may have denied it.
pub fn unconnected(error: &Error) -> String {
    let denied = is_held() && error.kind() == ErrorKind::PermissionDenied;
    if denied { remarked(error) } else { error.to_string() }
}

fn remarked(error: impl Display) -> String {
    format!(
        "{error}; the agent's sandbox denies it (SEGURA_SANDBOX=off lifts it), which is a bug unless a link was turned to another folder"
    )
}

/// Reports if the rules deny a change in the folder of `path`, and its mode does not.
pub fn denies_writing(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    is_held() && may(folder, Right::WRITE_OK | Right::EXEC_OK)
}

fn is_held() -> bool {
    HELD.load(Ordering::Relaxed)
}

fn may(path: &Path, right: Right) -> bool {
    accessat(CWD, path, right, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests;
