//! Notifying the main process that published bytes have changed.
//!
//! Every configured target is notified at least once for each publish. The targets hold the state
//! of an attempt, not the futures, so a dropped future loses nothing. A target that can't be
//! notified now is tried again at the next pass, and costs nothing until then.

mod attempts;
mod child;
mod command;
mod job;
mod pid_file;
mod signal;
mod url;

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use child::Restart;
pub use child::Supervised;
use command::NotifyCommand;
use job::Job;
use signal::{SignalBy, Signalled};
use url::Post;

use crate::config::settings::{Notify, OnChange};
use crate::model::Generation;
use crate::os::clock::Clock;
use crate::os::process::{Processes, Program};

/// An order to notify of a generation. `published` is the time of its publish by the boot clock,
/// and identifies the order.
#[derive(Clone, Copy, Debug)]
struct Order {
    generation: Generation,
    published: Duration,
}

/// The time limits of each way to notify.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The time that a signal waits for a handler before the agent warns.
    withhold: Duration,
    /// The time that a command may run.
    command: Duration,
    /// The time that a request may take.
    post: Duration,
    /// The time from a failure to the next attempt, which a pass shortens.
    backoff: Duration,
}

const LIMITS: Limits = Limits {
    withhold: Duration::from_secs(60),
    command: Duration::from_secs(30),
    post: Duration::from_secs(10),
    backoff: Duration::from_secs(120),
};

/// The work on one target's order: ends once the target was notified, and stays pending where only
/// a later pass can help.
type Working<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One way to notify.
trait Target {
    /// Lists what can't work, or not yet; notifies nothing.
    fn look(&mut self) -> Vec<Finding> {
        Vec::new()
    }

    /// Lists the actions of a notification, one line each; takes none of them.
    fn would(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The record of this target's logged findings.
    fn health(&mut self) -> &mut Health;

    /// Changes the generation of the pending order, if there is one.
    fn carry_on(&mut self, generation: Generation);

    /// Takes an order, which replaces a pending one.
    fn publish(&mut self, order: Order);

    /// Takes an order whose values are those of the generation before it: only files differ.
    fn restore(&mut self, order: Order) {
        self.publish(order);
    }

    /// Makes an attempt due at once, if an order is pending.
    fn pass(&mut self);

    /// Works on the pending order, if there is one. Cancel-safe.
    fn work(&mut self) -> Working<'_>;
}

/// The targets of the settings, and the order that is pending.
pub struct Notifier<'a> {
    targets: Vec<Box<dyn Target + 'a>>,
    order: Option<Order>,
}

impl<'a> Notifier<'a> {
    /// Makes a notifier that finds and signals `processes`, whose start times are those of `clock`.
    /// It notifies nothing before the first [`Notifier::publish`].
    pub fn new(notify: Notify, processes: &'a dyn Processes, clock: &'a dyn Clock) -> Self {
        Self::within(notify, processes, clock, LIMITS)
    }

    /// Makes a notifier that has `command` as a target too, which is notified as `on_change` says.
    pub fn supervising(
        notify: Notify,
        command: &Rc<Supervised>,
        on_change: OnChange,
        processes: &'a dyn Processes,
        clock: &'a dyn Clock,
    ) -> Self {
        let command = Rc::clone(command);
        let own: Option<Box<dyn Target + 'a>> = match on_change {
            OnChange::Signal => {
                let by =
                    SignalBy { processes, clock, signal: notify.signal, limit: LIMITS.withhold };
                Some(Box::new(Signalled::supervised(command, by)))
            }
            OnChange::Restart | OnChange::Exit(_) => Some(Box::new(Restart::new(command))),
            OnChange::Nothing => None,
        };
        let mut notifier = Self::new(notify, processes, clock);
        notifier.targets.extend(own);
        notifier
    }

    fn within(
        notify: Notify,
        processes: &'a dyn Processes,
        clock: &'a dyn Clock,
        limits: Limits,
    ) -> Self {
        let mut targets: Vec<Box<dyn Target + 'a>> = Vec::new();
        let by = SignalBy { processes, clock, signal: notify.signal, limit: limits.withhold };
        if let Some(path) = notify.pid_file {
            targets.push(Box::new(Signalled::by_pid_file(path, by)));
        }
        if let Some(name) = notify.process {
            targets.push(Box::new(Signalled::by_name(name, by)));
        }
        let program =
            notify.command.map(|words| Program::new(words.into_iter().map(OsString::from)));
        if let Some(program) = program.flatten() {
            let (environment, limit) = (notify.environment, limits.command);
            let command = NotifyCommand { program, environment, processes, limit };
            targets.push(Box::new(Job::new(command, limits.backoff)));
        }
        if let Some(url) = notify.url {
            let post = Post { url, limit: limits.post };
            targets.push(Box::new(Job::new(post, limits.backoff)));
        }
        Self { targets, order: None }
    }

    /// Reports if there is any target.
    pub fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Counts each failed attempt in `failures`.
    pub fn count_failures(&mut self, failures: &Rc<Cell<u64>>) {
        for target in &mut self.targets {
            target.health().failures = Rc::clone(failures);
        }
    }

    /// Reports if an order is pending.
    pub fn is_pending(&self) -> bool {
        self.order.is_some()
    }

    /// Logs every finding of the targets, with its remedy; notifies no target.
    pub fn look(&mut self) {
        for target in &mut self.targets {
            for finding in target.look() {
                target.health().log(finding);
            }
        }
    }

    /// Lists the outcome that a notification would have now; notifies no target.
    pub fn outlook(&mut self) -> Vec<Outlook> {
        let mut outlook = Vec::new();
        for target in &mut self.targets {
            let findings = target.look();
            if findings.is_empty() {
                outlook.extend(target.would().into_iter().map(Outlook::Would));
            }
            let may_not = |Finding { text, hint, .. }| Outlook::MayNot { text, hint };
            outlook.extend(findings.into_iter().map(may_not));
        }
        outlook
    }

    /// Orders a notification of `generation`, which was published at `published` by the boot clock.
    /// It replaces a pending order.
    pub fn publish(&mut self, generation: Generation, published: Duration) {
        let order = Order { generation, published };
        self.order = Some(order);
        for target in &mut self.targets {
            target.publish(order);
        }
    }

    /// Orders a notification of `generation`, whose values are those of the one before: another
    /// process had changed files, and they are restored. A target that reads no files is not
    /// notified.
    pub fn restore(&mut self, generation: Generation, published: Duration) {
        let order = Order { generation, published };
        self.order = Some(order);
        for target in &mut self.targets {
            target.restore(order);
        }
    }

    /// Changes the pending order to `generation`, which needs no notification of its own; a target
    /// that was notified is not notified again. Returns `true` if an order is pending.
    pub fn carry_on(&mut self, generation: Generation) -> bool {
        for target in &mut self.targets {
            target.carry_on(generation);
        }
        self.order.as_mut().map(|order| order.generation = generation).is_some()
    }

    /// Makes an attempt due at once, if an order is pending.
    pub fn pass(&mut self) {
        for target in &mut self.targets {
            target.pass();
        }
    }

    /// Notifies all targets; returns the generation once each was notified of it, or has no process
    /// older than its publish. Stays pending while there is no order, and where only a later
    /// [`Notifier::pass`] can help. Cancel-safe: no attempt is lost or starts twice.
    pub async fn notified(&mut self) -> Generation {
        let Some(order) = self.order else {
            return pending().await;
        };
        let mut working: Vec<_> = self.targets.iter_mut().map(|target| target.work()).collect();
        poll_fn(|context| {
            working.retain_mut(|work| work.as_mut().poll(context).is_pending());
            if working.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(working);
        self.order = None;
        order.generation
    }
}

/// The outcome that a notification would have.
#[derive(Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It would work, and take this action.
    Would(String),
    /// It may not work.
    MayNot {
        /// The reason.
        text: String,
        /// The remedy.
        hint: &'static str,
    },
}

/// Something that can't work, in one line, and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// A normal state of a start, which may end by itself: it is no warning.
    expected: bool,
    text: String,
    hint: &'static str,
}

impl Finding {
    fn warning(text: impl Into<String>, hint: &'static str) -> Self {
        Self { expected: false, text: text.into(), hint }
    }

    fn expected(text: impl Into<String>, hint: &'static str) -> Self {
        Self { expected: true, text: text.into(), hint }
    }

    fn log(&self) {
        let hint = self.hint;
        if self.expected {
            tracing::info!(hint, "{}", self.text);
        } else {
            tracing::warn!(hint, "{}", self.text);
        }
    }
}

/// The last logged finding of a target: a finding is logged once, and its end once.
#[derive(Debug, Default)]
struct Health {
    logged: Option<Finding>,
    /// The last attempt failed.
    failed: bool,
    /// The number of attempts that failed.
    failures: Rc<Cell<u64>>,
}

impl Health {
    /// Logs a finding, unless it is the one that was logged last.
    fn log(&mut self, finding: Finding) {
        if self.logged.as_ref() != Some(&finding) {
            finding.log();
            self.logged = Some(finding);
        }
    }

    /// Counts a failed attempt, and logs its reason.
    fn fails(&mut self, finding: Finding) {
        self.failed = true;
        self.failures.set(self.failures.get().saturating_add(1));
        self.log(finding);
    }

    /// Ends a failure, if there was one, and logs that.
    fn works(&mut self, target: &dyn fmt::Display) {
        self.logged = None;
        if std::mem::take(&mut self.failed) {
            tracing::info!("{target} can be notified again");
        }
    }
}

#[cfg(test)]
mod tests;
