//! Swap: `doctor` warns where the published files may be written to a disk.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::harness::host::{skip, with_own_mounts};
use crate::harness::{Run, Scene};

const TEST: &str = "doctor_warns_of_swap_unless_the_tmpfs_takes_none";
const WARNED: &str = "the machine has swap, and this tmpfs may be written to it";

/// Mounts a tmpfs over the output directory, with these options; false where the kernel refuses.
fn memory(scene: &Scene, options: &str) -> bool {
    let kind = Some("tmpfs");
    mount(kind, scene.dir.path(), kind, MsFlags::empty(), Some(options)).is_ok()
}

/// Whether `doctor` warns, and does not fail for it.
fn warns(scene: &Scene) -> bool {
    let run = Run::of(scene.agent(&["doctor"]).output().expect("the agent runs"));
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    run.stdout.lines().any(|line| line.starts_with("warn  directory") && line.contains(WARNED))
}

#[test]
fn doctor_warns_of_swap_unless_the_tmpfs_takes_none() {
    let lists = tempfile::tempdir().expect("a directory");
    let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    let list = |name: &str, entries: &str| {
        let path = lists.path().join(name);
        fs::write(&path, format!("{heading}{entries}")).expect("it is ours");
        path
    };
    let none = list("none", "");
    let one =
        list("one", "/dev/sda2                               partition\t8388604\t\t0\t\t-2\n");
    with_own_mounts(TEST, || {
        let over = |list: &Path| {
            let bind = MsFlags::MS_BIND;
            mount(Some(list), "/proc/swaps", None::<&str>, bind, None::<&str>)
                .expect("a bind mount");
        };
        over(&none);
        let scene = Scene::new();
        assert!(memory(&scene, "size=4m,mode=0755") && !warns(&scene));
        over(&one);
        assert!(warns(&scene));
        let scene = Scene::new();
        if !memory(&scene, "size=4m,mode=0755,noswap") {
            return skip(TEST, "tmpfs knows noswap from Linux 6.4 on");
        }
        assert!(!warns(&scene));
    });
}
