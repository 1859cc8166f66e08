//! How reading asks, and what it has learned of the vault's routes.

use std::time::Duration;

use tokio::time::Instant;

use super::{application, opens_something};
use crate::config::settings::{FetchMode, Refresh, Wanted};
use crate::model::{Bundle, Fault, SecretName, SecretSet};
use crate::store::state::Settled;
use crate::vault::Source;
use crate::vault::error::{Attempt, Cause, FetchError};

/// A request that brings more than one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `GET` application.
    Application,
    /// `GET` secret, without an identity.
    Secrets,
}

/// How reading asks.
#[derive(Debug, Default)]
pub struct ReadRoute {
    settled: Settled,
    /// A route that is missing for less is a gateway's bad minute.
    grace: Duration,
    /// Since when every read found no route, each with a token of its own, and how many did.
    missing: Option<(Instant, u8)>,
}

impl ReadRoute {
    /// Goes on as it was settled before.
    pub fn new(settled: Settled, grace: Duration) -> Self {
        Self { settled, grace, missing: None }
    }

    /// How it is settled.
    pub fn settled(&self) -> Settled {
        self.settled
    }

    /// From now on the application is read.
    pub fn settle(&mut self) {
        self.settled = Settled::Application;
    }

    /// The one list that brings all that is read, if there is one.
    pub fn list(&self, wanted: &Wanted) -> Option<List> {
        match (wanted.source, wanted.refresh) {
            (FetchMode::Application, _) | (FetchMode::Provision, Refresh::Application) => {
                Some(List::Application)
            }
            (FetchMode::Provision, Refresh::Auto) => {
                (self.settled == Settled::Application).then_some(List::Application)
            }
            (FetchMode::Provision, Refresh::Get | Refresh::Secret | Refresh::Post) => None,
            (FetchMode::Secret, _) => wanted.identities.is_empty().then_some(List::Secrets),
        }
    }

    /// Tells whether a list brings what was provisioned; it may leave out what was made for this pod.
    pub fn lists_provisioned(&self, wanted: &Wanted) -> bool {
        wanted.source == FetchMode::Provision && self.list(wanted).is_some()
    }

    /// Reads what was provisioned for `name`.
    pub async fn read(
        &mut self,
        source: &mut impl Source,
        name: &SecretName,
        wanted: &Wanted,
    ) -> Result<SecretSet, FetchError> {
        if self.list(wanted).is_some() {
            return named(application(source, &wanted.identities).await?, name);
        }
        let read = match wanted.refresh {
            Refresh::Secret => source.read_secret(name).await,
            Refresh::Auto | Refresh::Get | Refresh::Application | Refresh::Post => {
                source.read_provisioned(name).await
            }
        };
        let Err(error) = read else {
            self.missing = None;
            return read;
        };
        if wanted.refresh != Refresh::Auto || !error.may_be_no_route() {
            return Err(error);
        }
        let (since, times) = self.missing.unwrap_or_else(|| (Instant::now(), 0));
        self.missing = Some((since, times.saturating_add(1)));
        if times == 0 || since.elapsed() < self.grace {
            return Err(error);
        }
        // Twice, with fresh tokens: if the list answers and names every identity, the gateway is
        // well and it is the route that isn't there.
        let Ok(list) = application(source, &wanted.identities).await else {
            return Err(error);
        };
        let opens = |name| list.secrets.get(name).is_some_and(opens_something);
        if !opens(name) {
            // The list may leave out what is made for single pods: then it can't renew that.
            let cause = if list.holds(name) {
                Cause::Fault(Fault::Empty { identity: name.clone() })
            } else {
                Cause::Absent(name.clone())
            };
            return Err(FetchError { attempt: Attempt::ReadApplication, cause });
        }
        if wanted.identities.iter().all(opens) {
            tracing::info!(
                "the vault has no GET provision; renewal reads the application from now on"
            );
            self.settle();
        }
        named(list, name)
    }

    /// What a POST of unknown fate has brought, if anything.
    pub(super) async fn something_new(
        &mut self,
        source: &mut impl Source,
        name: &SecretName,
        wanted: &Wanted,
    ) -> Result<Option<SecretSet>, FetchError> {
        match self.read(source, name, wanted).await {
            Ok(set) => Ok(opens_something(&set).then_some(set)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn named(mut bundle: Bundle, name: &SecretName) -> Result<SecretSet, FetchError> {
    let absent =
        || FetchError { attempt: Attempt::ReadApplication, cause: Cause::Absent(name.clone()) };
    bundle.secrets.remove(name).ok_or_else(absent)
}
