//! What is known of one secret between passes: ages and counts, no value.

use std::time::Duration;

use crate::lifecycle::fetch::lifetime;
use crate::model::SecretSet;

/// POSTs for one secret are at least this far apart.
const BETWEEN_POSTS: Duration = Duration::from_secs(300);
/// After as many POSTs without a new version there are no more.
const MOST_POSTS: u8 = 2;
/// What is gone must be gone in as many due passes, with a login each, and for as long.
const ENOUGH_PASSES: u8 = 3;
const LONG_ENOUGH: Duration = Duration::from_secs(600);
/// Reads that show whether reading provisions.
const FIRST_READS: u8 = 2;

/// What is known of one secret.
#[derive(Debug, Default)]
pub(super) struct KnownSecret {
    version: String,
    /// When the version was first seen.
    since: Duration,
    /// POSTs since then.
    posts: u8,
    /// When the last one was sent.
    posted: Option<Duration>,
    /// The last POST may have been acted on, and nobody has looked yet.
    pub(super) unsure: bool,
    reads: u8,
    renewed_reads: u8,
    pub(super) absence: Absence,
}

impl KnownSecret {
    /// Begins with a version that stands since `since`.
    pub(super) fn new(version: &str, since: Duration) -> Self {
        Self { version: version.to_owned(), since, ..Self::default() }
    }

    /// Whether this is the version that is known.
    pub(super) fn is_version(&self, version: &str) -> bool {
        self.version == version
    }

    /// Takes in what the vault gave at `at`; says whether it is a new version.
    pub(super) fn learn(&mut self, set: &SecretSet, at: Duration) -> bool {
        self.absence = Absence::default();
        self.unsure = false;
        let new = self.version != set.version;
        if new {
            self.version.clone_from(&set.version);
            self.since = at;
            self.posts = 0;
        }
        new
    }

    /// Whether a set that was read is one that has lived two thirds of its life already, and a
    /// POST may help.
    pub(super) fn wants_a_post(&self, set: &SecretSet, at: Duration) -> bool {
        let same = self.is_version(&set.version);
        let old = lifetime(set).is_some_and(|lifetime| at >= self.since + lifetime * 2 / 3);
        let rested = self.posted.is_none_or(|posted| at >= posted + BETWEEN_POSTS);
        same && old && rested && self.posts < MOST_POSTS
    }

    /// A POST goes out.
    pub(super) fn post(&mut self, at: Duration) {
        self.posts = self.posts.saturating_add(1);
        self.posted = Some(at);
        self.unsure = true;
    }

    /// It never reached the vault, and has used up nothing but time.
    pub(super) fn was_not_posted(&mut self) {
        self.posts = self.posts.saturating_sub(1);
    }

    /// Counts a read by the route that should not provision, and tells whether it is one of the first.
    pub(super) fn count_read(&mut self) -> bool {
        let first = self.reads < FIRST_READS;
        self.reads += u8::from(first);
        first
    }

    /// The same for a read that brought a new version of other values.
    pub(super) fn count_minting_read(&mut self) -> bool {
        let first = self.count_read();
        self.renewed_reads += u8::from(first);
        first
    }

    /// Whether each of the first reads brought a new version: then reading provisions.
    pub(super) fn reads_provision(&self) -> bool {
        self.renewed_reads >= FIRST_READS
    }
}

/// The evidence that something is gone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Absence {
    since: Option<Duration>,
    passes: u8,
}

impl Absence {
    /// One more due pass, with a login of its own, has said so; says whether that is enough.
    pub(super) fn confirmed(&mut self, at: Duration) -> bool {
        let since = *self.since.get_or_insert(at);
        self.passes = self.passes.saturating_add(1);
        self.passes >= ENOUGH_PASSES && at >= since + LONG_ENOUGH
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
    fn a_post_is_due_at_two_thirds_of_a_lifetime_and_no_more_than_twice_in_vain() {
        let mut memory = KnownSecret::new("1", at(0));
        let (old, new) = (set("1", "900"), set("2", "900"));
        assert!(!memory.learn(&old, at(100)));
        assert!(!memory.wants_a_post(&old, at(599)));
        assert!(memory.wants_a_post(&old, at(600)));
        assert!(!memory.wants_a_post(&new, at(600)), "it has changed by itself");
        memory.post(at(600));
        assert!(!memory.wants_a_post(&old, at(899)));
        assert!(memory.wants_a_post(&old, at(900)));
        memory.post(at(900));
        assert!(!memory.wants_a_post(&old, at(99_999)));
        assert!(memory.learn(&new, at(100_000)));
        assert!(!memory.wants_a_post(&new, at(100_599)));
        assert!(memory.wants_a_post(&new, at(100_600)));
    }

    #[test]
    fn without_a_lifetime_beside_a_secret_nothing_is_posted() {
        let memory = KnownSecret::new("1", at(0));
        assert!(!memory.wants_a_post(&set("1", ""), at(1_000_000)));
        let mut bundle = bundle(&[("s", &[&[("TTL", "60")], &[("password", "x")]])]);
        let apart = bundle.secrets.pop_first().unwrap().1;
        assert!(!memory.wants_a_post(&apart, at(1_000_000)));
    }

    #[test]
    fn only_two_new_versions_in_the_first_two_reads_mean_that_reads_provision() {
        for (minted, expected) in [
            (&[true, true][..], true),
            (&[true, false, true, true], false),
            (&[false, true, true], false),
            (&[true], false),
        ] {
            let mut memory = KnownSecret::new("1", at(0));
            for minted in minted {
                if *minted {
                    memory.count_minting_read()
                } else {
                    memory.count_read()
                };
            }
            assert_eq!(memory.reads_provision(), expected, "{minted:?}");
        }
    }

    #[test]
    fn gone_takes_three_passes_and_ten_minutes() {
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
