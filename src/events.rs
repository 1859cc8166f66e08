//! Turns the operating system's signals into values that a loop can await.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::signal::{INT, Signal, TERM};

/// The signals that end the agent.
#[derive(Debug)]
pub struct Terminations {
    term: Stream,
    int: Stream,
}

impl Terminations {
    /// Starts listening; from here on the default actions no longer apply.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn recv(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => TERM,
            _ = self.int.recv() => INT,
        }
    }
}
