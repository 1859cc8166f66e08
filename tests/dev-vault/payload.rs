//! Response bodies, whole and broken.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// How long the first half of a body has to leave before its connection goes down.
const FLUSH: Duration = Duration::from_millis(20);

/// A response body.
pub enum Payload {
    /// All of it.
    Whole(Option<Bytes>),
    /// This much, and then an error, upon which hyper closes the connection.
    Cut(Option<Bytes>, Pin<Box<Sleep>>),
    /// One byte at a time.
    Drip(Bytes, Duration, Pin<Box<Sleep>>),
    /// So many more bytes of it.
    Flood(u64),
}

impl Payload {
    /// All of it.
    pub fn whole(text: impl Into<Bytes>) -> Self {
        Self::Whole(Some(text.into()))
    }

    /// The first half.
    pub fn cut(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self::Cut(Some(text.slice(..text.len() / 2)), Box::pin(sleep(FLUSH)))
    }

    /// A byte every so often.
    pub fn drip(text: impl Into<Bytes>, pause: Duration) -> Self {
        Self::Drip(text.into(), pause, Box::pin(sleep(pause)))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Cut(half, pause) => {
                if half.is_none() {
                    ready!(pause.as_mut().poll(context));
                    let error = io::Error::other("cut as asked");
                    return Poll::Ready(Some(Err(error)));
                }
                half.take()
            }
            Self::Drip(rest, _, _) if rest.is_empty() => None,
            Self::Drip(rest, pause, until) => {
                ready!(until.as_mut().poll(context));
                until.set(sleep(*pause));
                Some(rest.split_to(1))
            }
            Self::Flood(0) => None,
            Self::Flood(left) => {
                const BLOCK: &[u8] = &[b' '; 64 << 10];
                *left = left.saturating_sub(BLOCK.len() as u64);
                Some(Bytes::from_static(BLOCK))
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Drip(rest, _, _) => SizeHint::with_exact(rest.len() as u64),
            Self::Cut(..) | Self::Flood(_) => SizeHint::default(),
        }
    }
}
