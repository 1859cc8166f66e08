//! The only caller of `wait(2)`: a second one could steal an exit status.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::process::{
    self as kernel, Pid, WaitOptions, WaitStatus, kill_process, kill_process_group,
    test_kill_process_group, wait, waitpid,
};
use rustix_libc_wrappers::process::SignalExt;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::Notify;

use super::end::End;
use super::own;
use super::program::Program;
use super::spawn::{Mask, Streams, start};
use crate::os::environment::Environment;
use crate::os::signal::Signal;

/// The state of a child, as far as the reaper knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Ending {
    end: Option<End>,
    /// The signal that has stopped it, until [`Child::take_stop`] or until it goes on.
    stopped: Option<Signal>,
}

/// Waits for children, and wakes the holders of each [`Child`].
#[derive(Clone, Debug)]
pub struct Reaper(Rc<Reaping>);

#[derive(Debug)]
struct Reaping {
    fates: RefCell<HashMap<Pid, Rc<Cell<Ending>>>>,
    /// Notified of each change of a child's state.
    changed: Notify,
    mask: Mask,
    kind: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Receives `SIGCHLD` by itself.
    Listening,
    /// Its owner receives `SIGCHLD` and calls [`Reaper::reap`].
    Told,
}

impl Reaper {
    /// A reaper that receives `SIGCHLD` by itself, with a handler of Tokio's.
    pub fn listening() -> Self {
        Self::new(Waiting::Listening, Mask::now())
    }

    /// A reaper whose owner calls [`Reaper::reap`] at each `SIGCHLD`; children block the signals of
    /// `mask`.
    pub fn told(mask: Mask) -> Self {
        let reaper = Self::new(Waiting::Told, mask);
        // The program that called `execve` here may have left children that have ended.
        reaper.reap();
        reaper
    }

    fn new(kind: Waiting, mask: Mask) -> Self {
        let fates = RefCell::default();
        Self(Rc::new(Reaping { fates, changed: Notify::new(), mask, kind }))
    }

    /// Starts a program; see [`Child`].
    pub fn spawn(
        &self,
        program: &Program,
        environment: &Environment,
        streams: Streams,
    ) -> io::Result<Child> {
        // The handler comes first, so that no end is missed.
        let ends = match self.0.kind {
            Waiting::Listening => Some(signal(SignalKind::child())?),
            Waiting::Told => None,
        };
        let pid = start(program, environment, streams, self.0.mask)?;
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::Other)?;
        let fate = Rc::new(Cell::new(Ending::default()));
        self.0.fates.borrow_mut().insert(pid, Rc::clone(&fate));
        Ok(Child { pid, fate, reaper: self.clone(), ends })
    }

    /// Waits for every process that has ended: the agent's children, and orphans that became so.
    ///
    /// One `SIGCHLD` may stand for many ends: a pending standard signal is not queued again
    /// (`signal(7)`).
    pub fn reap(&self) {
        if self.0.kind == Waiting::Told || own() == 1 {
            while let Some((pid, status)) = changed(None) {
                self.learn(pid, status);
            }
            return;
        }
        // A process other than 1 gets no orphans here, and may hold children that other code of it
        // waits for.
        let running =
            |(pid, fate): (&Pid, &Rc<Cell<Ending>>)| fate.get().end.is_none().then_some(*pid);
        let ours: Vec<Pid> = self.0.fates.borrow().iter().filter_map(running).collect();
        for pid in ours {
            if let Some((pid, status)) = changed(Some(pid)) {
                self.learn(pid, status);
            }
        }
    }

    fn learn(&self, pid: Pid, status: WaitStatus) {
        if let Some(fate) = self.0.fates.borrow().get(&pid) {
            let Ending { end, .. } = fate.get();
            let stopped = status.stopping_signal().and_then(Signal::of);
            fate.set(Ending { end: end_of(status).or(end), stopped });
            self.0.changed.notify_waiters();
        }
    }
}

/// The end of a child; none if it was stopped or goes on.
fn end_of(status: WaitStatus) -> Option<End> {
    let code = status.exit_status().map(|code| End::Code(code.try_into().unwrap_or(u8::MAX)));
    let signal = || status.terminating_signal().and_then(Signal::of).map(End::Signal);
    code.or_else(signal)
}

/// The new state of this child, or of any; none if no state has changed.
fn changed(pid: Option<Pid>) -> Option<(Pid, WaitStatus)> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
    loop {
        let changed = match pid {
            Some(pid) => waitpid(Some(pid), options),
            None => wait(options),
        };
        match changed {
            Err(Errno::INTR) => {}
            // The only other error is that there is no child (`ECHILD`).
            changed => return changed.ok().flatten(),
        }
    }
}

/// A child, the head of its own process group. Dropping it leaves it running.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    fate: Rc<Cell<Ending>>,
    reaper: Reaper,
    /// Wakes at the end of any child; none if the reaper's owner receives `SIGCHLD`.
    ends: Option<Stream>,
}

impl Child {
    /// Its number, which is its process group's too.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Waits for the end. Cancel-safe, and may be called again.
    pub async fn wait(&mut self) -> End {
        loop {
            let changed = self.reaper.0.changed.notified();
            if self.ends.is_some() {
                self.reaper.reap();
            }
            if let Some(end) = self.ended() {
                return end;
            }
            match &mut self.ends {
                Some(ends) => drop(ends.recv().await),
                None => changed.await,
            }
        }
    }

    /// Its end; none before the reaper has waited for it.
    pub fn ended(&self) -> Option<End> {
        self.fate.get().end
    }

    /// The signal that has stopped it since the last call, unless it has gone on meanwhile.
    pub fn take_stop(&self) -> Option<Signal> {
        let Ending { end, stopped } = self.fate.get();
        self.fate.set(Ending { end, stopped: None });
        stopped
    }

    /// Sends a signal to it alone. Its number is its own until it was waited for; from then on this
    /// fails with `NotFound`.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.ended().is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill_process(self.pid, raw(signal)?)?)
    }

    /// Sends a signal to its whole process group. To be called before the child was waited for, or
    /// at once after: the number is not reused while the group has members (POSIX, "Process ID
    /// Reuse").
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process_group(self.pid, raw(signal)?)?)
    }

    /// True if its process group has no members any more.
    pub fn is_group_gone(&self) -> bool {
        test_kill_process_group(self.pid) == Err(Errno::SRCH)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut fates = self.reaper.0.fates.borrow_mut();
        // A later child may have its number by now.
        if fates.get(&self.pid).is_some_and(|fate| Rc::ptr_eq(fate, &self.fate)) {
            fates.remove(&self.pid);
        }
    }
}

fn raw(signal: Signal) -> io::Result<kernel::Signal> {
    // rustix by itself makes real-time signals from numbers in `unsafe` functions only.
    Ok(kernel::Signal::from_raw(signal.number()).ok_or(io::ErrorKind::InvalidInput)?)
}
