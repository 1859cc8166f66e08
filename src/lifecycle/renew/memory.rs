//! Knowledge of one secret between passes: times and counts, no value.

use std::time::Duration;

use crate::lifecycle::fetch::lifetime;
use crate::model::SecretSet;

/// The evidence that a secret is gone: it is missing in as many due passes, each with a login of
/// its own, and for this time. One answer is no evidence: the gateway says the same of a token that
/// is not accepted as of a route that does not exist (DSM, table of errors).
const ABSENT_PASSES: u8 = 3;
const ABSENT_FOR: Duration = Duration::from_secs(600);
/// The number of reads that show if reads provision at this vault.
const FIRST_READS: u8 = 2;

/// Knowledge of one secret. Times are the boot clock's.
#[derive(Debug, Default)]
pub(super) struct KnownSecret {
    version: String,
    /// The time at which the version was first seen.
    since: Duration,
    reads: u8,
    changed_reads: u8,
    pub(super) absence: Absence,
}

impl KnownSecret {
    /// Begins with a version that was first seen at `since`.
    pub(super) fn new(version: &str, since: Duration) -> Self {
        Self { version: version.to_owned(), since, ..Self::default() }
    }

    /// Tells whether `version` is the known one.
    pub(super) fn is_version(&self, version: &str) -> bool {
        self.version == version
    }

    /// Notes a version that was fetched `at` this time; tells whether it is new.
    pub(super) fn learn(&mut self, set: &SecretSet, at: Duration) -> bool {
        self.absence = Absence::default();
        let new = self.version != set.version;
        if new {
            self.version.clone_from(&set.version);
            self.since = at;
        }
        new
    }

    /// Gives the known version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Tells whether the known version is of that age or older `at` this time.
    pub(super) fn is_older(&self, age: Duration, at: Duration) -> bool {
        at >= self.since + age
    }

    /// Tells whether a secret that was read is past two thirds of its lifetime, and did not change
    /// by itself.
    pub(super) fn runs_out(&self, set: &SecretSet, at: Duration) -> bool {
        self.is_version(&set.version)
            && lifetime(set).is_some_and(|lifetime| self.is_older(lifetime * 2 / 3, at))
    }

    /// Counts a read by GET provision, and tells whether it is one of the first.
    pub(super) fn count_read(&mut self) -> bool {
        let first = self.reads < FIRST_READS;
        self.reads += u8::from(first);
        first
    }

    /// Counts a read as [`Self::count_read`] does, and as one that brought a new version of other
    /// values.
    pub(super) fn count_changing_read(&mut self) -> bool {
        let first = self.count_read();
        self.changed_reads += u8::from(first);
        first
    }

    /// Tells whether each of the first reads brought a new version, so that reads provision.
    pub(super) fn reads_provision(&self) -> bool {
        self.changed_reads >= FIRST_READS
    }
}

/// The evidence that a secret, or the authorization, is gone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Absence {
    since: Option<Duration>,
    passes: u8,
}

impl Absence {
    /// Adds the evidence of one due pass with a login of its own; tells whether it suffices.
    pub(super) fn confirmed(&mut self, at: Duration) -> bool {
        let since = *self.since.get_or_insert(at);
        self.passes = self.passes.saturating_add(1);
        self.passes >= ABSENT_PASSES && at >= since + ABSENT_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::bundle;

    fn set(version: &str, ttl: &str) -> SecretSet {
        let items: &[&[(&str, &str)]] = &[&[("password", "x"), ("TTL", ttl)]];
        let mut bundle = bundle(&[("s", items)]);
        let mut set = bundle.secrets.pop_first().unwrap().1;
        set.version = version.to_owned();
        set
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_secret_runs_out_at_two_thirds_of_its_lifetime() {
        let mut memory = KnownSecret::new("1", at(0));
        let (old, new) = (set("1", "900"), set("2", "900"));
        assert!(!memory.learn(&old, at(100)));
        assert!(!memory.runs_out(&old, at(599)));
        assert!(memory.runs_out(&old, at(600)));
        assert!(!memory.runs_out(&new, at(600)), "it has changed by itself");
        assert!(memory.learn(&new, at(100_000)));
        assert!(!memory.runs_out(&new, at(100_599)));
        assert!(memory.runs_out(&new, at(100_600)));
    }

    #[test]
    fn without_a_lifetime_beside_a_credential_a_secret_does_not_run_out() {
        let memory = KnownSecret::new("1", at(0));
        assert!(!memory.runs_out(&set("1", ""), at(1_000_000)));
        let mut bundle = bundle(&[("s", &[&[("TTL", "60")], &[("password", "x")]])]);
        let apart = bundle.secrets.pop_first().unwrap().1;
        assert!(!memory.runs_out(&apart, at(1_000_000)));
    }

    #[test]
    fn only_new_versions_in_both_first_reads_mean_that_reads_provision() {
        for (changed, expected) in [
            (&[true, true][..], true),
            (&[true, false, true, true], false),
            (&[false, true, true], false),
            (&[true], false),
        ] {
            let mut memory = KnownSecret::new("1", at(0));
            for changed in changed {
                if *changed {
                    memory.count_changing_read()
                } else {
                    memory.count_read()
                };
            }
            assert_eq!(memory.reads_provision(), expected, "{changed:?}");
        }
    }

    #[test]
    fn an_absence_is_confirmed_by_three_passes_and_ten_minutes() {
        let mut quick = Absence::default();
        assert!(!quick.confirmed(at(1_000)));
        assert!(!quick.confirmed(at(1_120)));
        assert!(!quick.confirmed(at(1_599)));
        assert!(quick.confirmed(at(1_600)));
        let mut slow = Absence::default();
        assert!(!slow.confirmed(at(0)));
        assert!(!slow.confirmed(at(900)));
        assert!(slow.confirmed(at(1_800)));
    }
}
