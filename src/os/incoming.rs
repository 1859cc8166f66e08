//! Turns the operating system's signals into values that a loop can await.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal as Fault};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::os::process::{Dispositions, Mask, own};
use crate::os::signal::{CHLD, INT, Signal, TERM};

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

    /// Waits for the next signal. Cancel-safe.
    pub async fn recv(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => TERM,
            _ = self.int.recv() => INT,
        }
    }
}

/// Signals of a fault in the agent itself: they keep their actions, since the fault's instruction
/// would run again, and blocking one that a fault raises is undefined (`sigprocmask(2)`).
const FAULTS: [Fault; 7] = [
    Fault::SIGFPE,
    Fault::SIGILL,
    Fault::SIGSEGV,
    Fault::SIGBUS,
    Fault::SIGABRT,
    Fault::SIGTRAP,
    Fault::SIGSYS,
];

/// Every signal that a descriptor can take, blocked from its action.
#[derive(Debug)]
pub struct Blocked {
    before: Mask,
    taken: SigSet,
    ignored: Dispositions,
}

impl Blocked {
    /// Blocks them in this thread, and so in every thread that it starts. From here on each stays
    /// pending: Linux keeps even an ignored signal while it is blocked, which POSIX leaves open
    /// ("Signal Generation and Delivery").
    pub fn block() -> io::Result<Self> {
        let before = Mask::now();
        let mut taken = SigSet::all();
        for fault in FAULTS {
            taken.remove(fault);
        }
        taken.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // Without a readable `/proc`, no signal counts as ignored.
        let ignored = Dispositions::read(own()).unwrap_or_default();
        Ok(Self { before, taken, ignored })
    }

    /// The signals that were blocked before; a program that the agent starts or becomes blocks
    /// these.
    pub fn mask(&self) -> Mask {
        self.before
    }

    /// Takes the signals by descriptor from now on (`signalfd(2)`). Needs Tokio's runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe and asks for no more than SignalFd gives"
    )]
    pub fn listen(self) -> io::Result<Signals> {
        if self.ignored.ignores(CHLD) {
            // The kernel keeps no exit status for a process that ignores SIGCHLD (`wait(2)`,
            // NOTES). POSIX leaves open whether `execve` keeps it ignored, so a command can't rely
            // on that.
            drop(signal(SignalKind::child())?);
        }
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let descriptor = SignalFd::with_flags(&self.taken, flags)?;
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Signals { descriptor, before: self.before, ignored: self.ignored })
    }
}

/// A signal and its sender: the kernel, as for a terminal or a child, or a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The signal.
    pub signal: Signal,
    /// True if the kernel sent it; false for `kill(2)` and its like.
    pub by_kernel: bool,
}

/// The signals that arrive, one by one, in place of their actions.
#[derive(Debug)]
pub struct Signals {
    descriptor: AsyncFd<SignalFd>,
    before: Mask,
    ignored: Dispositions,
}

impl Signals {
    /// The signals that were blocked before; see [`Blocked::mask`].
    pub fn mask(&self) -> Mask {
        self.before
    }

    /// True if the agent was started with `signal` ignored.
    pub fn ignores(&self, signal: Signal) -> bool {
        self.ignored.ignores(signal)
    }

    /// Takes a signal that is pending; none if there is none.
    pub fn try_recv(&mut self) -> Option<Received> {
        received(self.descriptor.get_ref())
    }

    /// Waits for the next signal. Cancel-safe.
    pub async fn recv(&mut self) -> Received {
        loop {
            let Ok(mut ready) = self.descriptor.readable().await else {
                // The runtime is going away.
                return std::future::pending().await;
            };
            match received(ready.get_inner()) {
                Some(received) => return received,
                None => ready.clear_ready(),
            }
        }
    }
}

/// Reads a pending signal, if there is one. `EINTR` can't occur while every signal is blocked.
fn received(descriptor: &SignalFd) -> Option<Received> {
    loop {
        let info = descriptor.read_signal().ok()??;
        // A positive code is the kernel's, others are a process's (`sigaction(2)`, `si_code`).
        let by_kernel = info.ssi_code > 0;
        // A blocked signal is never ignored, so the agent's own write to a closed pipe brings a
        // SIGPIPE here, although Rust's runtime ignores it. The command must not get that one.
        let is_our_own = !by_kernel && i64::from(info.ssi_pid) == i64::from(own());
        let signal = i32::try_from(info.ssi_signo).ok().and_then(Signal::of);
        if let Some(signal) = signal.filter(|_| !is_our_own) {
            return Some(Received { signal, by_kernel });
        }
    }
}
