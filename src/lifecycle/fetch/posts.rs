//! POSTs of provisioning: what was posted, when, at which version; and how many more may be sent.
//!
//! Each POST may create an account, so their number is bounded for each need of an identity: its
//! first set, or the replacement of a version that runs out. The record is written before a POST is
//! sent, so that the bounds hold across restarts; a POST that can't be recorded is not sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::exit::chain;
use crate::model::{SecretName, SecretSet};
use crate::store::state::{Origin, State, millis};
use crate::store::{Backend, Pending, Posted};
use crate::vault::Source;
use crate::vault::error::{Attempt, Cause, Fate, FetchError};

/// The most POSTs of unknown fate for one need, one right after the other.
const MOST_UNKNOWN: u8 = 3;
/// The time between two POSTs of unknown fate after that.
const BETWEEN_UNKNOWN: Duration = Duration::from_secs(3600);
/// The most POSTs for one version that were done and brought no new one: more would not bring one
/// either.
const MOST_DONE: u8 = 2;
/// The shortest time between two POSTs that replace a version.
const BETWEEN: Duration = Duration::from_secs(300);

/// The POSTs of every identity.
#[derive(Debug, Default)]
pub struct Posts {
    of: BTreeMap<SecretName, Sent>,
    /// The identities that this process has posted for, and that may have an account since then.
    own: BTreeSet<SecretName>,
    /// They differ from their record.
    changed: bool,
}

/// The POSTs for one need of one identity.
#[derive(Clone, Debug, Default)]
struct Sent {
    /// The version that they were to replace; none where they were for the first set.
    version: Option<String>,
    /// The number of those whose fate is or was unknown.
    unknown: u8,
    /// The number of those that were done, and have brought no new version so far.
    done: u8,
    /// The time of the last one, by the boot clock.
    last: Option<Duration>,
    /// The identity may have an account that is not published: a read must show it, or that there
    /// is none, before another POST is sent.
    unsettled: bool,
    /// The last one of a first set was answered. Until the set is published or kept, it counts as
    /// one of unknown fate: a crash would lose the answer.
    answered: bool,
}

impl Posts {
    /// Continues with the record of an earlier agent, which is read `now`.
    pub fn new(pending: Option<Pending>, now: Duration) -> Self {
        let mut posts = Self::default();
        let Some(Pending { identities, posts: posted, .. }) = pending else {
            return posts;
        };
        for Posted { identity, version, unknown, done, at } in posted {
            let last = Duration::from_millis(at);
            // A time of an earlier boot is unknown by this clock: it was before this boot.
            let last = Some(if last > now { Duration::ZERO } else { last });
            let unsettled = identities.contains(&identity);
            let sent = Sent { version, unknown, done, last, unsettled, answered: false };
            posts.of.insert(identity, sent);
        }
        for identity in identities {
            // Version 0.1.0 noted no number: at least one was sent.
            let sent = Sent { unknown: 1, last: Some(Duration::ZERO), ..Sent::default() };
            posts.of.entry(identity).or_insert(sent).unsettled = true;
        }
        posts
    }

    /// Drops what was posted for needs that the published set of `state` has met: its first set,
    /// and versions before the present ones.
    pub fn adopt(&mut self, state: &State) {
        let before = self.of.len();
        self.of.retain(|name, sent| sent.version.is_some() || state.secret(name).is_none());
        self.changed |= self.of.len() != before;
        for secret in &state.secrets {
            if self.of.get(&secret.identity).is_some_and(|sent| !sent.is_for(&secret.version)) {
                self.learn(&secret.identity, &secret.version);
            }
        }
    }

    /// Notes that an account of `name` may exist: it is read before it is provisioned.
    pub fn read_first(&mut self, name: SecretName) {
        self.of.entry(name).or_default().unsettled = true;
    }

    /// Lists the identities that may have an account which is not published.
    pub fn unsettled(&self) -> Vec<SecretName> {
        self.of.iter().filter(|(_, sent)| sent.unsettled).map(|(name, _)| name.clone()).collect()
    }

    /// Lists the identities that this process has posted for, and that may have an account since.
    pub fn own(&self) -> &BTreeSet<SecretName> {
        &self.own
    }

    /// Tells whether `name` may have an account that is not published.
    pub fn is_unsettled(&self, name: &SecretName) -> bool {
        self.of.get(name).is_some_and(|sent| sent.unsettled)
    }

    /// Tells whether another POST may be sent `at` this time, as far as the number of those of
    /// unknown fate bounds it. `version` is the one that it is to replace, and none for a first
    /// set.
    pub fn may_post(&self, name: &SecretName, version: Option<&str>, at: Duration) -> bool {
        self.of.get(name).is_none_or(|sent| {
            sent.version.as_deref() != version
                || sent.unknown < MOST_UNKNOWN
                || sent.last.is_none_or(|last| at >= last + BETWEEN_UNKNOWN)
        })
    }

    /// Tells whether a POST that replaces `version` may be sent `at` this time.
    pub fn may_replace(&self, name: &SecretName, version: &str, at: Duration) -> bool {
        self.may_post(name, Some(version), at)
            && self.of.get(name).is_none_or(|sent| {
                let is_spaced = sent.last.is_none_or(|last| at >= last + BETWEEN);
                is_spaced && !(sent.is_for(version) && sent.done >= MOST_DONE)
            })
    }

    /// Gives the error of a POST that may not be sent.
    pub fn refusal(&self, name: &SecretName) -> FetchError {
        let sent = self.of.get(name).map_or(0, |sent| sent.unknown);
        FetchError { attempt: Attempt::Provision(name.clone()), cause: Cause::Unanswered(sent) }
    }

    /// Sends a POST for `name`, which is recorded before by `record`; `version` is the one that it
    /// is to replace, and none for a first set.
    ///
    /// Not cancel-safe: if the future is dropped, the fate of the POST is unknown, as the record
    /// says.
    pub async fn post(
        &mut self,
        source: &mut impl Source,
        name: &SecretName,
        version: Option<&str>,
        at: Duration,
        mut record: impl FnMut(&mut Self) -> Result<(), Cause>,
    ) -> Result<SecretSet, FetchError> {
        let before = self.of.get(name).cloned();
        let is_own = self.own.contains(name);
        self.begin(name, version, at);
        if let Err(cause) = record(self) {
            self.restore(name, before, is_own);
            if version.is_some() {
                self.space(name, version, at);
            }
            return Err(FetchError { attempt: Attempt::Provision(name.clone()), cause });
        }
        let answer = source.provision(name).await;
        match answer.as_ref().map_err(FetchError::fate) {
            Ok(_) => self.end(name),
            Err(Fate::Unknown) => {
                // The account is there, and a read shows it once the secret is corrected.
                if answer.as_ref().is_err_and(FetchError::is_fault) {
                    self.own.remove(name);
                }
            }
            // It does not settle the fate of an earlier one.
            Err(Fate::NotDone) => {
                self.restore(name, before, is_own);
                if version.is_some() {
                    self.space(name, version, at);
                }
                // If the record stays, the next agent reads once too often.
                record(self).ok();
            }
        }
        answer
    }

    fn begin(&mut self, name: &SecretName, version: Option<&str>, at: Duration) {
        let sent = self.space(name, version, at);
        sent.unknown = sent.unknown.saturating_add(1);
        sent.unsettled = true;
        sent.answered = false;
        self.own.insert(name.clone());
    }

    /// Notes the time of a POST, which the next one that replaces a version keeps away from.
    fn space(&mut self, name: &SecretName, version: Option<&str>, at: Duration) -> &mut Sent {
        self.changed = true;
        let sent = self.of.entry(name.clone()).or_default();
        if sent.version.as_deref() != version {
            *sent = Sent { version: version.map(str::to_owned), ..Sent::default() };
        }
        sent.last = Some(at);
        sent
    }

    /// Notes that the last POST was done. Its account is not published yet.
    fn end(&mut self, name: &SecretName) {
        let Some(sent) = self.of.get_mut(name) else {
            return;
        };
        sent.answered = true;
        if sent.version.is_some() {
            sent.unknown = sent.unknown.saturating_sub(1);
            sent.done = sent.done.saturating_add(1);
        }
        self.changed = true;
    }

    fn restore(&mut self, name: &SecretName, before: Option<Sent>, is_own: bool) {
        match before {
            Some(before) => drop(self.of.insert(name.clone(), before)),
            None => drop(self.of.remove(name)),
        }
        if !is_own {
            self.own.remove(name);
        }
        self.changed = true;
    }

    /// Notes that an answer has shown the secret as it is now, `version`: the fate of every POST
    /// before is known, and a new version begins a new need.
    pub fn learn(&mut self, name: &SecretName, version: &str) {
        let Some(sent) = self.of.get_mut(name) else {
            return;
        };
        self.changed |= sent.unsettled;
        sent.unsettled = false;
        if !sent.is_for(version) {
            (sent.unknown, sent.done) = (0, 0);
            sent.version = Some(version.to_owned());
            self.changed = true;
        }
    }

    /// Begins a new need of every identity, as each due pass is one where renewal posts.
    pub fn begin_needs(&mut self) {
        for sent in self.of.values_mut() {
            (sent.unknown, sent.done) = (0, 0);
        }
    }

    /// Notes that the vault has deprovisioned the accounts of `names`. POSTs of unknown fate count
    /// on: another need has not begun.
    pub fn deprovisioned(&mut self, names: &BTreeSet<SecretName>) {
        for name in names {
            self.own.remove(name);
            if let Some(sent) = self.of.get_mut(name) {
                sent.unknown = sent.unknown.saturating_sub(u8::from(sent.answered));
                (sent.answered, sent.unsettled) = (false, false);
                self.changed = true;
            }
        }
    }

    /// Forgets the POSTs for `name`: their need is met.
    pub fn met(&mut self, name: &SecretName) {
        self.changed |= self.of.remove(name).is_some();
    }

    /// Forgets every POST: the first set is published.
    pub fn published(&mut self) {
        self.changed |= !self.of.is_empty();
        self.of.clear();
        self.own.clear();
    }

    /// Writes the record if it has changed. `origin` is that of the POSTs.
    pub fn save(
        &mut self,
        store: &dyn Backend,
        origin: &Origin,
        now: Duration,
    ) -> Result<(), Cause> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let posts: Vec<Posted> =
            self.of.iter().filter_map(|(name, sent)| sent.posted(name, now)).collect();
        let identities = self.unsettled();
        if posts.is_empty() && identities.is_empty() {
            store.clear_pending();
            return Ok(());
        }
        let pending = Pending { origin: origin.clone(), identities, posts };
        store.record_pending(&pending).map_err(|error| {
            self.changed = true;
            Cause::Unrecorded { text: chain(&error), hint: error.hint() }
        })
    }

    /// Writes the record where no POST follows; logs a failure.
    pub fn save_or_log(&mut self, store: &dyn Backend, origin: &Origin, now: Duration) {
        if let Err(error) = self.save(store, origin, now) {
            tracing::debug!(
                error = chain(&error),
                "the record of provisioning requests could not be written"
            );
        }
    }
}

impl Sent {
    fn is_for(&self, version: &str) -> bool {
        self.version.as_deref() == Some(version)
    }

    /// Gives what bounds later POSTs, if anything does `now`.
    fn posted(&self, name: &SecretName, now: Duration) -> Option<Posted> {
        let last = self.last?;
        let spaces = self.version.is_some() && now < last + BETWEEN;
        let bounds = self.unsettled
            || self.unknown > 0
            || spaces
            || (self.done > 0 && self.version.is_some());
        bounds.then(|| Posted {
            identity: name.clone(),
            version: self.version.clone(),
            unknown: self.unknown,
            done: self.done,
            at: millis(last),
        })
    }
}

#[cfg(test)]
mod tests;
