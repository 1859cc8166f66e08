//! The log: its filter and format, and a writer to stderr that never blocks. Names and messages are
//! written visibly: see [`escape`].
//!
//! A sidecar must go on renewing if its stderr is a full pipe, as with a container runtime that
//! stops reading. So a line that does not fit at once is dropped and counted, and the count
//! precedes the next line that fits.

pub mod escape;
mod line;

use std::sync::atomic::{AtomicU64, Ordering};

use line::{EventFields, Head};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt};
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
    let layer = Lines { format: settings.format };
    let registry = tracing_subscriber::registry().with(settings.filter).with(layer);
    // Only a test starts a second log; the first one stays.
    registry.try_init().ok();
}

/// Writes lines of text to stderr outside the log, without ever blocking. A longer text than a
/// pipe takes in one piece is written in several, each of whole lines.
pub fn say(text: &str) {
    let mut piece = String::new();
    for line in text.lines() {
        let line = escape::one_line(line);
        let line = escape::shortened(&line, LONGEST - 1);
        if piece.len() + line.len() >= LONGEST {
            write(&piece, Format::Text);
            piece.clear();
        }
        piece.push_str(&line);
        piece.push('\n');
    }
    write(&piece, Format::Text);
}

/// Writes a line for each event.
struct Lines {
    format: Format,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = EventFields::new(LONGEST);
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = formatted(*metadata.level(), metadata.target(), &fields, self.format);
        write(&line, self.format);
    }
}

fn formatted(level: Level, target: &str, fields: &EventFields, format: Format) -> String {
    let mut timestamp = String::new();
    // A write to a string does not fail.
    SystemTime.format_time(&mut Writer::new(&mut timestamp)).unwrap_or_default();
    let head = Head { timestamp: &timestamp, level: level.as_str(), target };
    line::line(head, fields, format, LONGEST)
}

/// Writes `text`, of at most [`LONGEST`] bytes, in one piece.
fn write(text: &str, format: Format) {
    if text.is_empty() {
        return;
    }
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    if dropped > 0 && !write_now(note(dropped, format).as_bytes()) {
        DROPPED.fetch_add(dropped + 1, Ordering::Relaxed);
        return;
    }
    if !write_now(text.as_bytes()) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes the line that counts the lost ones, in the format of the next line.
fn note(dropped: u64, format: Format) -> String {
    let note = format!("{dropped} log lines were dropped: stderr was full");
    match format {
        Format::Text => format!("segura-agent: {note}\n"),
        Format::Json => {
            formatted(Level::WARN, module_path!(), &EventFields::message(note), Format::Json)
        }
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
