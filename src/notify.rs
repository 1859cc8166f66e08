//! Notifying the main process that published bytes have changed.
//!
//! At least once for each publish, by every way that is configured. What is under way lives in the
//! targets, not in futures, so nothing is lost when a future is dropped; a target that can't be
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

/// An order to notify of a generation, which is current since this time of the boot clock; the time
/// tells one order from another.
#[derive(Clone, Copy, Debug)]
struct Order {
    generation: Generation,
    published: Duration,
}

/// The time that each way may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// A signal waits this long for a handler before that is said.
    withhold: Duration,
    /// A command may run.
    command: Duration,
    /// A request may take.
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

/// Ends when the target has been notified; pending for ever where only a later pass can help.
type Working<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One way to notify.
trait Target {
    /// Finds what can't work, or not yet.
    fn look(&mut self) -> Vec<Finding> {
        Vec::new()
    }

    /// Lists what would be done.
    fn would(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Gives what has been logged of it.
    fn health(&mut self) -> &mut Health;

    /// Goes on with the order that is left, as if it were of this generation.
    fn carry_on(&mut self, generation: Generation);

    /// Takes an order, in place of any before it.
    fn publish(&mut self, order: Order);

    /// The same for an order that is about files alone.
    fn restore(&mut self, order: Order) {
        self.publish(order);
    }

    /// Makes an attempt due at once, if an order is left.
    fn pass(&mut self);

    /// Works on the order, if there is one. Cancel-safe.
    fn work(&mut self) -> Working<'_>;
}

/// Notifies all targets.
pub struct Notifier<'a> {
    targets: Vec<Box<dyn Target + 'a>>,
    order: Option<Order>,
}

impl<'a> Notifier<'a> {
    /// Notifies `processes`, whose ages are of `clock`; of nothing before the first
    /// [`Notifier::publish`].
    pub fn new(notify: Notify, processes: &'a dyn Processes, clock: &'a dyn Clock) -> Self {
        Self::within(notify, processes, clock, LIMITS)
    }

    /// The same for `command` as well, which is notified as `on_change` says.
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

    /// Tells whether there is any target.
    pub fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Counts each failed attempt in `failures`.
    pub fn count_failures(&mut self, failures: &Rc<Cell<u64>>) {
        for target in &mut self.targets {
            target.health().failures = Rc::clone(failures);
        }
    }

    /// Tells whether an order is left.
    pub fn is_pending(&self) -> bool {
        self.order.is_some()
    }

    /// Logs what can't work now, each with its remedy; notifies no target.
    pub fn look(&mut self) {
        for target in &mut self.targets {
            for finding in target.look() {
                target.health().says(finding);
            }
        }
    }

    /// Finds what a notification would come to now; notifies no target.
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

    /// Orders a notification of `generation`, which is current since `published`, of the boot clock.
    /// It replaces an order of an older one.
    pub fn publish(&mut self, generation: Generation, published: Duration) {
        let order = Order { generation, published };
        self.order = Some(order);
        for target in &mut self.targets {
            target.publish(order);
        }
    }

    /// The same where the values of `generation` are those of the one before, and only files had been
    /// changed by something else: a target that reads no files is not notified.
    pub fn restore(&mut self, generation: Generation, published: Duration) {
        let order = Order { generation, published };
        self.order = Some(order);
        for target in &mut self.targets {
            target.restore(order);
        }
    }

    /// Goes on as of `generation`, which needs no notification: an order that is left counts for it, and
    /// a target that was notified is not again. Tells whether an order is left.
    pub fn carry_on(&mut self, generation: Generation) -> bool {
        for target in &mut self.targets {
            target.carry_on(generation);
        }
        self.order.as_mut().map(|order| order.generation = generation).is_some()
    }

    /// Makes an attempt due at once where an order is left.
    pub fn pass(&mut self) {
        for target in &mut self.targets {
            target.pass();
        }
    }

    /// Notifies; ends with the generation once every target has been notified of it, or has no process
    /// that is older than its publish. Pending for ever while there is no order, or only a later
    /// [`Notifier::pass`] can help. Cancel-safe: nothing is lost, nothing starts twice.
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

/// What a notification would come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It would work, and do this.
    Would(String),
    /// It might not.
    MayNot {
        /// Why.
        text: String,
        /// What to do about it.
        hint: &'static str,
    },
}

/// Something that can't work, in one line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// Whether it may well come right by itself.
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

    fn say(&self) {
        let hint = self.hint;
        if self.expected {
            tracing::info!(hint, "{}", self.text);
        } else {
            tracing::warn!(hint, "{}", self.text);
        }
    }
}

/// Logs once that a target can't be notified, and once that this is over.
#[derive(Debug, Default)]
struct Health {
    said: Option<Finding>,
    failed: bool,
    /// The number of attempts that failed.
    failures: Rc<Cell<u64>>,
}

impl Health {
    fn says(&mut self, finding: Finding) {
        if self.said.as_ref() != Some(&finding) {
            finding.say();
            self.said = Some(finding);
        }
    }

    fn fails(&mut self, finding: Finding) {
        self.failed = true;
        self.failures.set(self.failures.get().saturating_add(1));
        self.says(finding);
    }

    fn works(&mut self, target: &dyn fmt::Display) {
        self.said = None;
        if std::mem::take(&mut self.failed) {
            tracing::info!("{target} can be notified again");
        }
    }
}

#[cfg(test)]
mod tests;
