//! The loop: waits, passes, notifications. Dropping its future ends it at any point except in the
//! middle of a publication.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{Publication, Renewer, Trigger};
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
        let trigger = loop {
            tokio::select! {
                generation = notifier.notified() => {
                    notified.set(generation);
                    renewer.count_notified();
                }
                trigger = renewer.wait() => break trigger,
            }
        };
        let before = notified.get();
        let passed = pass(renewer, notifier, trigger, &notified).await;
        if notified.get() != before {
            renewer.count_notified();
        }
        match passed {
            PassEnd::Complete(Some(publication)) => notify(renewer, notifier, publication),
            PassEnd::Complete(None) => {}
            PassEnd::TimedOut => renewer.abandoned(),
        }
        if matches!(trigger, Trigger::Due | Trigger::Inputs) {
            notifier.pass();
        }
    }
}

/// The end of a pass.
enum PassEnd {
    Complete(Option<Publication>),
    TimedOut,
}

/// Makes a pass, and takes note of notifications that complete meanwhile.
async fn pass<V: Connect>(
    renewer: &mut Renewer<'_, V>,
    notifier: &mut Notifier<'_>,
    trigger: Trigger,
    notified: &Cell<Generation>,
) -> PassEnd {
    let limit = renewer.longest_pass();
    let mut pass = pin!(timeout(limit, renewer.pass(trigger)));
    loop {
        tokio::select! {
            generation = notifier.notified() => notified.set(generation),
            passed = &mut pass => return passed.map_or(PassEnd::TimedOut, PassEnd::Complete),
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
