//! The pending order of a target, and the time of the next attempt at it.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

use super::Order;
use crate::model::Generation;

/// The pending order, if any, and the time of the next attempt.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    order: Option<Order>,
    /// An attempt is to be made at once.
    due: bool,
    /// The time of the next attempt, if none is made before.
    retry_at: Option<Instant>,
}

impl Attempts {
    /// The pending order.
    pub(super) fn order(&self) -> Option<Order> {
        self.order
    }

    /// Takes an order, which replaces a pending one; an attempt is due at once.
    pub(super) fn publish(&mut self, order: Order) {
        self.order = Some(order);
        self.due = true;
    }

    /// Changes the generation of the pending order, if there is one.
    pub(super) fn carry_on(&mut self, generation: Generation) {
        if let Some(order) = &mut self.order {
            order.generation = generation;
        }
    }

    /// Makes an attempt due at once, if an order is pending.
    pub(super) fn pass(&mut self) {
        self.due |= self.order.is_some();
    }

    /// Sets the time of the next attempt, in place of any before it.
    pub(super) fn retry_at(&mut self, at: Instant) {
        self.retry_at = Some(at);
    }

    /// Drops `order`, which is done; keeps an order that replaced it meanwhile.
    pub(super) fn done(&mut self, order: Order) {
        if self.order.is_some_and(|newest| newest.published == order.published) {
            self.order = None;
        }
    }

    /// Waits until an attempt is due; stays pending where only a publish or a pass can help.
    /// Cancel-safe.
    pub(super) async fn next(&mut self) {
        match self.retry_at {
            _ if self.due => {}
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
        (self.due, self.retry_at) = (false, None);
    }
}
