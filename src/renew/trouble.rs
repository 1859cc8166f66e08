//! What is said of failures: one warning when trouble starts, one line when it is over.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock;
use crate::model::SecretName;
use crate::pass::{Failed, HeldBack};

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
        held_back: &HeldBack,
        cut: Option<&Failed>,
        sound: &BTreeSet<SecretName>,
    ) {
        match cut {
            Some(failed) => self.begin(failed),
            None if sound.is_empty() => {}
            None => self.end(),
        }
        for (name, failed) in held_back {
            let (error, hint) = (&failed.text, failed.hint);
            if self.names.insert(name.clone()) {
                tracing::warn!(identity = %name, error, hint, "held back: its last good version stays");
            } else {
                tracing::debug!(identity = %name, error, "still held back");
            }
        }
        let over = |name: &SecretName| sound.contains(name) && !held_back.contains_key(name);
        for name in self.names.extract_if(.., over) {
            tracing::info!(identity = %name, "is fresh again");
        }
    }

    fn begin(&mut self, failed: &Failed) {
        let (error, hint) = (&failed.text, failed.hint);
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
