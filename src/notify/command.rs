//! Notifying by a command, in a process group of its own, which is killed at its time limit.

use std::io;
use std::time::Duration;

use super::Finding;
use super::job::Way;
use crate::model::Generation;
use crate::os::environment::Environment;
use crate::os::process::{End, Processes, Program, SpawnedChild};
use crate::os::signal::KILL;

const RETRY_HINT: &str = "the command is run again in two minutes or at the next renewal pass; its output is in this log";

/// Notifies by a command that exits with 0.
pub(super) struct NotifyCommand<'a> {
    pub(super) program: Program,
    pub(super) environment: Environment,
    pub(super) processes: &'a dyn Processes,
    /// The time that a run may take.
    pub(super) limit: Duration,
}

/// One run of the command.
pub(super) struct Started {
    child: Box<dyn SpawnedChild>,
    /// It was killed at its time limit.
    killed: bool,
}

impl NotifyCommand<'_> {
    fn unusable(&self, error: &io::Error) -> Finding {
        Finding::warning(
            format!("{} can't be run: {error}", self.name()),
            "the program must be in the agent's own container and be executable",
        )
    }
}

impl Way for NotifyCommand<'_> {
    type Attempt = Started;

    fn name(&self) -> String {
        "the command ".to_owned() + &self.program.name()
    }

    fn succeeded(&self, generation: Generation) {
        tracing::info!(%generation, "notified by {}", self.name());
    }

    fn would(&self) -> String {
        format!("would run {}", self.name())
    }

    fn look(&self) -> Vec<Finding> {
        match self.program.find(self.environment.get("PATH")) {
            Ok(_) => Vec::new(),
            Err(error) => vec![self.unusable(&error)],
        }
    }

    fn limit(&self) -> Duration {
        self.limit
    }

    fn start(&self) -> Result<Started, Finding> {
        let child = self.processes.spawn(&self.program, &self.environment);
        let child = child.map_err(|error| self.unusable(&error))?;
        Ok(Started { child, killed: false })
    }

    async fn end(&self, run: &mut Started) -> Result<(), Finding> {
        let end = run.child.wait().await;
        let name = self.name();
        let failure = match end {
            _ if run.killed => {
                format!("{name} was killed: it took longer than {:?}", self.limit)
            }
            End::Code(0) => return Ok(()),
            End::Code(_) => format!("{name} failed with {end}"),
            End::Signal(_) => format!("{name} was ended by {end}"),
        };
        Err(Finding::warning(failure, RETRY_HINT))
    }

    fn stop(&self, run: &mut Started) {
        // ESRCH: no process of the group is left (kill(2)).
        run.child.signal_group(KILL).ok();
        run.killed = true;
    }
}
