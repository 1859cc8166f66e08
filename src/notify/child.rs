//! Notifying the command that `exec` runs: the knowledge that both sides share, and the restart.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::{Health, Order, Target, Working};
use crate::model::Generation;

/// The command under supervision: the restarts that are wanted, and those that were made.
#[derive(Debug, Default)]
pub struct Supervised {
    pid: Cell<Option<i32>>,
    /// The generation that it was started with.
    has: Cell<Generation>,
    /// The newest generation that it is to be restarted for.
    wants: Cell<Generation>,
    wanted: Notify,
    started: Notify,
}

impl Supervised {
    /// It runs as this process, and has read this generation.
    pub fn started(&self, pid: i32, generation: Generation) {
        self.pid.set(Some(pid));
        self.has.set(generation);
        self.started.notify_waiters();
    }

    /// It has ended.
    pub fn ended(&self) {
        self.pid.set(None);
    }

    /// Waits until it is to have a newer generation than it was started with. Cancel-safe.
    pub async fn wanted(&self) {
        while self.has.get() >= self.wants.get() {
            self.wanted.notified().await;
        }
    }

    /// What was wanted can't be had, and is wanted no more until something newer is.
    pub fn give_up(&self) {
        self.wants.set(self.has.get());
    }

    /// Its process, while it has one.
    pub(super) fn pid(&self) -> Option<i32> {
        self.pid.get()
    }

    /// Whether it was started with this generation or a newer one.
    pub(super) fn has(&self, generation: Generation) -> bool {
        self.has.get() >= generation
    }
}

/// Notifies by a restart of the command, or by its end where the settings want that.
pub(super) struct Restart {
    command: Rc<Supervised>,
    order: Option<Order>,
    health: Health,
}

impl Restart {
    pub(super) fn new(command: Rc<Supervised>) -> Self {
        Self { command, order: None, health: Health::default() }
    }

    fn want(&self) {
        if let Some(order) = self.order {
            self.command.wants.set(order.generation);
            self.command.wanted.notify_one();
        }
    }
}

impl Target for Restart {
    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    /// A command that is started meanwhile has the newer one; none is started for it.
    fn carry_on(&mut self, _generation: Generation) {}

    fn publish(&mut self, order: Order) {
        self.order = Some(order);
        self.want();
    }

    /// Its environment is as it was.
    fn restore(&mut self, _order: Order) {}

    fn pass(&mut self) {
        self.want();
    }

    fn work(&mut self) -> Working<'_> {
        Box::pin(async {
            while let Some(order) = self.order {
                let started = self.command.started.notified();
                if self.command.has(order.generation) {
                    self.order = None;
                } else {
                    started.await;
                }
            }
        })
    }
}
