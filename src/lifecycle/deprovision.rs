//! Deprovisioning: secrets are given back to the vault, and the published set is taken away.
//!
//! A set that was given back, or may have been, must not be served or adopted any more.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use tokio::time::timeout;

use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::lifecycle::publish::{Current, PublishError, Remarked, Replaced, origin};
use crate::model::{Bundle, SecretName};
use crate::os::clock::{Clock, Deadline};
use crate::store::Store;
use crate::store::state::{SecretState, State};
use crate::vault::error::{Attempt, Fate, FetchError};
use crate::vault::{Connect, DEPROVISION_LIMIT, Source, Token};

/// A secret that was provisioned, and the id that the vault gave it, where that is known.
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
enum Became {
    /// The vault has taken it back.
    Deprovisioned,
    /// It has no id, so that the vault can't be asked.
    Nameless,
    /// The vault was not asked, because a report before this one ended it.
    NotAsked,
    /// The vault did not take it back, or did not say so.
    Failed(FetchError),
}

/// Deprovisions `accounts` one after the other, and reports by identity what became of each.
///
/// Once `report` breaks, the vault is asked for nothing more. `attempt` names an account and its id
/// in an error. If the future is dropped, the vault may have acted on the account under way, of
/// which nothing was reported.
async fn deprovision_each(
    source: &mut impl Source,
    accounts: impl IntoIterator<Item = Account>,
    attempt: impl Fn(&SecretName, &str) -> Attempt,
    mut report: impl FnMut(&Account, Became) -> ControlFlow<()>,
) {
    let mut asks = true;
    for account in accounts {
        let became = match account.id.as_deref() {
            None => Became::Nameless,
            Some(_) if !asks => Became::NotAsked,
            Some(id) => match source.deprovision(attempt(&account.identity, id), id).await {
                Ok(()) => Became::Deprovisioned,
                Err(error) => Became::Failed(error),
            },
        };
        asks &= report(&account, became).is_continue();
    }
}

fn by_identity(identity: &SecretName, _: &str) -> Attempt {
    Attempt::GiveBack(identity.clone())
}

/// Gives back what a start may have provisioned and did not publish; says whether that is all of it.
pub async fn unpublished(source: &mut impl Source, identities: BTreeSet<SecretName>) -> bool {
    let mut all = true;
    source.end_by(Deadline::after(DEPROVISION_LIMIT));
    let account = |identity: SecretName| {
        let id = source.id(&identity).map(str::to_owned);
        Account { identity, id }
    };
    let accounts: Vec<Account> = identities.into_iter().map(account).collect();
    deprovision_each(source, accounts, by_identity, |Account { identity, .. }, became| {
        match became {
            Became::Deprovisioned => {
                tracing::info!(%identity, "deprovisioned, since it was not published");
                return ControlFlow::Continue(());
            }
            Became::Nameless | Became::NotAsked => tracing::warn!(
                %identity,
                "a request without an answer may have provisioned it: the next start reads before it provisions"
            ),
            Became::Failed(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the account may still exist in the vault: the next start reads before it provisions"
                );
            }
        }
        all = false;
        ControlFlow::Continue(())
    })
    .await;
    all
}

/// Gives back the published `secrets`, best effort, as their agent ends; says whether any was given
/// back or may have been. Goes on with `token`, and ends within [`DEPROVISION_LIMIT`].
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
        deprovision_each(&mut client, accounts, by_identity, |Account { identity, .. }, became| {
            match became {
                Became::Deprovisioned => {
                    gone = true;
                    tracing::info!(%identity, "deprovisioned");
                }
                Became::Nameless | Became::NotAsked => {
                    tracing::warn!(
                        %identity,
                        "can't be deprovisioned: the vault gave no id for it"
                    );
                }
                Became::Failed(error) => {
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

/// Gives back every secret of the set that is published in `store`, as a command, one line each for
/// `show`.
///
/// The set is taken away if any of it was given back or may have been. The rest is remembered, for
/// another try.
pub async fn by_hand(
    config: &Config,
    store: &mut Store,
    clock: &dyn Clock,
    vault: &impl Connect,
    mut show: impl FnMut(String),
) -> Result<(), Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let Some(state) = store.remembered().filter(|state| !state.secrets.is_empty()) else {
        show("nothing stands that could be given back".to_owned());
        return Ok(());
    };
    if let Some(differs) = state.origin.difference(&origin) {
        let told = format!("cannot deprovision the published set: it is of another {differs}");
        let failure = Failure::said(Exit::Settings, told);
        let hint = "run deprovision with the settings of the agent that published the set";
        return Err(failure.hint(Some(hint)));
    }
    let mut client = vault.connect(&mut None).map_err(|error| error.failure())?;
    let mut failed: Option<Failure> = None;
    let mut gone = state.given_back;
    let mut given = BTreeSet::new();
    let attempt = |_: &SecretName, id: &str| Attempt::GiveBackById(id.to_owned());
    let accounts = state.secrets.iter().map(Account::from);
    deprovision_each(&mut client, accounts, attempt, |Account { identity, id }, became| {
        let mut next = ControlFlow::Continue(());
        match became {
            Became::Deprovisioned => {
                gone = true;
                given.insert(identity.clone());
                show(format!("given back  {identity}"));
                return next;
            }
            Became::Nameless => tracing::warn!(
                %identity,
                "can't be deprovisioned: the vault gave no id for it"
            ),
            Became::NotAsked => {}
            Became::Failed(error) => {
                gone |= error.fate() == Fate::Unknown;
                if error.is_everyones() {
                    next = ControlFlow::Break(());
                }
                tracing::warn!(%identity, error = chain(&error), "could not be deprovisioned");
                failed.get_or_insert_with(|| error.failure());
            }
        }
        show(format!("failed      {identity}  id={}", id.as_deref().unwrap_or_default()));
        next
    })
    .await;
    if gone {
        let mut left = state.clone();
        left.secrets.retain(|secret| !given.contains(&secret.identity));
        let mut current = Current::new(store, &config.layout, state, Remarked::default(), clock);
        // Where it can't be written, it is removed: that is all there is to do.
        unpublish(&mut current, left).ok();
    }
    failed.map_or(Ok(()), Err)
}

/// Gives back the secret of this id alone; what is published stays as it is.
pub async fn by_id(source: &mut impl Source, id: &str) -> Result<(), FetchError> {
    source.deprovision(Attempt::GiveBackById(id.to_owned()), id).await
}

/// Unpublishes the set: an empty one replaces it, which no start adopts, or, on an error,
/// none. `state` says what is left to be given back.
pub fn unpublish(
    current: &mut Current<'_>,
    mut state: State,
) -> Result<Option<Replaced>, PublishError> {
    state.given_back = true;
    let taken = current.publish(&Bundle::default(), &mut state);
    if taken.is_err() {
        current.store().remove();
    }
    current.store().sweep();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretSet;
    use crate::vault::error::Cause;

    /// A vault that fails the accounts of some ids, and is asked for nothing else.
    struct Vault {
        failing: &'static [&'static str],
        asked: Vec<String>,
    }

    impl Source for Vault {
        fn end_by(&mut self, _: Deadline) {}

        async fn provision(&mut self, _: &SecretName) -> Result<SecretSet, FetchError> {
            panic!("nothing is provisioned")
        }

        async fn read_provisioned(&mut self, _: &SecretName) -> Result<SecretSet, FetchError> {
            panic!("nothing is read")
        }

        async fn read_application(&mut self) -> Result<Bundle, FetchError> {
            panic!("nothing is read")
        }

        async fn read_secrets(&mut self) -> Result<Bundle, FetchError> {
            panic!("nothing is read")
        }

        async fn read_secret(&mut self, _: &SecretName) -> Result<SecretSet, FetchError> {
            panic!("nothing is read")
        }

        fn id(&self, name: &SecretName) -> Option<&str> {
            (name.as_str() == "known").then_some("7")
        }

        async fn deprovision(&mut self, attempt: Attempt, id: &str) -> Result<(), FetchError> {
            self.asked.push(id.to_owned());
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
    async fn what_became_of_each_account_is_reported_and_a_report_ends_the_asking() {
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
        let mut vault = Vault { failing: &["3"], asked: Vec::new() };
        let mut seen = Vec::new();
        deprovision_each(&mut vault, accounts, by_identity, |Account { identity, .. }, became| {
            let (word, next) = match became {
                Became::Deprovisioned => ("back".to_owned(), ControlFlow::Continue(())),
                Became::Nameless => ("nameless".to_owned(), ControlFlow::Continue(())),
                Became::NotAsked => ("not asked".to_owned(), ControlFlow::Continue(())),
                Became::Failed(error) => (error.to_string(), ControlFlow::Break(())),
            };
            seen.push(format!("{identity}: {word}"));
            next
        })
        .await;
        let expected =
            ["a: back", "b: nameless", "c: cannot deprovision c", "d: not asked", "e: nameless"];
        assert_eq!(
            (seen, vault.asked),
            (expected.map(str::to_owned).to_vec(), vec!["1".to_owned(), "3".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_start_has_given_back_all_only_if_every_account_had_an_id_and_was_taken() {
        for (identities, failing, expected) in [
            (vec!["known"], &[][..], true),
            (vec!["known", "unknown"], &[], false),
            (vec!["known"], &["7"], false),
            (vec![], &[], true),
        ] {
            let mut vault = Vault { failing, asked: Vec::new() };
            let all = unpublished(&mut vault, identities.iter().map(|i| name(i)).collect()).await;
            assert_eq!(all, expected, "{identities:?} {failing:?}");
            assert_eq!(
                vault.asked,
                identities.contains(&"known").then_some("7").into_iter().collect::<Vec<_>>()
            );
        }
    }
}
