//! A set without a directory: it is kept in this process, for the command's environment alone.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use super::set::Set;
use super::{Backend, CurrentSet, WriteError};
use crate::model::{Generation, Outcome};
use crate::os::clock;
use crate::render::FileSet;
use crate::render::bundle::{self, Entries};
use crate::secret::Secret;
use crate::store::state::State;

/// A set in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Rc<RefCell<MemorySet>>);

#[derive(Debug, Default)]
struct MemorySet {
    generation: Generation,
    bundle: Option<Secret<Vec<u8>>>,
    replaced: Option<Secret<Vec<u8>>>,
    state: Option<State>,
}

impl Memory {
    pub(super) fn set(&self) -> Option<Set> {
        let CurrentSet { state, entries } =
            self.current_set().filter(|set| !set.state.given_back)?;
        Some(Set::of(&state, entries))
    }
}

impl Backend for Memory {
    fn current_set(&self) -> Option<CurrentSet> {
        let kept = self.0.borrow();
        let state = kept.state.clone()?;
        let entries = bundle::read(kept.bundle.as_ref()?.expose())?;
        Some(CurrentSet { state, entries })
    }

    fn replaced(&self) -> Option<Entries> {
        bundle::read(self.0.borrow().replaced.as_ref()?.expose())
    }

    /// Keeps and compares the bundle alone: every output can be rendered from it.
    fn publish(
        &mut self,
        files: &FileSet<'_>,
        state: &mut State,
        now: SystemTime,
    ) -> Result<Outcome, WriteError> {
        let bytes = files.iter().find(|(name, _)| name.as_str() == bundle::FILE);
        let bytes = bytes.map(|(_, content)| content.expose()).unwrap_or_default();
        let mut kept = self.0.borrow_mut();
        let is_current = kept.bundle.as_ref().is_some_and(|bundle| bundle.expose() == bytes);
        if !is_current {
            kept.generation = kept.generation.next();
            state.changed_at = clock::stamp(now);
            kept.replaced = kept.bundle.replace(Secret::new(bytes.to_vec()));
        }
        state.generation = kept.generation;
        kept.state = Some(state.clone());
        Ok(if is_current {
            Outcome::Unchanged(kept.generation)
        } else {
            Outcome::Published(kept.generation)
        })
    }

    fn save(&self, state: &State) -> Result<(), WriteError> {
        self.0.borrow_mut().state = Some(state.clone());
        Ok(())
    }

    fn sweep(&self) {
        self.0.borrow_mut().replaced = None;
    }

    fn remove(&mut self) {
        let generation = self.0.borrow().generation;
        *self.0.borrow_mut() = MemorySet { generation, ..MemorySet::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bundle, SecretName};
    use crate::render::render;
    use crate::render::tests::{bundle, layout};
    use crate::store::state::tests::state;

    fn publish(memory: &mut Memory, bundle: &Bundle) -> Outcome {
        let rendering = render(bundle, &layout("")).unwrap();
        memory.publish(&rendering.files, &mut state(), SystemTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_set_in_memory_is_replaced_only_by_other_values() {
        let mut memory = Memory::default();
        assert!(memory.current_set().is_none() && memory.set().is_none());
        let old = bundle(&[("db", &[&[("k", "old")]])]);
        let new = bundle(&[("db", &[&[("k", "new")]])]);
        assert_eq!(publish(&mut memory, &old), Outcome::Published(Generation(1)));
        assert_eq!(publish(&mut memory, &old), Outcome::Unchanged(Generation(1)));
        assert!(memory.replaced().is_none());
        assert_eq!(publish(&mut memory, &new), Outcome::Published(Generation(2)));
        let value = |entries: Entries| {
            let entry = entries.get(&SecretName::new("db").unwrap()).unwrap().first().unwrap();
            entry.first().unwrap().value.expose().clone()
        };
        assert_eq!(value(memory.replaced().unwrap()), "old");
        assert_eq!(value(memory.set().unwrap().entries), "new");
        memory.sweep();
        assert!(memory.replaced().is_none());
        memory.remove();
        assert!(memory.set().is_none());
        assert_eq!(publish(&mut memory, &old), Outcome::Published(Generation(3)));
    }
}
