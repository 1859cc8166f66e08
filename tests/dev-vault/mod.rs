//! A Segura DevOps Secret Manager for development: one process, loopback, nothing real.
//!
//! It speaks the vault's own HTTP API as far as an agent, the official command-line clients and
//! External Secrets use it, and it misbehaves on demand. Integration tests start it in their own
//! process ([`DevVault::start`]); people run it with `cargo run --example dev-vault`. It shares no
//! code with the agent, so that neither repeats the other's mistakes.
//!
//! | file | what it owns |
//! |---|---|
//! | `options` | options of a start |
//! | `store` | applications, authorizations, secrets, accounts, PAM credentials |
//! | `routes` | the gateway step, and one file for each kind of route |
//! | `wire` | envelopes, errors, how a secret is shown |
//! | `call` | a request and its parameters |
//! | `keep` | what survives a restart |
//! | `tokens`, `seal`, `tls` | access tokens, encrypted values, certificates |
//! | `fault`, `exchange`, `payload`, `socket` | what goes wrong, and how |
//! | `requests` | the names that tests give to requests |
//! | `admin` | the same by HTTP, below `/_dev`; [`ADMIN_ROUTES`] lists it |
//! | `settings` | what the admin routes change of a running vault |
//! | `server`, `state` | the listener's thread, and what it shares with the handle |
//! | `handle`, `control` | [`DevVault`]: starting and finding it; steering and watching it |

#![expect(clippy::allow_attributes, reason = "see the next line")]
#![allow(
    dead_code,
    reason = "the example and the tests each include this and use another part of it"
)]

mod admin;
mod call;
mod control;
mod encrypt;
mod exchange;
mod fault;
mod handle;
mod options;
mod payload;
mod persist;
pub mod requests;
mod routes;
mod server;
mod settings;
mod socket;
mod state;
mod store;
mod tls;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

#[allow(
    unused_imports,
    reason = "the example and the tests each include this and use another part of it"
)]
pub use self::{
    call::Request,
    control::Provisioned,
    fault::{Effect, Fault, When},
    handle::DevVault,
    options::{Certificate, Encryption, GetProvision, Options, Quirks, Slashes},
    store::{authorization::Resource, date::spelled as date, pam::Credential},
};

/// The admin routes, one line each.
pub const ADMIN_ROUTES: &str = admin::ROUTES;
