//! The decisions of supervision: an action for each event, synchronous and total, without a
//! process.
//!
//! A command that ends by itself is never started again. A signal from outside is forwarded and
//! causes no other action, but a terminating one cancels every plan of a restart.

use crate::os::process::{End, Holder};
use crate::os::signal::{CONT, INT, QUIT, Signal, TERM, TSTP, TTIN, TTOU};

/// The effect of a changed set on the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The command is stopped and started again.
    Restart,
    /// The command is stopped, and the agent exits with this code.
    Exit(u8),
}

/// The rest of the process group of a command that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupAtEnd {
    /// It keeps running.
    Left,
    /// It is killed, and the agent exits only once it is gone.
    Killed,
}

/// The agent's own process group, as job control sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnGroup {
    /// A parent does job control, and could continue the agent after a stop.
    Controlled,
    /// No process could continue it (POSIX, "Orphaned Process Group").
    Orphaned,
}

/// An event of supervision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal came from outside.
    Signal(Signal),
    /// The set has changed since the command was started.
    Changed,
    /// The wait that an action began is over.
    TimeOver,
    /// The command can be started with the current set.
    Ready,
    /// The command can't be started with the current set.
    Unready,
    /// The command was stopped.
    Stopped {
        /// The signal that stopped it.
        by: Signal,
        /// The holder of the terminal.
        holder: Holder,
        /// The agent's own process group.
        own_group: OwnGroup,
    },
    /// The command has ended.
    Ended(End),
    /// The command's group has no process any more.
    GroupGone,
}

/// An action of supervision.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do nothing.
    Nothing,
    /// Send the signal to the command, alone.
    Forward(Signal),
    /// Continue the command's group, with the terminal if it had it before.
    Continue,
    /// Give the command the terminal if the agent's group holds it, and continue the command's
    /// group.
    GiveTerminal,
    /// Stop the agent, as the command was stopped.
    StopOurselves,
    /// Begin to wait for a random part of the splay.
    Splay,
    /// Check that the command can be started with the current set.
    Prepare,
    /// Send the stop signal to the command; begin to wait for the stop timeout.
    Stop,
    /// Kill the command's group.
    Kill,
    /// Kill the rest of the group of a command that has ended; begin to wait for its end.
    KillRest,
    /// Start a command.
    Start,
    /// Exit with this code.
    Exit(u8),
}

/// The step after the end of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterGroup {
    Start,
    Exit(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The command runs, and no restart is planned.
    Running,
    /// The command runs; it is to be stopped when the splay is over.
    Splaying,
    /// The command runs, during the check that it can be started again.
    Preparing,
    /// The stop signal was sent to the command.
    Stopping,
    /// The command was killed, and has not ended yet.
    Killing,
    /// No command runs; the rest of the last one's group may not be gone yet.
    Between(AfterGroup),
    Over,
}

/// The state of supervision. It begins as if an earlier command had just ended.
#[derive(Clone, Debug)]
pub struct Policy {
    change: Change,
    stop: Signal,
    at_end: GroupAtEnd,
    phase: Phase,
    /// The command was stopped, and not continued by the agent.
    stopped: bool,
    /// A terminating signal has come: no restart is planned any more.
    terminated: bool,
}

impl Policy {
    /// Begins before the first command. `stop` is the signal that stops a command; from outside, it
    /// is a terminating one.
    pub fn new(change: Change, stop: Signal, at_end: GroupAtEnd) -> Self {
        let phase = Phase::Between(AfterGroup::Start);
        Self { change, stop, at_end, phase, stopped: false, terminated: false }
    }

    /// Tells whether [`Event::Changed`] has an effect now. Else no restart is wanted any more, or
    /// the change waits for the end of the present phase.
    pub fn takes_changes(&self) -> bool {
        self.phase == Phase::Running && !self.terminated
    }

    /// Tells whether a terminating signal has come, so that no restart is planned any more.
    pub fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Tells whether the wait that the last action began still counts.
    pub fn waits(&self) -> bool {
        matches!(self.phase, Phase::Splaying | Phase::Stopping | Phase::Between(_))
    }

    /// Tells whether no command runs, and the next step waits for the end of the last one's group.
    pub fn is_between(&self) -> bool {
        matches!(self.phase, Phase::Between(_))
    }

    /// Decides on the action for `event`.
    pub fn on(&mut self, event: Event) -> Action {
        match event {
            Event::Signal(signal) => self.on_signal(signal),
            Event::Changed if self.takes_changes() => self.go(Phase::Splaying, Action::Splay),
            Event::TimeOver => self.on_time_over(),
            Event::Ready if self.phase == Phase::Preparing => {
                self.go(Phase::Stopping, Action::Stop)
            }
            Event::Unready if self.phase == Phase::Preparing => {
                self.go(Phase::Running, Action::Nothing)
            }
            Event::Stopped { by, holder, own_group } => self.on_stopped(by, holder, own_group),
            Event::Ended(end) => self.on_ended(end),
            Event::GroupGone => self.on_group_gone(),
            Event::Changed | Event::Ready | Event::Unready => Action::Nothing,
        }
    }

    fn go(&mut self, phase: Phase, action: Action) -> Action {
        self.phase = phase;
        action
    }

    /// Tells whether a signal terminates: no restart is planned after it.
    fn terminates(&self, signal: Signal) -> bool {
        // A container's runtime sends TERM, or the image's `StopSignal` (OCI image specification);
        // a terminal sends INT.
        [TERM, INT, self.stop].contains(&signal)
    }

    fn on_signal(&mut self, signal: Signal) -> Action {
        let terminates = self.terminates(signal);
        // SIGQUIT ends some programs, and makes others (a JVM) write a report and continue.
        let pre_empts = terminates || signal == QUIT;
        match self.phase {
            Phase::Over => Action::Nothing,
            Phase::Between(AfterGroup::Start) if pre_empts => {
                let code = End::Signal(signal).code();
                self.go(Phase::Between(AfterGroup::Exit(code)), Action::Nothing)
            }
            // No command runs that it could be forwarded to.
            Phase::Between(_) => Action::Nothing,
            Phase::Running
            | Phase::Splaying
            | Phase::Preparing
            | Phase::Stopping
            | Phase::Killing => {
                self.terminated |= terminates;
                if pre_empts {
                    self.phase = Phase::Running;
                }
                if signal == CONT && self.stopped {
                    self.stopped = false;
                    return Action::Continue;
                }
                Action::Forward(signal)
            }
        }
    }

    fn on_time_over(&mut self) -> Action {
        match (self.phase, self.change) {
            (Phase::Splaying, Change::Restart) => self.go(Phase::Preparing, Action::Prepare),
            (Phase::Splaying, Change::Exit(_)) => self.go(Phase::Stopping, Action::Stop),
            (Phase::Stopping, _) => self.go(Phase::Killing, Action::Kill),
            (Phase::Between(_), _) => self.on_group_gone(),
            (Phase::Running | Phase::Preparing | Phase::Killing | Phase::Over, _) => {
                Action::Nothing
            }
        }
    }

    fn on_stopped(&mut self, by: Signal, holder: Holder, own_group: OwnGroup) -> Action {
        let for_the_terminal = by == TTIN || by == TTOU;
        self.stopped = holder != Holder::Nobody;
        match holder {
            Holder::Nobody => Action::Nothing,
            // It used the terminal just before it was given to it, or while the agent's group held
            // it.
            Holder::Command | Holder::Ourselves if for_the_terminal => {
                self.stopped = false;
                Action::GiveTerminal
            }
            // Another process has stopped it in the background, on purpose.
            Holder::Other if !for_the_terminal && by != TSTP => Action::Nothing,
            _ if own_group == OwnGroup::Controlled => Action::StopOurselves,
            // No process could continue it.
            Holder::Command | Holder::Ourselves | Holder::Other if by == TSTP => {
                self.stopped = false;
                Action::Continue
            }
            Holder::Command | Holder::Ourselves | Holder::Other => Action::Nothing,
        }
    }

    fn on_ended(&mut self, end: End) -> Action {
        self.stopped = false;
        let next = match (self.phase, self.change) {
            (Phase::Stopping | Phase::Killing, Change::Restart) => AfterGroup::Start,
            (Phase::Stopping | Phase::Killing, Change::Exit(code)) => AfterGroup::Exit(code),
            (Phase::Running | Phase::Splaying | Phase::Preparing, _) => match self.at_end {
                GroupAtEnd::Killed => AfterGroup::Exit(end.code()),
                GroupAtEnd::Left => return self.go(Phase::Over, Action::Exit(end.code())),
            },
            (Phase::Between(_) | Phase::Over, _) => return Action::Nothing,
        };
        self.go(Phase::Between(next), Action::KillRest)
    }

    fn on_group_gone(&mut self) -> Action {
        match self.phase {
            Phase::Between(AfterGroup::Start) => self.go(Phase::Running, Action::Start),
            Phase::Between(AfterGroup::Exit(code)) => self.go(Phase::Over, Action::Exit(code)),
            Phase::Running
            | Phase::Splaying
            | Phase::Preparing
            | Phase::Stopping
            | Phase::Killing
            | Phase::Over => Action::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
