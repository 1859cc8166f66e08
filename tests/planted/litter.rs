//! Litter at the top of the output directory: any number of names, folders of any depth, and folders of
//! others under a generation's name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Mode, Plant, limited};
use crate::dev_vault::requests::{PROVISION, READ};
use crate::harness::{
    SEED, Scene, host::can_switch_user, lines, memory_dir, side_by_side, sidecar::Sidecar, until,
};

/// A name that a generation could have.
const NAME: &str = "..2000_01_02_03_04_05.000000006";

/// Makes `count` empty files with names as long as they may be.
fn crowd(dir: &Path, count: usize) {
    for number in 0..count {
        fs::write(dir.join(format!(".{number:x>254}")), "").unwrap();
    }
}

/// Makes folders in one another, `depth` of them, the outermost at `path`.
fn nest(path: &Path, depth: usize) {
    let around = path.with_file_name("around");
    fs::create_dir(path).unwrap();
    for _ in 1..depth {
        fs::create_dir(&around).unwrap();
        fs::rename(path, around.join("x")).unwrap();
        fs::rename(&around, path).unwrap();
    }
}

/// Takes folders that [`nest`] made apart: no removal of a test enters 2,000 of them.
fn unnest(path: &Path) {
    let inner = path.with_file_name("inner");
    while fs::rename(path.join("x"), &inner).is_ok() {
        fs::remove_dir_all(path).unwrap();
        fs::rename(&inner, path).unwrap();
    }
}

/// A set that is renewed each second.
fn published() -> Scene {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "1s").init().exits(0);
    scene
}

/// Runs every mode in a directory with a set and litter, and asserts that the set serves, and that
/// those which hold the directory warn once.
fn assert_served(scene: &Scene, warning: &str) {
    let files = scene.published();
    for mode in Mode::ALL.into_iter().filter(|mode| *mode != Mode::Deprovision) {
        let run = mode.run(scene);
        assert_eq!(run.code, Some(0), "{mode:?}: {run:?}");
        assert_eq!(scene.published(), files, "{mode:?}");
        let holds = [Mode::Init, Mode::Sidecar, Mode::Exec].contains(&mode);
        assert_eq!(run.stderr.matches(warning).count(), usize::from(holds), "{mode:?}: {run:?}");
    }
    assert_eq!(scene.count(PROVISION), 1);
}

/// Has a sidecar publish some generations, and asserts that it warns once, and that `litter` stays.
fn assert_warned_once(scene: &Scene, warning: &str, litter: &[&str]) {
    let sidecar = Sidecar::spawn(limited(&scene.agent(&["sidecar"])));
    until("it renews", || scene.state()["boot_ms"]["silent_until"].is_u64());
    // New versions in each of its first two reads would look to it as if reading provisioned.
    let reads = scene.count(READ);
    until("it has read twice", || scene.count(READ) >= reads + 2);
    for _ in 0..3 {
        let generation = scene.state()["generation"].as_u64();
        scene.vault.rotate();
        until("the next one is published", || scene.state()["generation"].as_u64() > generation);
    }
    let is_litter = |name: &String| litter.contains(&name.as_str());
    until("older generations are removed", || {
        scene.generations().iter().filter(|name| !is_litter(name)).count() == 1
    });
    let run = sidecar.stop();
    assert_eq!(run.stderr.matches(warning).count(), 1, "{run:?}");
    for name in litter {
        assert!(scene.path(name).symlink_metadata().is_ok(), "{name}");
    }
}

fn assert_crowd_is_borne(count: usize) {
    let scene = published();
    crowd(scene.dir.path(), count);
    assert_served(&scene, lines::CROWDED);
    assert_eq!(scene.entries().len(), count + 5, "nothing of it is touched");
}

#[test]
fn a_crowd_of_names_takes_no_memory_and_is_warned_of_once() {
    assert_crowd_is_borne(20_000);
}

#[test]
#[ignore = "takes half a minute, and 300 MB of memory for the names"]
fn a_crowd_of_200_000_names_takes_no_memory_and_is_warned_of_once() {
    assert_crowd_is_borne(200_000);
}

#[test]
fn a_crowd_of_names_does_not_keep_older_generations_and_their_links() {
    let scene = published();
    crowd(scene.dir.path(), 12_000);
    assert_warned_once(&scene, lines::CROWDED, &[]);
}

#[test]
fn folders_that_are_too_deep_are_left_and_named_once() {
    // One of the agent's own, as a crash could have left it, and one of somebody else's.
    for (mode, warning) in [(0o700, lines::NOT_REMOVED), (0o755, lines::LEFT)] {
        let scene = published();
        let path = scene.path(NAME);
        nest(&path, 2_000);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_served(&scene, warning);
        assert_warned_once(&scene, warning, &[NAME]);
        unnest(&path);
    }
}

#[test]
fn every_kind_of_file_under_a_generations_name_is_left_and_named_once() {
    side_by_side(Plant::ALL.into_iter().filter(|plant| plant.can_be_made()), |plant| {
        let scene = published();
        let aside = memory_dir();
        let other = aside.path().join("other");
        fs::write(&other, "").unwrap();
        plant.put(&scene.path(NAME), &other, &other);
        assert_served(&scene, lines::LEFT);
        assert_warned_once(&scene, lines::LEFT, &[NAME]);
    });
}

#[test]
fn a_folder_of_another_user_is_left_whatever_it_holds() {
    if !can_switch_user("a_folder_of_another_user_is_left") {
        return;
    }
    let scene = published();
    let path = scene.path(NAME);
    fs::create_dir(&path).unwrap();
    fs::copy(scene.path("..data/..generation.json"), path.join("..generation.json")).unwrap();
    fs::write(path.join("data"), "somebody else's").unwrap();
    for place in [path.join("..generation.json"), path.clone()] {
        chown(place, Some(1000), Some(1000)).unwrap();
    }
    assert_served(&scene, lines::LEFT);
    assert_warned_once(&scene, lines::LEFT, &[NAME]);
    assert_eq!(fs::read_to_string(path.join("data")).unwrap(), "somebody else's");
}

#[test]
fn renames_at_the_top_hold_up_no_command() {
    let scene = published();
    crowd(scene.dir.path(), 500);
    let (over, files) = (AtomicBool::new(false), scene.published());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let name = |number: usize| scene.path(&format!(".renamed-{number}"));
            fs::write(name(0), "").unwrap();
            for number in 0.. {
                fs::rename(name(number), name(number + 1)).unwrap();
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for mode in Mode::ALL.into_iter().filter(|mode| *mode != Mode::Deprovision) {
            let run = mode.run(&scene);
            assert_eq!(run.code, Some(0), "{mode:?}: {run:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(scene.published(), files);
    assert!(scene.path(SEED).exists());
}
