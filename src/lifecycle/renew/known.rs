//! Knowledge of each secret between passes, and the route of reads. It holds no value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ROUTE_GRACE;
use super::due::Scope;
use super::memory::{Absence, KnownSecret};
use crate::config::settings::Wanted;
use crate::lifecycle::fetch::{Posts, ReadRoute, Renewed, Replacement, seen};
use crate::lifecycle::publish::{Failed, HeldBack};
use crate::model::{Bundle, SecretName};
use crate::store::state::{SecretState, State};
use crate::vault::error::Cause;

/// Knowledge of the secrets.
pub(super) struct Known {
    secrets: BTreeMap<SecretName, KnownSecret>,
    /// The secrets that failed in a way that may pass.
    failing: BTreeSet<SecretName>,
    /// The evidence that the authorization is inactive.
    inactive: Absence,
    /// The route by which they are read.
    pub(super) route: ReadRoute,
    /// The POSTs for them.
    pub(super) posts: Posts,
    /// An agent before this one may have begun to post for the need of the first due pass.
    resumes: bool,
}

/// Result of the first two reads at this vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadEffect {
    /// No sign that reads provision.
    Harmless,
    /// One read may have provisioned.
    Suspicious,
    /// Each of the first reads has provisioned.
    Provisions,
}

impl Known {
    /// Begins with a published set, and with what was posted until now.
    pub(super) fn new(state: &State, mut posts: Posts, now: Duration) -> Self {
        let remember = |secret: &SecretState| {
            let since = seen(state, &secret.identity, now);
            (secret.identity.clone(), KnownSecret::new(&secret.version, since))
        };
        let unsettled = posts.unsettled();
        posts.adopt(state);
        for name in unsettled {
            posts.read_first(name);
        }
        Self {
            secrets: state.secrets.iter().map(remember).collect(),
            failing: BTreeSet::new(),
            inactive: Absence::default(),
            route: ReadRoute::new(state.refresh, ROUTE_GRACE),
            posts,
            resumes: true,
        }
    }

    /// Gives the knowledge of `name`.
    pub(super) fn of(&mut self, name: &SecretName) -> &mut KnownSecret {
        self.secrets.entry(name.clone()).or_default()
    }

    /// Begins a due pass, which is a new need of POSTs where renewal posts. The first one of this
    /// process continues that of an agent before it: a crash loop is one need.
    pub(super) fn begin_due_pass(&mut self) {
        if !std::mem::take(&mut self.resumes) {
            self.posts.begin_needs();
        }
    }

    /// Tells whether one request lists every secret.
    pub(super) fn lists(&self, wanted: &Wanted) -> bool {
        self.route.list(wanted).is_some()
    }

    /// Lists the identities to fetch: all, or the failed ones. Those that failed before come last.
    pub(super) fn names(&self, state: &State, wanted: &Wanted, scope: Scope) -> Vec<SecretName> {
        let mut names = state.names();
        for name in &wanted.identities {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if scope == Scope::Failed && !self.lists(wanted) && !self.failing.is_empty() {
            names.retain(|name| self.failing.contains(name));
        }
        names.sort_by_key(|name| self.failing.contains(name));
        names
    }

    /// Notes those of `names` that failed in a way that may pass.
    pub(super) fn note_failing(
        &mut self,
        names: &[SecretName],
        fresh: &Bundle,
        held_back: &HeldBack,
        cut: Option<&Failed>,
    ) {
        let fails = |name: &&SecretName| match cut {
            // The fetch ended before some were requested.
            Some(_) => !fresh.secrets.contains_key(*name),
            None => held_back.get(*name).is_some_and(Failed::may_pass),
        };
        self.failing = names.iter().filter(fails).cloned().collect();
    }

    /// Notes the fetched versions, and lists the secrets whose version is new.
    pub(super) fn learn(&mut self, fresh: &Bundle, at: Duration) -> BTreeSet<SecretName> {
        let mut renewed = BTreeSet::new();
        for (name, set) in &fresh.secrets {
            self.posts.learn(name, &set.version);
            if self.of(name).learn(set, at) {
                renewed.insert(name.clone());
            }
        }
        renewed
    }

    /// Lists secrets that a POST may renew before their lifetime ends: those of a read, and others
    /// whose account is gone.
    pub(super) fn due_for_a_post(
        &self,
        read: &Bundle,
        gone: Vec<SecretName>,
        at: Duration,
    ) -> Vec<Replacement> {
        let runs_out = |name: &SecretName, set| {
            self.secrets.get(name).is_some_and(|memory| memory.runs_out(set, at))
        };
        let old = read.secrets.iter().filter(|(name, set)| runs_out(name, set));
        let names = old.map(|(name, _)| name.clone()).chain(gone);
        let due = names.map(|name| Replacement { version: self.version(&name), name });
        due.filter(|due| self.posts.may_replace(&due.name, &due.version, at)).collect()
    }

    /// Gives the known version of a secret; an empty one if there is none.
    pub(super) fn version(&self, name: &SecretName) -> String {
        self.secrets.get(name).map(KnownSecret::version).unwrap_or_default().to_owned()
    }

    /// Tells whether the known version of a secret is of that age or older `at` this time.
    pub(super) fn is_older(&self, name: &SecretName, age: Duration, at: Duration) -> bool {
        self.secrets.get(name).is_some_and(|memory| memory.is_older(age, at))
    }

    /// Counts secrets that were `read` by GET provision, which should not provision, and gives the
    /// result of the first two reads. Those of `changed` brought a new version of other values.
    pub(super) fn count_reads(
        &mut self,
        read: &BTreeSet<SecretName>,
        changed: &BTreeSet<SecretName>,
    ) -> ReadEffect {
        let (mut suspicious, mut proven) = (false, false);
        for (name, memory) in self.secrets.iter_mut().filter(|(name, _)| read.contains(name)) {
            if changed.contains(name) {
                suspicious |= memory.count_changing_read();
            } else {
                memory.count_read();
            }
            proven |= memory.reads_provision();
        }
        match (proven, suspicious) {
            (true, _) => ReadEffect::Provisions,
            (false, true) => ReadEffect::Suspicious,
            (false, false) => ReadEffect::Harmless,
        }
    }

    /// Lists published secrets that are gone from the vault, after a due pass with the result
    /// `renewed`. A secret counts as gone only on the evidence of several passes
    /// ([`Absence::confirmed`]).
    pub(super) fn gone(
        &mut self,
        at: Duration,
        renewed: &Renewed,
        state: &State,
    ) -> BTreeSet<SecretName> {
        let mut gone = BTreeSet::new();
        for (name, _) in renewed.failed.iter().filter(|(_, error)| error.is_missing()) {
            if self.of(name).absence.confirmed(at) {
                gone.insert(name.clone());
            }
        }
        let cut = renewed.cut.as_ref();
        if cut.is_some_and(|error| matches!(error.cause, Cause::Inactive(_))) {
            if self.inactive.confirmed(at) {
                gone.extend(state.names());
            }
        } else if cut.is_none() || !renewed.fresh.secrets.is_empty() {
            self.inactive = Absence::default();
        }
        gone.retain(|name| state.secret(name).is_some());
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{FetchMode, Refresh};
    use crate::exit::FailureClass;
    use crate::render::tests::bundle;
    use crate::store::state::tests::state;

    fn name(identity: &str) -> SecretName {
        SecretName::new(identity).unwrap()
    }

    fn known(names: &[&str]) -> (Known, State) {
        let secrets = names.iter().map(|name| {
            let bundle = bundle(&[(*name, &[&[("k", "v")]])]);
            let (name, set) = bundle.secrets.into_iter().next().unwrap();
            SecretState::of(&name, &set, None, Duration::ZERO)
        });
        let state = State { secrets: secrets.collect(), ..state() };
        (Known::new(&state, Posts::default(), Duration::ZERO), state)
    }

    #[test]
    fn failed_secrets_are_fetched_alone_and_last_in_a_fetch_of_all() {
        let (mut known, state) = known(&["a", "b"]);
        let identities = vec![name("a"), name("c")];
        let wanted = Wanted { source: FetchMode::Provision, refresh: Refresh::Get, identities };
        let names_of = |known: &Known, scope| {
            let names = known.names(&state, &wanted, scope).into_iter();
            names.map(|name| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names_of(&known, Scope::Failed), ["a", "b", "c"]);
        let names = known.names(&state, &wanted, Scope::All);
        let held_back =
            HeldBack::from([(name("a"), Failed::said(FailureClass::Unreachable, "busy"))]);
        known.note_failing(&names, &Bundle::default(), &held_back, None);
        assert_eq!(names_of(&known, Scope::Failed), ["a"]);
        assert_eq!(names_of(&known, Scope::All), ["b", "c", "a"]);
    }

    #[test]
    fn only_new_versions_in_both_first_reads_of_one_secret_prove_that_reads_provision() {
        let (mut known, _) = known(&["a", "b"]);
        let all = BTreeSet::from([name("a"), name("b")]);
        let only = |identity: &str| BTreeSet::from([name(identity)]);
        assert_eq!(known.count_reads(&all, &BTreeSet::new()), ReadEffect::Harmless);
        assert_eq!(known.count_reads(&all, &only("b")), ReadEffect::Suspicious);
        assert_eq!(known.count_reads(&all, &all), ReadEffect::Harmless, "these are no first");
        let (mut known, _) = self::known(&["a"]);
        assert_eq!(known.count_reads(&only("a"), &only("a")), ReadEffect::Suspicious);
        assert_eq!(known.count_reads(&only("a"), &only("a")), ReadEffect::Provisions);
    }

    #[test]
    fn the_fate_of_a_post_is_unknown_until_an_answer_comes() {
        let (_, state) = known(&["a"]);
        let mut posts = Posts::default();
        posts.read_first(name("a"));
        let mut known = Known::new(&state, posts, Duration::ZERO);
        assert!(known.posts.is_unsettled(&name("a")));
        let fresh = bundle(&[("a", &[&[("k", "v")]])]);
        assert!(known.learn(&fresh, Duration::ZERO).is_empty());
        assert!(!known.posts.is_unsettled(&name("a")));
    }
}
