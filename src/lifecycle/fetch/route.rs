//! The route that reads take, and the evidence of which routes the vault has.

use std::time::Duration;

use tokio::time::Instant;

use super::{application, has_credential};
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

/// The number of reads in a row whose answers show nothing of an account, after which it counts as
/// not there.
const EVIDENT_AFTER: u8 = 2;

/// The route that reads take.
#[derive(Debug, Default)]
pub struct ReadRoute {
    settled: Settled,
    /// A route that is missing for a shorter time is taken for a passing fault of the gateway. Its
    /// answer, "no Route matched with those values", does not tell a missing route from a token
    /// that is not accepted (DSM, table of errors).
    grace: Duration,
    /// The time since which every read found no route, each with a token of its own, and their
    /// number.
    missing: Option<(Instant, u8)>,
    /// The number of reads in a row, after a POST of unknown fate, whose answers have shown nothing.
    shown_nothing: u8,
}

impl ReadRoute {
    /// Continues with the route that an earlier agent or pass has settled on. Another is settled on
    /// only after the vault's was missing for `grace`.
    pub fn new(settled: Settled, grace: Duration) -> Self {
        Self { settled, grace, ..Self::default() }
    }

    /// Gives the route that reads have settled on.
    pub fn settled(&self) -> Settled {
        self.settled
    }

    /// Settles on the application's list for every later read.
    pub fn settle(&mut self) {
        self.settled = Settled::Application;
    }

    /// Gives the one list that holds every wanted secret, if reads use one.
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

    /// Tells whether provisioned secrets are read from a list, which may leave out the accounts of
    /// a pod.
    pub fn lists_provisioned(&self, wanted: &Wanted) -> bool {
        wanted.source == FetchMode::Provision && self.list(wanted).is_some()
    }

    /// Reads the secret that was provisioned for `name`.
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
        // Only one of DSM's pages names GET provision, the others POST alone, and vaults may lack
        // it. The route was missing twice, each time with a fresh token. If the list answers and
        // names every identity, the gateway works and the vault does not have the route.
        let Ok(list) = application(source, &wanted.identities).await else {
            return Err(error);
        };
        let is_provisioned = |name| list.secrets.get(name).is_some_and(has_credential);
        if !is_provisioned(name) {
            // The list may leave out the accounts of single pods: then it can't renew them.
            let cause = if list.holds(name) {
                Cause::Fault(Fault::Empty { identity: name.clone() })
            } else {
                Cause::Absent(name.clone())
            };
            return Err(FetchError { attempt: Attempt::ReadApplication, cause });
        }
        if wanted.identities.iter().all(is_provisioned) {
            tracing::info!(
                "the vault has no GET provision; renewal reads the application from now on"
            );
            self.settle();
        }
        named(list, name)
    }

    /// Looks for the account that a POST of unknown fate may have created. An error means that a
    /// later look may tell.
    pub(super) async fn read_account(
        &mut self,
        source: &mut impl Source,
        name: &SecretName,
        wanted: &Wanted,
    ) -> Result<AccountRead, FetchError> {
        let account = |set: Option<SecretSet>| match set.filter(has_credential) {
            Some(set) => AccountRead::Found(set),
            None => AccountRead::Missing,
        };
        let before = std::mem::take(&mut self.shown_nothing);
        let error = match self.read(source, name, wanted).await {
            Ok(set) => return Ok(account(Some(set))),
            Err(error) if error.is_absence() => return Ok(AccountRead::Missing),
            Err(error) => error,
        };
        // A filter in front of the vault may answer in its place, and its gateway says of a token
        // that it does not accept what it says of a route that does not exist: once is no evidence.
        let shown_nothing = if error.shows_nothing() { before + 1 } else { 0 };
        if shown_nothing < EVIDENT_AFTER && !error.is_unknown_resource() {
            self.shown_nothing = shown_nothing;
            return Err(error);
        }
        let hidden = |error: FetchError| {
            if error.is_unknown_resource() {
                AccountRead::Missing
            } else {
                AccountRead::Hidden(error)
            }
        };
        // The list may leave out the accounts of single pods, so it stands in for a missing route
        // alone.
        if self.list(wanted).is_some() || !error.may_be_no_route() {
            return Ok(hidden(error));
        }
        match application(source, std::slice::from_ref(name)).await {
            Ok(mut list) => Ok(account(list.secrets.remove(name))),
            Err(listed) if listed.is_absence() || listed.shows_nothing() => Ok(hidden(error)),
            Err(listed) => Err(listed),
        }
    }
}

/// The account that a POST of unknown fate may have created.
#[derive(Debug)]
pub(super) enum AccountRead {
    /// A read has shown it.
    Found(SecretSet),
    /// A read has shown that there is none.
    Missing,
    /// No read can show it: each is answered by this error.
    Hidden(FetchError),
}

fn named(mut bundle: Bundle, name: &SecretName) -> Result<SecretSet, FetchError> {
    let absent =
        || FetchError { attempt: Attempt::ReadApplication, cause: Cause::Absent(name.clone()) };
    bundle.secrets.remove(name).ok_or_else(absent)
}
