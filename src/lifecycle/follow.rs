//! A reader's set: waited for, and followed, in a directory that another agent publishes in.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest;
use tokio::time::{Instant, sleep, sleep_until};

use crate::exit::{Exit, Failure, chain};
use crate::model::TTL;
use crate::notify::Notifier;
use crate::os::clock::{Clock, Deadline};
use crate::os::watch::Watch;
use crate::render::bundle::Entries;
use crate::store::{Published, Set};

/// How often a set is looked for that does not stand yet.
const LOOKS: Duration = Duration::from_secs(1);
/// How often what stands is looked at where changes are not heard of.
const DEAF: Duration = Duration::from_secs(10);
/// How soon a wait is told of.
const QUIET: Duration = Duration::from_secs(2);
/// When what could not be told is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Follows what is published.
pub struct Follower<'a> {
    dir: PathBuf,
    published: Published,
    watch: Watch,
    clock: &'a dyn Clock,
    /// What was told of last: its number is of this reader, its digest leaves out what nobody is told
    /// of.
    told: Option<(u64, Digest)>,
}

type Digest = Vec<u8>;

impl<'a> Follower<'a> {
    /// Follows the set in `dir`, whose changes `watch` hints at.
    pub fn new(dir: &Path, watch: Watch, clock: &'a dyn Clock) -> Self {
        let published = Published::of_another(dir);
        Self { dir: dir.to_owned(), published, watch, clock, told: None }
    }

    /// Waits until a set stands.
    pub async fn first(&mut self, deadline: Deadline) -> Result<(), Failure> {
        let began = Instant::now();
        let mut said = false;
        loop {
            let found = match self.published.set() {
                Ok(Some(set)) => {
                    self.told = Some(seen(&set));
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
                Err(error) => error.failure(),
            };
            let waited = began.elapsed();
            if deadline.is_over() {
                let waited = humantime::format_duration(Duration::from_secs(waited.as_secs()));
                let message = format!("{}; gave up after {waited}", found.message);
                return Err(Failure { message, ..found });
            }
            if !said && waited >= QUIET {
                tracing::warn!(
                    error = found.message,
                    hint = found.hint,
                    "waiting until another agent publishes a set"
                );
                said = true;
            }
            tokio::select! {
                _ = self.watch.changed() => {}
                () = sleep(LOOKS) => {}
            }
        }
    }

    /// Follows the set, and has `notifier` notify of each change, until it is dropped.
    pub async fn follow(&mut self, notifier: &mut Notifier<'_>) -> Infallible {
        let mut again = Instant::now() + AGAIN;
        loop {
            let deaf = !self.watch.hears();
            tokio::select! {
                _ = self.watch.changed() => self.look(notifier),
                () = sleep(DEAF), if deaf => self.look(notifier),
                _ = notifier.notified() => {}
                () = sleep_until(again), if notifier.is_pending() => {
                    again = Instant::now() + AGAIN;
                    notifier.pass();
                }
            }
        }
    }

    fn look(&mut self, notifier: &mut Notifier<'_>) {
        let set = match self.published.set() {
            Ok(Some(set)) => set,
            // It was given back, or is being put in place of another: what was read serves on.
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    hint = error.hint(),
                    "the published set can't be read"
                );
                return;
            }
        };
        let (number, digest) = seen(&set);
        let (before, same) = match &self.told {
            Some((before, known)) => (*before, *known == digest),
            None => (0, false),
        };
        if number == before {
            return;
        }
        let generation = set.generation;
        self.told = Some((number, digest));
        if same {
            notifier.carry_on(generation);
        } else {
            tracing::info!(%generation, "the set has changed");
            notifier.publish(generation, self.clock.boot());
        }
    }

    /// The way to the set, whose numbers are this follower's.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    /// Nothing will be waited for any more; the process can then end at once.
    pub fn end(&mut self) {
        self.watch.end();
    }
}

fn seen(set: &Set) -> (u64, Digest) {
    (set.generation.0, digest(&set.entries))
}

/// Of everything but the values of `TTL`, a change of which nobody is told of.
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
