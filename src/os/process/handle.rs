//! Holds one process from the look at it to the signal.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{self as kernel, Pid, PidfdFlags};
use rustix_libc_wrappers::process::SignalExt;

use super::{Process, StartTime, Stat};
use crate::os::signal::Signal;

/// A hold on one process: a signal reaches the process that it was opened on, or none.
#[derive(Debug)]
pub struct Handle {
    pid: Pid,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// By the kernel (`pidfd_open(2)`).
    Descriptor(OwnedFd),
    /// By the start time, compared before each use, if the kernel or a sandbox lacks the
    /// descriptor.
    StartTime(StartTime),
}

impl Handle {
    /// Holds the process of this number; an error of kind `NotFound` says that there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        let nobody = || io::Error::from(io::ErrorKind::NotFound);
        let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or_else(nobody)?;
        let held = match kernel::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Held::Descriptor(descriptor),
            // The last two say that the number is a thread's, not a process's.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Err(nobody()),
            Err(_) => Held::StartTime(Stat::read(pid.as_raw_pid())?.start),
        };
        Ok(Self { pid, held })
    }

    /// The number that it was opened by.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Looks at the process. If its number belongs to a later process by now, this shows that one,
    /// and [`Handle::signal`] fails with `NotFound`.
    pub fn process(&self) -> io::Result<Process> {
        Process::read(self.pid.as_raw_pid())
    }

    /// Sends a signal; an error of kind `NotFound` says that the process has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // rustix by itself makes real-time signals from numbers in `unsafe` functions only.
        let signal =
            kernel::Signal::from_raw(signal.number()).ok_or(io::ErrorKind::InvalidInput)?;
        let sent = match &self.held {
            Held::Descriptor(descriptor) => kernel::pidfd_send_signal(descriptor, signal),
            Held::StartTime(_) => Err(Errno::NOSYS),
        };
        match sent {
            Err(Errno::NOSYS) => {
                self.still()?;
                Ok(kernel::kill_process(self.pid, signal).map_err(ended)?)
            }
            sent => sent.map_err(ended),
        }
    }

    /// Fails if the agent has no permission to signal the process; sends no signal (`kill(2)`, signal 0).
    pub fn probe(&self) -> io::Result<()> {
        kernel::test_kill_process(self.pid).map_err(ended)
    }

    fn still(&self) -> io::Result<()> {
        let now = Stat::read(self.pid.as_raw_pid())?.start;
        match self.held {
            Held::StartTime(start) if start != now => Err(io::ErrorKind::NotFound.into()),
            Held::StartTime(_) | Held::Descriptor(_) => Ok(()),
        }
    }
}

fn ended(error: Errno) -> io::Error {
    match error {
        Errno::SRCH => io::ErrorKind::NotFound.into(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::dispositions::default_for_children;
    use super::*;

    #[test]
    fn without_a_descriptor_the_start_tells_a_process_from_a_later_one() {
        default_for_children();
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let start = Stat::read(pid.as_raw_pid()).unwrap().start;
        let term = Signal::parse("TERM").unwrap();
        let later = Handle { pid, held: Held::StartTime(StartTime(start.0 + 1)) };
        assert_eq!(later.signal(term).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(child.try_wait().unwrap().is_none());
        Handle { pid, held: Held::StartTime(start) }.signal(term).unwrap();
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn numbers_of_no_process_are_not_found() {
        for pid in [0, -1, i32::MIN, i32::MAX] {
            assert_eq!(Handle::open(pid).unwrap_err().kind(), io::ErrorKind::NotFound, "{pid}");
        }
    }
}
