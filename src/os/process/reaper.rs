//! The one who waits: whoever else called wait could take an end that another waits for.

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

/// What is known of a child that someone waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Ending {
    end: Option<End>,
    /// The signal that has stopped it, until that is noticed, or it goes on.
    stopped: Option<Signal>,
}

/// Who waits for children, and tells those who want to know.
#[derive(Clone, Debug)]
pub struct Reaper(Rc<Reaping>);

#[derive(Debug)]
struct Reaping {
    fates: RefCell<HashMap<Pid, Rc<Cell<Ending>>>>,
    /// Told of each change of a fate.
    changed: Notify,
    mask: Mask,
    kind: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Hears of ends by itself.
    Listening,
    /// Is told when to look.
    Told,
}

impl Reaper {
    /// One that hears of its children's ends by itself, with a handler of Tokio's.
    pub fn listening() -> Self {
        Self::new(Waiting::Listening, Mask::now())
    }

    /// One whose [`Reaper::reap`] is called at each `SIGCHLD`; children block what `mask` holds.
    pub fn told(mask: Mask) -> Self {
        let reaper = Self::new(Waiting::Told, mask);
        // Whoever became this process may have left children that have ended.
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
        // Listening comes first, so that no end is missed.
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

    /// Waits for everyone who has ended: orphans that came to us, and children of our own.
    ///
    /// The kernel merges its signals, so one may stand for many ends.
    pub fn reap(&self) {
        if self.0.kind == Waiting::Told || own() == 1 {
            while let Some((pid, status)) = changed(None) {
                self.learn(pid, status);
            }
            return;
        }
        // Who is process 1 of no namespace is sent no orphans, and may share its children with code
        // that waits for them itself.
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

/// None where it has not ended.
fn end_of(status: WaitStatus) -> Option<End> {
    let code = status.exit_status().map(|code| End::Code(code.try_into().unwrap_or(u8::MAX)));
    let signal = || status.terminating_signal().and_then(Signal::of).map(End::Signal);
    code.or_else(signal)
}

/// This child, or any, if its state has changed.
fn changed(pid: Option<Pid>) -> Option<(Pid, WaitStatus)> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
    loop {
        let changed = match pid {
            Some(pid) => waitpid(Some(pid), options),
            None => wait(options),
        };
        match changed {
            Err(Errno::INTR) => {}
            // The only other error is that there is no child.
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
    /// Wakes at the end of any child, where nobody else tells the reaper.
    ends: Option<Stream>,
}

impl Child {
    /// Its number, which is its process group's too.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Waits for the end. Cancel-safe, and may be asked again.
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

    /// Its end, once it was waited for.
    pub fn ended(&self) -> Option<End> {
        self.fate.get().end
    }

    /// The signal that has stopped it since this was last asked, unless it has gone on meanwhile.
    pub fn take_stop(&self) -> Option<Signal> {
        let Ending { end, stopped } = self.fate.get();
        self.fate.set(Ending { end, stopped: None });
        stopped
    }

    /// Sends a signal to it alone. Its number is its own until its end was waited for; then there is
    /// nobody to signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.ended().is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill_process(self.pid, raw(signal)?)?)
    }

    /// Sends a signal to its whole group. To be called before its end was waited for, or at once
    /// after: a group keeps its number for as long as it has members.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process_group(self.pid, raw(signal)?)?)
    }

    /// Whether its group has no members any more.
    pub fn is_group_gone(&self) -> bool {
        test_kill_process_group(self.pid) == Err(Errno::SRCH)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut fates = self.reaper.0.fates.borrow_mut();
        // Its number may have passed to a child that was started since.
        if fates.get(&self.pid).is_some_and(|fate| Rc::ptr_eq(fate, &self.fate)) {
            fates.remove(&self.pid);
        }
    }
}

fn raw(signal: Signal) -> io::Result<kernel::Signal> {
    // rustix by itself makes real-time signals from numbers in `unsafe` functions only.
    Ok(kernel::Signal::from_raw(signal.number()).ok_or(io::ErrorKind::InvalidInput)?)
}
