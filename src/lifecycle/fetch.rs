//! How secrets are asked for: at start by the source that is set, later by reading.
//!
//! Provisioning is not harmless to repeat, since each POST may create an account somewhere. A POST
//! that may have reached the vault is followed by a read, and sent again only if the read brings
//! nothing new, at most three times.

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

/// POSTs of unknown fate that a start sends for one identity at most.
const MOST_POSTS: u8 = 3;

/// Keys that describe an account and give no way into it.
const DESCRIPTIVE: [&str; 12] = [
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

/// The first fetch, as far as it has come; it survives failed attempts, so that what was
/// provisioned once is not provisioned again.
#[derive(Debug, Default)]
pub struct FirstFetch {
    done: BTreeMap<SecretName, SecretSet>,
    posts: BTreeMap<SecretName, Posts>,
    route: ReadRoute,
}

#[derive(Debug, Default)]
struct Posts {
    /// POSTs whose fate is or was unknown.
    sent: u8,
    /// The last one's still is.
    unsure: bool,
}

impl FirstFetch {
    /// Starts; `pending` are identities that a predecessor may have provisioned before it died.
    pub fn new(pending: Vec<SecretName>) -> Self {
        let unsure = |name| (name, Posts { sent: 0, unsure: true });
        Self { posts: pending.into_iter().map(unsure).collect(), ..Self::default() }
    }

    /// Identities for which something may have been created.
    pub fn posted(&self) -> BTreeSet<SecretName> {
        self.posts.keys().cloned().collect()
    }

    /// How reading was settled on the way.
    pub fn settled(&self) -> Settled {
        self.route.settled()
    }

    /// Tries to get everything that is wanted: all of it, or an error.
    ///
    /// `intend` is told, before each POST, of everything that will have been posted.
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
        if self.posts.get(name).is_some_and(|posts| posts.unsure) {
            if let Some(set) = self.route.something_new(source, name, wanted).await? {
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
        // Before the request goes out: this process may be killed before the answer comes.
        let posts = self.posts.entry(name.clone()).or_default();
        posts.unsure = true;
        let sent = posts.sent + 1;
        intend(&self.posted())?;
        let answer = source.provision(name).await;
        let unknown = answer.as_ref().is_err_and(|error| error.fate() == Fate::Unknown);
        let known_before = sent > 1;
        if answer.is_ok() || unknown || known_before {
            let posts = self.posts.entry(name.clone()).or_default();
            // One that was turned away says nothing of the one before it.
            posts.unsure = unknown || (known_before && answer.is_err());
            posts.sent += u8::from(unknown);
        } else {
            self.posts.remove(name);
            intend(&self.posted())?;
        }
        Ok(answer?)
    }
}

/// What can be read of what may never have been provisioned, and is not now: all of it, or an error.
pub async fn unprovisioned(
    source: &mut impl Source,
    wanted: &Wanted,
) -> Result<Bundle, FetchError> {
    if wanted.source == FetchMode::Secret {
        return secrets(source, &wanted.identities).await;
    }
    let mut bundle = application(source, &wanted.identities).await?;
    if wanted.source == FetchMode::Provision {
        let bare = bundle.secrets.iter().filter(|(_, set)| !opens_something(set));
        let remarks = bare.map(|(name, _)| {
            format!("{name} has no credentials before it is provisioned: what provisioning adds is not known")
        });
        bundle.remarks.extend(remarks);
    }
    Ok(bundle)
}

/// Whether a set holds more than descriptions: before a provisioning, an identity that waits for
/// one has host and user names at most, and nothing to log in with.
///
/// An identity that holds a password of its own *and* gets accounts for pods looks the same before
/// and after. Then a read counts as the result: a pod that waits for its account is mended by a
/// restart, an account made twice is nobody's to find.
fn opens_something(set: &SecretSet) -> bool {
    set.items().any(opens)
}

/// How many of its entries open something.
fn openings(set: &SecretSet) -> usize {
    set.entries.iter().filter(|entry| entry.iter().any(opens)).count()
}

fn opens(item: &Item) -> bool {
    let described = DESCRIPTIVE.iter().any(|key| item.key.eq_ignore_ascii_case(key));
    !described && !item.value.expose().is_empty()
}

/// How long what was provisioned lives: the smallest `TTL` that stands beside something that opens.
pub fn lifetime(set: &SecretSet) -> Option<Duration> {
    let leased = set.entries.iter().filter(|entry| entry.iter().any(opens));
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

/// All that was named, or all there is; a fault in any of it is an error.
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
