//! Requests for secrets: a start fetches them from the configured source, later fetches read.
//!
//! Provisioning must not be repeated blindly, since each POST may create an account: DSM's samples
//! show user names with a generated suffix, and its pages name no key by which a repeated request
//! could be recognized. A POST of unknown fate is followed by a read, and sent again only if the
//! read finds no account, as often as [`Posts`] allows.

mod again;
mod posts;
mod reread;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::settings::{FetchMode, Wanted};
use crate::model::{Bundle, Item, SecretName, SecretSet};
use crate::os::clock::Clock;
use crate::store::state::Settled;
use crate::vault::Source;
use crate::vault::error::{Attempt, Cause, FetchError};
pub use again::{Replacement, is_to_be_replaced, provision_again, seen};
pub use posts::Posts;
pub use reread::{Renewed, reread};
use route::AccountRead;
pub use route::ReadRoute;

/// Keys that describe an account and are no credential.
const DESCRIPTIVE_KEYS: [&str; 12] = [
    "hostname",
    "host",
    "username",
    "user",
    "ip",
    "port",
    "ttl",
    "additional_information",
    "access_key_id",
    "public_key",
    "database",
    "domain",
];

/// The progress of a start's first fetch. It survives failed attempts, so that no identity is
/// provisioned twice.
#[derive(Debug, Default)]
pub struct FirstFetch {
    /// The secrets that were provisioned.
    done: Bundle,
    /// The time at which each of them came, by the boot clock.
    seen: BTreeMap<SecretName, Duration>,
    /// Those of them that an agent before this one has kept.
    kept: BTreeSet<SecretName>,
    /// The POSTs until now.
    pub posts: Posts,
    route: ReadRoute,
}

impl FirstFetch {
    /// Begins, after the POSTs of earlier agents.
    pub fn new(posts: Posts) -> Self {
        Self { posts, ..Self::default() }
    }

    /// Continues with secrets that an agent before this one has kept: they are not fetched again.
    pub fn resume(&mut self, kept: Bundle, seen: impl Fn(&SecretName) -> Duration) {
        for (name, set) in kept.secrets {
            self.seen.insert(name.clone(), seen(&name));
            self.kept.insert(name.clone());
            self.done.secrets.insert(name, set);
        }
    }

    /// Takes the secrets that have come so far, while others have not.
    pub fn take_done(&mut self) -> Bundle {
        std::mem::take(&mut self.done)
    }

    /// Puts back the secrets of [`Self::take_done`].
    pub fn put_done(&mut self, done: Bundle) {
        self.done = done;
    }

    /// Lists the identities whose secrets an agent before this one has kept.
    pub fn kept(&self) -> &BTreeSet<SecretName> {
        &self.kept
    }

    /// Gives the time at which a secret came, by the boot clock; `now` for one that was not
    /// provisioned.
    pub fn seen(&self, name: &SecretName, now: Duration) -> Duration {
        self.seen.get(name).copied().unwrap_or(now).min(now)
    }

    /// Notes that a version was seen first at `now`.
    pub fn saw(&mut self, name: SecretName, now: Duration) {
        self.seen.insert(name, now);
    }

    /// Gives the route that reads have settled on.
    pub fn settled(&self) -> Settled {
        self.route.settled()
    }

    /// Fetches the whole of `wanted`, or fails.
    ///
    /// Each POST is recorded before by `record`. Not cancel-safe: the fate of a POST under way is
    /// unknown afterwards, as [`Self::posts`] says.
    pub async fn attempt(
        &mut self,
        source: &mut impl Source,
        wanted: &Wanted,
        clock: &dyn Clock,
        mut record: impl FnMut(&mut Posts) -> Result<(), Cause>,
    ) -> Result<Bundle, FetchError> {
        match wanted.source {
            FetchMode::Application => Ok(application(source, &wanted.identities).await?),
            FetchMode::Secret => Ok(secrets(source, &wanted.identities).await?),
            FetchMode::Provision => {
                for name in &wanted.identities {
                    if !self.done.secrets.contains_key(name) {
                        let set =
                            self.provisioned(source, name, wanted, clock, &mut record).await?;
                        self.seen.insert(name.clone(), clock.boot());
                        self.done.secrets.insert(name.clone(), set);
                    }
                }
                let done = std::mem::take(&mut self.done);
                Ok(Bundle { remarks: source.remarks(), ..done })
            }
        }
    }

    async fn provisioned(
        &mut self,
        source: &mut impl Source,
        name: &SecretName,
        wanted: &Wanted,
        clock: &dyn Clock,
        record: &mut impl FnMut(&mut Posts) -> Result<(), Cause>,
    ) -> Result<SecretSet, FetchError> {
        let may_post = self.posts.may_post(name, None, clock.boot());
        if self.posts.is_unsettled(name) || !may_post {
            match self.route.read_account(source, name, wanted).await? {
                AccountRead::Found(set) => {
                    tracing::info!(
                        identity = %name,
                        "found the account that an unanswered request provisioned"
                    );
                    return Ok(set);
                }
                AccountRead::Missing if !may_post => return Err(self.posts.refusal(name)),
                AccountRead::Hidden(error) if !may_post => return Err(error),
                AccountRead::Missing | AccountRead::Hidden(_) => {}
            }
        }
        self.posts.post(source, name, None, clock.boot(), record).await
    }
}

/// Reads the whole of `wanted`, or fails; provisions nothing, so that an identity may lack its
/// account.
pub async fn unprovisioned(
    source: &mut impl Source,
    wanted: &Wanted,
) -> Result<Bundle, FetchError> {
    if wanted.source == FetchMode::Secret {
        return secrets(source, &wanted.identities).await;
    }
    let mut bundle = application(source, &wanted.identities).await?;
    if wanted.source == FetchMode::Provision {
        let bare = bundle.secrets.iter().filter(|(_, set)| !has_credential(set));
        let remarks = bare.map(|(name, _)| {
            format!(
                "{name} gets its credentials when it is provisioned: their keys are not known yet"
            )
        });
        bundle.remarks.extend(remarks);
    }
    Ok(bundle)
}

/// Tells whether a set holds a credential. An identity that is not provisioned yet holds
/// descriptions at most, such as host and user names.
///
/// An identity with a password of its own *and* accounts for pods holds a credential before a
/// provisioning as well. A read then counts as its result: if that is wrong, a restart of the pod
/// provisions the missing account, whereas no agent could ever find an account that was made twice.
fn has_credential(set: &SecretSet) -> bool {
    set.items().any(is_credential)
}

/// Counts the entries of a set that hold a credential.
fn credentials(set: &SecretSet) -> usize {
    set.entries.iter().filter(|entry| entry.iter().any(is_credential)).count()
}

fn is_credential(item: &Item) -> bool {
    let described = DESCRIPTIVE_KEYS.iter().any(|key| item.key.eq_ignore_ascii_case(key));
    !described && !item.value.expose().is_empty()
}

/// Gives the lifetime of a provisioned account: the smallest `TTL` of an entry that holds a
/// credential.
pub fn lifetime(set: &SecretSet) -> Option<Duration> {
    lifetimes(set).min()
}

/// Gives the `TTL` of every entry that holds a credential, where it has one.
fn lifetimes(set: &SecretSet) -> impl Iterator<Item = Duration> {
    let leased = set.entries.iter().filter(|entry| entry.iter().any(is_credential));
    leased.flatten().filter_map(Item::lifetime).filter(|lifetime| !lifetime.is_zero())
}

async fn application(
    source: &mut impl Source,
    identities: &[SecretName],
) -> Result<Bundle, FetchError> {
    let bundle = source.read_application().await?;
    whole(bundle, identities, Attempt::ReadApplication)
}

async fn secrets(
    source: &mut impl Source,
    identities: &[SecretName],
) -> Result<Bundle, FetchError> {
    if identities.is_empty() {
        let bundle = source.read_secrets().await?;
        return whole(bundle, identities, Attempt::ReadSecrets);
    }
    let mut bundle = Bundle::default();
    for name in identities {
        bundle.secrets.insert(name.clone(), source.read_secret(name).await?);
    }
    bundle.remarks = source.remarks();
    Ok(bundle)
}

/// Keeps only `identities` of a list, or all of it if they are empty; fails if any of the rest is
/// missing or faulty.
fn whole(
    mut bundle: Bundle,
    identities: &[SecretName],
    attempt: Attempt,
) -> Result<Bundle, FetchError> {
    let cause = if identities.is_empty() {
        match bundle.faults.first() {
            Some(fault) => Some(Cause::Fault(fault.clone())),
            None if bundle.secrets.is_empty() => Some(Cause::NoSecrets),
            None => None,
        }
    } else {
        bundle.secrets.retain(|name, _| identities.contains(name));
        identities.iter().find(|name| !bundle.secrets.contains_key(*name)).map(|name| {
            let fault = bundle.faults.iter().find(|fault| fault.identity() == Some(name));
            fault.map_or_else(|| Cause::Absent(name.clone()), |fault| Cause::Fault(fault.clone()))
        })
    };
    match cause {
        Some(cause) => Err(FetchError { attempt, cause }),
        None => Ok(bundle),
    }
}

#[cfg(test)]
mod tests;
