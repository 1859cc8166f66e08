//! The log: its filter and format, and a writer to stderr that never blocks.
//!
//! A sidecar must go on renewing if its stderr is a full pipe, as with a container runtime that
//! stops reading. So a line that does not fit at once is dropped and counted, and the count
//! precedes the next line that fits.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The longest line, in bytes: a pipe takes as much in one piece (`PIPE_BUF`, `pipe(7)`).
const LONGEST: usize = 4096;

/// Lines lost since the last one that was written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// The settings of the log.
#[derive(Debug)]
pub struct Settings {
    /// Filter directives, such as `info` or `warn,segura_agent=debug`.
    pub filter: Targets,
    /// Text or JSON.
    pub format: Format,
}

/// Starts the log; later calls change nothing.
pub fn start(settings: Settings) {
    let registry = tracing_subscriber::registry().with(settings.filter);
    let started = match settings.format {
        Format::Text => registry
            .with(fmt::layer().with_ansi(false).with_target(false).with_writer(LogLine::default))
            .try_init(),
        Format::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(LogLine::default))
            .try_init(),
    };
    // Only a test starts a second log; the first one stays.
    started.ok();
}

/// Writes a line to stderr outside the log, without ever blocking.
pub fn say(text: &str) {
    let mut line = LogLine::default();
    line.0.extend_from_slice(text.as_bytes());
    line.0.push(b'\n');
}

/// Collects one event and writes it in one piece when dropped.
#[derive(Debug, Default)]
struct LogLine(Vec<u8>);

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        shorten(&mut self.0);
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let note = format!("segura-agent: {dropped} log lines were dropped: stderr was full\n");
            if !write_now(note.as_bytes()) {
                DROPPED.fetch_add(dropped + 1, Ordering::Relaxed);
                return;
            }
        }
        if !write_now(&self.0) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn shorten(line: &mut Vec<u8>) {
    if line.len() > LONGEST {
        line.truncate(LONGEST - 1);
        line.push(b'\n');
    }
}

/// Writes `bytes` if stderr takes them at once; true if they need no second try. Linux reports a
/// pipe as writable while a page of it is free, and a line fits a page, so the write does not
/// block.
fn write_now(bytes: &[u8]) -> bool {
    let stderr = rustix::stdio::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    match poll(&mut polled, Some(&Timespec::default())) {
        // A closed or broken stderr has no reader, so the line does not count as dropped.
        Ok(1..) => !matches!(rustix::io::write(stderr, bytes), Err(rustix::io::Errno::AGAIN)),
        Ok(0) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_longer_than_a_pipe_takes_is_cut_and_still_ends() {
        let mut line = vec![b'x'; LONGEST + 100];
        shorten(&mut line);
        assert_eq!(line.len(), LONGEST);
        assert_eq!(line.last(), Some(&b'\n'));
        let mut short = b"short\n".to_vec();
        shorten(&mut short);
        assert_eq!(short, b"short\n");
    }
}
