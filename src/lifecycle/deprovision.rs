//! Deprovisioning: the vault removes the accounts of secrets, and the published set is removed.
//!
//! A set that was deprovisioned, or may have been, must not be served or adopted any more.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::lifecycle::fetch::{Posts, ReadRoute, reread};
use crate::lifecycle::publish::{Current, PublishError, Remarked, Replaced, origin};
use crate::model::{Bundle, SecretName};
use crate::os::clock::{Clock, Deadline};
use crate::store::state::{SecretState, State};
use crate::store::{Kept, Store};
use crate::vault::error::{Attempt, Fate, FetchError};
use crate::vault::{Connect, DEPROVISION_LIMIT, Source, Token};

/// A secret that was provisioned, and its id in the vault, if that is known.
struct Account {
    identity: SecretName,
    id: Option<String>,
}

impl From<&SecretState> for Account {
    fn from(secret: &SecretState) -> Self {
        let id = Some(secret.secret_id.clone()).filter(|id| !id.is_empty());
        Self { identity: secret.identity.clone(), id }
    }
}

/// Result of deprovisioning one account.
enum Deprovisioning {
    /// The vault has confirmed it.
    Done,
    /// No request was sent: the account's id is not known.
    WithoutId,
    /// No request was sent: the report of an earlier account ended it.
    NotRequested,
    /// The vault refused, or its answer is missing; the error's fate tells which.
    Failed(FetchError),
}

/// Deprovisions `accounts` one after the other, and reports the result of each.
///
/// Once `report` breaks, no further request is sent. `attempt` names an account and its id in an
/// error. Not cancel-safe: if the future is dropped, the vault may have acted on the account under
/// way, and nothing was reported of that one.
async fn deprovision_each(
    source: &mut impl Source,
    accounts: impl IntoIterator<Item = Account>,
    attempt: impl Fn(&SecretName, &str) -> Attempt,
    mut report: impl FnMut(&Account, Deprovisioning) -> ControlFlow<()>,
) {
    let mut requests = true;
    for account in accounts {
        let result = match account.id.as_deref() {
            None => Deprovisioning::WithoutId,
            Some(_) if !requests => Deprovisioning::NotRequested,
            Some(id) => match source.deprovision(attempt(&account.identity, id), id).await {
                Ok(()) => Deprovisioning::Done,
                Err(error) => Deprovisioning::Failed(error),
            },
        };
        requests &= report(&account, result).is_continue();
    }
}

fn by_identity(identity: &SecretName, _: &str) -> Attempt {
    Attempt::GiveBack(identity.clone())
}

/// Deprovisions the `identities` that a start may have provisioned and did not publish, within
/// [`DEPROVISION_LIMIT`]. Returns those that the vault has confirmed.
pub async fn unpublished(
    source: &mut impl Source,
    identities: BTreeSet<SecretName>,
) -> BTreeSet<SecretName> {
    let mut confirmed = BTreeSet::new();
    source.end_by(Deadline::after(DEPROVISION_LIMIT));
    let account = |identity: SecretName| {
        let id = source.id(&identity).map(str::to_owned);
        Account { identity, id }
    };
    let accounts: Vec<Account> = identities.into_iter().map(account).collect();
    deprovision_each(source, accounts, by_identity, |Account { identity, .. }, result| {
        match result {
            Deprovisioning::Done => {
                tracing::info!(%identity, "deprovisioned, since it was not published");
                confirmed.insert(identity.clone());
            }
            Deprovisioning::WithoutId | Deprovisioning::NotRequested => tracing::warn!(
                %identity,
                "a request without an answer may have provisioned it: the next start reads before it provisions"
            ),
            Deprovisioning::Failed(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the account may still exist in the vault: the next start reads before it provisions"
                );
            }
        }
        ControlFlow::Continue(())
    })
    .await;
    confirmed
}

/// Deprovisions the published `secrets`, best effort, as their agent ends. Returns true if any was
/// deprovisioned or may have been. Reuses `token`, and ends within [`DEPROVISION_LIMIT`].
pub async fn published(
    vault: &impl Connect,
    mut token: Option<Token>,
    secrets: &[SecretState],
) -> bool {
    let mut client = match vault.connect(&mut token) {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(error = chain(&error), "the set can't be deprovisioned");
            return false;
        }
    };
    client.end_by(Deadline::after(DEPROVISION_LIMIT));
    let mut gone = false;
    let accounts = secrets.iter().map(Account::from);
    let all =
        deprovision_each(&mut client, accounts, by_identity, |Account { identity, .. }, result| {
            match result {
                Deprovisioning::Done => {
                    gone = true;
                    tracing::info!(%identity, "deprovisioned");
                }
                Deprovisioning::WithoutId | Deprovisioning::NotRequested => {
                    tracing::warn!(
                        %identity,
                        "can't be deprovisioned: the vault gave no id for it"
                    );
                }
                Deprovisioning::Failed(error) => {
                    gone |= error.fate() == Fate::Unknown;
                    tracing::warn!(%identity, error = chain(&error), "could not be deprovisioned");
                }
            }
            ControlFlow::Continue(())
        });
    let over = timeout(DEPROVISION_LIMIT, all).await.is_err();
    if over {
        tracing::warn!("deprovisioning took too long and was ended");
    }
    gone || over
}

/// Deprovisions every secret of the set that is published in `store`, and those that a start has
/// kept there, for the command of that name; `show` prints one line for each.
///
/// The set is unpublished if any of it was deprovisioned or may have been. The state keeps the
/// other secrets, so that the command can be repeated for them.
pub async fn by_hand(
    config: &Config,
    store: &mut Store,
    clock: &dyn Clock,
    vault: &impl Connect,
    mut show: impl FnMut(String),
) -> Result<(), Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let published = store.remembered().filter(|state| !state.secrets.is_empty());
    let kept = store.kept();
    let published_by = published.as_ref().and_then(|state| state.origin.difference(&origin));
    let kept_by = kept.as_ref().and_then(|kept| kept.note.origin.difference_of_pod(&origin));
    if let Some(differs) = published_by.or(kept_by) {
        let message = format!("cannot deprovision the published set: it is of another {differs}");
        let failure = Failure::said(Exit::Settings, message);
        let hint = "run deprovision with the settings of the agent that published the set";
        return Err(failure.hint(Some(hint)));
    }
    if published.is_none() && kept.is_none() {
        if let Some(error) = store.unfit() {
            return Err(error.failure());
        }
        show("nothing stands that could be given back".to_owned());
        return Ok(());
    }
    let mut client = vault.connect(&mut None).map_err(|error| error.failure())?;
    let mut accounts = match &published {
        Some(state) if store.is_proven() => state.secrets.iter().map(Account::from).collect(),
        Some(state) => read_accounts(&mut client, config, state).await?,
        None => Vec::new(),
    };
    for secret in kept.iter().flat_map(|kept| &kept.note.secrets) {
        if !accounts.iter().any(|account| account.identity == secret.identity) {
            accounts.push(Account::from(secret));
        }
    }
    let results = report_each(&mut client, accounts, show).await;
    if let Some(kept) = kept {
        drop_deprovisioned(store, kept, &results);
    }
    let mut posts = Posts::new(store.pending(&origin), clock.boot());
    results.done.iter().for_each(|name| posts.met(name));
    posts.save_or_log(&**store, &origin, clock.boot());
    if let Some(state) = published
        && (state.given_back || state.secrets.iter().any(|secret| results.is_gone(secret)))
    {
        let mut left = state.clone();
        left.secrets.retain(|secret| !results.done.contains(&secret.identity));
        let mut current = Current::new(store, &config.layout, state, Remarked::default(), clock);
        // If the empty set can't be written, `unpublish` has removed the current one: nothing is
        // left to do.
        unpublish(&mut current, left).ok();
    }
    results.failed.map_or(Ok(()), Err)
}

/// Results of deprovisioning several accounts.
#[derive(Default)]
struct Results {
    /// The accounts that the vault has deprovisioned.
    done: BTreeSet<SecretName>,
    /// Those that it may have deprovisioned.
    unknown: BTreeSet<SecretName>,
    /// The first failure.
    failed: Option<Failure>,
}

impl Results {
    /// Tells whether the vault has deprovisioned a secret, or may have.
    fn is_gone(&self, secret: &SecretState) -> bool {
        self.done.contains(&secret.identity) || self.unknown.contains(&secret.identity)
    }
}

/// Deprovisions accounts for people: `show` prints one line for each.
async fn report_each(
    source: &mut impl Source,
    accounts: Vec<Account>,
    mut show: impl FnMut(String),
) -> Results {
    let mut results = Results::default();
    let attempt = |_: &SecretName, id: &str| Attempt::GiveBackById(id.to_owned());
    deprovision_each(source, accounts, attempt, |Account { identity, id }, result| {
        let mut next = ControlFlow::Continue(());
        match result {
            Deprovisioning::Done => {
                results.done.insert(identity.clone());
                show(format!("given back  {identity}"));
                return next;
            }
            Deprovisioning::WithoutId => tracing::warn!(
                %identity,
                "can't be deprovisioned: the vault gave no id for it"
            ),
            Deprovisioning::NotRequested => {}
            Deprovisioning::Failed(error) => {
                if error.fate() == Fate::Unknown {
                    results.unknown.insert(identity.clone());
                }
                if error.is_everyones() {
                    next = ControlFlow::Break(());
                }
                tracing::warn!(%identity, error = chain(&error), "could not be deprovisioned");
                results.failed.get_or_insert_with(|| error.failure());
            }
        }
        show(format!("failed      {identity}  id={}", id.as_deref().unwrap_or_default()));
        next
    })
    .await;
    results
}

/// Drops kept secrets that were deprovisioned. If others may have been, no start publishes what is
/// left, and the command can be repeated for it.
fn drop_deprovisioned(store: &Store, kept: Kept, results: &Results) {
    let mut note = kept.note.clone();
    let mut bundle = kept.into_bundle();
    note.secrets.retain(|secret| !results.done.contains(&secret.identity));
    bundle.secrets.retain(|name, _| !results.done.contains(name));
    note.given_back |= note.secrets.iter().any(|kept| results.unknown.contains(&kept.identity));
    // Kept secrets that were deprovisioned must not be published.
    if note.secrets.is_empty() || store.keep(&note, &bundle).is_err() {
        store.drop_kept();
    }
}

/// Reads the ids of a set in the vault: what stands in the directory may be another process's, and
/// name the accounts of other pods.
async fn read_accounts(
    source: &mut impl Source,
    config: &Config,
    state: &State,
) -> Result<Vec<Account>, Failure> {
    let mut route = ReadRoute::new(state.refresh, Duration::ZERO);
    let names = state.names();
    let read = reread(source, &config.wanted, &names, &mut route).await;
    if let Some(error) = read.cut.iter().chain(read.failed.values()).next() {
        return Err(error.failure());
    }
    let id = |identity: &SecretName| {
        let id = read.fresh.secrets.get(identity).map(|set| set.id.clone());
        id.filter(|id| !id.is_empty())
    };
    let account = |identity: SecretName| Account { id: id(&identity), identity };
    Ok(names.into_iter().map(account).collect())
}

/// Deprovisions the secret of this id alone; the published set stays as it is.
pub async fn by_id(source: &mut impl Source, id: &str) -> Result<(), FetchError> {
    source.deprovision(Attempt::GiveBackById(id.to_owned()), id).await
}

/// Unpublishes the current set: an empty set replaces it, which no start adopts. On an error the
/// current set is removed without a replacement. `state` holds the secrets that are still to be
/// deprovisioned.
pub fn unpublish(
    current: &mut Current<'_>,
    mut state: State,
) -> Result<Option<Replaced>, PublishError> {
    state.given_back = true;
    let replaced = current.publish(&Bundle::default(), &mut state);
    if replaced.is_err() {
        current.store().remove();
    }
    current.store().sweep();
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretSet;
    use crate::vault::error::Cause;
    use crate::vault::fake::expects_no_read;

    /// A vault that fails to deprovision some ids, and expects no other request.
    struct Vault {
        failing: &'static [&'static str],
        requested: Vec<String>,
    }

    impl Source for Vault {
        fn end_by(&mut self, _: Deadline) {}

        async fn provision(&mut self, _: &SecretName) -> Result<SecretSet, FetchError> {
            panic!("nothing is provisioned")
        }

        expects_no_read!();

        fn id(&self, name: &SecretName) -> Option<&str> {
            (name.as_str() == "known").then_some("7")
        }

        async fn deprovision(&mut self, attempt: Attempt, id: &str) -> Result<(), FetchError> {
            self.requested.push(id.to_owned());
            if self.failing.contains(&id) {
                return Err(FetchError { attempt, cause: Cause::Broken });
            }
            Ok(())
        }
    }

    fn name(identity: &str) -> SecretName {
        SecretName::new(identity).unwrap()
    }

    #[tokio::test]
    async fn each_account_is_reported_and_a_report_ends_the_requests() {
        let account = |identity, id: Option<&str>| Account {
            identity: name(identity),
            id: id.map(str::to_owned),
        };
        let accounts = [
            account("a", Some("1")),
            account("b", None),
            account("c", Some("3")),
            account("d", Some("4")),
            account("e", None),
        ];
        let mut vault = Vault { failing: &["3"], requested: Vec::new() };
        let mut seen = Vec::new();
        deprovision_each(&mut vault, accounts, by_identity, |Account { identity, .. }, result| {
            let (word, next) = match result {
                Deprovisioning::Done => ("done".to_owned(), ControlFlow::Continue(())),
                Deprovisioning::WithoutId => ("without id".to_owned(), ControlFlow::Continue(())),
                Deprovisioning::NotRequested => {
                    ("not requested".to_owned(), ControlFlow::Continue(()))
                }
                Deprovisioning::Failed(error) => (error.to_string(), ControlFlow::Break(())),
            };
            seen.push(format!("{identity}: {word}"));
            next
        })
        .await;
        let expected = [
            "a: done",
            "b: without id",
            "c: cannot deprovision c",
            "d: not requested",
            "e: without id",
        ];
        assert_eq!(
            (seen, vault.requested),
            (expected.map(str::to_owned).to_vec(), vec!["1".to_owned(), "3".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_start_has_deprovisioned_the_accounts_that_the_vault_has_confirmed() {
        for (identities, failing, expected) in [
            (vec!["known"], &[][..], vec!["known"]),
            (vec!["known", "unknown"], &[], vec!["known"]),
            (vec!["known"], &["7"], vec![]),
            (vec![], &[], vec![]),
        ] {
            let mut vault = Vault { failing, requested: Vec::new() };
            let confirmed =
                unpublished(&mut vault, identities.iter().map(|i| name(i)).collect()).await;
            assert!(confirmed.iter().map(SecretName::as_str).eq(expected), "{identities:?}");
            assert_eq!(
                vault.requested,
                identities.contains(&"known").then_some("7").into_iter().collect::<Vec<_>>()
            );
        }
    }
}
