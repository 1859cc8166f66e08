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

    /// Waits for the next one. Cancel-safe.
    pub async fn recv(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => TERM,
            _ = self.int.recv() => INT,
        }
    }
}

/// Signals that tell of a fault in ourselves: they are never another's, so they keep their actions.
const FAULTS: [Fault; 7] = [
    Fault::SIGFPE,
    Fault::SIGILL,
    Fault::SIGSEGV,
    Fault::SIGBUS,
    Fault::SIGABRT,
    Fault::SIGTRAP,
    Fault::SIGSYS,
];

/// Every signal that can be taken by hand, being held back from its action.
#[derive(Debug)]
pub struct Blocked {
    before: Mask,
    taken: SigSet,
    ignored: Dispositions,
}

impl Blocked {
    /// Blocks them in this thread, and so in every thread that it starts. None is lost from here on:
    /// the kernel holds on even to one that is ignored, as long as it is blocked.
    pub fn block() -> io::Result<Self> {
        let before = Mask::now();
        let mut taken = SigSet::all();
        for fault in FAULTS {
            taken.remove(fault);
        }
        taken.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // Where `/proc` can't be read, nothing counts as ignored.
        let ignored = Dispositions::read(own()).unwrap_or_default();
        Ok(Self { before, taken, ignored })
    }

    /// What was blocked before, which a program that we start or become blocks again.
    pub fn mask(&self) -> Mask {
        self.before
    }

    /// Takes them from now on. Needs Tokio's runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe and asks for no more than SignalFd gives"
    )]
    pub fn listen(self) -> io::Result<Signals> {
        if self.ignored.ignores(CHLD) {
            // The kernel keeps no end of a child for who ignores this signal. POSIX leaves open whether
            // a program is started to ignore it, so none can rely on that.
            drop(signal(SignalKind::child())?);
        }
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let descriptor = SignalFd::with_flags(&self.taken, flags)?;
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Signals { descriptor, before: self.before, ignored: self.ignored })
    }
}

/// A signal, and whether the kernel itself has sent it, as a terminal's or a child's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// The kernel sent it, nobody's `kill(2)`.
    pub by_kernel: bool,
}

/// Signals, one by one, in place of their actions.
#[derive(Debug)]
pub struct Signals {
    descriptor: AsyncFd<SignalFd>,
    before: Mask,
    ignored: Dispositions,
}

impl Signals {
    /// What was blocked before; see [`Blocked::mask`].
    pub fn mask(&self) -> Mask {
        self.before
    }

    /// Whether we were started to ignore it.
    pub fn ignores(&self, signal: Signal) -> bool {
        self.ignored.ignores(signal)
    }

    /// One that has come already.
    pub fn try_recv(&mut self) -> Option<Received> {
        received(self.descriptor.get_ref())
    }

    /// Waits for the next one. Cancel-safe.
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

/// Reads one, if one is there; interrupted is nothing, and nothing interrupts while all is blocked.
fn received(descriptor: &SignalFd) -> Option<Received> {
    loop {
        let info = descriptor.read_signal().ok()??;
        // Codes above zero are the kernel's (`sigaction(2)`).
        let by_kernel = info.ssi_code > 0;
        // A blocked signal is never ignored: a write of ours to a pipe that nobody reads brings us the
        // SIGPIPE that is ours alone.
        let is_our_own = !by_kernel && i64::from(info.ssi_pid) == i64::from(own());
        let signal = i32::try_from(info.ssi_signo).ok().and_then(Signal::of);
        if let Some(signal) = signal.filter(|_| !is_our_own) {
            return Some(Received { signal, by_kernel });
        }
    }
}
