//! The loop: waits, passes, deliveries. Whoever drops it ends it at any point but in the middle of a
//! publish.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{News, Renewer, Why};
use crate::model::Generation;
use crate::notify::Notifier;
use crate::vault::Connect;

/// Keeps the set fresh until it is dropped.
pub async fn keep<V: Connect>(
    renewer: &mut Renewer<'_, V>,
    notifier: &mut Notifier<'_>,
) -> Infallible {
    let notified = renewer.notified();
    notifier.count_failures(&renewer.delivery_failures());
    let standing = renewer.state().generation;
    if notified.get() < standing {
        tell(renewer, notifier, News::Changed(standing));
    }
    loop {
        let why = loop {
            tokio::select! {
                generation = notifier.notified() => {
                    notified.set(generation);
                    renewer.notified();
                }
                why = renewer.wait() => break why,
            }
        };
        let before = notified.get();
        let passed = pass(renewer, notifier, why, &notified).await;
        if notified.get() != before {
            renewer.notified();
        }
        match passed {
            Passed::With(Some(news)) => tell(renewer, notifier, news),
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
    With(Option<News>),
    Hung,
}

/// Makes a pass, and goes on telling meanwhile.
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

fn tell<V: Connect>(renewer: &mut Renewer<'_, V>, notifier: &mut Notifier<'_>, news: News) {
    let (generation, left) = match news {
        News::Changed(generation) | News::Restored(generation) => {
            let published = Duration::from_millis(renewer.state().boot_ms.changed);
            match news {
                _ if !notifier.has_targets() => {}
                News::Restored(_) => notifier.restore(generation, published),
                News::Changed(_) | News::Lifetimes(_) => notifier.publish(generation, published),
            }
            (generation, notifier.has_targets())
        }
        News::Lifetimes(generation) => (generation, notifier.carry_on(generation)),
    };
    if !left {
        renewer.notified().set(generation);
        renewer.told();
    }
}
