//! Failures, ready for the log, and the identities that they hold back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PublishError;
use crate::exit::{FailureClass, chain};
use crate::model::{Retry, SecretName};
use crate::render::RenderError;
use crate::vault::error::FetchError;

/// A failure of one identity or of a whole pass, ready to be logged. It holds no value.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Its class, for the state and for metrics.
    pub class: FailureClass,
    /// The error and its causes.
    pub text: String,
    /// The remedy, where one is known.
    pub hint: Option<&'static str>,
    /// The wait before another try.
    pub retry: Retry,
}

/// The identities whose last good version stays, and their failures.
pub type HeldBack = BTreeMap<SecretName, Failed>;

impl Failed {
    /// Builds a failure that is tried again after the usual wait.
    pub fn said(class: FailureClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), hint: None, retry: Retry::Backoff }
    }

    /// Tells whether a later try may succeed.
    pub fn may_pass(&self) -> bool {
        self.retry != Retry::Never
    }

    /// Gives the wait that the vault asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.retry {
            Retry::After(wait) => Some(wait),
            Retry::Backoff | Retry::Never => None,
        }
    }
}

impl From<&FetchError> for Failed {
    fn from(error: &FetchError) -> Self {
        Self { class: error.class(), text: chain(error), hint: error.hint(), retry: error.retry() }
    }
}

impl From<&RenderError> for Failed {
    fn from(error: &RenderError) -> Self {
        let hint = Some(error.hint());
        Self { class: FailureClass::Render, text: chain(error), hint, retry: Retry::Never }
    }
}

impl From<&PublishError> for Failed {
    fn from(error: &PublishError) -> Self {
        let (hint, retry) = match error {
            PublishError::Render(error) => (Some(error.hint()), Retry::Never),
            PublishError::Write(error) => (error.hint(), Retry::Backoff),
        };
        Self { class: error.class(), text: chain(error), hint, retry }
    }
}
