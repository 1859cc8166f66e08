//! A set's life: fetched and published at start, renewed, followed by readers, deprovisioned.

pub mod deprovision;
pub mod fetch;
pub mod follow;
pub mod publish;
pub mod renew;
pub mod schedule;
pub mod start;
