//! The loop: waits, passes, notifications. Dropping it ends it at any point but in the middle of a
//! publish.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{Publication, Renewer, Why};
use crate::model::Generation;
use crate::notify::Notifier;
use crate::vault::Connect;

/// Renews the set until it is dropped.
pub async fn renew<V: Connect>(
    renewer: &mut Renewer<'_, V>,
    notifier: &mut Notifier<'_>,
) -> Infallible {
    let notified = renewer.notified();
    notifier.count_failures(&renewer.notify_failures());
    let current = renewer.state().generation;
    if notified.get() < current {
        notify(renewer, notifier, Publication::Changed(current));
    }
    loop {
        let why = loop {
            tokio::select! {
                generation = notifier.notified() => {
                    notified.set(generation);
                    renewer.count_notified();
                }
                why = renewer.wait() => break why,
            }
        };
        let before = notified.get();
        let passed = pass(renewer, notifier, why, &notified).await;
        if notified.get() != before {
            renewer.count_notified();
        }
        match passed {
            Passed::With(Some(publication)) => notify(renewer, notifier, publication),
            Passed::With(None) => {}
            Passed::Hung => renewer.abandoned(),
        }
        if matches!(why, Why::Due | Why::Inputs) {
            notifier.pass();
        }
    }
}

/// How a pass came to its end.
enum Passed {
    With(Option<Publication>),
    Hung,
}

/// Makes a pass, and goes on notifying meanwhile.
async fn pass<V: Connect>(
    renewer: &mut Renewer<'_, V>,
    notifier: &mut Notifier<'_>,
    why: Why,
    notified: &Cell<Generation>,
) -> Passed {
    let limit = renewer.longest_pass();
    let mut pass = pin!(timeout(limit, renewer.pass(why)));
    loop {
        tokio::select! {
            generation = notifier.notified() => notified.set(generation),
            passed = &mut pass => return passed.map_or(Passed::Hung, Passed::With),
        }
    }
}

fn notify<V: Connect>(
    renewer: &mut Renewer<'_, V>,
    notifier: &mut Notifier<'_>,
    publication: Publication,
) {
    let (generation, left) = match publication {
        Publication::Changed(generation) | Publication::Restored(generation) => {
            let published = Duration::from_millis(renewer.state().boot_ms.changed);
            match publication {
                _ if !notifier.has_targets() => {}
                Publication::Restored(_) => notifier.restore(generation, published),
                Publication::Changed(_) | Publication::Lifetimes(_) => {
                    notifier.publish(generation, published)
                }
            }
            (generation, notifier.has_targets())
        }
        Publication::Lifetimes(generation) => (generation, notifier.carry_on(generation)),
    };
    if !left {
        renewer.notified().set(generation);
        renewer.save_notified();
    }
}
