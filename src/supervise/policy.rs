//! What supervision does on which event: synchronous, total, and without a process.
//!
//! A command that ends by itself is never started anew. A signal from outside is forwarded and
//! nothing more; one that terminates ends every plan of our own.

use crate::os::process::{End, Holder};
use crate::os::signal::{CONT, INT, QUIT, Signal, TERM, TSTP, TTIN, TTOU};

/// What becomes of the command for a change's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is started anew.
    Restart,
    /// It is ended, and so are we, with this code.
    Exit(u8),
}

/// The rest of the process group of a command that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupAtEnd {
    /// It runs on.
    Left,
    /// It is killed, and is to be gone before the end.
    Killed,
}

/// Our own process group, as job control sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnGroup {
    /// A process above us does job control, and could bring us back after we stopped.
    Controlled,
    /// No process could (POSIX, "Orphaned Process Group").
    Orphaned,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal came from outside.
    Signal(Signal),
    /// The command is to have what it was not started with.
    Changed,
    /// The wait that an action began is over.
    TimeOver,
    /// What the next command is given is there to be given.
    Ready,
    /// It is not.
    Unready,
    /// The command was stopped.
    Stopped {
        /// What stopped it.
        by: Signal,
        /// Who has the terminal.
        holder: Holder,
        /// Our own process group.
        own_group: OwnGroup,
    },
    /// The command has ended.
    Ended(End),
    /// Nobody of the command's group is left.
    GroupGone,
}

/// What is to be done.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send the signal to the command, alone.
    Forward(Signal),
    /// Have the command's group go on, with the terminal if it had it before.
    Continue,
    /// Give the command the terminal if it is ours to give, and have its group go on.
    Give,
    /// Stop ourselves, as the command was.
    StopOurselves,
    /// Begin to wait for a random part of the splay.
    Splay,
    /// Prove that the next command can be given what it is to have.
    Prepare,
    /// Send the stop signal to the command; begin to wait for the stop timeout.
    Stop,
    /// Kill the command's group.
    Kill,
    /// Kill what is left of the group of a command that has ended; begin to wait for its end.
    Clear,
    /// Start a command.
    Start,
    /// End with this code.
    Exit(u8),
}

/// What comes when a group is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterGroup {
    Start,
    Exit(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The command runs, and nothing is planned.
    Running,
    /// It runs; it is to be stopped when the splay is over.
    Splaying,
    /// It runs; whether it can be replaced is being proven.
    Preparing,
    /// It was asked to stop.
    Stopping,
    /// It is being killed.
    Killing,
    /// None runs; what is left of the last one's group may not be gone.
    Between(AfterGroup),
    Over,
}

/// The state of supervision. It begins before the first command, as if another had just ended.
#[derive(Clone, Debug)]
pub struct Policy {
    change: Change,
    stop: Signal,
    at_end: GroupAtEnd,
    phase: Phase,
    /// The command was stopped, and not told by us to go on.
    stopped: bool,
    /// A terminating signal has come: nothing is planned any more.
    terminated: bool,
}

impl Policy {
    /// Begins before the first command; `stop` is the signal that stops a command, which from
    /// outside terminates as well.
    pub fn new(change: Change, stop: Signal, at_end: GroupAtEnd) -> Self {
        let phase = Phase::Between(AfterGroup::Start);
        Self { change, stop, at_end, phase, stopped: false, terminated: false }
    }

    /// Whether a change is taken up now; otherwise it is no longer asked for, or it waits until what
    /// goes on has come to its end.
    pub fn takes_changes(&self) -> bool {
        self.phase == Phase::Running && !self.terminated
    }

    /// Whether nothing is planned any more, because we were told to end.
    pub fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Whether the wait that the last action began still counts.
    pub fn waits(&self) -> bool {
        matches!(self.phase, Phase::Splaying | Phase::Stopping | Phase::Between(_))
    }

    /// Whether no command runs, and the last one's group is to be gone before anything else.
    pub fn is_between(&self) -> bool {
        matches!(self.phase, Phase::Between(_))
    }

    /// Decides.
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

    /// Whether a signal asks for the end: from then on nothing is planned any more.
    fn terminates(&self, signal: Signal) -> bool {
        [TERM, INT, self.stop].contains(&signal)
    }

    fn on_signal(&mut self, signal: Signal) -> Action {
        let terminates = self.terminates(signal);
        // It asks some programs for their end, and others for a report, after which they go on.
        let pre_empts = terminates || signal == QUIT;
        match self.phase {
            Phase::Over => Action::Nothing,
            Phase::Between(AfterGroup::Start) if pre_empts => {
                let code = End::Signal(signal).code();
                self.go(Phase::Between(AfterGroup::Exit(code)), Action::Nothing)
            }
            // There is nobody to forward it to.
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
            // It asked for the terminal in the moment before it was given to it, or while it was ours.
            Holder::Command | Holder::Ourselves if for_the_terminal => {
                self.stopped = false;
                Action::Give
            }
            // Somebody has stopped it in the background, and knows why.
            Holder::Other if !for_the_terminal && by != TSTP => Action::Nothing,
            _ if own_group == OwnGroup::Controlled => Action::StopOurselves,
            // Nobody could bring it back.
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
        self.go(Phase::Between(next), Action::Clear)
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
