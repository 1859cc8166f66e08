//! Knowledge of one secret between passes: times and counts, no value.

use std::time::Duration;

use crate::lifecycle::fetch::lifetime;
use crate::model::SecretSet;

/// The shortest time between two POSTs for one secret.
const BETWEEN_POSTS: Duration = Duration::from_secs(300);
/// The most POSTs for one version of a secret: more would not bring a new one either.
const MOST_POSTS: u8 = 2;
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
    /// The number of POSTs since then.
    posts: u8,
    /// The time of the last POST.
    posted: Option<Duration>,
    /// The fate of the last POST is unknown, and no read has settled it yet.
    pub(super) fate_unknown: bool,
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
        self.fate_unknown = false;
        let new = self.version != set.version;
        if new {
            self.version.clone_from(&set.version);
            self.since = at;
            self.posts = 0;
        }
        new
    }

    /// Tells whether a secret that was read is past two thirds of its lifetime, and a POST may
    /// renew it.
    pub(super) fn is_due_for_a_post(&self, set: &SecretSet, at: Duration) -> bool {
        let same = self.is_version(&set.version);
        let old = lifetime(set).is_some_and(|lifetime| at >= self.since + lifetime * 2 / 3);
        let is_spaced = self.posted.is_none_or(|posted| at >= posted + BETWEEN_POSTS);
        same && old && is_spaced && self.posts < MOST_POSTS
    }

    /// Notes that a POST is sent.
    pub(super) fn post(&mut self, at: Duration) {
        self.posts = self.posts.saturating_add(1);
        self.posted = Some(at);
        self.fate_unknown = true;
    }

    /// Notes that the last POST provisioned nothing: it counts for the time between POSTs alone.
    pub(super) fn was_not_posted(&mut self) {
        self.posts = self.posts.saturating_sub(1);
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
    fn a_post_is_due_at_two_thirds_of_a_lifetime_and_at_most_twice_without_a_new_version() {
        let mut memory = KnownSecret::new("1", at(0));
        let (old, new) = (set("1", "900"), set("2", "900"));
        assert!(!memory.learn(&old, at(100)));
        assert!(!memory.is_due_for_a_post(&old, at(599)));
        assert!(memory.is_due_for_a_post(&old, at(600)));
        assert!(!memory.is_due_for_a_post(&new, at(600)), "it has changed by itself");
        memory.post(at(600));
        assert!(!memory.is_due_for_a_post(&old, at(899)));
        assert!(memory.is_due_for_a_post(&old, at(900)));
        memory.post(at(900));
        assert!(!memory.is_due_for_a_post(&old, at(99_999)));
        assert!(memory.learn(&new, at(100_000)));
        assert!(!memory.is_due_for_a_post(&new, at(100_599)));
        assert!(memory.is_due_for_a_post(&new, at(100_600)));
    }

    #[test]
    fn without_a_lifetime_beside_a_credential_no_post_is_due() {
        let memory = KnownSecret::new("1", at(0));
        assert!(!memory.is_due_for_a_post(&set("1", ""), at(1_000_000)));
        let mut bundle = bundle(&[("s", &[&[("TTL", "60")], &[("password", "x")]])]);
        let apart = bundle.secrets.pop_first().unwrap().1;
        assert!(!memory.is_due_for_a_post(&apart, at(1_000_000)));
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
