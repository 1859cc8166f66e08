//! Notifying by a signal: processes of a name, the process of a PID file, or the command of `exec`.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempts::Attempts;
use super::pid_file::PidFile;
use super::{Finding, Health, Order, Supervised, Target, Working};
use crate::model::Generation;
use crate::os::clock::Clock;
use crate::os::process::{HeldProcess, Hold, Process, Processes, Reaction, StartTime};
use crate::os::signal::Signal;

/// The first and the longest wait between two checks for a handler.
const CHECK_WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The number of listings of a name before giving up: each time a listed process ended meanwhile.
const MAX_LISTINGS: u32 = 16;

const SHARE_HINT: &str = "the agent is process 1, so it sees no other container: set \
                     shareProcessNamespace: true in the pod spec";

const HANDLER_HINT: &str =
    "the main process must handle that signal, or set SEGURA_SIGNAL to one that it handles";

/// The target of a signal.
#[derive(Debug)]
enum SignalTarget {
    Name(String),
    PidFile(PidFile),
    Command(Rc<Supervised>),
}

impl fmt::Display for SignalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the process {name}"),
            Self::PidFile(file) => write!(f, "the process of {}", file.path().display()),
            Self::Command(_) => f.write_str("the command"),
        }
    }
}

/// One process: a later process of the same number has another start time.
type Identity = (i32, StartTime);

/// A wait until processes have a handler.
#[derive(Debug)]
struct Withhold {
    until: Instant,
    step: Duration,
    /// The processes that blocked the signal at the last check.
    blocking: Vec<Identity>,
}

/// The signal that notifies, and the processes that it is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignalBy<'a> {
    pub(super) processes: &'a dyn Processes,
    /// The clock of the processes' start times.
    pub(super) clock: &'a dyn Clock,
    pub(super) signal: Signal,
    /// The time that the signal waits for a handler before the agent warns.
    pub(super) limit: Duration,
}

/// Processes that are notified by a signal.
pub(super) struct Signalled<'a> {
    target: SignalTarget,
    by: SignalBy<'a>,
    attempts: Attempts,
    /// The processes that were notified of the pending order.
    notified: Vec<Identity>,
    withhold: Option<Withhold>,
    /// A process of the name was seen before.
    seen: bool,
    health: Health,
}

/// The first generation: an app that starts after its publish reads it, and needs no signal.
const FIRST: Generation = Generation(1);
const UNSEEN_HINT: &str = "a process reads the published set when it starts; if it runs already, its container must share the PID namespace and SEGURA_SIGNAL_PROCESS must be its name";

/// The result of one attempt at one process.
enum Tried {
    Notified,
    Gone,
    /// The signal would end it.
    Withheld,
    /// It blocks the signal: for a moment, or to take it by `signalfd(2)` or `sigwait(3)`.
    Blocked,
    Failed(Finding),
}

/// The processes that one attempt at all of them did not notify.
#[derive(Default)]
struct Unnotified {
    failed: Option<Finding>,
    withheld: Option<Process>,
    blocking: Vec<Identity>,
    gone: bool,
}

impl<'a> Signalled<'a> {
    pub(super) fn by_name(name: String, by: SignalBy<'a>) -> Self {
        Self::new(SignalTarget::Name(name), by)
    }

    pub(super) fn by_pid_file(path: PathBuf, by: SignalBy<'a>) -> Self {
        Self::new(SignalTarget::PidFile(PidFile::new(path)), by)
    }

    pub(super) fn supervised(command: Rc<Supervised>, by: SignalBy<'a>) -> Self {
        Self::new(SignalTarget::Command(command), by)
    }

    fn new(target: SignalTarget, by: SignalBy<'a>) -> Self {
        Self {
            target,
            by,
            attempts: Attempts::default(),
            notified: Vec::new(),
            withhold: None,
            seen: false,
            health: Health::default(),
        }
    }

    /// Holds the processes that the target names now, each before it is examined: a held number
    /// can't pass to another process unnoticed (`pidfd_open(2)`).
    fn held(&mut self) -> Result<Vec<HeldProcess>, Finding> {
        let SignalBy { processes, clock, .. } = self.by;
        let name = match &mut self.target {
            SignalTarget::PidFile(file) => return Ok(vec![file.hold(processes, clock.now())?]),
            SignalTarget::Command(command) => {
                return hold(processes, command.pid())
                    .map(|held| held.into_iter().collect())
                    .map_err(unlisted);
            }
            SignalTarget::Name(name) => name,
        };
        for _ in 0..MAX_LISTINGS {
            if let Some(held) = hold_named(processes, name).map_err(unlisted)? {
                self.seen |= !held.is_empty();
                return Ok(held);
            }
        }
        Err(unlisted(io::Error::other("its processes start and end too fast")))
    }

    /// Attempts to signal every process; drops the order once all are notified.
    fn attempt(&mut self, order: Order) {
        if let SignalTarget::Command(command) = &self.target
            && command.has(order.generation)
        {
            self.attempts.done(order);
            return;
        }
        let Unnotified { failed, withheld, blocking, gone } = match self.held() {
            Ok(held) => self.notify_all(order, held),
            Err(finding) => Unnotified { failed: Some(finding), ..Unnotified::default() },
        };
        if gone {
            // The target may name another process now.
            self.attempts.retry_at(Instant::now());
        } else if failed.is_none() && withheld.is_none() {
            self.attempts.done(order);
            if self.is_never_seen() && order.generation > FIRST {
                self.health.fails(self.never_seen());
            } else {
                self.health.works(&self.target);
            }
        }
        if let Some(finding) = failed {
            self.health.fails(finding);
        }
        if let Some(process) = withheld {
            self.withhold(&process, blocking);
        }
    }

    /// Reports if no process of the name was ever seen: the name is wrong or the PID namespace is
    /// not shared, for an app between two starts was seen before.
    fn is_never_seen(&self) -> bool {
        matches!(self.target, SignalTarget::Name(_)) && !self.seen
    }

    fn never_seen(&self) -> Finding {
        let text = format!("no process was notified of a change: {} was never seen", self.target);
        Finding::warning(text, UNSEEN_HINT)
    }

    fn notify_all(&mut self, order: Order, held: Vec<HeldProcess>) -> Unnotified {
        let latest = StartTime::at(order.published);
        let mut left = Unnotified::default();
        for HeldProcess { process, hold } in held {
            let identity = (process.pid, process.start);
            // A process that started after the publish has read the new files.
            if process.start > latest || self.notified.contains(&identity) {
                continue;
            }
            match self.notify(&*hold, &process) {
                Tried::Notified => {
                    self.notified.push(identity);
                    let (generation, signal) = (order.generation, self.by.signal);
                    tracing::info!(%generation, "notified {process} with {signal}");
                }
                Tried::Gone => left.gone = true,
                Tried::Withheld => left.withheld = Some(process),
                Tried::Blocked => {
                    left.blocking.push(identity);
                    left.withheld = Some(process);
                }
                Tried::Failed(finding) => left.failed = Some(finding),
            }
        }
        left
    }

    fn notify(&self, hold: &dyn Hold, process: &Process) -> Tried {
        let signal = self.by.signal;
        let seen = |withhold: &Withhold| withhold.blocking.contains(&(process.pid, process.start));
        let sent = hold.reaction(signal).and_then(|reaction| match reaction {
            Reaction::Dies => Ok(Tried::Withheld),
            // A blocked signal takes effect once it is unblocked (signal(7)), and would then end a
            // process that blocks it for a moment; one that still does at the next check takes it
            // by signalfd(2).
            Reaction::Blocks if !self.withhold.as_ref().is_some_and(seen) => Ok(Tried::Blocked),
            Reaction::Blocks | Reaction::Lives => hold.signal(signal).map(|()| Tried::Notified),
        });
        match sent {
            Ok(tried) => tried,
            Err(error) if error.kind() == ErrorKind::NotFound => Tried::Gone,
            Err(error) => Tried::Failed(self.refused(process, &error)),
        }
    }

    fn refused(&self, process: &Process, error: &io::Error) -> Finding {
        let signal = self.by.signal;
        if error.kind() == ErrorKind::PermissionDenied {
            return Finding::warning(
                format!("the agent has no permission to signal {process}"),
                "run the agent as the user of that process (runAsUser), or as root with the KILL \
                 capability",
            );
        }
        Finding::warning(
            format!("cannot send {signal} to {process}: {error}"),
            "the agent tries again at the next renewal pass",
        )
    }

    /// Sets the time of the next check for a handler; warns once the limit is reached.
    fn withhold(&mut self, process: &Process, blocking: Vec<Identity>) {
        let now = Instant::now();
        let withhold = self.withhold.get_or_insert_with(|| Withhold {
            until: now + self.by.limit,
            step: CHECK_WAITS.0,
            blocking: Vec::new(),
        });
        withhold.blocking = blocking;
        if now < withhold.until {
            self.attempts.retry_at(withhold.until.min(now + withhold.step));
            withhold.step = withhold.step.saturating_mul(2).min(CHECK_WAITS.1);
        } else {
            self.health.fails(Finding::warning(self.no_handler(process), HANDLER_HINT));
        }
    }

    fn no_handler(&self, process: &Process) -> String {
        let signal = self.by.signal;
        format!("{process} has no handler for {signal}, which would end it: the signal is not sent")
    }
}

/// Holds the agent's own child, unless it has ended.
fn hold(processes: &dyn Processes, pid: Option<i32>) -> io::Result<Option<HeldProcess>> {
    let Some(pid) = pid else { return Ok(None) };
    match processes.hold(pid) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Holds all processes of this name; `None` if one of them ended before it was held: its children
/// of that name count now, so the processes must be listed again.
fn hold_named(processes: &dyn Processes, name: &str) -> io::Result<Option<Vec<HeldProcess>>> {
    let mut all = Vec::new();
    for listed in processes.named(name)? {
        match processes.hold(listed.pid) {
            Ok(held) if held.process.start == listed.start => all.push(held),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(all))
}

fn unlisted(error: io::Error) -> Finding {
    let text = format!("cannot list processes: {error}");
    Finding::warning(text, "/proc must be mounted; the agent tries again at the next renewal pass")
}

impl Target for Signalled<'_> {
    fn look(&mut self) -> Vec<Finding> {
        if let SignalTarget::Command(_) = self.target {
            // It has just started, and can't have a handler yet.
            return Vec::new();
        }
        let held = match self.held() {
            Err(finding) => return vec![finding],
            Ok(held) => held,
        };
        if held.is_empty() {
            let text = format!("the agent does not see {}", self.target);
            return vec![match self.by.processes.own() {
                1 => Finding::warning(text, SHARE_HINT),
                _ => Finding::expected(text, UNSEEN_HINT),
            }];
        }
        let findings = held.iter().filter_map(|HeldProcess { process, hold }| match hold.probe() {
            Ok(()) => {
                let reaction = hold.reaction(self.by.signal);
                let dies = reaction.is_ok_and(|reaction| reaction == Reaction::Dies);
                dies.then(|| Finding::expected(self.no_handler(process), HANDLER_HINT))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(self.refused(process, &error)),
        });
        findings.collect()
    }

    fn would(&mut self) -> Vec<String> {
        let signal = self.by.signal;
        let held = self.held().unwrap_or_default();
        held.iter().map(|held| format!("would send {signal} to {}", held.process)).collect()
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn carry_on(&mut self, generation: Generation) {
        self.attempts.carry_on(generation);
    }

    fn publish(&mut self, order: Order) {
        self.attempts.publish(order);
        self.notified.clear();
        self.withhold = None;
    }

    fn pass(&mut self) {
        self.attempts.pass();
    }

    fn work(&mut self) -> Working<'_> {
        Box::pin(async {
            while let Some(order) = self.attempts.order() {
                self.attempts.next().await;
                self.attempt(order);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock::Machine;
    use crate::os::process::{PidNamespace, Reaper, own};

    #[test]
    fn a_signal_that_is_not_allowed_is_reported_with_its_remedy() {
        let signal = Signal::parse("HUP").unwrap();
        let processes = PidNamespace::new(Reaper::listening());
        let limit = Duration::ZERO;
        let by = SignalBy { processes: &processes, clock: &Machine, signal, limit };
        let signalled = Signalled::by_name("x".to_owned(), by);
        let process = Process::read(own()).unwrap();
        let refused = |kind: ErrorKind| signalled.refused(&process, &kind.into());
        assert!(refused(ErrorKind::PermissionDenied).hint.contains("runAsUser"));
        assert!(refused(ErrorKind::OutOfMemory).text.starts_with("cannot send SIGHUP to "));
    }
}
