//! Other processes as a value, which a simulation replaces.

use std::pin::Pin;
use std::{fmt, io};

use super::dispositions::{Dispositions, Reaction};
use super::end::End;
use super::handle::Handle;
use super::program::Program;
use super::reaper::{Child, Reaper};
use super::spawn::Streams;
use super::{Process, is_above_us, named, own};
use crate::os::environment::Environment;
use crate::os::signal::Signal;

/// Other processes, to be found, signalled and started.
pub trait Processes: fmt::Debug {
    /// Gives the agent's own number.
    fn own(&self) -> i32;

    /// Reports whether a process is an ancestor of the agent.
    fn is_above_us(&self, pid: i32) -> bool;

    /// Finds the processes of this name, without those that descend from one of this name or from
    /// the agent, and without the agent.
    fn named(&self, name: &str) -> io::Result<Vec<Process>>;

    /// Holds the process of this number, and looks at it afterwards; an error of kind `NotFound`
    /// says that there is none.
    fn hold(&self, pid: i32) -> io::Result<HeldProcess>;

    /// Starts a program in a process group of its own. It has an empty input and writes to the
    /// agent's standard error.
    fn spawn(
        &self,
        program: &Program,
        environment: &Environment,
    ) -> io::Result<Box<dyn SpawnedChild>>;
}

/// A process that is held, as it was when looked at afterwards.
#[derive(Debug)]
pub struct HeldProcess {
    /// The process.
    pub process: Process,
    /// The hold on it.
    pub hold: Box<dyn Hold>,
}

/// A hold on one process: a signal reaches this process, or none. An error of kind `NotFound` says
/// that the process has ended.
pub trait Hold: fmt::Debug {
    /// Predicts the effect of a signal on the process.
    fn reaction(&self, signal: Signal) -> io::Result<Reaction>;

    /// Sends a signal.
    fn signal(&self, signal: Signal) -> io::Result<()>;

    /// Fails if the agent has no permission to signal the process; sends no signal.
    fn probe(&self) -> io::Result<()>;
}

/// A child of the agent. Dropping the value leaves the child running.
pub trait SpawnedChild: fmt::Debug {
    /// Waits for its end. Cancel-safe.
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = End> + '_>>;

    /// Sends a signal to its whole process group.
    fn signal_group(&self, signal: Signal) -> io::Result<()>;
}

/// The processes of the agent's PID namespace, as the kernel has them.
#[derive(Clone, Debug)]
pub struct PidNamespace {
    reaper: Reaper,
}

impl PidNamespace {
    /// Makes `reaper` wait for the children that are started.
    pub fn new(reaper: Reaper) -> Self {
        Self { reaper }
    }
}

impl Processes for PidNamespace {
    fn own(&self) -> i32 {
        own()
    }

    fn is_above_us(&self, pid: i32) -> bool {
        is_above_us(pid)
    }

    fn named(&self, name: &str) -> io::Result<Vec<Process>> {
        named(name)
    }

    fn hold(&self, pid: i32) -> io::Result<HeldProcess> {
        let handle = Handle::open(pid)?;
        Ok(HeldProcess { process: handle.process()?, hold: Box::new(handle) })
    }

    fn spawn(
        &self,
        program: &Program,
        environment: &Environment,
    ) -> io::Result<Box<dyn SpawnedChild>> {
        Ok(Box::new(self.reaper.spawn(program, environment, Streams::Aside)?))
    }
}

impl Hold for Handle {
    fn reaction(&self, signal: Signal) -> io::Result<Reaction> {
        Ok(Dispositions::read(self.pid())?.reaction(signal))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Self::signal(self, signal)
    }

    fn probe(&self) -> io::Result<()> {
        Self::probe(self)
    }
}

impl SpawnedChild for Child {
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = End> + '_>> {
        Box::pin(Self::wait(self))
    }

    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        Self::signal_group(self, signal)
    }
}
