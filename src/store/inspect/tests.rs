//! Inspections of a directory. `F_GETLK` does not show a process its own locks
//! (`fcntl_locking(2)`), so the tests of `check` are those about running agents.

use std::fs::{create_dir, read_link, remove_dir, remove_file, rename, write};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::config::settings::{Access, Disk, FileGid, FileUid, Output};
use crate::model::Generation;
use crate::os::clock;
use crate::render::render;
use crate::render::tests::{bundle, layout};
use crate::store::state::SecretState;
use crate::store::state::tests::state;
use crate::store::{Backend, Directory};

const SNAPSHOT: &str = "..generation.json";

fn memory() -> TempDir {
    tempfile::Builder::new().prefix("segura-look-").tempdir_in("/dev/shm").unwrap()
}

fn open(dir: &TempDir) -> Directory {
    let access = Access {
        file_mode: 0o440,
        dir_mode: 0o750,
        uid: FileUid::Agent,
        gid: FileGid::Inherited,
        rules: Vec::new(),
    };
    let dir = dir.path().to_owned();
    Directory::open(&Output { dir, create_last: false, access, disk: Disk::Refuse }, "a test")
        .unwrap()
}

/// Publishes and saves two secrets.
fn publish(store: &mut Directory, value: &str, change: impl Fn(&mut State)) {
    let bundle = bundle(&[("db", &[&[("user", value)]]), ("app/key", &[&[("k", "v")]])]);
    let rendering = render(&bundle, &layout("files,env,json")).unwrap();
    let secrets = bundle
        .secrets
        .iter()
        .map(|(name, set)| SecretState::of(name, set, None, Duration::ZERO))
        .collect();
    let mut state = State { secrets, ..state() };
    store.publish(&rendering.files, &mut state, clock::wall()).unwrap();
    change(&mut state);
    store.save(&state).unwrap();
}

fn published() -> TempDir {
    let dir = memory();
    publish(&mut open(&dir), "ada", |state| state.failures = 4);
    dir
}

fn seen(dir: &TempDir) -> Look {
    look(dir.path()).unwrap()
}

fn generation(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join(read_link(dir.path().join(DATA)).unwrap())
}

#[test]
fn a_published_set_is_whole() {
    let dir = published();
    let look = seen(&dir);
    assert!(look.whole);
    assert_eq!(look.agent, Agent::Gone);
    let state = look.state.unwrap();
    assert_eq!((state.generation, state.failures, state.secrets.len()), (Generation(1), 4, 2));
}

#[test]
fn a_later_set_has_its_own_state() {
    let dir = memory();
    let mut store = open(&dir);
    publish(&mut store, "ada", |_| ());
    publish(&mut store, "eve", |_| ());
    let look = seen(&dir);
    assert!(look.whole);
    assert_eq!(look.state.unwrap().generation, Generation(2));
}

#[test]
fn an_empty_directory_shows_nothing() {
    let dir = memory();
    let look = seen(&dir);
    assert!(look.state.is_none() && !look.whole);
    assert_eq!(look.agent, Agent::Gone);
    drop(open(&dir));
    let look = seen(&dir);
    assert!(look.state.is_none() && !look.whole, "an agent was here and published nothing");
}

#[test]
fn a_missing_directory_and_a_file_in_its_place_are_errors() {
    let dir = memory();
    let message = look(&dir.path().join("x")).unwrap_err().to_string();
    assert!(message.starts_with("cannot open the output directory "), "{message}");
    write(dir.path().join("file"), "").unwrap();
    assert!(look(&dir.path().join("file")).is_err());
    write(dir.path().join(OWN), "").unwrap();
    assert!(look(dir.path()).is_err());
}

#[test]
fn the_generations_own_state_replaces_a_torn_state_file() {
    for torn in [&b""[..], b"{", b"{\"generation\":1}", b"\xff"] {
        let dir = published();
        let file = dir.path().join(OWN).join(STATE);
        remove_file(&file).unwrap();
        write(&file, torn).unwrap();
        let look = seen(&dir);
        assert!(look.whole);
        assert_eq!(look.state.unwrap().failures, 0);
    }
}

#[test]
fn the_generations_own_state_replaces_that_of_another_one() {
    let dir = memory();
    publish(&mut open(&dir), "ada", |state| state.generation = Generation(9));
    assert_eq!(seen(&dir).state.unwrap().generation, Generation(1));
}

#[test]
fn a_set_without_one_of_its_parts_is_not_whole() {
    let break_it: [fn(&TempDir); 6] = [
        |dir| remove_file(dir.path().join(DATA)).unwrap(),
        |dir| remove_file(dir.path().join("db")).unwrap(),
        |dir| remove_file(generation(dir).join(SNAPSHOT)).unwrap(),
        |dir| remove_file(generation(dir).join(bundle::FILE)).unwrap(),
        |dir| rename(generation(dir), dir.path().join("..moved")).unwrap(),
        |dir| {
            remove_file(dir.path().join("secrets.env")).unwrap();
            write(dir.path().join("secrets.env"), "mine").unwrap();
        },
    ];
    for (nth, break_it) in break_it.into_iter().enumerate() {
        let dir = published();
        break_it(&dir);
        let look = seen(&dir);
        assert!(!look.whole, "case {nth}");
        assert_eq!(look.state.map(|state| state.failures), Some(4), "case {nth}");
    }
}

#[test]
fn the_state_of_a_deprovisioned_set_is_still_read() {
    let dir = memory();
    publish(&mut open(&dir), "ada", |state| state.given_back = true);
    assert!(seen(&dir).state.unwrap().given_back);
    remove_file(dir.path().join(DATA)).unwrap();
    let look = seen(&dir);
    assert!(look.state.unwrap().given_back && !look.whole);
}

#[test]
fn no_link_is_followed() {
    let (dir, other) = (published(), published());
    let own = dir.path().join(OWN);
    rename(&own, dir.path().join("..kept")).unwrap();
    std::os::unix::fs::symlink(other.path().join(OWN), &own).unwrap();
    assert!(look(dir.path()).is_err());
    let dir = published();
    let state = dir.path().join(OWN).join(STATE);
    remove_file(&state).unwrap();
    std::os::unix::fs::symlink(other.path().join(OWN).join(STATE), &state).unwrap();
    assert_eq!(seen(&dir).state.unwrap().failures, 0, "the state of the generation counts");
    let dir = published();
    let generation = generation(&dir);
    remove_file(dir.path().join(DATA)).unwrap();
    std::os::unix::fs::symlink(&generation, dir.path().join(DATA)).unwrap();
    assert!(!seen(&dir).whole, "it leads out of the directory");
}

#[test]
fn a_look_changes_nothing_and_waits_for_no_pipe() {
    let dir = published();
    let holder = dir.path().join(OWN).join(HOLDER);
    remove_file(&holder).unwrap();
    fs::mknodat(fs::CWD, &holder, fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert_eq!(seen(&dir).agent, Agent::Gone);
    remove_file(&holder).unwrap();
    create_dir(&holder).unwrap();
    assert_eq!(seen(&dir).agent, Agent::Gone);
    remove_dir(&holder).unwrap();
    assert!(seen(&dir).whole);
    assert!(!holder.exists());
}

#[test]
fn a_set_is_whole_however_often_it_is_replaced() {
    let dir = published();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut store = open(&dir);
            for value in 0..200 {
                publish(&mut store, &value.to_string(), |_| ());
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut last = Generation(0);
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            let look = seen(&dir);
            let generation = look.state.unwrap().generation;
            assert!(look.whole && generation >= last, "{last} {generation}");
            last = generation;
        }
    });
    assert_eq!(seen(&dir).state.unwrap().generation, Generation(201));
}
