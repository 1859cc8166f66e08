//! Telling processes by a signal: by name, or by a PID file.

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
use crate::os::process::{self, Dispositions, Handle, Process, Reaction, StartTime};
use crate::os::signal::Signal;

/// The first and the longest wait for a handler between two looks.
const STEPS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Looks at a family whose members end meanwhile.
const MOST_LOOKS: u32 = 16;

const SHARE: &str = "the agent is process 1, so it sees no other container: set \
                     shareProcessNamespace: true in the pod spec";

/// Who is signalled.
#[derive(Debug)]
enum Whom {
    Name(String),
    PidFile(PidFile),
    Command(Rc<Supervised>),
}

impl fmt::Display for Whom {
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

/// Processes told by a signal.
pub(super) struct Signalled {
    whom: Whom,
    signal: Signal,
    limit: Duration,
    attempts: Attempts,
    /// Who has been told of the order.
    told: Vec<Identity>,
    withhold: Option<Withhold>,
    /// Somebody of the name has been there.
    seen: bool,
    health: Health,
}

/// The first generation, which an app that starts after it has read.
const FIRST: Generation = Generation(1);
const UNSEEN: &str = "it reads what stands when it starts; if it runs, see that its container shares \
                      the PID namespace and that SEGURA_SIGNAL_PROCESS is its name";

/// How one try at one process went.
enum Tried {
    Told,
    Gone,
    /// It would die.
    Withheld,
    /// It may die, or it takes signals by hand.
    Blocked,
    Failed(Finding),
}

/// Who is left to tell after one try at everyone.
#[derive(Default)]
struct Left {
    failed: Option<Finding>,
    withheld: Option<Process>,
    blocking: Vec<Identity>,
    gone: bool,
}

impl Signalled {
    pub(super) fn by_name(name: String, signal: Signal, limit: Duration) -> Self {
        Self::new(Whom::Name(name), signal, limit)
    }

    pub(super) fn by_pid_file(path: PathBuf, signal: Signal, limit: Duration) -> Self {
        Self::new(Whom::PidFile(PidFile::new(path)), signal, limit)
    }

    pub(super) fn supervised(command: Rc<Supervised>, signal: Signal, limit: Duration) -> Self {
        Self::new(Whom::Command(command), signal, limit)
    }

    fn new(whom: Whom, signal: Signal, limit: Duration) -> Self {
        Self {
            whom,
            signal,
            limit,
            attempts: Attempts::default(),
            told: Vec::new(),
            withhold: None,
            seen: false,
            health: Health::default(),
        }
    }

    /// Who is meant as things stand, held before being looked at.
    fn held(&mut self) -> Result<Vec<(Handle, Process)>, Finding> {
        let name = match &mut self.whom {
            Whom::PidFile(file) => return Ok(vec![file.hold()?]),
            Whom::Command(command) => {
                return hold(command.pid())
                    .map(|held| held.into_iter().collect())
                    .map_err(unlisted);
            }
            Whom::Name(name) => name,
        };
        for _ in 0..MOST_LOOKS {
            if let Some(held) = hold_named(name).map_err(unlisted)? {
                self.seen |= !held.is_empty();
                return Ok(held);
            }
        }
        Err(unlisted(io::Error::other("they come and go too fast")))
    }

    /// One try at everyone; clears the order once nobody is left to tell.
    fn attempt(&mut self, order: Order) {
        if let Whom::Command(command) = &self.whom
            && command.has(order.generation)
        {
            self.attempts.done(order);
            return;
        }
        let Left { failed, withheld, blocking, gone } = match self.held() {
            Ok(held) => self.tell_all(order, held),
            Err(finding) => Left { failed: Some(finding), ..Left::default() },
        };
        if gone {
            // Somebody else may now be meant.
            self.attempts.retry_at(Instant::now());
        } else if failed.is_none() && withheld.is_none() {
            self.attempts.done(order);
            if self.is_nobody() && order.generation > FIRST {
                self.health.fails(self.nobody());
            } else {
                self.health.works(&self.whom);
            }
        }
        if let Some(finding) = failed {
            self.health.fails(finding);
        }
        if let Some(process) = withheld {
            self.withhold(&process, blocking);
        }
    }

    /// Whether nobody of the name was ever there: then it is the wrong name, or a namespace that is
    /// not shared, and no app that is between two starts.
    fn is_nobody(&self) -> bool {
        matches!(self.whom, Whom::Name(_)) && !self.seen
    }

    fn nobody(&self) -> Finding {
        let text = format!("nobody was told of a change: there was never a sign of {}", self.whom);
        Finding::warning(text, UNSEEN)
    }

    fn tell_all(&mut self, order: Order, held: Vec<(Handle, Process)>) -> Left {
        let latest = StartTime::at(order.published);
        let mut left = Left::default();
        for (handle, process) in held {
            let identity = (process.pid, process.start);
            // Who is younger has read what was published.
            if process.start > latest || self.told.contains(&identity) {
                continue;
            }
            match self.tell(&handle, &process) {
                Tried::Told => {
                    self.told.push(identity);
                    let (generation, signal) = (order.generation, self.signal);
                    tracing::info!(%generation, "told {process} by {signal}");
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

    fn tell(&self, handle: &Handle, process: &Process) -> Tried {
        let seen = |withhold: &Withhold| withhold.blocking.contains(&(process.pid, process.start));
        let sent = Dispositions::read(process.pid).and_then(|dispositions| {
            match dispositions.reaction(self.signal) {
                Reaction::Dies => Ok(Tried::Withheld),
                // Whoever blocks it for a moment only does so at one look, not at two.
                Reaction::Blocks if !self.withhold.as_ref().is_some_and(seen) => Ok(Tried::Blocked),
                Reaction::Blocks | Reaction::Lives => {
                    handle.signal(self.signal).map(|()| Tried::Told)
                }
            }
        });
        match sent {
            Ok(tried) => tried,
            Err(error) if error.kind() == ErrorKind::NotFound => Tried::Gone,
            Err(error) => Tried::Failed(self.refused(process, &error)),
        }
    }

    fn refused(&self, process: &Process, error: &io::Error) -> Finding {
        let signal = self.signal;
        if error.kind() == ErrorKind::PermissionDenied {
            return Finding::warning(
                format!("may not signal {process}"),
                "run the agent as the user of that process (runAsUser), or as root with the KILL \
                 capability",
            );
        }
        Finding::warning(
            format!("cannot send {signal} to {process}: {error}"),
            "it is tried again at the next pass",
        )
    }

    /// Has the next look come in its time, or says that the wait was in vain.
    fn withhold(&mut self, process: &Process, blocking: Vec<Identity>) {
        let now = Instant::now();
        let withhold = self.withhold.get_or_insert_with(|| Withhold {
            until: now + self.limit,
            step: STEPS.0,
            blocking: Vec::new(),
        });
        withhold.blocking = blocking;
        if now < withhold.until {
            self.attempts.retry_at(withhold.until.min(now + withhold.step));
            withhold.step = withhold.step.saturating_mul(2).min(STEPS.1);
        } else {
            self.health.fails(self.deadly(process, false));
        }
    }

    fn deadly(&self, process: &Process, expected: bool) -> Finding {
        let signal = self.signal;
        Finding {
            expected,
            text: format!(
                "{process} has no handler for {signal} and would die of it; it is withheld"
            ),
            hint: "have the main process handle it, or set SEGURA_SIGNAL to a signal that it handles",
        }
    }
}

/// Holds a child of our own, unless it has ended.
fn hold(pid: Option<i32>) -> io::Result<Option<(Handle, Process)>> {
    let Some(pid) = pid else { return Ok(None) };
    match Handle::open(pid).and_then(|handle| Ok((handle.process()?, handle))) {
        Ok((process, handle)) => Ok(Some((handle, process))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Holds everyone of this name; none if someone was gone before being held: who heads the family
/// then is another.
fn hold_named(name: &str) -> io::Result<Option<Vec<(Handle, Process)>>> {
    let mut all = Vec::new();
    for listed in process::named(name)? {
        match Handle::open(listed.pid).and_then(|handle| Ok((handle.process()?, handle))) {
            Ok((process, handle)) if process.start == listed.start => all.push((handle, process)),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(all))
}

fn unlisted(error: io::Error) -> Finding {
    let text = format!("cannot look at processes: {error}");
    Finding::warning(text, "see that /proc is mounted; it is tried again at the next pass")
}

impl Target for Signalled {
    fn look(&mut self) -> Vec<Finding> {
        if let Whom::Command(_) = self.whom {
            // It has just been started, and can't have a handler yet.
            return Vec::new();
        }
        let held = match self.held() {
            Err(finding) => return vec![finding],
            Ok(held) => held,
        };
        if held.is_empty() {
            let text = format!("there is no sign of {}", self.whom);
            return vec![match process::own() {
                1 => Finding::warning(text, SHARE),
                _ => Finding::expected(text, UNSEEN),
            }];
        }
        let findings = held.iter().filter_map(|(handle, process)| {
            let dies = |found: Dispositions| found.reaction(self.signal) == Reaction::Dies;
            match handle.probe() {
                Ok(()) => {
                    let dies = Dispositions::read(process.pid).is_ok_and(dies);
                    dies.then(|| self.deadly(process, true))
                }
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => Some(self.refused(process, &error)),
            }
        });
        findings.collect()
    }

    fn would(&mut self) -> Vec<String> {
        let signal = self.signal;
        let held = self.held().unwrap_or_default();
        held.iter().map(|(_, process)| format!("would send {signal} to {process}")).collect()
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn carry_on(&mut self, generation: Generation) {
        self.attempts.carry_on(generation);
    }

    fn publish(&mut self, order: Order) {
        self.attempts.publish(order);
        self.told.clear();
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

    #[test]
    fn a_signal_that_is_not_allowed_is_told_with_its_remedy() {
        let signal = Signal::parse("HUP").unwrap();
        let signalled = Signalled::by_name("x".to_owned(), signal, Duration::ZERO);
        let process = Process::read(process::own()).unwrap();
        let told = |kind: ErrorKind| signalled.refused(&process, &kind.into());
        assert!(told(ErrorKind::PermissionDenied).hint.contains("runAsUser"));
        assert!(told(ErrorKind::OutOfMemory).text.starts_with("cannot send SIGHUP to "));
    }
}
