//! The controlling terminal and its foreground process group.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{self as kernel, Pid, kill_current_process_group, test_kill_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

use super::end::Holder;
use super::{Stat, number, own};

/// The most ancestors that are followed up to a shell.
const MOST_ANCESTORS: usize = 64;

/// The controlling terminal of the agent.
///
/// The agent must block `SIGTTOU`: `tcsetpgrp(3)` from a background group stops the caller
/// otherwise.
#[derive(Debug)]
pub struct Terminal {
    descriptor: OwnedFd,
    /// The group that it was given to last.
    given: Option<Pid>,
    /// Its modes when the agent started.
    modes: Option<Termios>,
    /// True if no other process is in the agent's group, which might need it.
    alone: bool,
}

impl Terminal {
    /// Opens it; none if the agent has none.
    pub fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let descriptor = open("/dev/tty", flags, Mode::empty()).ok()?;
        let modes = tcgetattr(&descriptor).ok();
        Some(Self { descriptor, given: None, modes, alone: is_alone() })
    }

    /// Gives it to the group of this number if the agent is alone in its own group. Others there,
    /// such as the rest of a pipeline or a script, may need it; then the command gets it when it
    /// asks.
    pub fn offer(&mut self, group: i32) {
        if self.alone || self.given.is_some() {
            self.give(group);
        }
    }

    /// Gives it to the group of this number, if the agent may.
    pub fn give(&mut self, group: i32) {
        let Some(group) = Pid::from_raw(group) else { return };
        if self.is_ours() && tcsetpgrp(&self.descriptor, group).is_ok() {
            self.given = Some(group);
        }
    }

    /// Restores the modes that it had when the agent started, if the agent may: a killed program
    /// may have left it without echo.
    pub fn reset(&self) {
        if let Some(modes) = self.modes.as_ref().filter(|_| self.is_ours()) {
            tcsetattr(&self.descriptor, OptionalActions::Now, modes).ok();
        }
    }

    /// Takes it back from the group that has it, for the program that runs after the agent.
    pub fn take_back(&mut self) {
        self.lend_back();
        self.given = None;
    }

    /// Takes it back until the next command is offered it.
    pub fn lend_back(&mut self) {
        if self.given.is_some() && self.is_ours() {
            // Fails if the terminal is gone.
            own_group().map(|group| tcsetpgrp(&self.descriptor, group).ok());
        }
    }

    /// The holder: the group of this number, the agent's own, or another.
    pub fn holder(&self, group: i32) -> Holder {
        match tcgetpgrp(&self.descriptor) {
            Ok(has) if has.as_raw_pid() == group => Holder::Command,
            Ok(has) if Some(has) == own_group() => Holder::Ourselves,
            Ok(_) | Err(_) => Holder::Other,
        }
    }

    /// True if the agent may give it away: its holder is the agent's group, the group that the
    /// agent gave it to, or one without members; or the agent leads the session, so that no shell
    /// above it does job control.
    fn is_ours(&self) -> bool {
        tcgetpgrp(&self.descriptor).is_ok_and(|has| {
            Some(has) == own_group()
                || Some(has) == self.given
                || leads_session()
                || test_kill_process_group(has) == Err(Errno::SRCH)
        })
    }
}

/// The agent's process group; none if it is outside of the agent's PID namespace.
fn own_group() -> Option<Pid> {
    Pid::from_raw(Stat::read(own()).ok()?.group)
}

/// True if the agent's process group has no other member, or if `/proc` can't be read.
fn is_alone() -> bool {
    let (Ok(us), Ok(entries)) = (Stat::read(own()), fs::read_dir("/proc")) else { return true };
    let pids = entries.filter_map(|entry| number(&entry.ok()?.file_name()));
    let mut others = pids.filter(|pid| *pid != own());
    !others.any(|pid| Stat::read(pid).is_ok_and(|other| other.group == us.group))
}

fn leads_session() -> bool {
    Stat::read(own()).is_ok_and(|us| us.session == own())
}

/// True if a shell above the agent does job control and can continue the agent after a stop: its
/// process group is not orphaned (POSIX, "Orphaned Process Group"), as far as its ancestors show.
pub fn has_shell() -> bool {
    if own() == 1 {
        // The default action of a stop signal does not apply to process 1 (`pid_namespaces(7)`).
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

/// Stops the agent's process group, as the default action of a terminal's stop signal would;
/// returns once a `SIGCONT` continues it.
pub fn stop_ourselves() {
    kill_current_process_group(kernel::Signal::STOP).ok();
}
