//! From what came and what stands to one published set.

use std::collections::BTreeSet;
use std::time::Duration;

use super::trouble::{Told, Troubles};
use super::{News, Renewer, Unpublished};
use crate::clock;
use crate::deprovision::take_away;
use crate::exit::chain;
use crate::model::{Bundle, Entry, Fault, Item, Outcome, Retry, SecretName, SecretSet, TTL};
use crate::obtain::{Renewed, openings};
use crate::pass::{PublishError, Publisher, admit, lacking};
use crate::render::bundle::Entries;
use crate::render::{Layout, RenderError};
use crate::settings::Source as Way;
use crate::state::{SecretState, State, millis};
use crate::store::LINGER;
use crate::vault::error::{Attempt, Cause, FetchError};

impl Renewer<'_> {
    /// Takes out of a list what it has less of than stands: such a list leaves out what was made for
    /// this pod, and can't renew it.
    pub(super) fn refuse_less(&self, renewed: &mut Renewed) {
        if self.config.wanted.source != Way::Provision || !self.lists() {
            return;
        }
        let Some(standing) = self.store.standing() else { return };
        let standing = self.state.bundle(standing.entries).secrets;
        let is_less = |name: &SecretName, set: &SecretSet| {
            standing.get(name).is_some_and(|stands| openings(set) < openings(stands))
        };
        let less = renewed.fresh.secrets.extract_if(.., |name, set| is_less(name, set));
        renewed.failed.extend(less.map(|(name, _)| {
            let cause = Cause::Fault(Fault::Less { identity: name.clone() });
            (name, FetchError { attempt: Attempt::ReadApplication, cause })
        }));
    }

    /// What came, and of all else that stands and is not gone its last good version. None if that
    /// can't be read back.
    pub(super) fn merge(&self, fresh: Bundle, gone: &BTreeSet<SecretName>) -> Option<Bundle> {
        let mut bundle = fresh;
        let stays = |name: &SecretName| !bundle.secrets.contains_key(name) && !gone.contains(name);
        let kept: BTreeSet<SecretName> = self.state.names().into_iter().filter(stays).collect();
        if !kept.is_empty() {
            let standing = self.store.standing()?;
            let secrets = self.state.bundle(standing.entries).secrets.into_iter();
            bundle.secrets.extend(secrets.filter(|(name, _)| kept.contains(name)));
        }
        Some(bundle)
    }

    /// Publishes `bundle`; those of `fresh` that can't be rendered are held back.
    pub(super) fn publish_sound(
        &mut self,
        at: Duration,
        bundle: Bundle,
        fresh: &BTreeSet<SecretName>,
        troubles: Troubles,
        cut: Option<Told>,
    ) -> Option<News> {
        let cut = cut.as_ref();
        let state = self.next(at, &bundle, fresh, &troubles, cut);
        let mut set = Unpublished { bundle, state, sound: fresh.clone(), troubles };
        let mut written = self.write(at, &set.bundle, &mut set.state);
        if matches!(written, Err(PublishError::Render(_)))
            && let Some(standing) = self.store.standing()
        {
            let left_out = self.hold_back(&mut set, self.state.bundle(standing.entries));
            let state = self.next(at, &set.bundle, &set.sound, &set.troubles, cut);
            set.state = State { left_out, ..state };
            written = self.write(at, &set.bundle, &mut set.state);
        }
        self.published(at, set, cut, written)
    }

    /// Leaves out of `set` what can't be rendered, in favour of what is `good`; and templates that
    /// even that can't do with, since something of it has gone.
    fn hold_back(&self, set: &mut Unpublished, mut good: Bundle) -> Vec<String> {
        good.secrets.retain(|name, _| set.bundle.secrets.contains_key(name));
        let mut layout = self.config.layout.clone();
        let left_out = lacking(&good, &layout);
        for file in &left_out {
            layout = layout.without_template(file);
        }
        let fresh = std::mem::take(&mut set.bundle.secrets);
        let held = admit(&mut good, fresh, &layout);
        set.sound.retain(|name| !held.contains_key(name));
        set.troubles.extend(held.into_iter().map(|(name, error)| (name, unrendered(&error))));
        set.bundle.secrets = good.secrets;
        left_out
    }

    /// What is to be remembered of a set, were it published now.
    fn next(
        &self,
        at: Duration,
        bundle: &Bundle,
        fresh: &BTreeSet<SecretName>,
        troubles: &Troubles,
        cut: Option<&Told>,
    ) -> State {
        let secret = |(name, set): (&SecretName, &SecretSet)| {
            let before = self.state.secret(name);
            match before {
                Some(before) if !fresh.contains(name) => {
                    let error = troubles.get(name).map(|told| told.class.to_owned());
                    SecretState { error: error.or_else(|| before.error.clone()), ..before.clone() }
                }
                Some(_) | None => SecretState::of(name, set, before, at),
            }
        };
        let mut state = self.state.clone();
        state.secrets = bundle.secrets.iter().map(secret).collect();
        state.refresh = self.asking.settled();
        state.given_back = bundle.secrets.is_empty();
        let first = cut.or_else(|| troubles.values().next());
        let held_back = state.secrets.iter().find_map(|secret| secret.error.clone());
        state.last_error = first.map(|told| told.class.to_owned()).or(held_back);
        if state.last_error.is_none() {
            state.failures = 0;
            state.fetched_at = clock::stamp(clock::wall());
            state.boot_ms.fetched = millis(at);
        } else {
            state.failures = state.failures.saturating_add(1);
        }
        state
    }

    /// Publishes a set that was kept in memory; says what came of it, if anything.
    pub(super) fn publish(&mut self, at: Duration, mut set: Unpublished) -> Option<News> {
        let written = self.write(at, &set.bundle, &mut set.state);
        self.published(at, set, None, written)
    }

    fn published(
        &mut self,
        at: Duration,
        set: Unpublished,
        cut: Option<&Told>,
        written: Result<Option<News>, PublishError>,
    ) -> Option<News> {
        match written {
            Ok(news) => {
                if !self.memory.values().any(|memory| memory.unsure) {
                    self.store.settle();
                }
                self.trouble.tell(&set.troubles, cut, &set.sound);
                if self.state.last_error.is_none() {
                    self.schedule.recovered();
                }
                let class = self.state.last_error.clone();
                self.count(|counters| match class {
                    Some(class) => counters.failed(&class),
                    None => counters.passes_ok += 1,
                });
                news
            }
            Err(error) => {
                let told = unwritten(&error);
                self.retry = Some(at + self.schedule.after_failure(told.retry));
                // What can't be rendered will be no better later.
                self.unpublished = matches!(error, PublishError::Write(_)).then_some(set);
                self.failed(&Troubles::new(), Some(&told));
                None
            }
        }
    }

    /// Writes a set; says what came of it, if anything.
    fn write(
        &mut self,
        at: Duration,
        bundle: &Bundle,
        state: &mut State,
    ) -> Result<Option<News>, PublishError> {
        self.stamp(state);
        let layout = self.layout(bundle).clone();
        let outcome = Publisher {
            store: self.store,
            layout: &layout,
            renew: self.config.renew,
            origin: &self.state.origin,
            silent_until: state.boot_ms.silent_until,
            remarked: &mut self.remarked,
        }
        .publish(bundle, state)?;
        let fewer = state.secrets.len() < self.state.secrets.len();
        let alike = self.config.layout.templates.is_empty() || same_words(&self.state, state);
        self.state = state.clone();
        self.show();
        let Outcome::Published(generation) = outcome else {
            return Ok(None);
        };
        self.count(|counters| counters.publishes += 1);
        let difference = self.store.replaced().map(|old| difference(&old, bundle));
        // A template shows more than values.
        let difference = difference.filter(|_| alike);
        if fewer {
            // What is gone from the vault must be gone from here.
            self.store.sweep();
        } else {
            self.published = at;
            self.sweep = self.sweep.or(Some(at + LINGER));
        }
        let news = match difference {
            Some(Difference::None) => News::Restored,
            Some(Difference::Lifetimes) => News::Lifetimes,
            Some(Difference::Values) | None => News::Changed,
        };
        Ok(Some(news(generation)))
    }

    /// Looks at what is published, and puts back what something else has changed.
    pub(super) fn heal(&mut self) -> Option<News> {
        let at = clock::boot();
        self.store.suspect();
        let Some(standing) = self.store.standing() else {
            tracing::warn!("published files were altered and can't be put back; fetching anew");
            let soon = self.state.boot_ms.fetched.saturating_add(10_000);
            let soon = at.max(Duration::from_millis(soon));
            self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
            return None;
        };
        let bundle = self.state.bundle(standing.entries);
        match self.write(at, &bundle, &mut self.state.clone()) {
            Ok(None) => None,
            Ok(news) => {
                tracing::warn!("put back published files that something else had altered");
                news
            }
            Err(error) => {
                let Told { text, hint, .. } = unwritten(&error);
                tracing::warn!(error = text, hint, "published files were altered; put back later");
                None
            }
        }
    }

    /// Publishes a set of nothing, which no start adopts.
    pub(super) fn take_away(&mut self) {
        let mut state = self.state.clone();
        state.secrets.clear();
        self.stamp(&mut state);
        let layout = &self.config.layout;
        match take_away(self.store, layout, &mut state, &mut self.remarked) {
            Ok(outcome) => {
                self.state = state;
                self.show();
                let publishes = u64::from(matches!(outcome, Outcome::Published(_)));
                self.count(|counters| counters.publishes += publishes);
            }
            Err(error) => {
                tracing::debug!(
                    error = chain(&error),
                    "nothing more can be written; it is removed"
                );
            }
        }
    }

    /// An empty set has no files at all, rather than empty ones.
    fn layout(&self, bundle: &Bundle) -> &Layout {
        if bundle.secrets.is_empty() { &self.nothing } else { &self.config.layout }
    }
}

/// What there is to say of a set that could not be written.
fn unwritten(error: &PublishError) -> Told {
    let (hint, retry) = match error {
        PublishError::Render(error) => (Some(error.hint()), Retry::Never),
        PublishError::Write(error) => (error.hint(), Retry::Backoff),
    };
    Told { class: error.class(), text: chain(error), hint, retry }
}

/// What there is to say of a secret that can't be rendered.
fn unrendered(error: &RenderError) -> Told {
    let told = Told::said("render", chain(error));
    Told { hint: Some(error.hint()), retry: Retry::Never, ..told }
}

/// Whether two states say the same of their secrets, values left aside.
fn same_words(old: &State, new: &State) -> bool {
    fn words(secret: &SecretState) -> [&str; 6] {
        let SecretState { identity, secret_id, name, version, engine, expiration_date, .. } =
            secret;
        [identity.as_str(), secret_id, name, version, engine, expiration_date]
    }
    old.secrets.iter().map(words).eq(new.secrets.iter().map(words))
}

/// How two sets differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// Not at all.
    None,
    /// By values of `TTL`, and nothing else.
    Lifetimes,
    /// By more than that.
    Values,
}

fn difference(old: &Entries, new: &Bundle) -> Difference {
    let mut lifetimes = false;
    let mut same = |old: &Item, new: &Item| {
        let equal = old.value.expose() == new.value.expose();
        lifetimes |= !equal;
        old.key == new.key && (equal || old.key == TTL)
    };
    let mut alike = |old: &Entry, new: &Entry| {
        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same(old, new))
    };
    let all = old.len() == new.secrets.len()
        && new.secrets.iter().all(|(name, set)| {
            old.get(name).is_some_and(|old| {
                old.len() == set.entries.len()
                    && old.iter().zip(&set.entries).all(|(old, new)| alike(old, new))
            })
        });
    match (all, lifetimes) {
        (true, false) => Difference::None,
        (true, true) => Difference::Lifetimes,
        (false, _) => Difference::Values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::bundle;

    #[test]
    fn a_change_of_lifetimes_alone_is_told_from_any_other() {
        use Difference::{Lifetimes, None as Same, Values};
        let entries = |bundle: Bundle| -> Entries {
            bundle.secrets.into_iter().map(|(name, set)| (name, set.entries)).collect()
        };
        let old = || entries(bundle(&[("a", &[&[("password", "x"), ("TTL", "60")]])]));
        for (new, expected) in [
            (bundle(&[("a", &[&[("password", "x"), ("TTL", "30")]])]), Lifetimes),
            (bundle(&[("a", &[&[("password", "x"), ("TTL", "60")]])]), Same),
            (bundle(&[("a", &[&[("password", "y"), ("TTL", "30")]])]), Values),
            (bundle(&[("a", &[&[("password", "x")]])]), Values),
            (bundle(&[("a", &[&[("password", "x"), ("TTL", "60")], &[("k", "v")]])]), Values),
            (bundle(&[("b", &[&[("password", "x"), ("TTL", "60")]])]), Values),
            (bundle(&[]), Values),
        ] {
            assert_eq!(difference(&old(), &new), expected, "{new:?}");
        }
    }
}
