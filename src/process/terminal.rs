//! The controlling terminal, and which process group has it.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, getpgrp, getpid, getsid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

/// Our controlling terminal, if we have one.
///
/// Who takes it must block `SIGTTOU`, or be stopped for trying from the background.
#[derive(Debug)]
pub struct Terminal {
    descriptor: OwnedFd,
    /// The group that it was given to last.
    given: Option<Pid>,
    /// How it was set when we came.
    modes: Option<Termios>,
}

impl Terminal {
    /// Opens it; none where there is none.
    pub fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let descriptor = open("/dev/tty", flags, Mode::empty()).ok()?;
        let modes = tcgetattr(&descriptor).ok();
        Some(Self { descriptor, given: None, modes })
    }

    /// Gives it to the group of this number, if it is ours to give: it has our own group in the
    /// foreground, or the one it was given to before.
    pub fn give(&mut self, group: i32) {
        let Some(group) = Pid::from_raw(group) else { return };
        if self.is_ours() && tcsetpgrp(&self.descriptor, group).is_ok() {
            self.given = Some(group);
        }
    }

    /// Sets it as it was when we came, if it is ours to set: a program that was ended may have left it
    /// without echo or worse.
    pub fn reset(&self) {
        if let Some(modes) = self.modes.as_ref().filter(|_| self.is_ours()) {
            tcsetattr(&self.descriptor, OptionalActions::Now, modes).ok();
        }
    }

    /// Takes it back from the group that it was given to, for whoever comes after us.
    pub fn take_back(&mut self) {
        if self.given.is_some() && self.is_ours() {
            // A terminal that is gone is nobody's.
            tcsetpgrp(&self.descriptor, getpgrp()).ok();
            self.given = None;
        }
    }

    /// Whether the group of this number has it.
    pub fn is_given_to(&self, group: i32) -> bool {
        tcgetpgrp(&self.descriptor).is_ok_and(|has| has.as_raw_pid() == group)
    }

    fn is_ours(&self) -> bool {
        let has = tcgetpgrp(&self.descriptor).ok();
        has.is_some() && (has == Some(getpgrp()) || has == self.given)
    }
}

/// Whether nobody above us could bring us back if we stopped: we lead the session.
pub fn leads_session() -> bool {
    getsid(None) == Ok(getpid())
}

/// Stops ourselves, as the default action of a terminal's stop signal would; returns once someone
/// has us go on.
pub fn stop_ourselves() {
    kill_process(getpid(), rustix::process::Signal::STOP).ok();
}
