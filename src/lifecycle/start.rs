//! The first set: adopts the published one, or else fetches and publishes one. Deprovisions what it
//! provisioned without publishing it.

mod adopt;
mod keep;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::config::settings::{RenewInterval, StartupTimeout};
use crate::exit::{Failure, chain};
use crate::lifecycle::deprovision;
use crate::lifecycle::fetch::{FirstFetch, Posts};
use crate::lifecycle::publish::{
    Heartbeat, PublishError, Publisher, Remarked, Stamp, due, first, origin,
};
use crate::lifecycle::schedule::{Next, Tries, first_due};
use crate::model::{Bundle, Generation, Outcome, Retry, SecretName};
use crate::os::clock::{Clock, Deadline, Moment};
use crate::os::signal::Signal;
use crate::store::state::{Origin, State, millis};
use crate::store::{LINGER, Store};
use crate::vault::error::Cause;
use crate::vault::{Connect, Source, Token};
pub use adopt::{Adopted, adoptable};

/// The longest step between tries of a start.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// The least time for tries to publish the set, however late it was fetched.
const PUBLISH_FOR: Duration = Duration::from_secs(5);
/// The longest time from the first set to the first heartbeat of renewal.
const BEGINS: Duration = Duration::from_secs(60);

/// The first set.
pub struct FirstSet {
    /// The result of its publication.
    pub outcome: Outcome,
    /// Its state.
    pub state: State,
    /// The token of the start's requests, if it sent any.
    pub token: Option<Token>,
}

/// A start, in any mode that publishes.
pub struct Start<'a, V> {
    config: &'a Config,
    store: &'a mut Store,
    origin: &'a Origin,
    first_fetch: FirstFetch,
    /// The identities whose secrets are kept for the next start.
    durable: BTreeSet<SecretName>,
    /// The longest time that the replacement of accounts that have run out takes.
    replacing: Duration,
    tries: Tries,
    began: Instant,
    after: After,
    remarked: Remarked,
    edges: StartEdges<'a, V>,
}

/// The edges of a start, which a simulation replaces.
pub struct StartEdges<'a, V> {
    /// The clocks.
    pub clock: &'a dyn Clock,
    /// The generator of every random number.
    pub random: fastrand::Rng,
    /// The source of the secrets.
    pub vault: V,
}

/// The step after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The agent ends.
    Nothing,
    /// The agent renews the set.
    Renewal,
}

impl<'a, V: Connect> Start<'a, V> {
    /// Prepares a start; sends no request and writes no file.
    pub fn new(
        config: &'a Config,
        store: &'a mut Store,
        origin: &'a Origin,
        after: After,
        mut edges: StartEdges<'a, V>,
    ) -> Self {
        let mut posts = Posts::new(store.pending(origin), edges.clock.boot());
        store.to_read_first(origin).into_iter().for_each(|name| posts.read_first(name));
        let first_fetch = FirstFetch::new(posts);
        let tries = Tries::new(LONGEST_STEP, edges.random.fork());
        Self {
            config,
            store,
            origin,
            first_fetch,
            durable: BTreeSet::new(),
            replacing: Duration::ZERO,
            tries,
            began: Instant::now(),
            after,
            remarked: Remarked::default(),
            edges,
        }
    }

    /// Serves the `adopted` set, after one read if it is due, or else fetches a set. Fails once
    /// `ended` gives a signal.
    pub async fn first(
        &mut self,
        adopted: Option<Adopted>,
        mut ended: impl AsyncFnMut() -> Signal,
    ) -> Result<FirstSet, Failure> {
        let Some(adopted) = adopted else {
            let first_set = self.fetch_unless(ended()).await?;
            return self.renew_kept(first_set, ended()).await;
        };
        self.expect_replacement(&adopted);
        tokio::select! {
            first_set = self.adopt_or_renew(adopted) => first_set,
            signal = ended() => Err(ended_by(signal)),
        }
    }

    /// Serves the `adopted` set, due or not, or else fetches a set. Fails once `ended` gives a
    /// signal.
    pub async fn begin(
        &mut self,
        adopted: Option<Adopted>,
        ended: impl Future<Output = Signal>,
    ) -> Result<FirstSet, Failure> {
        let Some(mut adopted) = adopted else {
            return self.fetch_unless(ended).await;
        };
        match self.adopt(&mut adopted) {
            Ok(outcome) => Ok(FirstSet { outcome, state: adopted.state, token: None }),
            Err(error) => tokio::select! {
                first_set = self.refetch(adopted, error) => first_set,
                signal = ended => Err(ended_by(signal)),
            },
        }
    }

    /// Gives the remarks on the set that have been logged.
    pub fn remarked(self) -> Remarked {
        self.remarked
    }

    /// Prepares the connection to the vault: reads and checks every file that it needs.
    fn connect(&self) -> Result<V::Source, Failure> {
        self.edges.vault.connect(&mut None).map_err(|error| error.failure())
    }

    /// Checks that the directory can be written, before any request to the vault.
    fn prove(&self) -> Result<(), Failure> {
        let identities = self.config.wanted.identities.iter().map(SecretName::top);
        let identities = identities.filter(|_| self.config.layout.files);
        let names: Vec<&str> = identities.chain(self.config.layout.documents()).collect();
        self.store.prove(&names).map_err(|error| error.failure())
    }

    /// Fetches and publishes the first set. On a failure, or once `ended` gives a signal,
    /// deprovisions the accounts that this process has provisioned and that are not kept.
    pub async fn fetch_unless(
        &mut self,
        ended: impl Future<Output = Signal>,
    ) -> Result<FirstSet, Failure> {
        self.prove()?;
        let mut client = self.connect()?;
        self.resume();
        let first_set = tokio::select! {
            first_set = self.fetch_and_publish(&mut client) => first_set,
            signal = ended => Err(ended_by(signal)),
        };
        match first_set {
            Ok((outcome, state)) => {
                let token = self.edges.vault.end(client);
                Ok(FirstSet { outcome, state, token })
            }
            Err(failure) => {
                let posts = &mut self.first_fetch.posts;
                let lost = posts.own().difference(&self.durable).cloned().collect();
                posts.deprovisioned(&deprovision::unpublished(&mut client, lost).await);
                self.record_posts();
                Err(failure)
            }
        }
    }

    /// Fetches and publishes the first set; retries until the startup timeout is over.
    async fn fetch_and_publish(
        &mut self,
        source: &mut impl Source,
    ) -> Result<(Outcome, State), Failure> {
        let deadline = match self.config.startup_timeout {
            StartupTimeout::After(limit) => Deadline::At(self.began + limit),
            StartupTimeout::Never => Deadline::Never,
        };
        source.end_by(deadline);
        let mut bundle = self.fetch(source, deadline).await?;
        let published = self.publish(source, &mut bundle, deadline.at_least(PUBLISH_FOR)).await?;
        self.store.drop_kept();
        self.first_fetch.posts.published();
        self.record_posts();
        Ok(published)
    }

    async fn fetch(
        &mut self,
        source: &mut impl Source,
        deadline: Deadline,
    ) -> Result<Bundle, Failure> {
        let mut logged = None;
        // The last failure that the vault caused: a try that the deadline cuts short must not hide
        // it.
        let mut last: Option<Failure> = None;
        loop {
            let Self { config, store, origin, first_fetch, edges, .. } = self;
            // A POST is recorded before it is sent: this process may be killed before the answer
            // comes.
            let record = |posts: &mut Posts| posts.save(&***store, origin, edges.clock.boot());
            let attempt = first_fetch.attempt(source, &config.wanted, edges.clock, record);
            let error = match attempt.await {
                Ok(bundle) => {
                    if logged.is_some() {
                        tracing::info!("the vault answers again");
                    }
                    self.tries.succeeded();
                    return Ok(bundle);
                }
                Err(error) => error,
            };
            self.keep_done();
            let cut_short = deadline.is_over() && matches!(error.cause, Cause::TimedOut(_));
            let failure = match last.take() {
                Some(before) if cut_short => before,
                Some(_) | None => error.failure(),
            };
            last = Some(failure.clone());
            self.pause(error.retry(), deadline, failure, &mut logged).await?;
        }
    }

    async fn publish(
        &mut self,
        source: &mut impl Source,
        bundle: &mut Bundle,
        deadline: Deadline,
    ) -> Result<(Outcome, State), Failure> {
        let mut logged = None;
        let mut is_read = false;
        loop {
            let error = match self.publish_once(bundle) {
                Ok(published) => return Ok(published),
                Err(error) => error,
            };
            self.keep(bundle);
            let retry = match error {
                // The vault may have versions of kept secrets that can be rendered.
                PublishError::Render(_) if !std::mem::replace(&mut is_read, true) => {
                    if self.reread_kept(source, bundle).await {
                        continue;
                    }
                    Retry::Never
                }
                PublishError::Render(_) => Retry::Never,
                PublishError::Write(_) => Retry::Backoff,
            };
            self.pause(retry, deadline, error.failure(), &mut logged).await?;
        }
    }

    fn publish_once(&mut self, bundle: &Bundle) -> Result<(Outcome, State), PublishError> {
        let (renew, heartbeat, now) = (self.config.renew, self.heartbeat(), self.edges.clock.now());
        // A set is as old as the oldest secret in it.
        let seen = |name: &SecretName| self.first_fetch.seen(name, now.boot);
        let oldest = bundle.secrets.keys().map(seen).min().unwrap_or(now.boot);
        let fetched = Moment { boot: oldest, wall: now.wall - (now.boot - oldest) };
        let notified = Generation::default();
        let stamp = stamp(bundle, renew, notified, heartbeat, fetched, &mut self.edges.random);
        let refresh = self.first_fetch.settled();
        let mut state = first(bundle, self.origin, refresh, &stamp, fetched);
        for secret in &mut state.secrets {
            secret.seen = millis(self.first_fetch.seen(&secret.identity, now.boot));
        }
        let before = self.store.remembered().filter(|state| state.origin == *self.origin);
        let outcome = self.publisher().publish(bundle, &mut state)?;
        self.keep_notified(outcome, before, &mut state);
        Ok((outcome, state))
    }

    /// Continues the state `before` of a set that could not be adopted, and that the vault has now
    /// confirmed byte for byte: nobody is notified of it again.
    fn keep_notified(&self, outcome: Outcome, before: Option<State>, state: &mut State) {
        let (Outcome::Unchanged(generation), Some(before)) = (outcome, before) else {
            return;
        };
        if before.generation != generation {
            return;
        }
        state.notified = before.notified;
        state.changed_at = before.changed_at;
        state.boot_ms.changed = before.boot_ms.changed;
        self.save(state);
    }

    /// Writes the state; logs a failure.
    fn save(&self, state: &State) {
        if let Err(error) = self.store.save(state) {
            tracing::warn!(
                error = chain(&error),
                "the state file could not be written and is behind the published set"
            );
        }
    }

    /// Waits before the next try, or gives up with `failure`. Logs the failure unless it is the one
    /// that was `logged` last.
    async fn pause(
        &mut self,
        retry: Retry,
        deadline: Deadline,
        failure: Failure,
        logged: &mut Option<String>,
    ) -> Result<(), Failure> {
        let Next::In(wait) = self.tries.after_failure(retry) else {
            return Err(failure);
        };
        if deadline.is_over() {
            return Err(self.gave_up(failure));
        }
        if logged.as_deref() != Some(failure.message.as_str()) {
            let hint = failure.hint.as_deref();
            tracing::warn!(
                error = failure.message,
                hint,
                "the start has not succeeded yet; trying again"
            );
            *logged = Some(failure.message.clone());
        }
        if wait >= deadline.left() {
            // The vault asked for a longer wait than is left: no further try is possible.
            deadline.over().await;
            return Err(self.gave_up(failure));
        }
        sleep(wait).await;
        Ok(())
    }

    fn gave_up(&self, failure: Failure) -> Failure {
        let after = Duration::from_secs(self.began.elapsed().as_secs());
        let after = humantime::format_duration(after);
        Failure { message: format!("{}; gave up after {after}", failure.message), ..failure }
    }

    /// Gives the heartbeat that is due after the start; renewal then replaces it by its own.
    fn heartbeat(&self) -> Heartbeat {
        match self.after {
            After::Renewal => Heartbeat::By(self.edges.clock.boot() + BEGINS + self.replacing),
            After::Nothing => Heartbeat::None,
        }
    }

    /// Writes what was posted, as far as it bounds later POSTs.
    fn record_posts(&mut self) {
        let now = self.edges.clock.boot();
        self.first_fetch.posts.save_or_log(&**self.store, self.origin, now);
    }

    fn publisher(&mut self) -> Publisher<'_> {
        Publisher {
            store: self.store,
            layout: &self.config.layout,
            remarked: &mut self.remarked,
            clock: self.edges.clock,
        }
    }
}

/// Fetches and publishes a set that is not renewed. Fails once `ended` gives a signal before the
/// set is published; gives a signal that comes after that.
pub async fn once(
    config: &Config,
    mut store: Store,
    edges: StartEdges<'_, impl Connect>,
    mut ended: impl AsyncFnMut() -> Signal,
) -> Result<Option<Signal>, Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let adopted = adoptable(&store, &origin);
    let mut start = Start::new(config, &mut store, &origin, After::Nothing, edges);
    let FirstSet { outcome, .. } = start.first(adopted, &mut ended).await?;
    let replaced = matches!(outcome, Outcome::Published(generation) if generation > Generation(1));
    if !replaced {
        return Ok(None);
    }
    let signal = tokio::select! {
        () = sleep(LINGER) => None,
        signal = ended() => Some(signal),
    };
    store.sweep();
    Ok(signal)
}

/// Plans the next pass after a start: sooner than by the secrets alone, so that pods that start
/// together don't fetch together.
fn stamp(
    bundle: &Bundle,
    renew: RenewInterval,
    notified: Generation,
    heartbeat: Heartbeat,
    now: Moment,
    random: &mut fastrand::Rng,
) -> Stamp {
    let due = due(bundle, renew, now.wall).map(|due| first_due(due, renew, random));
    Stamp::new(notified, due.end(now.boot), heartbeat, now)
}

/// Gives the failure of a start that `signal` ends.
pub fn ended_by(signal: Signal) -> Failure {
    Failure::signalled(u8::try_from(signal.number()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
