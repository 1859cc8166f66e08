//! Files of every kind under the names that the agent opens: no command hangs, takes the machine's
//! memory, uses anything of them, or sends a POST more because of them.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may fail them"
)]

mod by_hand;
mod inputs;
mod litter;
mod own;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, FileType, Mode as Bits, makedev, mknodat};
use rustix::process::Signal;

use crate::harness::sidecar::Sidecar;
use crate::harness::{Run, Scene, host::is_root, lines, wait::until_seen};

/// A text that nothing may show and nobody may use.
const CANARY: &str = "planted-canary";
/// More than the agent needs for a set of a dozen values, and less than any file that is too large
/// would take: in KiB, of memory that a process can write to (`RLIMIT_DATA`, getrlimit(2)).
const MOST_MEMORY: u32 = 24 * 1024;

/// A kind of file that takes a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    /// A link to a file that the agent would take for its own.
    Link,
    /// A second name of another file.
    HardLink,
    Fifo,
    Socket,
    /// An endless device; only root can make one.
    Device,
    Directory,
    /// A file of 8 GiB without a block.
    Sparse,
    /// A file of 17 MiB, more than any that is read.
    Huge,
}

impl Plant {
    const ALL: [Self; 8] = [
        Self::Link,
        Self::HardLink,
        Self::Fifo,
        Self::Socket,
        Self::Device,
        Self::Directory,
        Self::Sparse,
        Self::Huge,
    ];

    /// Puts this in the place of what is at `path`. `like` is a file that would do there, `other`
    /// one that would not.
    fn put(self, path: &Path, like: &Path, other: &Path) {
        clear(path);
        match self {
            Self::Link => symlink(like, path).unwrap(),
            Self::HardLink => fs::hard_link(other, path).unwrap(),
            Self::Fifo => {
                mknodat(CWD, path, FileType::Fifo, Bits::from_raw_mode(0o644), 0).unwrap()
            }
            Self::Socket => drop(UnixListener::bind(path).unwrap()),
            Self::Device => {
                let zero = makedev(1, 5);
                let mode = Bits::from_raw_mode(0o644);
                mknodat(CWD, path, FileType::CharacterDevice, mode, zero).unwrap();
            }
            Self::Directory => fs::create_dir(path).unwrap(),
            Self::Sparse => File::create(path).unwrap().set_len(8 << 30).unwrap(),
            Self::Huge => fs::write(path, vec![b' '; 17 << 20]).unwrap(),
        }
    }

    /// Whether this test can make it.
    fn can_be_made(self) -> bool {
        self != Self::Device || is_root()
    }
}

/// Removes what is at `path`, whatever it is.
fn clear(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// A mount over a name; gone when it is dropped.
struct Over<'a>(&'a Path);

impl<'a> Over<'a> {
    /// Mounts a tmpfs over a folder, and else the file `other` over a file, which is made if there
    /// is none; only for a thread with mounts of its own.
    fn mount(path: &'a Path, other: &Path) -> Self {
        if path.is_symlink() || !path.exists() {
            clear(path);
            fs::write(path, "").unwrap();
        }
        if path.is_dir() {
            let options = Some("size=64k,mode=0755");
            mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        } else {
            mount(Some(other), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
        Self(path)
    }
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).ok();
    }
}

/// A directory that is mounted read-only over itself, as the app's container has it.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn mount(path: &'a Path) -> Self {
        mount(Some(path), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>).unwrap();
        Self(path)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).ok();
    }
}

/// A command of the agent, as a pod or a person runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Check,
    Doctor,
    DryRun,
    Init,
    Sidecar,
    Exec,
    Deprovision,
}

impl Mode {
    const ALL: [Self; 7] = [
        Self::Check,
        Self::Doctor,
        Self::DryRun,
        Self::Init,
        Self::Sidecar,
        Self::Exec,
        Self::Deprovision,
    ];

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Check => &["check", "started"],
            Self::Doctor => &["doctor"],
            Self::DryRun => &["init", "--dry-run"],
            Self::Init => &["init"],
            Self::Sidecar => &["sidecar"],
            Self::Exec => &["exec", "--", "/usr/bin/printenv", "password"],
            Self::Deprovision => &["deprovision"],
        }
    }

    /// Runs it to its end. A sidecar is ended by SIGTERM once it renews a set or gives up.
    #[track_caller]
    fn run(self, scene: &Scene) -> Run {
        let before = state(scene);
        let child = Sidecar::spawn(limited(&scene.agent(self.args())));
        if self == Self::Sidecar {
            let begun = |line: &String| {
                [lines::ADOPTED, lines::PUBLISHED].iter().any(|said| line.contains(said))
            };
            let renews = |state: serde_json::Value| {
                state != before && state["boot_ms"]["silent_until"].is_u64()
            };
            let seen = || (child.has_ended() || renews(state(scene)), child.log());
            until_seen("the sidecar has a set or ends", seen, |(over, log)| {
                *over || log.iter().any(begun)
            });
            if !child.has_ended() {
                child.send(Signal::TERM);
            }
        }
        child.wait()
    }
}

/// The state as its file has it; none where something else may be planted, a pipe or without end.
fn state(scene: &Scene) -> serde_json::Value {
    let path = scene.path("..segura/state.json");
    let found = fs::symlink_metadata(&path).ok();
    let found = found.filter(|found| found.is_file() && found.len() < 1 << 20);
    let text = found.and_then(|_| fs::read(path).ok()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// A command that can't take more memory than [`MOST_MEMORY`]: it is aborted.
fn limited(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    let script = format!("ulimit -d {MOST_MEMORY} && exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}
