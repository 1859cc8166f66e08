//! Notifying the command that `exec` runs by a restart, and the record that supervision and
//! notification share.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::{Health, Order, Target, Working};
use crate::model::Generation;

/// The command under supervision: the generation that it was started with, and the one that it is
/// to be restarted for.
#[derive(Debug, Default)]
pub struct Supervised {
    pid: Cell<Option<i32>>,
    /// The generation that the command was started with.
    has: Cell<Generation>,
    /// The newest generation that the command is to be restarted for.
    wants: Cell<Generation>,
    wanted: Notify,
    started: Notify,
}

impl Supervised {
    /// Records that the command runs as process `pid`, started with `generation`.
    pub fn started(&self, pid: i32, generation: Generation) {
        self.pid.set(Some(pid));
        self.has.set(generation);
        self.started.notify_waiters();
    }

    /// Records that the command has ended.
    pub fn ended(&self) {
        self.pid.set(None);
    }

    /// Waits until the command is to be restarted for a newer generation than it was started with.
    /// Cancel-safe.
    pub async fn wanted(&self) {
        while self.has.get() >= self.wants.get() {
            self.wanted.notified().await;
        }
    }

    /// Drops the wanted restart, which is not possible; a later publish wants another one.
    pub fn give_up(&self) {
        self.wants.set(self.has.get());
    }

    /// The process of the command, while it runs.
    pub(super) fn pid(&self) -> Option<i32> {
        self.pid.get()
    }

    /// Reports if the command was started with this generation or a newer one.
    pub(super) fn has(&self, generation: Generation) -> bool {
        self.has.get() >= generation
    }
}

/// Notifies by a restart of the command, or by its end if the settings say so.
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

    /// Does nothing: a command that starts meanwhile gets the newer generation, which needs no
    /// restart.
    fn carry_on(&mut self, _generation: Generation) {}

    fn publish(&mut self, order: Order) {
        self.order = Some(order);
        self.want();
    }

    /// Does nothing: the command's environment holds values, and those are the same.
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
