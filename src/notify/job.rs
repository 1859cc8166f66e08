//! Notifying by attempts: one at a time, each with a time limit, repeated until one succeeds.

use std::time::Duration;

use tokio::time::Instant;

use super::attempts::Attempts;
use super::{Finding, Health, Order, Target, Working};
use crate::model::Generation;
use crate::os::clock::Deadline;

/// A way to notify by attempts that take time and may fail.
pub(super) trait Way {
    /// An attempt under way.
    type Attempt;

    /// The name of the way in log lines, without arguments or tokens.
    fn name(&self) -> String;

    /// Logs that an attempt has succeeded.
    fn succeeded(&self, generation: Generation);

    /// The line of a plan: the action that an attempt would take.
    fn would(&self) -> String;

    /// Lists what can't work now; makes no attempt.
    fn look(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// The time that one attempt may take.
    fn limit(&self) -> Duration;

    /// Starts an attempt.
    fn start(&self) -> Result<Self::Attempt, Finding>;

    /// Waits for the end of an attempt and returns its result. Cancel-safe.
    async fn end(&self, attempt: &mut Self::Attempt) -> Result<(), Finding>;

    /// Ends an attempt that has reached its limit; [`Way::end`] then fails for that reason.
    fn stop(&self, attempt: &mut Self::Attempt);
}

/// Notifies by attempts of one way; of several publishes during an attempt, the latest is notified.
pub(super) struct Job<W: Way> {
    way: W,
    /// The time from a failure to the next attempt, which a pass shortens.
    backoff: Duration,
    attempts: Attempts,
    run: Option<Run<W::Attempt>>,
    health: Health,
}

/// An attempt under way, and the order that it is for.
struct Run<A> {
    attempt: A,
    order: Order,
    /// The time at which the attempt is stopped, once.
    deadline: Deadline,
}

impl<A> Run<A> {
    /// Waits for the end of the attempt, and stops it at its deadline. Cancel-safe.
    async fn end(&mut self, way: &impl Way<Attempt = A>) -> Result<(), Finding> {
        tokio::select! {
            biased;
            result = way.end(&mut self.attempt) => return result,
            () = self.deadline.over() => {}
        }
        way.stop(&mut self.attempt);
        self.deadline = Deadline::Never;
        way.end(&mut self.attempt).await
    }
}

impl<W: Way> Job<W> {
    /// Makes a job that repeats a failed attempt after `backoff`, or at a pass before that.
    pub(super) fn new(way: W, backoff: Duration) -> Self {
        let (attempts, health) = (Attempts::default(), Health::default());
        Self { way, backoff, attempts, run: None, health }
    }

    fn start(&mut self, order: Order) {
        match self.way.start() {
            Ok(attempt) => {
                let deadline = Deadline::after(self.way.limit());
                self.run = Some(Run { attempt, order, deadline });
            }
            Err(finding) => self.failed(finding),
        }
    }

    /// Records the end of an attempt at `order`, which leaves a newer order as it is.
    fn ended(&mut self, order: Order, result: Result<(), Finding>) {
        match result {
            Ok(()) => {
                self.way.succeeded(order.generation);
                self.health.works(&self.way.name());
                self.attempts.done(order);
            }
            Err(finding) => self.failed(finding),
        }
    }

    fn failed(&mut self, finding: Finding) {
        self.attempts.retry_at(Instant::now() + self.backoff);
        self.health.fails(finding);
    }
}

impl<W: Way> Target for Job<W> {
    fn look(&mut self) -> Vec<Finding> {
        self.way.look()
    }

    fn would(&mut self) -> Vec<String> {
        vec![self.way.would()]
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn publish(&mut self, order: Order) {
        self.attempts.publish(order);
    }

    fn carry_on(&mut self, generation: Generation) {
        self.attempts.carry_on(generation);
    }

    fn pass(&mut self) {
        // An attempt under way may still succeed; only a publish makes another one due after it.
        if self.run.is_none() {
            self.attempts.pass();
        }
    }

    fn work(&mut self) -> Working<'_> {
        Box::pin(async {
            while let Some(order) = self.attempts.order() {
                if let Some(run) = &mut self.run {
                    let result = run.end(&self.way).await;
                    let order = run.order;
                    self.run = None;
                    self.ended(order, result);
                } else {
                    self.attempts.next().await;
                    self.start(order);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::ready;
    use std::pin::Pin;

    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const BACKOFF: Duration = Duration::from_secs(120);
    const TICK: Duration = Duration::from_millis(1);

    type FakeAttempt = Pin<Box<dyn Future<Output = Result<(), Finding>>>>;

    /// A way whose attempts end as a list says: each succeeds, fails, or never ends (`None`).
    struct Fake {
        ends: RefCell<Vec<Option<Result<(), Finding>>>>,
        started: Cell<usize>,
        stopped: Cell<usize>,
        succeeded: RefCell<Vec<Generation>>,
    }

    impl Way for Fake {
        type Attempt = FakeAttempt;

        fn name(&self) -> String {
            "the fake".to_owned()
        }

        fn succeeded(&self, generation: Generation) {
            self.succeeded.borrow_mut().push(generation);
        }

        fn would(&self) -> String {
            "would try".to_owned()
        }

        fn limit(&self) -> Duration {
            LIMIT
        }

        fn start(&self) -> Result<FakeAttempt, Finding> {
            self.started.set(self.started.get() + 1);
            let end = self.ends.borrow_mut().remove(0);
            Ok(end.map_or_else(
                || Box::pin(std::future::pending()) as FakeAttempt,
                |end| Box::pin(ready(end)),
            ))
        }

        async fn end(&self, attempt: &mut FakeAttempt) -> Result<(), Finding> {
            attempt.await
        }

        fn stop(&self, attempt: &mut FakeAttempt) {
            self.stopped.set(self.stopped.get() + 1);
            *attempt = Box::pin(ready(failure()));
        }
    }

    fn failure() -> Result<(), Finding> {
        Err(Finding::warning("it failed", "try again"))
    }

    fn job(ends: impl IntoIterator<Item = Option<Result<(), Finding>>>) -> Job<Fake> {
        let ends = RefCell::new(ends.into_iter().collect());
        let (started, stopped) = (Cell::default(), Cell::default());
        Job::new(Fake { ends, started, stopped, succeeded: RefCell::default() }, BACKOFF)
    }

    fn order(number: u64) -> Order {
        Order { generation: Generation(number), published: Duration::from_secs(number) }
    }

    /// Works as far as possible without a wait; returns `true` if the order is done.
    async fn works(job: &mut Job<Fake>) -> bool {
        tokio::select! {
            biased;
            () = job.work() => true,
            () = ready(()) => false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_is_repeated_after_the_backoff_or_at_a_pass() {
        let mut job = job([Some(failure()), Some(failure()), Some(Ok(()))]);
        job.publish(order(1));
        assert!(!works(&mut job).await);
        advance(BACKOFF - TICK).await;
        assert!(!works(&mut job).await);
        assert_eq!(job.way.started.get(), 1);
        advance(TICK).await;
        assert!(!works(&mut job).await);
        assert_eq!((job.way.started.get(), job.health.failures.get()), (2, 2));
        job.pass();
        assert!(works(&mut job).await);
        assert_eq!((job.way.started.get(), job.health.failures.get()), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_stopped_at_its_limit_and_repeated_like_any_that_failed() {
        let mut job = job([None, Some(Ok(()))]);
        job.publish(order(1));
        assert!(!works(&mut job).await);
        job.pass();
        advance(LIMIT - TICK).await;
        assert!(!works(&mut job).await);
        assert_eq!(job.way.stopped.get(), 0);
        advance(TICK).await;
        assert!(!works(&mut job).await);
        assert_eq!((job.way.stopped.get(), job.way.started.get()), (1, 1), "a pass came too early");
        advance(BACKOFF).await;
        assert!(works(&mut job).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_comes_during_an_attempt_gets_an_attempt_of_its_own() {
        let mut job = job([None, Some(Ok(()))]);
        job.publish(order(1));
        assert!(!works(&mut job).await);
        job.publish(order(2));
        let run = job.run.as_mut().unwrap();
        run.attempt = Box::pin(ready(Ok(())));
        assert!(works(&mut job).await);
        assert_eq!(job.way.started.get(), 2);
        assert_eq!(job.way.succeeded.take(), [Generation(1), Generation(2)]);
    }
}
