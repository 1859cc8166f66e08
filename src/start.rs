//! The first set: adopted where one stands, else obtained, published, or given back.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock;
use crate::config::Config;
use crate::deprovision;
use crate::exit::{Failure, chain};
use crate::model::{Bundle, Generation, Outcome, Retry, SecretName};
use crate::obtain::{Asking, Obtaining, Renewed, again};
use crate::pass::{
    Candidate, Current, Failed, Fetched, HeldBack, Prepared, PublishError, Publisher, Remarked,
    Replaced, Stamp, due, first, origin,
};
use crate::schedule::{Next, RenewInterval, Tries, first_due};
use crate::settings::{Refresh, Source as Way};
use crate::signal::Signal;
use crate::state::{Origin, Settled, State, millis};
use crate::store::{LINGER, Pending, Standing, Store, WriteError};
use crate::vault::error::{Cause, FetchError};
use crate::vault::{Client, Source, Token};

/// Steps between tries of a start grow to this.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// However late the secrets came, publishing them is tried this long.
const PUBLISH_FOR: Duration = Duration::from_secs(5);

/// Renewal begins within this.
const BEGINS: Duration = Duration::from_secs(60);

/// A failed step of an attempt.
enum StepError {
    Fetch(FetchError),
    Write(WriteError),
}

impl From<FetchError> for StepError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

/// A set that stands and is ours.
#[derive(Debug)]
pub struct Adopted {
    bundle: Bundle,
    /// What is remembered of it.
    pub state: State,
}

/// Looks for a set to adopt.
pub fn adoptable(store: &Store, origin: &Origin) -> Option<Adopted> {
    let Standing { state, entries } = store.standing()?;
    if state.given_back {
        tracing::info!("the set that stood was given back or removed; fetching anew");
        return None;
    }
    if let Some(differs) = state.origin.difference(origin) {
        tracing::info!(differs, "the set that stands is of another origin; fetching anew");
        return None;
    }
    let bundle = state.bundle(entries);
    Some(Adopted { bundle, state })
}

/// The first set.
pub struct Obtained {
    /// What publishing it came to.
    pub outcome: Outcome,
    /// What is remembered of it.
    pub state: State,
    /// Good for later requests, if any were made.
    pub token: Option<Token>,
}

/// The start of any mode that publishes.
pub struct Start<'a> {
    config: &'a Config,
    store: &'a mut Store,
    origin: &'a Origin,
    obtaining: Obtaining,
    tries: Tries,
    began: Instant,
    after: After,
    remarked: Remarked,
}

/// What comes after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The end.
    Nothing,
    /// The set is kept fresh.
    Renewal,
}

impl<'a> Start<'a> {
    /// Nothing is asked or written yet.
    pub fn new(config: &'a Config, store: &'a mut Store, origin: &'a Origin, after: After) -> Self {
        let obtaining = Obtaining::new(store.intended(origin));
        let tries = Tries::new(LONGEST_STEP, fastrand::Rng::new());
        Self {
            config,
            store,
            origin,
            obtaining,
            tries,
            began: Instant::now(),
            after,
            remarked: Remarked::default(),
        }
    }

    /// Serves what was `adopted`, read once more if it is due, or else obtains a set; what `ended`
    /// waits for ends it.
    pub async fn first(
        &mut self,
        adopted: Option<Adopted>,
        mut ended: impl AsyncFnMut() -> Signal,
    ) -> Result<Obtained, Failure> {
        match adopted {
            Some(adopted) => tokio::select! {
                obtained = self.adopt_or_renew(adopted) => obtained,
                signal = ended() => Err(ended_by(signal)),
            },
            None => self.obtain_unless(ended()).await,
        }
    }

    /// Serves what was `adopted`, due or not, or else obtains a set; what `ended` waits for ends it.
    pub async fn begin(
        &mut self,
        adopted: Option<Adopted>,
        ended: impl Future<Output = Signal>,
    ) -> Result<Obtained, Failure> {
        let Some(mut adopted) = adopted else {
            return self.obtain_unless(ended).await;
        };
        match self.adopt(&mut adopted) {
            Ok(outcome) => Ok(Obtained { outcome, state: adopted.state, token: None }),
            Err(error) => tokio::select! {
                obtained = self.cure(adopted, error) => obtained,
                signal = ended => Err(ended_by(signal)),
            },
        }
    }

    /// Serves a set that stands, as it stands.
    fn adopt(&mut self, adopted: &mut Adopted) -> Result<Outcome, PublishError> {
        let Adopted { bundle, state } = adopted;
        let due = state.is_due(clock::boot());
        tracing::info!(generation = %state.generation, due, "adopted the set that stands");
        state.boot_ms.silent_until = self.silent_until();
        let outcome = self.publisher().publish(bundle, state)?;
        if self.after == After::Nothing {
            // It is published: whatever a predecessor was about to provision came of it.
            self.store.settle();
        }
        Ok(outcome)
    }

    /// Serves a set that stands; if it is due, one read may bring a newer one.
    async fn adopt_or_renew(&mut self, mut adopted: Adopted) -> Result<Obtained, Failure> {
        let outcome = match self.adopt(&mut adopted) {
            Ok(outcome) => outcome,
            Err(error) => return self.cure(adopted, error).await,
        };
        let mut state = adopted.state.clone();
        if !state.is_due(clock::boot()) || !self.reads() {
            return Ok(Obtained { outcome, state, token: None });
        }
        match self.read_again(adopted).await {
            Ok(obtained) => Ok(obtained),
            Err(Late::Final(failure)) => Err(failure),
            Err(Late::Passing(failed)) => {
                tracing::warn!(
                    error = failed.text,
                    "the set that stands could not be renewed and serves on"
                );
                self.remember_failure(&mut state, failed.class);
                Ok(Obtained { outcome, state, token: None })
            }
        }
    }

    /// Reads a set anew that can't be rendered with the settings of now: what the vault has by now
    /// may be what they ask for.
    async fn cure(&mut self, adopted: Adopted, error: PublishError) -> Result<Obtained, Failure> {
        if !matches!(error, PublishError::Render(_)) || !self.reads() {
            return Err(error.failure());
        }
        tracing::warn!(
            error = chain(&error),
            "the set that stands does not fit the settings of now; reading it anew"
        );
        match self.read_again(adopted).await {
            Ok(obtained) => Ok(obtained),
            Err(Late::Final(failure)) => Err(failure),
            Err(Late::Passing(_)) => Err(error.failure()),
        }
    }

    /// Whether a set can be asked for without provisioning.
    fn reads(&self) -> bool {
        self.config.wanted.source != Way::Provision || self.config.wanted.refresh != Refresh::Post
    }

    async fn read_again(&mut self, adopted: Adopted) -> Result<Obtained, Late> {
        let Adopted { bundle, state } = adopted;
        let wanted = &self.config.wanted;
        let mut client = self.client().map_err(Late::Final)?;
        let mut asking = Asking::new(state.refresh, Duration::ZERO);
        let mut renewed = again(&mut client, wanted, &state.names(), &mut asking).await;
        if asking.lists_provisioned(wanted) {
            renewed.refuse_less(&bundle);
        }
        let Renewed { fresh, mut failed, cut } = renewed;
        let nothing = fresh.secrets.is_empty();
        let last = cut.or_else(|| if nothing { failed.pop_first().map(|(_, e)| e) } else { None });
        if let Some(error) = last.iter().chain(failed.values()).find(|error| error.is_final()) {
            return Err(Late::Final(error.failure()));
        }
        if let Some(error) = last {
            return Err(Late::Passing(Failed::from(&error)));
        }
        // From here on it is read back from where it is published.
        drop(bundle);
        let failed = failed.iter().map(|(name, error)| (name.clone(), Failed::from(error)));
        let (renew, silent_until) = (self.config.renew, self.silent_until());
        let remarked = std::mem::take(&mut self.remarked);
        let mut current = Current::new(self.store, &self.config.layout, state, remarked);
        let stamp =
            |bundle: &Bundle, state: &State| stamp(bundle, renew, state.notified, silent_until);
        let replaced = replace(&mut current, fresh, failed.collect(), asking.settled(), stamp);
        let (state, remarked) = current.end();
        self.remarked = remarked;
        let outcome = match replaced.map_err(Late::Passing)? {
            Some(_) => Outcome::Published(state.generation),
            None => Outcome::Unchanged(state.generation),
        };
        Ok(Obtained { outcome, state, token: client.into_token() })
    }

    fn remember_failure(&self, state: &mut State, class: &str) {
        state.failures = state.failures.saturating_add(1);
        state.last_error = Some(class.to_owned());
        if let Err(error) = self.store.save(state) {
            tracing::warn!(error = chain(&error), "the state is behind");
        }
    }

    /// What has been said of the set.
    pub fn remarked(self) -> Remarked {
        self.remarked
    }

    /// A client, with everything that it needs read and proven.
    fn client(&self) -> Result<Client<'a>, Failure> {
        Client::new(&self.config.vault, self.config.pod.clone()).map_err(|error| error.failure())
    }

    /// Proves all that is local, before anything is asked of the vault.
    fn prove(&self) -> Result<(), Failure> {
        let identities = self.config.wanted.identities.iter().map(SecretName::top);
        let identities = identities.filter(|_| self.config.layout.files);
        let names: Vec<&str> = identities.chain(self.config.layout.documents()).collect();
        self.store.prove(&names).map_err(|error| error.failure())
    }

    /// Obtains and publishes the first set; a signal ends it, and what was never published is given
    /// back.
    pub async fn obtain_unless(
        &mut self,
        ended: impl Future<Output = Signal>,
    ) -> Result<Obtained, Failure> {
        self.prove()?;
        let mut client = self.client()?;
        let obtained = tokio::select! {
            obtained = self.obtain(&mut client) => obtained,
            signal = ended => Err(ended_by(signal)),
        };
        match obtained {
            Ok((outcome, state)) => {
                let token = client.into_token();
                Ok(Obtained { outcome, state, token })
            }
            Err(failure) => {
                if deprovision::unpublished(&mut client, self.obtaining.posted()).await {
                    self.store.settle();
                }
                Err(failure)
            }
        }
    }

    /// Obtains and publishes the first set, retrying until the configured time is over.
    async fn obtain(&mut self, source: &mut impl Source) -> Result<(Outcome, State), Failure> {
        let deadline = self.config.give_up_after.map(|after| self.began + after);
        source.end_by(deadline);
        let bundle = self.fetch(source, deadline).await?;
        let latest = deadline.map(|deadline| deadline.max(Instant::now() + PUBLISH_FOR));
        let published = self.publish(&bundle, latest).await?;
        self.store.settle();
        Ok(published)
    }

    async fn fetch(
        &mut self,
        source: &mut impl Source,
        deadline: Option<Instant>,
    ) -> Result<Bundle, Failure> {
        let mut told = None;
        // What the vault said last: a try that the end of the start cuts short must not hide it.
        let mut heard: Option<Failure> = None;
        loop {
            let Self { config, store, origin, obtaining, .. } = self;
            let intend = |posted: &BTreeSet<SecretName>| {
                let identities = posted.iter().cloned().collect();
                let pending = Pending { origin: (*origin).clone(), identities };
                store.intend(&pending).map_err(StepError::Write)
            };
            let error = match obtaining.attempt(source, &config.wanted, intend).await {
                Ok(bundle) => {
                    if told.is_some() {
                        tracing::info!("the vault answers again");
                    }
                    self.tries.succeeded();
                    return Ok(bundle);
                }
                Err(StepError::Fetch(error)) => error,
                Err(StepError::Write(error)) => return Err(error.failure()),
            };
            let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let cut_short = over && matches!(error.cause, Cause::TimedOut(_));
            let failure = match heard.take() {
                Some(before) if cut_short => before,
                Some(_) | None => error.failure(),
            };
            heard = Some(failure.clone());
            self.pause(error.retry(), deadline, failure, &mut told).await?;
        }
    }

    async fn publish(
        &mut self,
        bundle: &Bundle,
        latest: Option<Instant>,
    ) -> Result<(Outcome, State), Failure> {
        let mut told = None;
        loop {
            let silent_until = self.silent_until();
            let stamp = stamp(bundle, self.config.renew, Generation::default(), silent_until);
            let mut state = first(bundle, self.origin, self.obtaining.settled(), &stamp);
            let error = match self.publisher().publish(bundle, &mut state) {
                Ok(outcome) => return Ok((outcome, state)),
                Err(error) => error,
            };
            let retry = match error {
                PublishError::Render(_) => Retry::Never,
                PublishError::Write(_) => Retry::Backoff,
            };
            self.pause(retry, latest, error.failure(), &mut told).await?;
        }
    }

    /// Waits before the next try, or gives up with `failure`. A kind of failure is told once.
    async fn pause(
        &mut self,
        retry: Retry,
        deadline: Option<Instant>,
        failure: Failure,
        told: &mut Option<String>,
    ) -> Result<(), Failure> {
        let Next::In(wait) = self.tries.after_failure(retry) else {
            return Err(failure);
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(self.gave_up(failure));
        }
        if told.as_deref() != Some(failure.message.as_str()) {
            let hint = failure.hint.as_deref();
            tracing::warn!(error = failure.message, hint, "not yet; trying again");
            *told = Some(failure.message.clone());
        }
        match left {
            // The vault asked for more peace than is left: there is no one to try for.
            Some(left) if wait >= left => {
                sleep(left).await;
                Err(self.gave_up(failure))
            }
            Some(_) | None => {
                sleep(wait).await;
                Ok(())
            }
        }
    }

    fn gave_up(&self, failure: Failure) -> Failure {
        let after = Duration::from_secs(self.began.elapsed().as_secs());
        let after = humantime::format_duration(after);
        Failure { message: format!("{}; gave up after {after}", failure.message), ..failure }
    }

    /// Renewal begins at once, and says more of itself.
    fn silent_until(&self) -> Option<u64> {
        let renewed = self.after == After::Renewal;
        renewed.then(|| millis(clock::boot() + BEGINS))
    }

    fn publisher(&mut self) -> Publisher<'_> {
        Publisher { store: self.store, layout: &self.config.layout, remarked: &mut self.remarked }
    }
}

/// Obtains and publishes a set that nobody keeps fresh. What `ended` waits for ends it early; if the
/// set is out by then, it is no failure, and the signal is given.
pub async fn once(
    config: &Config,
    mut store: Store,
    mut ended: impl AsyncFnMut() -> Signal,
) -> Result<Option<Signal>, Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let adopted = adoptable(&store, &origin);
    let mut start = Start::new(config, &mut store, &origin, After::Nothing);
    let Obtained { outcome, .. } = start.first(adopted, &mut ended).await?;
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

/// Publishes `fresh` in place of the current set, as a renewal does.
fn replace(
    current: &mut Current<'_>,
    fresh: Bundle,
    held_back: HeldBack,
    refresh: Settled,
    stamp: impl FnOnce(&Bundle, &State) -> Stamp,
) -> Result<Option<Replaced>, Failed> {
    let sound = fresh.secrets.keys().cloned().collect();
    let bundle = current.merge(fresh, &BTreeSet::new())?;
    let stamp = stamp(&bundle, current.state());
    let fetched = Fetched { at: clock::boot(), refresh, cut: None, stamp };
    let set = Candidate { bundle, sound, held_back };
    let (Prepared { set, .. }, replaced) = current.publish_sound(set, &fetched);
    let replaced = replaced.map_err(|error| Failed::from(&error))?;
    for (name, failed) in &set.held_back {
        let error = &failed.text;
        tracing::warn!(identity = %name, error, "held back: its last good version stays");
    }
    Ok(replaced)
}

/// When a set that is published at a start is due again: sooner than by its secrets alone, so that
/// pods that start together don't ask together.
fn stamp(
    bundle: &Bundle,
    renew: RenewInterval,
    notified: Generation,
    silent_until: Option<u64>,
) -> Stamp {
    let due = due(bundle, renew).map(|due| first_due(due, renew, &mut fastrand::Rng::new()));
    Stamp::new(notified, due.map(|due| clock::boot() + due), silent_until)
}

/// A start that a signal ends.
pub fn ended_by(signal: Signal) -> Failure {
    Failure::signalled(u8::try_from(signal.number()).unwrap_or_default())
}

/// Why a set that stands could not be renewed.
enum Late {
    /// No later try would do better.
    Final(Failure),
    /// It may pass.
    Passing(Failed),
}
