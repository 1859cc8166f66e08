//! Those who read while it publishes, and those who watch while it doesn't.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    sync::mpsc::channel,
    thread,
};

use notify::{Event, EventKind, RecursiveMode, Watcher, event::AccessKind, event::AccessMode};
use rustix::fs::{Mode, OFlags, open, openat};

use super::{READ, left_by_init, poke};
use crate::{
    dev_vault::Options,
    harness::{SEED, Scene, until},
};

/// Rotations that readers live through.
const ROTATIONS: usize = 100;

fn pair(n: usize) -> String {
    format!(r#"{{"username": "user-{n}", "password": "password-{n}"}}"#)
}

/// A pair of one secret, read again at every hint.
fn paired() -> Scene {
    Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_SOURCE", "secret").set("SEGURA_RENEW_INTERVAL", "10m");
        scene.vault.set_data(SEED, pair(0));
    })
}

/// Both halves by one look at the current generation.
fn both(scene: &Scene) -> (String, String) {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let generation = open(scene.path("..data"), folder, Mode::empty()).expect("a generation");
    let read = |name: &str| {
        let path = format!("{SEED}/{name}");
        let file: OwnedFd =
            openat(&generation, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .expect("it stays as long as a reader needs it");
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).expect("it is text");
        text
    };
    (read("username"), read("password"))
}

#[test]
fn readers_see_one_set_or_the_next_and_never_a_mixture() {
    let scene = paired();
    let sidecar = scene.renewing_sidecar();
    let (over, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let going = || !over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let pairs = scope.spawn(|| {
            while going() {
                let (user, password) = both(&scene);
                let numbers = (user.strip_prefix("user-"), password.strip_prefix("password-"));
                assert!(numbers.0.is_some() && numbers.0 == numbers.1, "{user} with {password}");
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let singles = scope.spawn(|| {
            while going() {
                for name in ["username", "password"] {
                    let text = fs::read_to_string(scene.path(SEED).join(name));
                    assert!(!text.expect("it is never missing").is_empty());
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 1..=ROTATIONS {
            scene.vault.set_data(SEED, pair(n));
            poke(&scene);
            let newest = format!("password-{n}");
            let read = || fs::read_to_string(scene.path("secret-postman/password"));
            until("it is published", || {
                pairs.is_finished()
                    || singles.is_finished()
                    || read().is_ok_and(|text| text == newest)
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(looks.load(Ordering::Relaxed) > ROTATIONS);
    // The state is written after the files can be read.
    until("each rotation was one generation", || scene.state()["generation"] == ROTATIONS + 1);
    until("all that were replaced are swept", || scene.generations().len() == 1);
    sidecar.stop();
}

#[test]
fn generations_do_not_accumulate_if_every_pass_publishes() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    scene.wait_until_trusted();
    let mut most = 0;
    for n in 1..9 {
        scene.vault.rotate();
        until("it is published", || {
            most = most.max(scene.generations().len());
            scene.state()["generation"] == n + 1
        });
    }
    assert!(most <= 5, "{most} generations at a time");
    sidecar.stop();
}

#[test]
fn no_watcher_is_woken_while_nothing_changes() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_OUTPUT", "files,env,json");
    });
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 1);
    let (sender, events) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        sender.send(event.expect("the kernel has watches")).ok();
    })
    .unwrap();
    let generation = fs::canonicalize(scene.path("..data")).unwrap();
    let folders = [scene.dir.path().to_owned(), generation.clone(), generation.join(SEED)];
    for folder in &folders {
        watcher.watch(folder, RecursiveMode::NonRecursive).unwrap();
    }
    let changes = |event: &Event| match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    let (before, reads) = (scene.state(), scene.count(READ));
    until("it has renewed several times", || scene.count(READ) >= reads + 3);
    let seen: Vec<Event> = events.try_iter().filter(changes).collect();
    assert!(seen.is_empty(), "{seen:?}");
    let fetched = |state: &serde_json::Value| state["boot_ms"]["fetched"].as_u64();
    assert!(fetched(&scene.state()) > fetched(&before), "the state was rewritten all the while");
    // The watcher does see what changes.
    scene.vault.rotate();
    until("a change wakes it", || events.try_iter().any(|event| changes(&event)));
    sidecar.stop();
}
