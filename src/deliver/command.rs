//! Telling by a command: one run at a time, and the latest publish is what counts.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Finding, Health, Limits, Order, Target, Tries, Working};
use crate::environment::Environment;
use crate::model::{End, Generation};
use crate::process::{Child, Program, Reaper, Streams};
use crate::signal::KILL;

const AGAIN: &str =
    "it is run again, in two minutes or at the next pass; what it writes stands in this log";

/// Told by a command that exits with 0.
pub(super) struct Command {
    program: Program,
    environment: Environment,
    reaper: Reaper,
    limit: Duration,
    tries: Tries,
    running: Option<Running>,
    health: Health,
}

struct Running {
    child: Child,
    /// What the run tells of.
    order: Order,
    /// When its time is up; none once it was killed for that.
    deadline: Option<Instant>,
}

impl Running {
    /// Waits for the end; kills the group when its time is up. Cancel-safe.
    async fn end(&mut self) -> End {
        if let Some(deadline) = self.deadline {
            tokio::select! {
                biased;
                end = self.child.wait() => return end,
                () = sleep_until(deadline) => {
                    // Who has ended needs no killing.
                    self.child.signal_group(KILL).ok();
                    self.deadline = None;
                }
            }
        }
        self.child.wait().await
    }
}

impl Command {
    pub(super) fn new(
        program: Program,
        environment: Environment,
        reaper: Reaper,
        limits: Limits,
    ) -> Self {
        Self {
            program,
            environment,
            reaper,
            limit: limits.command,
            tries: Tries::new(limits.again),
            running: None,
            health: Health::default(),
        }
    }

    fn start(&mut self, order: Order) {
        match self.reaper.spawn(&self.program, &self.environment, Streams::Aside) {
            Ok(child) => {
                let deadline = Some(Instant::now() + self.limit);
                self.running = Some(Running { child, order, deadline });
            }
            Err(error) => {
                self.tries.failed();
                self.health.fails(unusable(&self.name(), &error));
            }
        }
    }

    /// Takes the end of a run: an older run neither tells nor keeps the newest order from its own.
    fn ended(&mut self, run: &Running, end: End) {
        let name = self.name();
        let failure = match end {
            _ if run.deadline.is_none() => {
                format!("{name} was killed: it took longer than {:?}", self.limit)
            }
            End::Code(0) => {
                tracing::info!(generation = %run.order.generation, "told by {name}");
                self.health.works(&name);
                self.tries.done(run.order);
                return;
            }
            End::Code(_) => format!("{name} failed with {end}"),
            End::Signal(_) => format!("{name} was ended by {end}"),
        };
        self.tries.failed();
        self.health.fails(Finding::warning(failure, AGAIN));
    }

    fn name(&self) -> Name {
        Name(self.program.name())
    }
}

fn unusable(name: &Name, error: &io::Error) -> Finding {
    Finding::warning(
        format!("{name} can't be run: {error}"),
        "see that the program is in the agent's own container and may be run",
    )
}

struct Name(String);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command {}", self.0)
    }
}

impl Target for Command {
    fn look(&mut self) -> Vec<Finding> {
        match self.program.find(self.environment.get("PATH")) {
            Ok(_) => Vec::new(),
            Err(error) => vec![unusable(&self.name(), &error)],
        }
    }

    fn would(&mut self) -> Vec<String> {
        vec![format!("would run {}", self.name())]
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn publish(&mut self, order: Order) {
        self.tries.publish(order);
    }

    fn carry_on(&mut self, generation: Generation) {
        self.tries.carry_on(generation);
    }

    fn pass(&mut self) {
        // What runs may still tell; it is then run again only where a publish has asked for it.
        if self.running.is_none() {
            self.tries.pass();
        }
    }

    fn work(&mut self) -> Working<'_> {
        Box::pin(async {
            while let Some(order) = self.tries.order {
                if let Some(running) = &mut self.running {
                    let end = running.end().await;
                    if let Some(run) = self.running.take() {
                        self.ended(&run, end);
                    }
                } else {
                    self.tries.next().await;
                    self.start(order);
                }
            }
        })
    }
}
