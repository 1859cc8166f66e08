//! The controlling terminal, and which process group has it.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{
    self as kernel, Pid, getpgid, getpgrp, getpid, getsid, kill_process_group,
    test_kill_process_group,
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

use super::{Stat, own};
use crate::model::Holder;

/// The way up to a shell is shorter.
const MOST_ANCESTORS: usize = 64;

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

    /// Who has it, of the group of this number, our own, and any other.
    pub fn holder(&self, group: i32) -> Holder {
        match tcgetpgrp(&self.descriptor) {
            Ok(has) if has.as_raw_pid() == group => Holder::Command,
            Ok(has) if has == getpgrp() => Holder::Ourselves,
            Ok(_) | Err(_) => Holder::Other,
        }
    }

    /// Whether it is ours to give: we, or who we gave it to, have it, or nobody that is left, or we
    /// lead the session, so that nobody above us does job control.
    fn is_ours(&self) -> bool {
        tcgetpgrp(&self.descriptor).is_ok_and(|has| {
            has == getpgrp()
                || Some(has) == self.given
                || leads_session()
                || test_kill_process_group(has) == Err(Errno::SRCH)
        })
    }
}

fn leads_session() -> bool {
    getsid(None) == Ok(getpid())
}

/// Whether someone above us does job control and could bring us back if we stopped: our process
/// group is not orphaned (POSIX, "Orphaned Process Group"), as far as our ancestors show.
pub fn has_shell() -> bool {
    let (group, session) = (getpgrp(), getsid(None));
    if own() == 1 {
        // The kernel does not stop it.
        return false;
    }
    let mut above = Stat::read(own()).map(|stat| stat.parent);
    for _ in 0..MOST_ANCESTORS {
        let Some(parent) = above.ok().and_then(Pid::from_raw) else { return false };
        if getsid(Some(parent)) != session {
            return false;
        }
        if getpgid(Some(parent)) != Ok(group) {
            return true;
        }
        above = Stat::read(parent.as_raw_pid()).map(|stat| stat.parent);
    }
    false
}

/// Stops our process group, as the default action of a terminal's stop signal would; returns once
/// someone has us go on.
pub fn stop_ourselves() {
    kill_process_group(getpgrp(), kernel::Signal::STOP).ok();
}
