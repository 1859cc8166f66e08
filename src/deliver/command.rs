//! Telling by a command: one run at a time, and the latest publish is what counts.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Finding, Health, Limits, Order, Target, Tries, Working};
use crate::model::Generation;
use crate::process::{self, Child};

const AGAIN: &str =
    "it is run again, in two minutes or at the next pass; what it writes stands in this log";

/// Told by a command that exits with 0.
pub(super) struct Command {
    words: Vec<String>,
    withheld: Vec<String>,
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
    async fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(deadline) = self.deadline {
            tokio::select! {
                biased;
                status = self.child.wait() => return status,
                () = sleep_until(deadline) => {
                    self.child.kill_group();
                    self.deadline = None;
                }
            }
        }
        self.child.wait().await
    }
}

impl Command {
    pub(super) fn new(words: Vec<String>, withheld: Vec<String>, limits: Limits) -> Self {
        Self {
            words,
            withheld,
            limit: limits.command,
            tries: Tries::new(limits.again),
            running: None,
            health: Health::default(),
        }
    }

    fn start(&mut self, order: Order) {
        match process::spawn(&self.words, &self.withheld) {
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
    fn ended(&mut self, run: &Running, status: &io::Result<ExitStatus>) {
        let name = self.name();
        let failure = match status {
            _ if run.deadline.is_none() => {
                format!("{name} was killed: it took longer than {:?}", self.limit)
            }
            Ok(status) if status.success() => {
                tracing::info!(generation = %run.order.generation, "told by {name}");
                self.health.works(&name);
                self.tries.done(run.order);
                return;
            }
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("{name} failed with exit code {code}"),
                (None, signal) => format!("{name} was ended by signal {}", signal.unwrap_or(0)),
            },
            Err(error) => format!("cannot wait for {name}: {error}"),
        };
        self.tries.failed();
        self.health.fails(Finding::warning(failure, AGAIN));
    }

    /// Never more than the program's name: arguments may hold what is not to be shown.
    fn name(&self) -> Name {
        let program = self.words.first().map_or("", String::as_str);
        let name = Path::new(program).file_name().unwrap_or_default();
        Name(name.to_string_lossy().into_owned())
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
        let program = self.words.first().map_or("", String::as_str);
        // Where it is searched for is not ours to know.
        if !program.contains('/') {
            return Vec::new();
        }
        match rustix::fs::access(program, rustix::fs::Access::EXEC_OK) {
            Ok(()) => Vec::new(),
            Err(error) => vec![unusable(&self.name(), &error.into())],
        }
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
                    let status = running.end().await;
                    if let Some(run) = self.running.take() {
                        self.ended(&run, &status);
                    }
                } else {
                    self.tries.next().await;
                    self.start(order);
                }
            }
        })
    }
}
