//! Every text output is read back exactly, by the real readers, or refused by name.
//!
//! A reader that a machine lacks is skipped with a line; `docs/outputs.md` says which test shows what.

mod decode;
mod docker;
mod dotenv;
mod flaws;
mod json;
mod kubernetes;
mod limits;
mod names;
mod properties;
mod readers;
mod renewed;
mod shell;
mod templates;
mod values;
mod yaml;
