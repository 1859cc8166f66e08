//! Every text output is read back exactly, by the real readers, or refused by name.
//!
//! A reader that a machine lacks is skipped with a line; `docs/outputs.md` says which test shows what.

mod docker;
mod dotenv;
mod json;
mod kubernetes;
mod names;
mod properties;
mod readers;
mod shell;
mod values;
mod yaml;
