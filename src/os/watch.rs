//! Watches the agent's inputs and output: a change is a hint to read again, and carries no facts.
//!
//! The agent watches directories, not files: the kubelet replaces a volume's files by renaming the
//! link `..data` (`pkg/volume/util/atomic_writer.go`), which a watch on a file does not report. An
//! input counts as changed only if its bytes differ.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use ring::digest;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::opened::{self, LONGEST_INPUT};

/// The wait after a change: changes come in bursts, and the last one counts.
const BURST: Duration = Duration::from_millis(100);
/// A wait longer than one grace period of the kernel.
const GRACE: Duration = Duration::from_micros(500);
/// The shortest time between two hints about inputs that change all the time.
const REST: Duration = Duration::from_millis(200);

/// The part that may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A file that the settings name.
    Inputs,
    /// The top of the output directory, perhaps.
    Output,
}

/// Hints that files have changed, as a value: a simulation gives others than the kernel's.
pub trait Hints {
    /// Waits for a change. Cancel-safe: a change that was reported is not lost.
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = Hint> + '_>>;

    /// Reads the inputs; true if any differs from the last reading.
    fn look(&mut self) -> bool;

    /// Stops watching, so that the process can end at once.
    fn end(&mut self);
}

impl Hints for Watch {
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = Hint> + '_>> {
        Box::pin(Self::changed(self))
    }

    fn look(&mut self) -> bool {
        Self::look(self)
    }

    fn end(&mut self) {
        Self::end(self);
    }
}

/// Watches the files that settings name, and the top of the output directory.
pub struct Watch {
    inputs: Vec<PathBuf>,
    output: Option<PathBuf>,
    seen: Vec<Option<digest::Digest>>,
    seen_events: Arc<SeenEvents>,
    /// The earliest time of the next hint.
    not_before: Instant,
    /// The time at which watching begins; none once it has.
    begins: Option<Instant>,
    /// The output directory could not be watched.
    output_unwatched: bool,
    /// The watcher; none if the system refused it.
    watcher: Option<RecommendedWatcher>,
}

#[derive(Debug, Default)]
struct SeenEvents {
    inputs: AtomicBool,
    output: AtomicBool,
    any: Notify,
}

impl Watch {
    /// Starts to watch. A folder that can't be watched is logged once, and read at each pass.
    pub fn new(inputs: Vec<PathBuf>, output: Option<&Path>) -> Self {
        let mut watch = Self::later(inputs, output, Duration::ZERO);
        watch.begin();
        // Read after the watch begins, so that no change falls between the two.
        watch.seen = watch.read();
        watch
    }

    /// Starts to watch `after` this time, so that a process that ends sooner is spared the cost. A
    /// change before then is reported then.
    pub fn later(inputs: Vec<PathBuf>, output: Option<&Path>, after: Duration) -> Self {
        let now = Instant::now();
        let mut watch = Self {
            inputs,
            output: output.map(Path::to_owned),
            seen: Vec::new(),
            seen_events: Arc::new(SeenEvents::default()),
            not_before: now,
            begins: Some(now + after),
            output_unwatched: false,
            watcher: None,
        };
        watch.seen = watch.read();
        watch
    }

    fn begin(&mut self) {
        self.begins = None;
        match self.start() {
            Ok((watcher, output_unwatched)) => {
                (self.watcher, self.output_unwatched) = (Some(watcher), output_unwatched)
            }
            Err(error) => tracing::warn!(
                error = reason(&error),
                "the agent can't watch files (the system limits inotify instances and watches by user): it reads a changed file at the next pass"
            ),
        }
    }

    /// The watcher; true if it can't watch the output directory.
    fn start(&self) -> notify::Result<(RecommendedWatcher, bool)> {
        let (seen_events, top) = (Arc::clone(&self.seen_events), self.output.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().is_ok_and(is_reading) {
                return;
            }
            // An event without a path, or an error (a queue overflow, `inotify(7)`), may be about
            // any.
            let paths = event.map(|event| event.paths).unwrap_or_default();
            let is_output = |path: &PathBuf| top.as_ref().is_some_and(|top| path.starts_with(top));
            if paths.is_empty() || paths.iter().any(is_output) {
                seen_events.output.store(true, Ordering::Relaxed);
            }
            if paths.is_empty() || !paths.iter().all(is_output) {
                seen_events.inputs.store(true, Ordering::Relaxed);
            }
            seen_events.any.notify_one();
        })?;
        let mut output_unwatched = false;
        for folder in self.folders() {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                output_unwatched |= self.output.as_deref() == Some(folder);
                let (folder, error) = (folder.display(), reason(&error));
                tracing::warn!(
                    %folder,
                    error,
                    "the agent can't watch this folder: it reads a file that changes there at the next pass"
                );
            }
        }
        Ok((watcher, output_unwatched))
    }

    /// Waits for a change. Cancel-safe: a change that was reported is not lost.
    pub async fn changed(&mut self) -> Hint {
        if let Some(begins) = self.begins {
            sleep_until(begins).await;
            self.begin();
            self.seen_events.inputs.store(true, Ordering::Relaxed);
            self.seen_events.output.store(true, Ordering::Relaxed);
        }
        loop {
            let seen = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
            while !seen(&self.seen_events.inputs) && !seen(&self.seen_events.output) {
                self.seen_events.any.notified().await;
            }
            sleep_until(self.not_before.max(Instant::now() + BURST)).await;
            if self.seen_events.inputs.swap(false, Ordering::Relaxed) && self.look() {
                self.not_before = Instant::now() + REST;
                return Hint::Inputs;
            }
            if self.seen_events.output.swap(false, Ordering::Relaxed) {
                return Hint::Output;
            }
        }
    }

    /// True if changes of the output directory are reported, as far as is known.
    pub fn hears(&self) -> bool {
        self.begins.is_some() || (self.watcher.is_some() && !self.output_unwatched)
    }

    /// Stops watching, so that the process can end at once.
    ///
    /// To close an inotify instance that still has watches, the kernel waits for two of its grace
    /// periods (SRCU), some ten milliseconds; a short sleep after removing the watches avoids that.
    pub fn end(&mut self) {
        let Some(mut watcher) = self.watcher.take() else { return };
        for folder in self.folders() {
            // Fails for a folder that could not be watched.
            watcher.unwatch(folder).ok();
        }
        std::thread::sleep(GRACE);
    }

    /// The output directory, and those of the inputs.
    fn folders(&self) -> BTreeSet<&Path> {
        let inputs = self.inputs.iter().filter_map(|path| path.parent());
        inputs.chain(self.output.as_deref()).collect()
    }

    /// Reads the inputs; true if any differs from the last reading.
    pub fn look(&mut self) -> bool {
        let now = self.read();
        let same = now.iter().map(shown).eq(self.seen.iter().map(shown));
        self.seen = now;
        !same
    }

    fn read(&self) -> Vec<Option<digest::Digest>> {
        let read = |path: &PathBuf| {
            let bytes = opened::read_input(path, LONGEST_INPUT).ok()?;
            Some(digest::digest(&digest::SHA256, bytes.expose()))
        };
        self.inputs.iter().map(read).collect()
    }
}

fn shown(digest: &Option<digest::Digest>) -> Option<&[u8]> {
    digest.as_ref().map(AsRef::as_ref)
}

/// True for events of readers, such as the agent itself: they change nothing.
fn is_reading(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => false,
    }
}

/// The system's own message: the watcher's would repeat paths.
fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::MaxFilesWatch => "the user's inotify watches are used up".to_owned(),
        notify::ErrorKind::PathNotFound => "the folder does not exist".to_owned(),
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_) => error.to_string(),
    }
}
