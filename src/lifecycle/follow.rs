//! A reader's set: waits for the set that another agent publishes in a directory, and follows it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::settings::AgentUid;
use crate::exit::{Exit, Failure, chain};
use crate::model::TTL;
use crate::notify::Notifier;
use crate::os::clock::{Clock, Deadline};
use crate::os::watch::Watch;
use crate::render::bundle::Entries;
use crate::store::{Published, Set};

/// The interval of reads while no set is published yet.
const POLL: Duration = Duration::from_secs(1);
/// The interval of reads of the published set where the watch reports no changes.
const POLL_UNWATCHED: Duration = Duration::from_secs(10);
/// The length of a wait after which it is logged.
const LOG_AFTER: Duration = Duration::from_secs(2);
/// The interval of retries while a notification is pending.
const NOTIFY_RETRY: Duration = Duration::from_secs(60);

/// A follower of the set that another agent publishes.
pub struct Follower<'a> {
    dir: PathBuf,
    published: Published,
    watch: Watch,
    clock: &'a dyn Clock,
    /// The set that was read last: its number, which is this reader's own, and its [`digest`].
    last: Option<(u64, Digest)>,
    /// The failure that was logged last, if the set can't be read.
    failure: Option<String>,
}

type Digest = Vec<u8>;

impl<'a> Follower<'a> {
    /// Follows the set that `agent` publishes in `dir`, whose changes `watch` hints at.
    pub fn new(dir: &Path, agent: AgentUid, watch: Watch, clock: &'a dyn Clock) -> Self {
        let published = Published::of_another(dir, agent);
        Self { dir: dir.to_owned(), published, watch, clock, last: None, failure: None }
    }

    /// Waits until a set is published, at most until `deadline`.
    pub async fn first(&mut self, deadline: Deadline) -> Result<(), Failure> {
        let began = Instant::now();
        let mut logged = false;
        loop {
            let found = match self.published.set() {
                Ok(Some(set)) => {
                    self.last = Some(identify(&set));
                    tracing::info!(
                        generation = %set.generation,
                        dir = %self.dir.display(),
                        "reading the set that another agent publishes"
                    );
                    return Ok(());
                }
                Ok(None) => Failure::said(
                    Exit::Unreachable,
                    format!("cannot read a set in {}: no set is published there", self.dir.display()),
                )
                .hint(Some("read the log of the agent that publishes there, or set SEGURA_URL so that this one fetches by itself")),
                Err(error) if error.is_untrusted() => {
                    Failure::new(Exit::Unreachable, &error).hint(error.hint())
                }
                Err(error) => error.failure(),
            };
            let waited = began.elapsed();
            if deadline.is_over() {
                let waited = humantime::format_duration(Duration::from_secs(waited.as_secs()));
                let message = format!("{}; gave up after {waited}", found.message);
                return Err(Failure { message, ..found });
            }
            if !logged && waited >= LOG_AFTER {
                tracing::warn!(
                    error = found.message,
                    hint = found.hint,
                    "waiting until another agent publishes a set"
                );
                logged = true;
            }
            tokio::select! {
                _ = self.watch.changed() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Follows the set, and has `notifier` notify of each change, until it is dropped.
    pub async fn follow(&mut self, notifier: &mut Notifier<'_>) -> Infallible {
        let mut retry = Instant::now() + NOTIFY_RETRY;
        loop {
            let is_unwatched = !self.watch.hears();
            tokio::select! {
                _ = self.watch.changed() => self.read(notifier),
                () = sleep(POLL_UNWATCHED), if is_unwatched => self.read(notifier),
                _ = notifier.notified() => {}
                () = sleep_until(retry), if notifier.is_pending() => {
                    retry = Instant::now() + NOTIFY_RETRY;
                    notifier.pass();
                }
            }
        }
    }

    fn read(&mut self, notifier: &mut Notifier<'_>) {
        let set = match self.published.set() {
            Ok(Some(set)) => {
                self.failure = None;
                set
            }
            // The set was deprovisioned, or is being replaced: the set that was read last stays in
            // use.
            Ok(None) => return,
            Err(error) => {
                let failure = chain(&error);
                // Another process can wake this one at will, and must not fill the log.
                if self.failure.as_ref() != Some(&failure) {
                    tracing::warn!(
                        error = failure,
                        hint = error.hint(),
                        "the published set can't be read"
                    );
                    self.failure = Some(failure);
                }
                return;
            }
        };
        let (number, digest) = identify(&set);
        let (before, same) = match &self.last {
            Some((before, known)) => (*before, *known == digest),
            None => (0, false),
        };
        if number == before {
            return;
        }
        let generation = set.generation;
        self.last = Some((number, digest));
        if same {
            notifier.carry_on(generation);
        } else {
            tracing::info!(%generation, "the set has changed");
            notifier.publish(generation, self.clock.boot());
        }
    }

    /// Gives access to the set, with the numbers of this follower.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    /// Ends the watch: no wait follows, and the process can end at once.
    pub fn end(&mut self) {
        self.watch.end();
    }
}

fn identify(set: &Set) -> (u64, Digest) {
    (set.generation.0, digest(&set.entries))
}

/// SHA-256 of everything but `TTL` values: a change of `TTL` alone notifies no process.
fn digest(entries: &Entries) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |text: &str| {
        context.update(&text.len().to_le_bytes());
        context.update(text.as_bytes());
    };
    for (identity, entries) in entries {
        add(identity.as_str());
        add(&entries.len().to_string());
        for entry in entries {
            add(&entry.len().to_string());
            for item in entry {
                add(&item.key);
                add(if item.key == TTL { "" } else { item.value.expose() });
            }
        }
    }
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{Written, bundle};

    #[test]
    fn a_change_of_lifetimes_alone_is_no_change() {
        let of = |secrets: &[Written<'_>]| {
            let secrets = bundle(secrets).secrets.into_iter();
            digest(&secrets.map(|(name, set)| (name, set.entries)).collect())
        };
        let one = of(&[("a", &[&[("k", "v"), (TTL, "60")]])]);
        assert_eq!(one, of(&[("a", &[&[("k", "v"), (TTL, "30")]])]));
        for other in [
            of(&[("a", &[&[("k", "w"), (TTL, "60")]])]),
            of(&[("a", &[&[("kv", ""), (TTL, "60")]])]),
            of(&[("a", &[&[("k", "v")]])]),
            of(&[("a", &[&[("k", "v")], &[(TTL, "60")]])]),
            of(&[("b", &[&[("k", "v"), (TTL, "60")]])]),
            of(&[]),
        ] {
            assert_ne!(one, other);
        }
    }
}
