//! What is said of failures: one warning when trouble starts, one line when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock;
use crate::exit::chain;
use crate::model::{Retry, SecretName};
use crate::vault::error::FetchError;

/// What there is to say of one failure. Holds no value.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) class: &'static str,
    pub(super) text: String,
    pub(super) hint: Option<&'static str>,
    pub(super) retry: Retry,
}

/// Why single identities are held back.
pub(super) type Troubles = BTreeMap<SecretName, Told>;

impl Told {
    pub(super) fn of(error: &FetchError) -> Self {
        Self { class: error.class(), text: chain(error), hint: error.hint(), retry: error.retry() }
    }

    /// What the vault asked for, to be left alone.
    pub(super) fn peace(&self) -> Option<Duration> {
        match self.retry {
            Retry::After(peace) => Some(peace),
            Retry::Backoff | Retry::Never => None,
        }
    }

    /// A failure that is tried again after the usual wait.
    pub(super) fn said(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), hint: None, retry: Retry::Backoff }
    }
}

/// What has been told and is not over yet.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    all: Option<(Duration, u64)>,
    names: BTreeSet<SecretName>,
}

impl Trouble {
    /// Tells what is new among these, and what of the old is over: `sound` are those that came.
    pub(super) fn tell(
        &mut self,
        troubles: &Troubles,
        cut: Option<&Told>,
        sound: &BTreeSet<SecretName>,
    ) {
        match cut {
            Some(told) => self.begin(told),
            None if sound.is_empty() => {}
            None => self.end(),
        }
        for (name, told) in troubles {
            let (error, hint) = (&told.text, told.hint);
            if self.names.insert(name.clone()) {
                tracing::warn!(identity = %name, error, hint, "held back: its last good version stays");
            } else {
                tracing::debug!(identity = %name, error, "still held back");
            }
        }
        let over = |name: &SecretName| sound.contains(name) && !troubles.contains_key(name);
        for name in self.names.extract_if(.., over) {
            tracing::info!(identity = %name, "is fresh again");
        }
    }

    fn begin(&mut self, told: &Told) {
        let (error, hint) = (&told.text, told.hint);
        match &mut self.all {
            Some((_, passes)) => {
                *passes = passes.saturating_add(1);
                tracing::debug!(error, "renewal still fails");
            }
            None => {
                self.all = Some((clock::boot(), 1));
                tracing::warn!(
                    error,
                    hint,
                    "renewal fails; what is published stays, and it is tried on"
                );
            }
        }
    }

    fn end(&mut self) {
        if let Some((since, passes)) = self.all.take() {
            let lasted = clock::boot().saturating_sub(since).as_secs();
            let lasted = humantime::format_duration(Duration::from_secs(lasted));
            tracing::info!(%lasted, passes, "renewal works again");
        }
    }
}
