//! `secret` and `credential`: documents to the vault, and secrets shown.

pub mod documents;
pub mod put;
pub mod table;
