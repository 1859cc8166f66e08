//! A TCP stream that can be made to end badly.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How a connection shall end.
#[derive(Clone, Debug, Default)]
pub struct End(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    reset: AtomicBool,
    close: AtomicBool,
}

impl End {
    /// When the stream is dropped, its peer gets a reset.
    pub fn reset(&self) {
        self.0.reset.store(true, Ordering::Relaxed);
    }

    /// What is written next is the last, and nothing is read after it.
    pub fn close(&self) {
        self.0.close.store(true, Ordering::Relaxed);
    }
}

/// A TCP stream, below TLS.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    end: End,
    wrote_last: bool,
    closed: bool,
    reader: Option<Waker>,
}

impl Socket {
    /// A stream, and the handle on its end.
    pub fn new(tcp: TcpStream) -> (Self, End) {
        let end = End::default();
        let socket = Self { tcp, end: end.clone(), wrote_last: false, closed: false, reader: None };
        (socket, end)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.end.0.reset.load(Ordering::Relaxed) {
            // Without it the peer sees an ordinary end, and its test fails.
            drop(self.tcp.set_zero_linger());
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        self.reader = Some(context.waker().clone());
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wrote_last = self.end.0.close.load(Ordering::Relaxed);
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.tcp).poll_flush(context);
        if self.wrote_last && flushed.is_ready() {
            self.closed = true;
            // The reader waits for the peer, which has no reason to say anything.
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
