//! The record of provisioning requests, which is written before each of them: it tells the next
//! agent what to read first, and how many more requests it may send.

use serde::{Deserialize, Serialize};

use crate::model::SecretName;
use crate::store::state::Origin;

/// Identities that are being provisioned, and what was posted for them. If the agent dies
/// meanwhile, accounts may exist in the vault: the next agent reads them before it provisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The origin that they are provisioned for.
    pub origin: Origin,
    /// The identities that may have an account which is not published.
    pub identities: Vec<SecretName>,
    /// The POSTs for them, and others that bound later ones. Version 0.1.0 neither reads nor writes
    /// these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub posts: Vec<Posted>,
}

/// The POSTs for one need of one identity: for its first set, or for one that replaces a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The identity.
    pub identity: SecretName,
    /// The version that they were to replace; none where they were for the first set.
    pub version: Option<String>,
    /// The number of POSTs whose fate is or was unknown, the one under way included.
    pub unknown: u8,
    /// The number of POSTs that were done, and that have brought no new version so far.
    pub done: u8,
    /// The time of the last one, by the boot clock, in milliseconds.
    pub at: u64,
}
