//! The loop: waits, passes, deliveries. Whoever drops it ends it at any point but in the middle of a
//! publish.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{News, Renewer, Why};
use crate::model::Generation;
use crate::notify::Deliver;
use crate::vault::Connect;

/// Keeps the set fresh until it is dropped.
pub async fn keep<V: Connect>(
    renewer: &mut Renewer<'_, V>,
    deliver: &mut Deliver<'_>,
) -> Infallible {
    let notified = renewer.notified();
    deliver.count_failures(&renewer.delivery_failures());
    let standing = renewer.state().generation;
    if notified.get() < standing {
        tell(renewer, deliver, News::Changed(standing));
    }
    loop {
        let why = loop {
            tokio::select! {
                generation = deliver.delivered() => {
                    notified.set(generation);
                    renewer.delivered();
                }
                why = renewer.wait() => break why,
            }
        };
        let before = notified.get();
        let passed = pass(renewer, deliver, why, &notified).await;
        if notified.get() != before {
            renewer.delivered();
        }
        match passed {
            Passed::With(Some(news)) => tell(renewer, deliver, news),
            Passed::With(None) => {}
            Passed::Hung => renewer.abandoned(),
        }
        if matches!(why, Why::Due | Why::Inputs) {
            deliver.pass();
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
    deliver: &mut Deliver<'_>,
    why: Why,
    notified: &Cell<Generation>,
) -> Passed {
    let limit = renewer.longest_pass();
    let mut pass = pin!(timeout(limit, renewer.pass(why)));
    loop {
        tokio::select! {
            generation = deliver.delivered() => notified.set(generation),
            passed = &mut pass => return passed.map_or(Passed::Hung, Passed::With),
        }
    }
}

fn tell<V: Connect>(renewer: &mut Renewer<'_, V>, deliver: &mut Deliver<'_>, news: News) {
    let (generation, left) = match news {
        News::Changed(generation) | News::Restored(generation) => {
            let published = Duration::from_millis(renewer.state().boot_ms.changed);
            match news {
                _ if !deliver.has_targets() => {}
                News::Restored(_) => deliver.restore(generation, published),
                News::Changed(_) | News::Lifetimes(_) => deliver.publish(generation, published),
            }
            (generation, deliver.has_targets())
        }
        News::Lifetimes(generation) => (generation, deliver.carry_on(generation)),
    };
    if !left {
        renewer.notified().set(generation);
        renewer.told();
    }
}
