//! A child of our own: started in a group of its own, waited for without a blocked thread.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A running child, the head of its own process group. Dropping it leaves it running.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    group: Pid,
    /// Wakes at the end of any child.
    ends: Stream,
}

/// Starts a program without a shell: nothing on its standard input, both outputs to our standard
/// error, and our environment without the `withheld` variables. Needs Tokio's runtime.
pub fn spawn(command: &[String], withheld: &[String]) -> io::Result<Child> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut prepared = Command::new(program);
    prepared.args(arguments).process_group(0);
    prepared.stdin(Stdio::null()).stdout(stderr()).stderr(stderr());
    for name in withheld {
        prepared.env_remove(name);
    }
    // Listening comes first, so that no end is missed.
    let ends = signal(SignalKind::child())?;
    let child = prepared.spawn()?;
    Ok(Child { group: Pid::from_child(&child), child, ends })
}

/// Our standard error, or nothing if that is closed.
fn stderr() -> Stdio {
    io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
}

impl Child {
    /// Waits for the end. Cancel-safe; the status is given once, and again if asked again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            self.ends.recv().await;
        }
    }

    /// Kills it and whoever is still in its group. To be called before its end was waited for, as
    /// only then is the number sure to be its own.
    pub fn kill_group(&mut self) {
        // Who has ended needs no killing.
        kill_process_group(self.group, Signal::KILL).ok();
    }
}
