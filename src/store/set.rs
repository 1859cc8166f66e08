//! A published set, as it was read from the directory or from memory.

use crate::model::Generation;
use crate::render::bundle::Entries;
use crate::store::state::State;

/// A published set, as it was read.
#[derive(Debug)]
pub struct Set {
    /// Its number, which grows with each new set that this process reads.
    pub generation: Generation,
    /// The number of identities in the settings of the agent that published it; 0 if it fetched
    /// all.
    pub identities: usize,
    /// Its values.
    pub entries: Entries,
}

impl Set {
    /// Makes a set of values and the state that they were published with.
    pub(super) fn of(state: &State, entries: Entries) -> Self {
        let identities = state.origin.identities.len();
        Self { generation: state.generation, identities, entries }
    }
}
