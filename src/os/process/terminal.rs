//! The controlling terminal, and which process group has it.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{self as kernel, Pid, kill_current_process_group, test_kill_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

use super::end::Holder;
use super::{Stat, number, own};

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
    /// Nobody else is in our process group who might need it.
    alone: bool,
}

impl Terminal {
    /// Opens it; none where there is none.
    pub fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let descriptor = open("/dev/tty", flags, Mode::empty()).ok()?;
        let modes = tcgetattr(&descriptor).ok();
        Some(Self { descriptor, given: None, modes, alone: is_alone() })
    }

    /// Gives it to the group of this number if nobody else in our own may need it, such as the others
    /// of a pipeline, or a script that runs us; a command that asks for it is given it then.
    pub fn offer(&mut self, group: i32) {
        if self.alone || self.given.is_some() {
            self.give(group);
        }
    }

    /// Gives it to the group of this number, if it is ours to give.
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
        self.lend_back();
        self.given = None;
    }

    /// The same until the next command is offered it.
    pub fn lend_back(&mut self) {
        if self.given.is_some() && self.is_ours() {
            // A terminal that is gone is nobody's.
            own_group().map(|group| tcsetpgrp(&self.descriptor, group).ok());
        }
    }

    /// Who has it, of the group of this number, our own, and any other.
    pub fn holder(&self, group: i32) -> Holder {
        match tcgetpgrp(&self.descriptor) {
            Ok(has) if has.as_raw_pid() == group => Holder::Command,
            Ok(has) if Some(has) == own_group() => Holder::Ourselves,
            Ok(_) | Err(_) => Holder::Other,
        }
    }

    /// Whether it is ours to give: we, or who we gave it to, have it, or nobody that is left, or we
    /// lead the session, so that nobody above us does job control.
    fn is_ours(&self) -> bool {
        tcgetpgrp(&self.descriptor).is_ok_and(|has| {
            Some(has) == own_group()
                || Some(has) == self.given
                || leads_session()
                || test_kill_process_group(has) == Err(Errno::SRCH)
        })
    }
}

/// Our process group; none if it is outside of our PID namespace.
fn own_group() -> Option<Pid> {
    Pid::from_raw(Stat::read(own()).ok()?.group)
}

/// Whether our process group has no other member. Where that can't be seen, it has none.
fn is_alone() -> bool {
    let (Ok(us), Ok(entries)) = (Stat::read(own()), fs::read_dir("/proc")) else { return true };
    let pids = entries.filter_map(|entry| number(&entry.ok()?.file_name()));
    let mut others = pids.filter(|pid| *pid != own());
    !others.any(|pid| Stat::read(pid).is_ok_and(|other| other.group == us.group))
}

fn leads_session() -> bool {
    Stat::read(own()).is_ok_and(|us| us.session == own())
}

/// Whether someone above us does job control and could bring us back if we stopped: our process
/// group is not orphaned (POSIX, "Orphaned Process Group"), as far as our ancestors show.
pub fn has_shell() -> bool {
    if own() == 1 {
        // The kernel does not stop it.
        return false;
    }
    let Ok(us) = Stat::read(own()) else { return false };
    let mut above = us.parent;
    for _ in 0..MOST_ANCESTORS {
        let Ok(ancestor) = Stat::read(above) else { return false };
        if ancestor.session != us.session {
            return false;
        }
        if ancestor.group != us.group {
            return true;
        }
        above = ancestor.parent;
    }
    false
}

/// Stops our process group, as the default action of a terminal's stop signal would; returns once
/// someone has us go on.
pub fn stop_ourselves() {
    kill_current_process_group(kernel::Signal::STOP).ok();
}
