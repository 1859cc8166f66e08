//! Finding the process that a PID file names; refusing a stale file, and one that names the wrong
//! process.

use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::Finding;
use crate::os::clock::Moment;
use crate::os::opened::{self, FileError};
use crate::os::process::{HeldProcess, Processes, StartTime};
use crate::os::sandbox;

/// The time by which a process may seem to have started after its file was written, when both are
/// first seen: `st_mtime` is the wall clock's (`inode(7)`), which may have been set forward since.
const SLACK: Duration = Duration::from_secs(3600);

/// The bytes that are read: a longer line is no process number.
const MAX_BYTES: u64 = 64;

const SHARE_HINT: &str = "set shareProcessNamespace: true in the pod spec, so that the agent sees the main process, which must then write its PID file again";

const REWRITE_HINT: &str =
    "the main process must write its own PID there; the file is read again at each renewal pass";

const UNREADABLE_HINT: &str = "make it readable to the user that the agent runs as";

const MISSING_HINT: &str = "the main process is notified once it has written the file; both containers must mount that folder";

/// A PID file, and the process that it was last seen to name.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    seen: Option<(WrittenPid, StartTime)>,
}

/// A number in a file, and the write that put it there: another write changes the time or the
/// inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WrittenPid {
    pid: i32,
    at: SystemTime,
    inode: u64,
}

impl PidFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Holds the process that the file names.
    ///
    /// A number is reused after its process has ended (`pidfd_open(2)`): a process that started
    /// after the file was written is refused as another one.
    pub(super) fn hold(
        &mut self,
        processes: &dyn Processes,
        now: Moment,
    ) -> Result<HeldProcess, Finding> {
        let written = read(&self.path)?;
        let held = named(processes, &self.path, written.pid)?;
        let found = &held.process;
        let reused = match self.seen {
            // The same write of the same file names the same process.
            Some((seen, start)) if seen == written => start != found.start,
            _ => {
                let started = found.start.wall(now);
                started.zip(written.at.checked_add(SLACK)).is_some_and(|(is, latest)| is > latest)
            }
        };
        if reused {
            let shown = self.path.display();
            let text =
                format!("the PID file {shown} is stale: {found} started after it was written");
            return Err(Finding::warning(text, REWRITE_HINT));
        }
        self.seen = Some((written, found.start));
        Ok(held)
    }
}

/// Holds process `pid`, if it can be the main process.
fn named(processes: &dyn Processes, path: &Path, pid: i32) -> Result<HeldProcess, Finding> {
    let shown = path.display();
    if pid == processes.own() {
        let text = format!("the PID file {shown} names process {pid}, which is the agent itself");
        return Err(Finding::warning(text, if pid == 1 { SHARE_HINT } else { REWRITE_HINT }));
    }
    let held = match processes.hold(pid) {
        Ok(held) => held,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = format!("the PID file {shown} is stale: there is no process {pid}");
            return Err(Finding::warning(
                text,
                if processes.own() == 1 { SHARE_HINT } else { REWRITE_HINT },
            ));
        }
        Err(error) => {
            let text = format!(
                "the PID file {shown} names process {pid}, which can't be examined: {error}"
            );
            return Err(Finding::warning(text, "/proc must be mounted and show that process"));
        }
    };
    let found = &held.process;
    // In a shared PID namespace process 1 is the pod's pause container, and else it is the agent or
    // an ancestor of it: the main process wrote its number in a namespace of its own (Kubernetes
    // docs, "Share Process Namespace between Containers in a Pod").
    if pid == 1 && (found.is_pause() || processes.is_above_us(pid)) {
        let text = format!("the PID file {shown} names {found}, which is not the main process");
        return Err(Finding::warning(
            text,
            if found.is_pause() { REWRITE_HINT } else { SHARE_HINT },
        ));
    }
    Ok(held)
}

/// Reads the number in the first line, and the time and the inode of the file.
fn read(path: &Path) -> Result<WrittenPid, Finding> {
    let shown = path.display();
    let (text, at, inode) = beginning(path).map_err(|error| {
        if error.is_missing() {
            let text = format!("there is no PID file {shown} yet");
            return Finding::expected(text, MISSING_HINT);
        }
        let hint = if error.is_unfit() { REWRITE_HINT } else { UNREADABLE_HINT };
        let error = sandbox::unread(path, error);
        Finding::warning(format!("cannot read the PID file {shown}: {error}"), hint)
    })?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let number = std::str::from_utf8(line).ok().map(str::trim).filter(|line| {
        // `i32::from_str` accepts `+1` too.
        line.bytes().all(|byte| byte.is_ascii_digit())
    });
    match number.and_then(|number| number.parse().ok()).filter(|pid: &i32| *pid > 0) {
        Some(pid) => Ok(WrittenPid { pid, at, inode }),
        None => {
            let text = format!("the PID file {shown} does not begin with a process number");
            Err(Finding::warning(text, REWRITE_HINT))
        }
    }
}

/// Reads the beginning of a file, and its time and inode. The rest may be anything: PostgreSQL
/// writes more lines below the number (`postmaster.pid`, `src/include/utils/pidfile.h`).
fn beginning(path: &Path) -> Result<(Vec<u8>, SystemTime, u64), FileError> {
    let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let file = opened::input(path)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(failed)?;
    Ok((text, metadata.modified().map_err(failed)?, metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock::{Clock, Machine};
    use crate::os::process::{PidNamespace, Reaper};

    #[test]
    fn a_reused_number_is_refused_by_its_start_time_while_the_file_is_the_same() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        std::fs::write(&path, child.id().to_string()).unwrap();
        let mut file = PidFile::new(path.clone());
        let processes = PidNamespace::new(Reaper::listening());
        let hold = |file: &mut PidFile| file.hold(&processes, Machine.now());
        let found = hold(&mut file).unwrap().process;
        assert!(hold(&mut file).is_ok());
        let (written, start) = file.seen.unwrap();
        assert_eq!(start, found.start);
        file.seen = Some((written, StartTime::at(Duration::ZERO)));
        assert!(hold(&mut file).unwrap_err().text.contains("started after it was written"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, child.id().to_string()).unwrap();
        assert!(hold(&mut file).is_ok(), "the file was written again");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
