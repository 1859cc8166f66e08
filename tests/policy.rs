//! Injection without a webhook server: the policies of `deploy/policy` as an API server evaluates them, and the
//! components of `deploy/components` as kustomize applies them.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that can't go on fails the test that called it"
)]

mod components;
mod documents;
mod evaluator;
mod language;
mod pods;
mod refusals;
mod rules;
mod yaml;
