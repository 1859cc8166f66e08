//! Fetching secrets that are published already: the current set is kept, so each identity fails or
//! succeeds by itself.

use std::collections::BTreeMap;

use super::route::List;
use super::{ReadRoute, credentials, has_credential};
use crate::config::settings::{FetchMode, Wanted};
use crate::model::{Bundle, Fault, SecretName, SecretSet};
use crate::vault::Source;
use crate::vault::error::{Attempt, Cause, FetchError};

/// The result of reading secrets that are published already.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The secrets that were read and are sound.
    pub fresh: Bundle,
    /// The errors of the other identities.
    pub failed: BTreeMap<SecretName, FetchError>,
    /// The error that ended the fetch early, since every identity would meet it.
    pub cut: Option<FetchError>,
}

/// Reads `names` once more, in their order; never provisions.
///
/// If one request lists all secrets, `names` are those that the list should hold.
pub async fn reread(
    source: &mut impl Source,
    wanted: &Wanted,
    names: &[SecretName],
    route: &mut ReadRoute,
) -> Renewed {
    match route.list(wanted) {
        Some(List::Application) => {
            let answer = source.read_application().await;
            return listed(answer, Attempt::ReadApplication, wanted, names);
        }
        Some(List::Secrets) => {
            return listed(source.read_secrets().await, Attempt::ReadSecrets, wanted, names);
        }
        None => {}
    }
    let mut renewed = Renewed::default();
    for name in names {
        let read = if wanted.source == FetchMode::Provision {
            route.read(source, name, wanted).await
        } else {
            secret(source, name).await
        };
        renewed.take(name, read);
        if renewed.cut.is_some() {
            break;
        }
    }
    renewed.fresh.remarks = source.remarks();
    renewed
}

/// Reads one secret. If it is not found, the list of all secrets tells a missing secret from a
/// missing route.
async fn secret(source: &mut impl Source, name: &SecretName) -> Result<SecretSet, FetchError> {
    let read = source.read_secret(name).await;
    if !read.as_ref().is_err_and(FetchError::may_be_no_route) {
        return read;
    }
    match source.read_secrets().await {
        Ok(list) if !list.holds(name) => {
            let cause = Cause::Absent(name.clone());
            Err(FetchError { attempt: Attempt::ReadSecrets, cause })
        }
        Ok(_) | Err(_) => read,
    }
}

impl Renewed {
    /// Fails each secret whose answer holds fewer credentials than its `published` version: such a
    /// list leaves out the accounts of this pod, and can't renew them.
    pub fn refuse_fewer(&mut self, published: &Bundle) {
        let has_fewer = |name: &SecretName, set: &SecretSet| {
            let published = published.secrets.get(name);
            published.is_some_and(|published| credentials(set) < credentials(published))
        };
        let fewer = self.fresh.secrets.extract_if(.., |name, set| has_fewer(name, set));
        self.failed.extend(fewer.map(|(name, _)| {
            let cause = Cause::Fault(Fault::Less { identity: name.clone() });
            (name, FetchError { attempt: Attempt::ReadApplication, cause })
        }));
    }

    /// Adds the result of one identity.
    pub fn take(&mut self, name: &SecretName, read: Result<SecretSet, FetchError>) {
        match read {
            Ok(set) => {
                self.failed.remove(name);
                self.fresh.secrets.insert(name.clone(), set);
            }
            Err(error) if error.is_everyones() => self.cut = Some(error),
            Err(error) => {
                self.failed.insert(name.clone(), error);
            }
        }
    }
}

fn listed(
    answer: Result<Bundle, FetchError>,
    attempt: Attempt,
    wanted: &Wanted,
    names: &[SecretName],
) -> Renewed {
    let mut fresh = match answer {
        Ok(bundle) => bundle,
        Err(error) => return Renewed { cut: Some(error), ..Renewed::default() },
    };
    let is_wanted = |name: &SecretName| wanted.identities.is_empty() || names.contains(name);
    fresh.secrets.retain(|name, _| is_wanted(name));
    let mut failed = BTreeMap::new();
    for fault in std::mem::take(&mut fresh.faults) {
        match fault.identity().cloned() {
            Some(name) if is_wanted(&name) => {
                let cause = Cause::Fault(fault);
                fresh.secrets.remove(&name);
                failed.insert(name, FetchError { attempt: attempt.clone(), cause });
            }
            Some(_) => {}
            None => fresh.remarks.push(format!("{fault}; it is left out")),
        }
    }
    if wanted.source == FetchMode::Provision {
        // The list may leave out the accounts of single pods: then it can't renew them.
        let bare = fresh.secrets.extract_if(.., |_, set| !has_credential(set));
        failed.extend(bare.map(|(name, _)| {
            let cause = Cause::Fault(Fault::Empty { identity: name.clone() });
            (name, FetchError { attempt: attempt.clone(), cause })
        }));
    }
    for name in names {
        if !fresh.secrets.contains_key(name) && !failed.contains_key(name) {
            let cause = Cause::Absent(name.clone());
            failed.insert(name.clone(), FetchError { attempt: attempt.clone(), cause });
        }
    }
    let nothing = fresh.secrets.is_empty() && failed.is_empty();
    let cut = nothing.then_some(FetchError { attempt, cause: Cause::NoSecrets });
    Renewed { fresh, failed, cut }
}
