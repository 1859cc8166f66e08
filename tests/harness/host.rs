//! What only some hosts let a test do: be another user, mount, trace. Where it can't be done, the
//! test says so on stderr and ends: a skipped test is never a silent one.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{fs, thread};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};

use super::dispositions::default_for_children;
use super::{Run, Scene};

/// Says that a test could not be run, past the capture of what tests print.
pub fn skip(test: &str, why: &str) {
    writeln!(std::io::stderr(), "skipped: {test}: {why}").ok();
}

/// The mode of the file at `path`; 0 if there is none.
pub fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).map_or(0, |found| found.mode() & 0o7777)
}

/// Sets the mode of the file at `path`, which is ours.
pub fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// Replaces a file by one rename, so that no reader sees a part of it.
pub fn replace(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let next = path.as_ref().with_extension("next");
    fs::write(&next, content).expect("the directory is ours");
    fs::rename(next, path).expect("the same directory");
}

/// Owner and group of the file at `path`.
pub fn owner(path: impl AsRef<Path>) -> Option<(u32, u32)> {
    fs::metadata(path).ok().map(|found| (found.uid(), found.gid()))
}

/// What ends a program that does not end by itself.
const LIMIT: [&str; 2] = ["--signal=KILL", "120"];

/// A program that ends by itself, and is killed if it does not. What is to be ended by the test is
/// started without: its end would not reach the program.
pub fn bounded(program: &[&str]) -> Command {
    default_for_children();
    let mut command = Command::new("timeout");
    command.args(LIMIT).args(program).stdin(Stdio::null());
    command
}

/// The same as another user, without any variable of ours.
pub fn bounded_as(user: User, program: &[&str]) -> Command {
    let mut command = user.runs("timeout");
    command.args(LIMIT).args(program);
    command
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A user that a process runs as, with no capability left.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Further groups, as a pod's `fsGroup` is one.
    pub groups: &'static [u32],
}

/// A user that owns nothing.
pub const NOBODY: User = User { uid: 1000, gid: 1000, groups: &[] };

impl User {
    /// Runs `program` as this user, by setpriv(1), without any variable of ours.
    pub fn runs(self, program: &str) -> Command {
        default_for_children();
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", self.uid)).arg(format!("--regid={}", self.gid));
        if self.groups.is_empty() {
            command.arg("--clear-groups");
        } else {
            let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
            command.arg(format!("--groups={}", groups.join(",")));
        }
        command.arg("--").arg(program).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What this user reads from a file, or nothing if it may not.
    pub fn reads(self, path: &Path) -> Option<Vec<u8>> {
        let output = self.runs("cat").arg(path).output().expect("setpriv was found before");
        output.status.success().then_some(output.stdout)
    }
}

/// Whether tests can be other users; skips aloud if not.
pub fn can_switch_user(test: &str) -> bool {
    let can = is_root() && NOBODY.runs("true").status().is_ok_and(|status| status.success());
    if !can {
        skip(test, "only root with setpriv(1) can be other users");
    }
    can
}

impl Scene {
    /// The agent as another user.
    pub fn agent_as(&self, user: User, args: &[&str]) -> Command {
        let everyone = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.vault.dir(), everyone).expect("the vault's files are ours");
        let mut command = user.runs(&inherited_agent());
        command.args(args).envs(&self.env);
        command
    }

    /// Runs a command of the agent to its end as another user.
    pub fn run_as(&self, user: User, args: &[&str]) -> Run {
        Run::of(self.agent_as(user, args).output().expect("setpriv was found before"))
    }
}

/// The agent's binary by a descriptor that children inherit: others may not walk to its path.
fn inherited_agent() -> String {
    static AGENT: OnceLock<OwnedFd> = OnceLock::new();
    let agent = AGENT.get_or_init(|| {
        rustix::fs::open(env!("CARGO_BIN_EXE_segura-agent"), OFlags::RDONLY, Mode::empty())
            .expect("cargo has built it")
    });
    format!("/proc/self/fd/{}", agent.as_raw_fd())
}

/// Runs a test on a thread that has mounts of its own, which go with it.
pub fn with_own_mounts(test: &str, run: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            let own = unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(None::<&str>, "/", None::<&str>, private, None::<&str>));
            match own {
                Ok(()) => run(),
                Err(error) => skip(test, &format!("mounting needs CAP_SYS_ADMIN ({error})")),
            }
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A tmpfs of a test's own, gone when this is dropped: under it, the directory can't be removed.
#[must_use]
pub struct Memory(PathBuf);

impl Memory {
    /// Mounts so many pages of 4 KiB; only for [`with_own_mounts`].
    pub fn mount(at: &Path, pages: usize, flags: MsFlags) -> Self {
        let options = format!("size={}k,mode=0755", pages * 4);
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options.as_str())).expect("a tmpfs");
        Self(at.to_owned())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}
