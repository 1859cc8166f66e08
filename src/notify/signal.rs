//! Notifying processes by a signal: by name, or by a PID file.

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

/// The first and the longest wait for a handler between two looks.
const STEPS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Looks at a family whose members end meanwhile.
const MOST_LOOKS: u32 = 16;

const SHARE: &str = "the agent is process 1, so it sees no other container: set \
                     shareProcessNamespace: true in the pod spec";

const HANDLE: &str =
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

/// One process, never mistaken for a later one of its number.
type Identity = (i32, StartTime);

/// A wait for handlers.
#[derive(Debug)]
struct Withhold {
    until: Instant,
    step: Duration,
    /// Who held the signal back at the last look.
    blocking: Vec<Identity>,
}

/// The signal that notifies, and the processes that it is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignalBy<'a> {
    pub(super) processes: &'a dyn Processes,
    /// The clock that processes are as old by.
    pub(super) clock: &'a dyn Clock,
    pub(super) signal: Signal,
    /// The time for which it waits for a handler before that is said.
    pub(super) limit: Duration,
}

/// Processes that are notified by a signal.
pub(super) struct Signalled<'a> {
    target: SignalTarget,
    by: SignalBy<'a>,
    attempts: Attempts,
    /// The processes that were notified of the order.
    notified: Vec<Identity>,
    withhold: Option<Withhold>,
    /// Somebody of the name has been there.
    seen: bool,
    health: Health,
}

/// The first generation, which an app that starts after it has read.
const FIRST: Generation = Generation(1);
const UNSEEN: &str = "a process reads the published set when it starts; if it runs already, its container must share the PID namespace and SEGURA_SIGNAL_PROCESS must be its name";

/// How one try at one process went.
enum Tried {
    Notified,
    Gone,
    /// It would die.
    Withheld,
    /// It may die, or it takes signals by hand.
    Blocked,
    Failed(Finding),
}

/// The processes that are left after one attempt at all of them.
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

    /// Who is meant as things stand, held before being looked at.
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
        for _ in 0..MOST_LOOKS {
            if let Some(held) = hold_named(processes, name).map_err(unlisted)? {
                self.seen |= !held.is_empty();
                return Ok(held);
            }
        }
        Err(unlisted(io::Error::other("they start and end too fast")))
    }

    /// Attempts to signal every process; clears the order once none is left.
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
            // Somebody else may now be meant.
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

    /// Tells whether no process of the name was ever seen: then it is the wrong name, or a namespace that
    /// is not shared, and no app that is between two starts.
    fn is_never_seen(&self) -> bool {
        matches!(self.target, SignalTarget::Name(_)) && !self.seen
    }

    fn never_seen(&self) -> Finding {
        let text = format!("no process was notified of a change: {} was never seen", self.target);
        Finding::warning(text, UNSEEN)
    }

    fn notify_all(&mut self, order: Order, held: Vec<HeldProcess>) -> Unnotified {
        let latest = StartTime::at(order.published);
        let mut left = Unnotified::default();
        for HeldProcess { process, hold } in held {
            let identity = (process.pid, process.start);
            // Who is younger has read what was published.
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
            // Whoever blocks it for a moment only does so at one look, not at two.
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
                format!("the agent may not signal {process}"),
                "run the agent as the user of that process (runAsUser), or as root with the KILL \
                 capability",
            );
        }
        Finding::warning(
            format!("cannot send {signal} to {process}: {error}"),
            "the agent tries again at the next renewal pass",
        )
    }

    /// Has the next look come in its time, or says that the wait was in vain.
    fn withhold(&mut self, process: &Process, blocking: Vec<Identity>) {
        let now = Instant::now();
        let withhold = self.withhold.get_or_insert_with(|| Withhold {
            until: now + self.by.limit,
            step: STEPS.0,
            blocking: Vec::new(),
        });
        withhold.blocking = blocking;
        if now < withhold.until {
            self.attempts.retry_at(withhold.until.min(now + withhold.step));
            withhold.step = withhold.step.saturating_mul(2).min(STEPS.1);
        } else {
            self.health.fails(Finding::warning(self.deadly(process), HANDLE));
        }
    }

    fn deadly(&self, process: &Process) -> String {
        let signal = self.by.signal;
        format!("{process} has no handler for {signal} and would die of it; the signal is withheld")
    }
}

/// Holds a child of our own, unless it has ended.
fn hold(processes: &dyn Processes, pid: Option<i32>) -> io::Result<Option<HeldProcess>> {
    let Some(pid) = pid else { return Ok(None) };
    match processes.hold(pid) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Holds everyone of this name; none if someone was gone before being held: who heads the family
/// then is another.
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
            // It has just been started, and can't have a handler yet.
            return Vec::new();
        }
        let held = match self.held() {
            Err(finding) => return vec![finding],
            Ok(held) => held,
        };
        if held.is_empty() {
            let text = format!("the agent does not see {}", self.target);
            return vec![match self.by.processes.own() {
                1 => Finding::warning(text, SHARE),
                _ => Finding::expected(text, UNSEEN),
            }];
        }
        let findings = held.iter().filter_map(|HeldProcess { process, hold }| match hold.probe() {
            Ok(()) => {
                let reaction = hold.reaction(self.by.signal);
                let dies = reaction.is_ok_and(|reaction| reaction == Reaction::Dies);
                dies.then(|| Finding::expected(self.deadly(process), HANDLE))
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
    fn a_signal_that_is_not_allowed_is_told_with_its_remedy() {
        let signal = Signal::parse("HUP").unwrap();
        let processes = PidNamespace::new(Reaper::listening());
        let limit = Duration::ZERO;
        let by = SignalBy { processes: &processes, clock: &Machine, signal, limit };
        let signalled = Signalled::by_name("x".to_owned(), by);
        let process = Process::read(own()).unwrap();
        let told = |kind: ErrorKind| signalled.refused(&process, &kind.into());
        assert!(told(ErrorKind::PermissionDenied).hint.contains("runAsUser"));
        assert!(told(ErrorKind::OutOfMemory).text.starts_with("cannot send SIGHUP to "));
    }
}
