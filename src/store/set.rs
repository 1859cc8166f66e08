//! A published set, as a reader gets it from the directory or from memory.

use crate::model::Generation;
use crate::render::bundle::Entries;
use crate::store::state::State;

/// A set that is published, as it was read.
#[derive(Debug)]
pub struct Set {
    /// Its number, which grows with each set that is read here.
    pub generation: Generation,
    /// How many identities were named to the agent that published it; none where it asked for all.
    pub identities: usize,
    /// Its values.
    pub entries: Entries,
}

impl Set {
    /// Joins values with the state that they were published with.
    pub(super) fn of(state: &State, entries: Entries) -> Self {
        let identities = state.origin.identities.len();
        Self { generation: state.generation, identities, entries }
    }
}
