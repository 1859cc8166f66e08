//! Looks at other processes, signals them and starts them; the sole caller of `wait(2)`.
//!
//! `/proc` shows one moment only. A process that is to be signalled is first held by a [`Handle`],
//! then looked at, so that a signal never hits a later process of the same number.

mod dispositions;
mod end;
mod handle;
mod names;
mod processes;
mod program;
mod reaper;
mod spawn;
pub mod terminal;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io};

use nix::unistd::{SysconfVar, sysconf};
use rustix::io::Errno;

use crate::os::clock::Moment;
pub use dispositions::{Dispositions, Reaction};
pub use end::{End, Holder};
pub use handle::Handle;
pub use names::Names;
pub use processes::{HeldProcess, Hold, PidNamespace, Processes, SpawnedChild};
pub use program::Program;
pub use reaper::{Child, Reaper};
pub use spawn::{Mask, Streams, become_it, room};

/// The start of a process in clock ticks since the machine started, suspension included
/// (`proc_pid_stat(5)`, field 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StartTime(u64);

impl StartTime {
    /// The tick in which `boot`, of [`crate::os::clock::boot`], lies.
    pub fn at(boot: Duration) -> Self {
        let ticks = boot.as_nanos().saturating_mul(u128::from(ticks_per_second())) / 1_000_000_000;
        Self(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// The start on the wall clock; `now` is one moment on both clocks.
    pub fn wall(self, now: Moment) -> Option<SystemTime> {
        let Moment { wall, boot } = now;
        let ticks = u128::from(self.0);
        let nanos = ticks.checked_mul(1_000_000_000)? / u128::from(ticks_per_second());
        wall.checked_sub(boot)?.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
    }
}

/// Ticks of `/proc/PID/stat` per second; 100, the usual value, if the system does not say.
fn ticks_per_second() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// The agent's own process number, in its PID namespace.
pub fn own() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// True if process `pid` is an ancestor of the agent, as process 1 of a PID namespace of its own
/// is.
pub fn is_above_us(pid: i32) -> bool {
    let Ok(all) = all() else { return false };
    all.get(&own()).is_some_and(|us| ancestors(&all, us).any(|above| above.pid == pid))
}

/// One living process, as it was when looked at.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number in the agent's PID namespace.
    pub pid: i32,
    /// Its parent's number; 0 if that is outside of the agent's PID namespace.
    pub parent: i32,
    /// Its start.
    pub start: StartTime,
    /// Its names.
    pub names: Names,
}

impl Process {
    /// Looks at a process; an error of kind `NotFound` says that it has ended, waited for or not.
    pub fn read(pid: i32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        let names = Names::read(pid, stat.comm)?;
        Ok(Self { pid, parent: stat.parent, start: stat.start, names })
    }

    /// True for the process that is process 1 of a pod with `shareProcessNamespace`: `pause` of
    /// Kubernetes, `catatonit` of podman.
    pub fn is_pause(&self) -> bool {
        ["pause", "catatonit"].iter().any(|name| self.names.matches(name))
    }
}

/// `nginx (pid 12)`
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.names, self.pid)
    }
}

/// The fields of `/proc/PID/stat` that count, of a living process.
struct Stat {
    comm: String,
    parent: i32,
    /// Its process group and session; 0 if they are outside of the agent's PID namespace.
    group: i32,
    session: i32,
    start: StartTime,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).map_err(gone)?;
        let text = String::from_utf8_lossy(&text);
        match Self::parse(&text) {
            Some(("Z" | "X" | "x", _)) => Err(io::ErrorKind::NotFound.into()),
            Some((_, stat)) => Ok(stat),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The state and the rest. The name is in parentheses and may hold any character, a parenthesis
    /// included.
    fn parse(text: &str) -> Option<(&str, Self)> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, comm) = before.split_once('(')?;
        let mut fields = after.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = || fields.next()?.parse().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        // Field 22 of proc_pid_stat(5); the state is the third, the session the sixth.
        let start = StartTime(fields.nth(15)?.parse().ok()?);
        Some((state, Self { comm: comm.to_owned(), parent, group, session, start }))
    }
}

/// `NotFound` for `ESRCH` too: opening a file of an ended process fails with `ENOENT`, reading one
/// that was opened before with `ESRCH`.
fn gone(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) {
        return io::ErrorKind::NotFound.into();
    }
    error
}

/// Processes of this name (see [`Names::matches`]), without those that descend from one of this
/// name or from the agent, and without the agent.
pub fn named(name: &str) -> io::Result<Vec<Process>> {
    let all = all()?;
    let own = own();
    let matches = |process: &Process| process.names.matches(name);
    let heads = all.values().filter(|process| matches(process) && process.pid != own);
    let heads = heads.filter(|process| {
        let mut above = ancestors(&all, process);
        above.all(|ancestor| ancestor.pid != own && !matches(ancestor))
    });
    Ok(heads.cloned().collect())
}

/// Every process that can be seen, by number.
fn all() -> io::Result<BTreeMap<i32, Process>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = number(&name) else { continue };
        match Process::read(pid) {
            Ok(process) => {
                all.insert(pid, process);
            }
            // Ended since it was listed, or hidden (`hidepid`, `proc(5)`).
            Err(error) if unseen(&error) => {}
            // A process that can't be read for want of descriptors may be the one that is sought.
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn unseen(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied].contains(&error.kind())
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok().filter(|pid| *pid > 0)
}

/// The ancestors of a process, nearest first. The entries are of different moments and could form a
/// circle, so the way up is bounded.
fn ancestors<'a>(
    all: &'a BTreeMap<i32, Process>,
    process: &Process,
) -> impl Iterator<Item = &'a Process> {
    let first = all.get(&process.parent);
    std::iter::successors(first, |process| all.get(&process.parent)).take(all.len())
}

#[cfg(test)]
pub(crate) mod tests;
