//! The store on a real directory in memory. Faults are files in the way, since tests may run as
//! root, which no mode stops.

mod found;
mod publish;

use std::collections::BTreeSet;
use std::fs as files;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::*;
use crate::config::settings::{Access, Disk, FileGid, FileUid};
use crate::os::clock;
use crate::render::render;
use crate::render::tests::{bundle, layout};
use crate::store::IN_MEMORY;
use crate::store::state::SecretState;
use crate::store::state::tests::{origin, state};

type Secrets<'a> = &'a [(&'a str, &'a [&'a [(&'a str, &'a str)]])];

const FIRST: Secrets<'_> = &[("db", &[&[("user", "ada"), ("password", "old")]])];
const SECOND: Secrets<'_> = &[("db", &[&[("user", "ada"), ("password", "new")]])];

fn memory() -> TempDir {
    tempfile::Builder::new().prefix("segura-store-").tempdir_in("/dev/shm").unwrap()
}

fn output(dir: &Path) -> Output {
    let access = Access {
        file_mode: 0o440,
        dir_mode: 0o750,
        uid: FileUid::Agent,
        gid: FileGid::Inherited,
        rules: Vec::new(),
    };
    Output { dir: dir.to_owned(), create_last: false, access, disk: Disk::Refuse }
}

fn open(dir: &TempDir) -> Directory {
    open_as(&output(dir.path()), "a test")
}

/// Opens a directory that no store holds any more. A child that another test forked holds a copy of
/// the locked descriptor until its execve(2) (flock(2)), so this may take some tries.
fn open_as(output: &Output, holder: &str) -> Directory {
    for _ in 0..1_000 {
        match Directory::open(output, holder) {
            Err(WriteError { cause: WriteCause::Held(_), .. }) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("{} is held", output.dir.display());
}

fn remembered(secrets: Secrets<'_>) -> State {
    let bundle = bundle(secrets);
    let secrets = bundle
        .secrets
        .iter()
        .map(|(name, set)| SecretState::of(name, set, None, Duration::ZERO))
        .collect();
    State { secrets, ..state() }
}

fn publish_at(
    store: &mut Directory,
    secrets: Secrets<'_>,
    now: SystemTime,
) -> Result<Outcome, WriteError> {
    let bundle = bundle(secrets);
    let rendering = render(&bundle, &layout("files")).unwrap();
    let mut state = remembered(secrets);
    let outcome = store.publish(&rendering.files, &mut state, now)?;
    assert_eq!(state.generation, outcome.generation());
    store.save(&state)?;
    Ok(outcome)
}

fn publish(store: &mut Directory, secrets: Secrets<'_>) -> Result<Outcome, WriteError> {
    publish_at(store, secrets, clock::wall())
}

/// A store with a first set.
fn published(secrets: Secrets<'_>) -> (TempDir, Directory) {
    let dir = memory();
    let mut store = open(&dir);
    assert_eq!(publish(&mut store, secrets).unwrap(), Outcome::Published(Generation(1)));
    (dir, store)
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = files::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn generations(dir: &TempDir) -> Vec<String> {
    names(dir.path()).into_iter().filter(|name| name.starts_with("..2")).collect()
}

fn data(dir: &TempDir) -> PathBuf {
    files::read_link(dir.path().join(DATA)).unwrap()
}

fn read(dir: &TempDir, path: &str) -> String {
    files::read_to_string(dir.path().join(path)).unwrap()
}

fn exists(dir: &TempDir, path: &str) -> bool {
    files::symlink_metadata(dir.path().join(path)).is_ok()
}

fn mode(dir: &TempDir, path: &str) -> u32 {
    files::metadata(dir.path().join(path)).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    files::set_permissions(path, files::Permissions::from_mode(mode)).unwrap();
}

/// Lists everything below a directory with modes, inodes and content; follows no link.
fn picture(dir: &Path) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for name in names(dir) {
        let path = dir.join(&name);
        let meta = files::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            format!("{:?}", files::read_link(&path).unwrap())
        } else if meta.is_dir() {
            seen.extend(picture(&path));
            String::new()
        } else {
            files::read_to_string(&path).unwrap()
        };
        seen.insert(format!("{} {:o} {} {content}", path.display(), meta.mode(), meta.ino()));
    }
    seen
}

/// A watcher of one directory, for all events but those of reading.
struct Watcher(OwnedFd);

impl Watcher {
    fn of(dir: &Path) -> Self {
        let events = WatchFlags::ALL_EVENTS
            - (WatchFlags::ACCESS | WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE);
        let watcher = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watcher, dir, events).unwrap();
        Self(watcher)
    }

    fn woken(&self) -> Vec<(Option<String>, ReadFlags)> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_str().unwrap().to_owned());
            events.push((name, event.events()));
        }
        events
    }
}
