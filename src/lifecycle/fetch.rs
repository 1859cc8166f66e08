//! Requests for secrets: a start fetches them from the configured source, later fetches read.
//!
//! Provisioning must not be repeated blindly, since each POST may create an account: DSM's samples
//! show user names with a generated suffix, and its pages name no key by which a repeated request
//! could be recognized. A POST of unknown fate is followed by a read, and sent again only if the
//! read finds no account; a start sends at most three such POSTs for one identity.

mod reread;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::settings::{FetchMode, Wanted};
use crate::model::{Bundle, Item, SecretName, SecretSet};
use crate::store::state::Settled;
use crate::vault::Source;
use crate::vault::error::{Attempt, Cause, Fate, FetchError};
pub use reread::{Renewed, reread};
pub use route::ReadRoute;

/// The most POSTs of unknown fate that a start sends for one identity.
const MOST_POSTS: u8 = 3;

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
    done: BTreeMap<SecretName, SecretSet>,
    posts: BTreeMap<SecretName, Posts>,
    route: ReadRoute,
}

#[derive(Debug, Default)]
struct Posts {
    /// The number of POSTs whose fate is or was unknown.
    sent: u8,
    /// The fate of the last POST is still unknown.
    fate_unknown: bool,
}

impl FirstFetch {
    /// Begins; an earlier agent may have provisioned the identities of `pending` before it died.
    pub fn new(pending: Vec<SecretName>) -> Self {
        let posts = |name| (name, Posts { sent: 0, fate_unknown: true });
        Self { posts: pending.into_iter().map(posts).collect(), ..Self::default() }
    }

    /// Lists the identities for which the vault may have created an account.
    pub fn posted(&self) -> BTreeSet<SecretName> {
        self.posts.keys().cloned().collect()
    }

    /// Gives the route that reads have settled on.
    pub fn settled(&self) -> Settled {
        self.route.settled()
    }

    /// Fetches the whole of `wanted`, or fails.
    ///
    /// Before each POST, `intend` records every identity that has been posted for by then. Not
    /// cancel-safe: the fate of a POST under way is unknown afterwards, and [`Self::posted`] lists
    /// it.
    pub async fn attempt<E: From<FetchError>>(
        &mut self,
        source: &mut impl Source,
        wanted: &Wanted,
        mut intend: impl FnMut(&BTreeSet<SecretName>) -> Result<(), E>,
    ) -> Result<Bundle, E> {
        match wanted.source {
            FetchMode::Application => Ok(application(source, &wanted.identities).await?),
            FetchMode::Secret => Ok(secrets(source, &wanted.identities).await?),
            FetchMode::Provision => {
                for name in &wanted.identities {
                    if !self.done.contains_key(name) {
                        let set = self.provisioned(source, name, wanted, &mut intend).await?;
                        self.done.insert(name.clone(), set);
                    }
                }
                let secrets = std::mem::take(&mut self.done);
                Ok(Bundle { secrets, remarks: source.remarks(), ..Bundle::default() })
            }
        }
    }

    async fn provisioned<E: From<FetchError>>(
        &mut self,
        source: &mut impl Source,
        name: &SecretName,
        wanted: &Wanted,
        intend: &mut impl FnMut(&BTreeSet<SecretName>) -> Result<(), E>,
    ) -> Result<SecretSet, E> {
        if self.posts.get(name).is_some_and(|posts| posts.fate_unknown) {
            if let Some(set) = self.route.read_account(source, name, wanted).await? {
                tracing::info!(
                    identity = %name,
                    "found the account that an unanswered request provisioned"
                );
                return Ok(set);
            }
            let sent = self.posts.get(name).map_or(0, |posts| posts.sent);
            if sent >= MOST_POSTS {
                let attempt = Attempt::Provision(name.clone());
                return Err(FetchError { attempt, cause: Cause::Unanswered(sent) }.into());
            }
        }
        // Recorded before the request is sent: this process may be killed before the answer comes.
        let posts = self.posts.entry(name.clone()).or_default();
        posts.fate_unknown = true;
        let sent = posts.sent + 1;
        intend(&self.posted())?;
        let answer = source.provision(name).await;
        let unknown = answer.as_ref().is_err_and(|error| error.fate() == Fate::Unknown);
        let known_before = sent > 1;
        if answer.is_ok() || unknown || known_before {
            let posts = self.posts.entry(name.clone()).or_default();
            // A refused POST does not settle the fate of an earlier one.
            posts.fate_unknown = unknown || (known_before && answer.is_err());
            posts.sent += u8::from(unknown);
        } else {
            self.posts.remove(name);
            intend(&self.posted())?;
        }
        Ok(answer?)
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
            format!("{name} has no credentials before it is provisioned: what provisioning adds is not known")
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
    let leased = set.entries.iter().filter(|entry| entry.iter().any(is_credential));
    let lifetimes = leased.flatten().filter_map(Item::lifetime);
    lifetimes.filter(|lifetime| !lifetime.is_zero()).min()
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
