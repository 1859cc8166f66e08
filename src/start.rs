//! The first set: adopted where one stands, else obtained, published, or given back.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::model::{Bundle, Outcome, Retry, SecretName, SecretSet};
use crate::obtain::{Asking, Obtaining, refresh};
use crate::pass::{PublishError, Publisher};
use crate::schedule::{Next, Tries};
use crate::settings::{Refresh, Source as Way};
use crate::state::{Origin, State};
use crate::store::{Pending, Standing, Store, WriteError};
use crate::vault::error::{Cause, FetchError};
use crate::vault::{self, Client, Source};

/// Steps between tries of a start grow to this.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// However late the secrets came, publishing them is tried this long.
const PUBLISH_FOR: Duration = Duration::from_secs(5);

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

/// Whose set the configuration asks for.
pub fn origin(config: &Config) -> Result<Origin, Failure> {
    let mut identities: Vec<String> =
        config.wanted.identities.iter().map(ToString::to_string).collect();
    identities.sort_unstable();
    Ok(Origin {
        url: config.vault.url.to_string(),
        client: vault::client_digest(&config.vault).map_err(|error| error.failure())?,
        source: config.wanted.source.as_str().to_owned(),
        identities,
        pod_name: config.pod.name.clone(),
        pod_uid: config.pod.uid.clone(),
        namespace: config.pod.namespace.clone(),
    })
}

/// A set that stands and is ours.
#[derive(Debug)]
pub struct Adopted {
    bundle: Bundle,
    state: State,
}

/// Looks for a set to adopt.
pub fn adoptable(store: &Store, origin: &Origin) -> Option<Adopted> {
    let Standing { state, mut entries } = store.standing()?;
    if state.given_back {
        tracing::info!("the set that stands was given back; fetching anew");
        return None;
    }
    if let Some(differs) = state.origin.difference(origin) {
        tracing::info!(differs, "the set that stands is of another origin; fetching anew");
        return None;
    }
    let secrets = state.secrets.iter().filter_map(|known| {
        let set = SecretSet {
            id: known.secret_id.clone(),
            name: known.name.clone(),
            version: known.version.clone(),
            engine: known.engine.clone(),
            expiration: known.expiration_date.clone(),
            renew: known.renew_minutes,
            entries: entries.remove(&known.identity)?,
        };
        Some((known.identity.clone(), set))
    });
    let bundle = Bundle { secrets: secrets.collect(), ..Bundle::default() };
    Some(Adopted { bundle, state })
}

/// The start of any mode that publishes.
pub struct Start<'a> {
    config: &'a Config,
    store: &'a mut Store,
    origin: &'a Origin,
    obtaining: Obtaining,
    tries: Tries,
    began: Instant,
}

impl<'a> Start<'a> {
    /// Nothing is asked or written yet.
    pub fn new(config: &'a Config, store: &'a mut Store, origin: &'a Origin) -> Self {
        let obtaining = Obtaining::new(store.intended(origin));
        let tries = Tries::new(LONGEST_STEP, fastrand::Rng::new());
        Self { config, store, origin, obtaining, tries, began: Instant::now() }
    }

    /// Serves a set that stands; if it is due, one read may bring a newer one.
    pub async fn adopt(&mut self, adopted: Adopted) -> Result<Outcome, Failure> {
        let Adopted { bundle, mut state } = adopted;
        let due = state.is_due(clock::boot());
        tracing::info!(generation = %state.generation, due, "adopted the set that stands");
        let outcome =
            self.publisher().adopted(&bundle, &mut state).map_err(|error| error.failure())?;
        // It is published: whatever a predecessor was about to provision came of it.
        self.store.settle();
        let reads = self.config.wanted.source != Way::Provision
            || self.config.wanted.refresh != Refresh::Post;
        if !due || !reads {
            return Ok(outcome);
        }
        match self.read_again(&state).await {
            Ok(outcome) => Ok(outcome),
            Err(Late::Final(failure)) => Err(failure),
            Err(Late::Passing { class, told }) => {
                tracing::warn!(
                    error = told,
                    "the set that stands could not be renewed and serves on"
                );
                state.failures = state.failures.saturating_add(1);
                state.last_error = Some(class.to_owned());
                if let Err(error) = self.store.save(&state) {
                    tracing::warn!(error = chain(&error), "the state is behind");
                }
                Ok(outcome)
            }
        }
    }

    async fn read_again(&mut self, state: &State) -> Result<Outcome, Late> {
        let mut client = self.client().map_err(Late::Final)?;
        let mut asking = Asking::new(state.refresh);
        let read = refresh(&mut client, &self.config.wanted, &mut asking).await;
        let bundle = match read {
            Ok(bundle) => bundle,
            Err(error) if error.is_final() => return Err(Late::Final(error.failure())),
            Err(error) => {
                return Err(Late::Passing { class: error.class(), told: chain(&error) });
            }
        };
        self.publisher().fetched(&bundle, Some(state), asking.settled()).map_err(|error| {
            let class = match error {
                PublishError::Render(_) => "render",
                PublishError::Write(_) => "write",
            };
            Late::Passing { class, told: chain(&error) }
        })
    }

    /// A client, with everything that it needs read and proven.
    pub fn client(&self) -> Result<Client<'a>, Failure> {
        Client::new(&self.config.vault, self.config.pod.clone()).map_err(|error| error.failure())
    }

    /// Proves all that is local, before anything is asked of the vault.
    pub fn prove(&self) -> Result<(), Failure> {
        let identities = self.config.wanted.identities.iter().map(SecretName::top);
        let identities = identities.filter(|_| self.config.layout.files);
        let outputs = [&self.config.layout.env, &self.config.layout.json];
        let outputs = outputs.into_iter().flatten().map(String::as_str);
        self.store.prove(identities.chain(outputs)).map_err(|error| error.failure())
    }

    /// Obtains and publishes the first set, retrying until the configured time is over.
    pub async fn obtain(&mut self, source: &mut impl Source) -> Result<Outcome, Failure> {
        let deadline = self.config.give_up_after.map(|after| self.began + after);
        source.end_by(deadline);
        let bundle = self.fetch(source, deadline).await?;
        let latest = deadline.map(|deadline| deadline.max(Instant::now() + PUBLISH_FOR));
        let outcome = self.publish(&bundle, latest).await?;
        self.store.settle();
        Ok(outcome)
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
    ) -> Result<Outcome, Failure> {
        let mut told = None;
        loop {
            let settled = self.obtaining.settled();
            let error = match self.publisher().fetched(bundle, None, settled) {
                Ok(outcome) => return Ok(outcome),
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
            let hint = failure.hint.as_deref().unwrap_or_default();
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

    /// Gives back what may have been provisioned and was never published.
    pub async fn give_back(&mut self, source: &mut impl Source) {
        let mut all = true;
        source.end_by(Some(Instant::now() + vault::GIVE_BACK));
        for name in self.obtaining.posted() {
            match source.give_back(&name).await {
                Ok(true) => {
                    tracing::info!(identity = %name, "given back, since it was not published")
                }
                Ok(false) => {
                    all = false;
                    tracing::warn!(
                        identity = %name,
                        "a request of unknown fate may have provisioned it; the next start looks before it asks"
                    );
                }
                Err(error) => {
                    all = false;
                    tracing::warn!(error = chain(&error), "the next start looks before it asks");
                }
            }
        }
        if all {
            self.store.settle();
        }
    }

    fn publisher(&mut self) -> Publisher<'_> {
        Publisher {
            store: self.store,
            layout: &self.config.layout,
            renew: self.config.renew,
            origin: self.origin,
        }
    }
}

/// Why a set that stands could not be renewed.
enum Late {
    /// No later try would do better.
    Final(Failure),
    /// It may pass.
    Passing { class: &'static str, told: String },
}
