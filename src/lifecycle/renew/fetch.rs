//! The requests of one pass to the vault.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{PASS, Renewer, Trigger};
use crate::config::settings::{FetchMode, OnAbsent, Refresh};
use crate::lifecycle::deprovision;
use crate::lifecycle::fetch::{Posts, Renewed, provision_again, reread};
use crate::lifecycle::publish::origin;
use crate::model::SecretName;
use crate::os::clock::Deadline;
use crate::store::state::Origin;
use crate::vault::error::{Cause, FetchError};
use crate::vault::{Connect, Source};

/// The requests of a pass, and their result.
pub(super) struct PassFetch {
    pub(super) renewed: Renewed,
    /// The secrets that were read by GET provision, the route that may provision, and not by POST.
    pub(super) by_get: BTreeSet<SecretName>,
    /// The origin of these secrets, by the files of the settings as they are now.
    pub(super) origin: Option<Origin>,
}

impl<V: Connect> Renewer<'_, V> {
    /// Fetches `names`, with every file of the settings as it is now.
    pub(super) async fn fetch(&mut self, names: &[SecretName], at: Duration) -> PassFetch {
        let config = self.config;
        let prepared = origin(config).and_then(|origin| {
            let client = self.vault.connect(&mut self.token)?;
            Ok((origin, client))
        });
        let (origin, mut client) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let renewed = Renewed { cut: Some(error), ..Renewed::default() };
                return PassFetch { renewed, by_get: BTreeSet::new(), origin: None };
            }
        };
        client.end_by(Deadline::after(PASS));
        let wanted = &config.wanted;
        let provisions = wanted.source == FetchMode::Provision;
        let mut by_get = BTreeSet::new();
        let mut renewed = if provisions && wanted.refresh == Refresh::Post {
            self.post(&mut client, names, &origin, at).await
        } else {
            let reads = if self.known.lists(wanted) { 1 } else { names.len() as u64 };
            self.report.count(|counters| counters.reads += reads);
            let mut renewed = reread(&mut client, wanted, names, &mut self.known.route).await;
            if provisions && wanted.refresh == Refresh::Auto {
                if !self.known.lists(wanted) {
                    by_get.extend(renewed.fresh.secrets.keys().cloned());
                }
                for name in self.provision_again(&mut client, &mut renewed, &origin, at).await {
                    by_get.remove(&name);
                }
            }
            renewed
        };
        renewed.fresh.remarks.append(&mut client.remarks());
        self.token = self.vault.end(client);
        PassFetch { renewed, by_get, origin: Some(origin) }
    }

    /// Sends a POST for each of `names`; if the fate of an earlier one is unknown, reads first.
    async fn post(
        &mut self,
        client: &mut V::Source,
        names: &[SecretName],
        origin: &Origin,
        at: Duration,
    ) -> Renewed {
        let mut renewed = Renewed::default();
        let (store, clock) = (self.current.backend(), self.clock);
        for name in names {
            let version = self.known.version(name);
            let may_post = self.known.posts.may_post(name, Some(&version), at);
            if self.known.posts.is_unsettled(name) || !may_post {
                let read = self.known.route.read(client, name, &self.config.wanted).await;
                let answered = read.as_ref().is_ok_and(|set| set.version != version);
                let unsettled = read.as_ref().is_err_and(|error| !error.is_absence());
                let answer = match read {
                    read if answered || unsettled => Some(read),
                    _ if may_post => None,
                    _ => Some(Err(self.known.posts.refusal(name))),
                };
                if let Some(answer) = answer {
                    renewed.take(name, answer);
                    if renewed.cut.is_some() {
                        break;
                    }
                    continue;
                }
            }
            self.report.count(|counters| counters.provisions += 1);
            // This process may be killed before the answer comes.
            let record = |posts: &mut Posts| posts.save(store, origin, clock.boot());
            let posts = &mut self.known.posts;
            let answer = posts.post(client, name, Some(&version), at, record).await;
            if answer.is_ok() {
                posts.met(name);
            }
            renewed.take(name, answer);
            if renewed.cut.is_some() {
                break;
            }
        }
        renewed
    }

    /// Sends a POST for each secret that is past most of its lifetime and did not change by itself;
    /// lists these secrets.
    async fn provision_again(
        &mut self,
        client: &mut V::Source,
        renewed: &mut Renewed,
        origin: &Origin,
        at: Duration,
    ) -> Vec<SecretName> {
        let mut gone = Vec::new();
        if renewed.is_any_bare()
            && let Some(published) = self.current.bundle()
        {
            let known = &self.known;
            let is_over = |name: &SecretName, lifetime| known.is_older(name, lifetime, at);
            gone = renewed.refuse_bare(&published, is_over);
        }
        let due = self.known.due_for_a_post(&renewed.fresh, gone, at);
        let (store, clock) = (self.current.backend(), self.clock);
        let record = |posts: &mut Posts| posts.save(store, origin, clock.boot());
        let posts = &mut self.known.posts;
        let sent = provision_again(client, &due, posts, at, renewed, record).await;
        self.report.count(|counters| counters.provisions += sent);
        due.into_iter().map(|replacement| replacement.name).collect()
    }

    /// Writes what was posted, as far as it bounds later POSTs.
    pub(super) fn record_posts(&mut self) {
        let origin = &self.current.state().origin;
        self.known.posts.save_or_log(self.current.backend(), origin, self.clock.boot());
    }

    /// Deprovisions the set, best effort, and unpublishes it: a set that may have been
    /// deprovisioned must not be served, and the next start provisions again.
    pub async fn deprovision(&mut self) {
        let token = self.token.take();
        if deprovision::published(&self.vault, token, &self.current.state().secrets).await {
            self.unpublish();
        }
    }

    /// Lists published secrets that are gone from the vault, on sufficient evidence (see
    /// [`Known::gone`]).
    pub(super) fn gone(
        &mut self,
        at: Duration,
        trigger: Trigger,
        renewed: &Renewed,
    ) -> BTreeSet<SecretName> {
        let cut = renewed.cut.as_ref();
        let inactive = cut.is_some_and(|error| matches!(error.cause, Cause::Inactive(_)));
        let absent = |error: &FetchError| error.is_missing() || error.may_be_no_route();
        if inactive || renewed.failed.values().any(absent) {
            // The next pass logs in again, so that the fault of an old token counts as no evidence.
            self.token = None;
        }
        if trigger != Trigger::Due {
            return BTreeSet::new();
        }
        let mut gone = self.known.gone(at, renewed, self.current.state());
        if self.config.on_absent == OnAbsent::Keep {
            gone.clear();
        }
        gone
    }
}
