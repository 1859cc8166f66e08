//! The current set: its state, its store, and its replacement by a newer one.
//!
//! Each identity keeps its last good version until a newer one is sound, and a set is replaced as a
//! whole or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use super::difference::{Difference, difference, same_metadata};
use super::{Failed, HeldBack, PublishError, Publisher, Remarked, Stamp, admit, failing_templates};
use crate::exit::{FailureClass, chain};
use crate::model::{Bundle, Generation, Outcome, SecretName, SecretSet};
use crate::os::clock::{self, Clock};
use crate::render::Layout;
use crate::store::state::{Origin, SecretState, Settled, State, millis};
use crate::store::{Backend, Store};

/// The current set.
pub struct Current<'a> {
    store: &'a mut Store,
    layout: &'a Layout,
    state: State,
    remarked: Remarked,
    /// The state could not be written, and this was logged.
    save_failed: bool,
    clock: &'a dyn Clock,
}

/// A fetched set, merged with the current one.
pub struct Candidate {
    /// Its secrets.
    pub bundle: Bundle,
    /// The secrets that were fetched and are new or confirmed.
    pub sound: BTreeSet<SecretName>,
    /// The other secrets, which keep their last good version, and their failures.
    pub held_back: HeldBack,
}

/// A candidate with its state, after an attempt to publish it.
pub struct Prepared {
    /// The set.
    pub set: Candidate,
    /// Its state.
    pub state: State,
}

/// The pass that has fetched a set, as the state remembers it.
pub struct Fetched {
    /// The time of the pass, by the boot clock.
    pub at: Duration,
    /// The route of later reads.
    pub refresh: Settled,
    /// The class of the failure that ended it early.
    pub cut: Option<FailureClass>,
    /// The plan for the next pass.
    pub stamp: Stamp,
}

/// A generation that was published, and its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Other bytes, of which the main process is notified.
    Changed(Generation),
    /// A change of `TTL` values alone, of which no process is notified.
    Lifetimes(Generation),
    /// Unchanged values: the main process is notified of files that something else had changed.
    Restored(Generation),
}

/// The generation that replaced the current set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Its difference from the set before.
    pub publication: Publication,
    /// It has fewer secrets, so that the replaced set was removed at once.
    pub swept: bool,
}

impl<'a> Current<'a> {
    /// Continues with the set that is published in `store`, which `state` describes.
    pub fn new(
        store: &'a mut Store,
        layout: &'a Layout,
        state: State,
        remarked: Remarked,
        clock: &'a dyn Clock,
    ) -> Self {
        Self { store, layout, state, remarked, save_failed: false, clock }
    }

    /// Gives the state of the set.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Gives the store that the set is published in.
    pub fn store(&mut self) -> &mut Store {
        self.store
    }

    /// Gives the store, for the record of POSTs.
    pub fn backend(&self) -> &dyn Backend {
        &**self.store
    }

    /// Gives the state of the set, and the remarks on it that have been logged.
    pub fn end(self) -> (State, Remarked) {
        (self.state, self.remarked)
    }

    /// Reads the set from its store; none if it is incomplete.
    pub fn bundle(&self) -> Option<Bundle> {
        let current = self.store.current_set()?;
        Some(self.state.bundle(current.entries))
    }

    /// Merges the fetched secrets with the last good version of the others, except those that are
    /// `gone`. Fails if the last good version can't be read.
    pub fn merge(&self, fetched: Bundle, gone: &BTreeSet<SecretName>) -> Result<Bundle, Failed> {
        let mut bundle = fetched;
        let stays = |name: &SecretName| !bundle.secrets.contains_key(name) && !gone.contains(name);
        let kept: BTreeSet<SecretName> = self.state.names().into_iter().filter(stays).collect();
        if !kept.is_empty() {
            let text = "the published set can't be read back, and some of its secrets could not be fetched";
            let current = self.bundle().ok_or_else(|| Failed::said(FailureClass::Write, text))?;
            let current = current.secrets.into_iter();
            bundle.secrets.extend(current.filter(|(name, _)| kept.contains(name)));
        }
        Ok(bundle)
    }

    /// Publishes a merged set, and holds back those of its secrets that can't be rendered.
    pub fn publish_sound(
        &mut self,
        mut set: Candidate,
        fetched: &Fetched,
    ) -> (Prepared, Result<Option<Replaced>, PublishError>) {
        let mut state = self.next(&set, fetched);
        let mut published = self.publish(&set.bundle, &mut state);
        if matches!(published, Err(PublishError::Render(_)))
            && let Some(good) = self.bundle()
        {
            let left_out = self.hold_back(&mut set, good);
            state = State { left_out, ..self.next(&set, fetched) };
            published = self.publish(&set.bundle, &mut state);
        }
        (Prepared { set, state }, published)
    }

    /// Replaces secrets of `set` that can't be rendered by their last `good` version. Gives the
    /// templates that are left out: those that are left out of the current set already, and those
    /// that name a secret which is gone.
    fn hold_back(&self, set: &mut Candidate, mut good: Bundle) -> Vec<String> {
        let current = good.secrets.len();
        good.secrets.retain(|name, _| set.bundle.secrets.contains_key(name));
        let is_gone = good.secrets.len() < current;
        let mut layout = self.layout.clone();
        let mut left_out = failing_templates(&good, &layout);
        // A template that fails for another reason is a fault of the settings.
        left_out.retain(|file| is_gone || self.state.left_out.contains(file));
        for file in &left_out {
            layout = layout.without_template(file);
        }
        let fetched = std::mem::take(&mut set.bundle.secrets);
        let held_back = admit(&mut good, fetched, &layout);
        set.sound.retain(|name| !held_back.contains_key(name));
        let held_back = held_back.into_iter().map(|(name, error)| (name, Failed::from(&error)));
        set.held_back.extend(held_back);
        set.bundle.secrets = good.secrets;
        left_out
    }

    /// Composes the state of a set as if it were published now.
    fn next(&self, set: &Candidate, fetched: &Fetched) -> State {
        let Candidate { bundle, sound, held_back } = set;
        let secret = |(name, set): (&SecretName, &SecretSet)| {
            let before = self.state.secret(name);
            match before {
                Some(before) if !sound.contains(name) => {
                    let error = held_back.get(name).map(|failed| failed.class.label().to_owned());
                    SecretState { error: error.or_else(|| before.error.clone()), ..before.clone() }
                }
                Some(_) | None => SecretState::of(name, set, before, fetched.at),
            }
        };
        let mut state = self.state.clone();
        state.secrets = bundle.secrets.iter().map(secret).collect();
        state.refresh = fetched.refresh;
        state.given_back = bundle.secrets.is_empty();
        let first = fetched.cut.or_else(|| held_back.values().next().map(|failed| failed.class));
        let before = state.secrets.iter().find_map(|secret| secret.error.clone());
        state.last_error = first.map(|class| class.label().to_owned()).or(before);
        if state.last_error.is_none() {
            state.failures = 0;
            state.fetched_at = clock::stamp(self.clock.wall());
            state.boot_ms.fetched = millis(fetched.at);
        } else {
            state.failures = state.failures.saturating_add(1);
        }
        fetched.stamp.apply(&mut state);
        state
    }

    /// Replaces the current set by `bundle` and `state`, and completes the state. Gives none if the
    /// sets are equal. On an error the current set stays.
    pub fn publish(
        &mut self,
        bundle: &Bundle,
        state: &mut State,
    ) -> Result<Option<Replaced>, PublishError> {
        // An empty set has no files; the outputs would make empty ones of it.
        let nothing = bundle.secrets.is_empty().then(|| self.layout.without_outputs());
        let layout = nothing.as_ref().unwrap_or(self.layout);
        let (store, remarked, clock) = (&mut *self.store, &mut self.remarked, self.clock);
        let outcome = Publisher { store, layout, remarked, clock }.publish(bundle, state)?;
        let swept = state.secrets.len() < self.state.secrets.len();
        let same_templates = self.layout.templates.is_empty() || same_metadata(&self.state, state);
        self.state = state.clone();
        let Outcome::Published(generation) = outcome else {
            return Ok(None);
        };
        let difference = self.store.replaced().map(|old| difference(&old, bundle));
        // A template may show metadata as well as values.
        let difference = difference.filter(|_| same_templates);
        if swept {
            // A secret that is gone from the vault must not stay readable in a replaced generation.
            self.store.sweep();
        }
        let publication = match difference {
            Some(Difference::None) => Publication::Restored,
            Some(Difference::Lifetimes) => Publication::Lifetimes,
            Some(Difference::Values) | None => Publication::Changed,
        };
        Ok(Some(Replaced { publication: publication(generation), swept }))
    }

    /// Sets the origin of its secrets, as the files of the settings are now.
    pub fn set_origin(&mut self, origin: Origin) {
        self.state.origin = origin;
    }

    /// Sets the route of later reads.
    pub fn set_refresh(&mut self, refresh: Settled) {
        self.state.refresh = refresh;
    }

    /// Records a pass that fetched nothing, and the class of its failure.
    pub fn failed(&mut self, held_back: &HeldBack, class: Option<FailureClass>) {
        for (name, failed) in held_back {
            self.state.hold_back(name, failed.class);
        }
        self.state.failures = self.state.failures.saturating_add(1);
        self.state.last_error = class.map(|class| class.label().to_owned());
    }

    /// Writes the state, with `stamp`. Failures are logged once, until it can be written again.
    pub fn save(&mut self, stamp: &Stamp) {
        stamp.apply(&mut self.state);
        match self.store.save(&self.state) {
            Ok(()) => self.save_failed = false,
            Err(error) if !self.save_failed => {
                tracing::warn!(
                    error = chain(&error),
                    hint = error.hint(),
                    "the state file could not be written and is behind the published set"
                );
                self.save_failed = true;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Destination;
    use crate::lifecycle::publish::Heartbeat;
    use crate::lifecycle::schedule::Alarm;
    use crate::os::clock::Machine;
    use crate::render::name::{Case, Variables};
    use crate::render::template::Templates;
    use crate::render::tests::{bundle, layout};
    use crate::store::state::tests::{origin, state};

    /// Templates: one names a secret that stays, one a secret that is gone or was never there.
    const TEMPLATES: [(&str, &str); 2] =
        [("stays.j2", "{{ secrets.a.k }}"), ("lacks.j2", "{{ secrets.gone.k }}")];

    fn with(templates: &[(&str, &str)]) -> Layout {
        let source = |(file, text): &(&str, &str)| ((*file).to_owned(), (*text).to_owned());
        let templates = Templates::new(templates.iter().map(source)).unwrap();
        let variables = Variables::new("{identity}_{key}", Case::Keep).unwrap();
        Layout { templates, variables, ..layout("files,env") }
    }

    fn fetched() -> Fetched {
        let stamp = Stamp::new(Generation::default(), Alarm::Never, Heartbeat::None, Machine.now());
        Fetched { at: Duration::from_secs(1), refresh: Settled::Get, cut: None, stamp }
    }

    /// A set of `a` and `b` whose values are these.
    fn set(a: &'static str, b: &'static str) -> Bundle {
        let mut set = bundle(&[("a", &[&[("k", a)]])]);
        set.secrets.extend(bundle(&[("b", &[&[("k", b)]])]).secrets);
        set
    }

    fn candidate(bundle: Bundle) -> Candidate {
        let sound = bundle.secrets.keys().cloned().collect();
        Candidate { bundle, sound, held_back: HeldBack::new() }
    }

    fn values(current: &Current<'_>) -> Vec<String> {
        let secrets = current.bundle().unwrap().secrets.into_values();
        secrets.map(|set| set.flat().get("k").unwrap().expose().clone()).collect()
    }

    #[test]
    fn a_template_that_is_left_out_already_holds_back_no_other_secret() {
        let (old, layout) = (with(&TEMPLATES[..1]), with(&TEMPLATES));
        let mut store = Store::hold(&Destination::Memory, "init").unwrap();
        let mut current = Current::new(&mut store, &old, state(), Remarked::default(), &Machine);
        let (set_of, published) = current.publish_sound(candidate(set("1", "1")), &fetched());
        assert!(matches!(
            published,
            Ok(Some(Replaced { publication: Publication::Changed(_), .. }))
        ));
        let state = State { left_out: vec!["lacks.j2".to_owned()], ..set_of.state };
        let mut current = Current::new(&mut store, &layout, state, Remarked::default(), &Machine);
        let (set_of, published) = current.publish_sound(candidate(set("2", "nu\0l")), &fetched());
        assert!(published.is_ok_and(|replaced| replaced.is_some()));
        assert_eq!(values(&current), ["2", "1"]);
        let held_back: Vec<&str> = set_of.set.held_back.keys().map(SecretName::as_str).collect();
        assert_eq!(held_back, ["b"]);
        assert_eq!(current.state().last_error.as_deref(), Some("render"));
        assert_eq!(current.state().left_out, ["lacks.j2"]);
    }

    #[test]
    fn a_template_that_names_a_secret_which_was_never_there_is_not_left_out() {
        let (old, layout) = (with(&TEMPLATES[..1]), with(&TEMPLATES));
        let mut store = Store::hold(&Destination::Memory, "init").unwrap();
        let mut current = Current::new(&mut store, &old, state(), Remarked::default(), &Machine);
        let (first, published) = current.publish_sound(candidate(set("1", "1")), &fetched());
        assert!(published.is_ok());
        let mut current =
            Current::new(&mut store, &layout, first.state, Remarked::default(), &Machine);
        let (_, published) = current.publish_sound(candidate(set("2", "2")), &fetched());
        assert!(matches!(published, Err(PublishError::Render(_))));
        assert_eq!(values(&current), ["1", "1"]);
        assert!(current.state().left_out.is_empty());
    }

    #[test]
    fn a_template_that_names_a_secret_which_is_gone_is_left_out() {
        let layout = with(&[("names_b.j2", "{{ secrets.b.k }}")]);
        let mut store = Store::hold(&Destination::Memory, "init").unwrap();
        let mut current = Current::new(&mut store, &layout, state(), Remarked::default(), &Machine);
        let (_, published) = current.publish_sound(candidate(set("1", "1")), &fetched());
        assert!(published.is_ok());
        let gone = BTreeSet::from([SecretName::new("b").unwrap()]);
        let merged = current.merge(bundle(&[("a", &[&[("k", "2")]])]), &gone).unwrap();
        let (_, published) = current.publish_sound(candidate(merged), &fetched());
        assert!(matches!(published, Ok(Some(Replaced { swept: true, .. }))));
        assert_eq!(values(&current), ["2"]);
        assert_eq!(current.state().left_out, ["names_b.j2"]);
    }

    #[test]
    fn a_secret_that_was_not_fetched_keeps_its_last_good_version() {
        let layout = with(&[]);
        let mut store = Store::hold(&Destination::Memory, "init").unwrap();
        let mut current = Current::new(&mut store, &layout, state(), Remarked::default(), &Machine);
        let (_, published) = current.publish_sound(candidate(set("1", "1")), &fetched());
        assert!(published.is_ok());
        let merged = current.merge(bundle(&[("b", &[&[("k", "2")]])]), &BTreeSet::new()).unwrap();
        let sound = BTreeSet::from([SecretName::new("b").unwrap()]);
        let held_back =
            SecretName::new("a").map(|a| (a, Failed::said(FailureClass::Refused, "no"))).unwrap();
        let set = Candidate { bundle: merged, sound, held_back: HeldBack::from([held_back]) };
        let (_, published) = current.publish_sound(set, &fetched());
        assert!(published.is_ok());
        assert_eq!(values(&current), ["1", "2"]);
        let state = current.state();
        assert_eq!((state.failures, state.last_error.as_deref()), (1, Some("refused")));
        assert_eq!(state.origin, origin());
    }
}
