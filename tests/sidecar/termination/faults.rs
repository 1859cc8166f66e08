//! A full volume, a full stderr, and SIGKILL anywhere.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::{fs, path::Path, process::Stdio};

use nix::mount::MsFlags;

use crate::harness::lines;
use crate::{
    harness::{
        SEED, Scene, for_a_while, full_pipe,
        host::{Memory, with_own_mounts},
        pause,
        sidecar::Sidecar,
        until,
    },
    sidecar::{PROVISION, READ, left_by_init, poke},
};

const FULL: &str = "No space left on device";

/// Runs a sidecar that holds a newer set than its full volume takes; the next due is far away, and
/// all has been asked for once. What remains to be done is to make room.
fn with_an_unpublished_set(
    test: &str,
    interval: &str,
    run: impl Fn(&Scene, &Sidecar, &Path) + Sync,
) {
    with_own_mounts(test, || {
        let mut scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 128, MsFlags::empty());
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        scene.init().exits(0);
        let (files, ballast) = (scene.published(), scene.path(".ballast"));
        // Three pages for the state; a generation takes a dozen and more.
        let room = rustix::fs::statvfs(scene.dir.path()).unwrap().f_bavail;
        fs::write(&ballast, vec![0; (usize::try_from(room).unwrap() - 3) * 4096]).unwrap();
        scene.vault.clear_requests();
        scene.vault.rotate();
        let sidecar = scene.renewing_sidecar();
        poke(&scene);
        until("it is logged", || sidecar.times_logged(FULL) > 0);
        until("the state says so", || scene.state()["last_error"] == "write");
        assert!(sidecar.times_logged("sizeLimit") > 0, "{:?}", sidecar.log());
        assert_eq!((scene.published(), scene.count(READ)), (files, 1));
        run(&scene, &sidecar, &ballast);
        scene.wait_until_fresh();
        until("the state says so", || scene.failures() == 0);
        assert_eq!((scene.count(READ), scene.vault.provision_count()), (1, 1));
        until("what was replaced is swept", || scene.generations().len() == 1);
        sidecar.stop();
    });
}

#[test]
fn a_set_that_does_not_fit_is_published_from_memory_once_there_is_room() {
    with_an_unpublished_set(
        "a_set_that_does_not_fit_is_published_from_memory_once_there_is_room",
        "10m",
        |scene, sidecar, ballast| {
            for_a_while("it is not fetched again", || scene.count(READ) == 1);
            sidecar.assert_warned(1, "");
            fs::remove_file(ballast).unwrap();
        },
    );
}

#[test]
fn a_set_that_does_not_fit_is_kept_in_memory_with_renewal_off() {
    with_an_unpublished_set(
        "a_set_that_does_not_fit_is_kept_in_memory_with_renewal_off",
        "off",
        |scene, _, ballast| {
            for_a_while("it is not fetched again", || scene.count(READ) == 1);
            fs::remove_file(ballast).unwrap();
        },
    );
}

#[test]
fn a_set_that_does_not_fit_is_kept_in_memory_through_a_repair() {
    with_an_unpublished_set(
        "a_set_that_does_not_fit_is_kept_in_memory_through_a_repair",
        "10m",
        |scene, _, ballast| {
            fs::remove_file(scene.path("secret-postman/1/username")).unwrap();
            let failures = scene.failures();
            fs::write(scene.path(".hint"), "").unwrap();
            until("the repair has failed", || scene.failures() > failures);
            fs::remove_file(ballast).unwrap();
        },
    );
}

#[test]
fn a_success_after_a_full_volume_is_logged() {
    with_an_unpublished_set(
        "a_success_after_a_full_volume_is_logged",
        "10m",
        |scene, sidecar, ballast| {
            fs::remove_file(ballast).unwrap();
            scene.wait_until_fresh();
            until("it is logged", || sidecar.times_logged(lines::WORKS) == 1);
        },
    );
}

#[test]
fn a_volume_without_a_free_page_keeps_its_set() {
    with_own_mounts("a_volume_without_a_free_page_keeps_its_set", || {
        let mut scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 64, MsFlags::empty());
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
        scene.init().exits(0);
        let files = scene.published();
        let sidecar = scene.renewing_sidecar();
        let ballast = scene.path(".ballast");
        fs::write(&ballast, vec![0; 64 * 4096]).unwrap_err();
        scene.vault.rotate();
        until("it is logged", || sidecar.times_logged(FULL) > 0);
        let reads = scene.count(READ);
        until("it goes on", || scene.count(READ) >= reads + 2);
        assert_eq!(scene.published(), files);
        fs::remove_file(&ballast).unwrap();
        scene.wait_until_fresh();
        sidecar.stop();
        assert_eq!(scene.vault.provision_count(), 1);
    });
}

#[test]
fn a_deprovisioned_set_on_a_full_volume_is_not_adopted() {
    with_own_mounts("a_deprovisioned_set_on_a_full_volume_is_not_adopted", || {
        let mut scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 64, MsFlags::empty());
        scene.set("SEGURA_RENEW_INTERVAL", "10m");
        scene.init().exits(0);
        scene.set("SEGURA_DEPROVISION", "true");
        let sidecar = scene.renewing_sidecar();
        let ballast = scene.path(".ballast");
        fs::write(&ballast, vec![0; 64 * 4096]).unwrap_err();
        sidecar.stop();
        assert!(scene.vault.provisioned(SEED).is_empty());
        fs::remove_file(&ballast).unwrap();
        let sidecar = scene.renewing_sidecar();
        assert_eq!(scene.vault.provision_count(), 2);
        assert_eq!(scene.read("secret-postman/password"), scene.password());
        sidecar.stop();
    });
}

#[test]
fn a_sidecar_killed_anywhere_leaves_a_whole_set_and_the_next_one_cleans_up() {
    let scene = left_by_init();
    for n in 0..20_u64 {
        // Every third is killed in its start.
        let sidecar = if n % 3 == 2 { scene.sidecar() } else { scene.renewing_sidecar() };
        scene.vault.rotate();
        poke(&scene);
        // The hint is acted on after a tenth of a second.
        pause(if n % 3 == 2 { n * 4 } else { 60 + n * 37 % 130 });
        sidecar.kill();
        let read = |key: &str| scene.read(&format!("secret-postman/{key}"));
        assert!(!read("password").is_empty() && !read("2/username").is_empty());
        assert_eq!(read("password"), read("2/password"));
    }
    let sidecar = scene.renewing_sidecar();
    scene.vault.rotate();
    scene.wait_until_fresh();
    until("what was replaced is swept", || scene.generations().len() == 1);
    sidecar.stop();
    assert_eq!((scene.vault.provision_count(), scene.count(PROVISION)), (1, 0));
    let mut entries = scene.entries();
    entries.retain(|name| !name.starts_with("..2"));
    assert_eq!(entries, ["..data", "..segura", ".segura.json", SEED]);
    let mut own: Vec<_> = fs::read_dir(scene.path("..segura"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    own.sort();
    assert_eq!(own, ["holder", "lock", "seal", "state.json"]);
    assert_eq!(scene.read("secret-postman/password"), scene.password());
}

#[test]
fn a_full_stderr_delays_neither_renewal_nor_the_end() {
    let mut scene = left_by_init();
    scene.set("SEGURA_LOG", "trace");
    let (reader, writer, _) = full_pipe();
    let mut command = scene.agent(&["sidecar"]);
    command.stderr(Stdio::from(writer));
    let sidecar = Sidecar::spawn(command);
    for reads in 1..4 {
        until("it renews", || scene.count(READ) >= reads);
        scene.vault.rotate();
        scene.wait_until_fresh();
    }
    sidecar.stop();
    drop(reader);
}

#[test]
fn a_stderr_closed_by_its_reader_does_not_end_a_sidecar() {
    let scene = left_by_init();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = scene.agent(&["sidecar"]);
    command.stderr(Stdio::from(writer));
    let sidecar = Sidecar::spawn(command);
    until("it renews", || scene.count(READ) >= 1);
    drop(reader);
    scene.vault.rotate();
    scene.wait_until_fresh();
    sidecar.stop();
}
