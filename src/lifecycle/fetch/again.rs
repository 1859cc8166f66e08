//! Provisioning again: POSTs that replace accounts whose lifetime runs out.

use std::time::Duration;

use super::{Posts, Renewed, has_credential, lifetime, lifetimes};
use crate::config::settings::{FetchMode, Refresh, Wanted};
use crate::exit::chain;
use crate::model::{Bundle, Fault, SecretName};
use crate::store::state::State;
use crate::vault::Source;
use crate::vault::error::{Attempt, Cause, FetchError};

/// Tells whether a published set is to be replaced by POSTs `now`, once a read has brought nothing
/// newer: it has run out, the settings have renewal post, and `posts` allow one more.
pub fn is_to_be_replaced(
    published: &Bundle,
    state: &State,
    wanted: &Wanted,
    posts: &Posts,
    now: Duration,
) -> bool {
    let renewal_posts = match wanted.refresh {
        Refresh::Auto | Refresh::Post => wanted.source == FetchMode::Provision,
        Refresh::Get | Refresh::Application | Refresh::Secret => false,
    };
    renewal_posts
        && has_run_out(published, state, now)
        && state
            .secrets
            .iter()
            .any(|secret| posts.may_replace(&secret.identity, &secret.version, now))
}

/// Tells whether every `TTL` beside a credential of the published set has run out, `now` by the boot
/// clock. A set without one has no end.
fn has_run_out(published: &Bundle, state: &State, now: Duration) -> bool {
    let secrets = published.secrets.iter();
    let mut ends = secrets.flat_map(|(name, set)| {
        let since = seen(state, name, now);
        lifetimes(set).map(move |lifetime| since + lifetime)
    });
    ends.next().is_some_and(|first| now >= first && ends.all(|end| now >= end))
}

/// Gives the time since which the published version of a secret is known, by the boot clock. A time
/// of an earlier boot is unknown by this clock: the version is as old as the boot at least.
pub fn seen(state: &State, name: &SecretName, now: Duration) -> Duration {
    let seen = state.secret(name).map_or(0, |secret| secret.seen);
    let seen = Duration::from_millis(seen);
    if seen > now { Duration::ZERO } else { seen }
}

/// A POST that replaces the account of a secret.
#[derive(Debug)]
pub struct Replacement {
    /// The identity.
    pub name: SecretName,
    /// The version that it replaces.
    pub version: String,
}

/// Sends a POST for each of `due`, which `record` records before, and adds the answers to
/// `renewed`. Gives the number of POSTs.
///
/// Not cancel-safe: see [`Posts::post`].
pub async fn provision_again(
    source: &mut impl Source,
    due: &[Replacement],
    posts: &mut Posts,
    at: Duration,
    renewed: &mut Renewed,
    mut record: impl FnMut(&mut Posts) -> Result<(), Cause>,
) -> u64 {
    let mut sent = 0;
    for Replacement { name, version } in due {
        let answer = posts.post(source, name, Some(version), at, &mut record).await;
        let unsent = |error: &FetchError| matches!(error.cause, Cause::Unrecorded { .. });
        sent += u64::from(!answer.as_ref().is_err_and(unsent));
        match answer {
            Ok(set) => {
                tracing::info!(identity = %name, "provisioned again, because its TTL runs out");
                renewed.take(name, Ok(set));
            }
            Err(error) => {
                tracing::warn!(
                    identity = %name,
                    error = chain(&error),
                    hint = error.hint(),
                    "its TTL runs out, and it can't be provisioned again"
                );
                if error.is_everyones() || unsent(&error) {
                    break;
                }
            }
        }
    }
    sent
}

impl Renewed {
    /// Tells whether any secret was read without an account.
    pub fn is_any_bare(&self) -> bool {
        self.fresh.secrets.values().any(|set| !has_credential(set))
    }

    /// Fails each secret that was read without an account, if the lifetime of its `published` one
    /// `is_over`: the vault has removed the account, and what is left does not replace it.
    pub fn refuse_bare(
        &mut self,
        published: &Bundle,
        is_over: impl Fn(&SecretName, Duration) -> bool,
    ) -> Vec<SecretName> {
        let is_gone = |name: &SecretName| {
            let published = published.secrets.get(name).and_then(lifetime);
            published.is_some_and(|lifetime| is_over(name, lifetime))
        };
        let bare =
            self.fresh.secrets.extract_if(.., |name, set| !has_credential(set) && is_gone(name));
        let bare: Vec<SecretName> = bare.map(|(name, _)| name).collect();
        self.failed.extend(bare.iter().map(|name| {
            let cause = Cause::Fault(Fault::Empty { identity: name.clone() });
            (name.clone(), FetchError { attempt: Attempt::ReadProvisioned(name.clone()), cause })
        }));
        bare
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::bundle;
    use crate::store::state::SecretState;
    use crate::store::state::tests::state;

    type Entries<'a> = &'a [&'a [(&'a str, &'a str)]];

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Tells whether a set of two secrets has run out, the first seen at 100 s and the second at
    /// 200 s.
    fn ran_out(first: Entries<'_>, second: Entries<'_>, now: u64) -> bool {
        let published = bundle(&[("a", first), ("b", second)]);
        let secrets = published.secrets.iter().zip([100, 200]);
        let secrets = secrets.map(|((name, set), seen)| SecretState::of(name, set, None, at(seen)));
        let state = State { secrets: secrets.collect(), ..state() };
        has_run_out(&published, &state, at(now))
    }

    #[test]
    fn a_set_has_run_out_once_every_lifetime_beside_a_credential_is_over() {
        let minute: Entries<'_> = &[&[("password", "x"), ("TTL", "60")]];
        let hour: Entries<'_> = &[&[("password", "x"), ("TTL", "3600")]];
        let both: Entries<'_> = &[minute[0], hour[0]];
        let without: Entries<'_> = &[&[("password", "x")]];
        let apart: Entries<'_> = &[&[("TTL", "3600")], &[("password", "x")]];
        for (first, second, now, expected) in [
            (minute, minute, 259, false),
            (minute, minute, 260, true),
            (minute, hour, 3_799, false),
            (minute, hour, 3_800, true),
            (both, without, 3_699, false),
            (both, without, 3_700, true),
            (minute, without, 160, true),
            (minute, apart, 160, true),
            (without, without, 1_000_000, false),
            (apart, without, 1_000_000, false),
        ] {
            assert_eq!(ran_out(first, second, now), expected, "{now}");
        }
        // An earlier boot's times are unknown: the set is as old as this boot at least.
        assert!(!ran_out(minute, minute, 59) && ran_out(minute, minute, 60));
    }
}
