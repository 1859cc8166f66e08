//! Files that settings name, that Kubernetes mounts, and that every system has.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::MsFlags;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{CANARY, Mode, Plant, clear, limited};
use crate::dev_vault::{Encryption, Options};
use crate::harness::{
    Run, SEED, Scene,
    host::{Memory, skip, with_own_mounts},
    memory_dir, side_by_side,
    sidecar::Sidecar,
    until,
};

/// Each variable that names a file which a start can't do without.
const VARIABLES: [&str; 6] = [
    "SEGURA_CLIENT_ID_FILE",
    "SEGURA_CLIENT_SECRET_FILE",
    "SEGURA_CA_FILE",
    "SEGURA_CLIENT_CERT_FILE",
    "SEGURA_CLIENT_KEY_FILE",
    "SEGURA_PRIVATE_KEY_FILE",
];
/// The modes that read them.
const READERS: [Mode; 5] = [Mode::Doctor, Mode::DryRun, Mode::Init, Mode::Sidecar, Mode::Exec];

/// The words by which an error names a file, or none where the file will do: links are followed,
/// and a file may have any number of names.
fn refusal(plant: Plant) -> Option<&'static str> {
    match plant {
        Plant::Link | Plant::HardLink => None,
        Plant::Fifo => Some("it is a FIFO, and must be a regular file"),
        Plant::Socket => Some("it is a socket, and must be a regular file"),
        Plant::Device => Some("it is a device, and must be a regular file"),
        Plant::Directory => Some("it is a directory, and must be a regular file"),
        Plant::Sparse | Plant::Huge => Some("it is larger than 1 MiB, the most that is read"),
    }
}

/// What a test plants: each kind that it can make.
fn plants() -> impl Iterator<Item = Plant> {
    Plant::ALL.into_iter().filter(|plant| plant.can_be_made())
}

/// A vault that wants every file, and a pod that has them.
fn scene_of_files() -> Scene {
    let options = Options {
        client_certificate: true,
        encryption: Encryption::Generated,
        ..Options::default()
    };
    let mut scene = Scene::with(options);
    let (id, secret) = (scene.vault.client_id().to_owned(), scene.vault.client_secret().to_owned());
    for (variable, text) in [("SEGURA_CLIENT_ID", id), ("SEGURA_CLIENT_SECRET", secret)] {
        let file = scene.vault.dir().join(variable);
        fs::write(&file, text).unwrap();
        scene.unset(variable).set(&format!("{variable}_FILE"), &file.display().to_string());
    }
    scene
}

/// The file of a variable as the pod has it.
fn file_of(scene: &Scene, variable: &str) -> String {
    let agent = scene.agent(&[]);
    let mut set = agent.get_envs().filter(|(name, _)| *name == variable);
    set.next().unwrap().1.unwrap().to_str().unwrap().to_owned()
}

/// Asserts that a run was refused for its settings, with all of `parts` in what it says.
#[track_caller]
fn assert_refused(run: &Run, parts: &[&str], what: &str) {
    assert_eq!(run.code, Some(78), "{what}: {run:?}");
    for part in parts {
        assert!(run.stderr.contains(part) || run.stdout.contains(part), "{what}: {run:?}");
    }
    assert!(!run.stdout.contains(CANARY) && !run.stderr.contains(CANARY), "{what}: {run:?}");
}

#[test]
fn an_input_that_is_no_regular_file_is_refused_by_name_in_every_mode() {
    side_by_side(VARIABLES, |variable| {
        let mut scene = scene_of_files();
        let folder = memory_dir();
        let (path, like) = (folder.path().join("input"), folder.path().join("like"));
        fs::copy(file_of(&scene, variable), &like).unwrap();
        scene.set(variable, &path.display().to_string());
        for plant in plants() {
            plant.put(&path, &like, &like);
            match refusal(plant) {
                None => {
                    Mode::Init.run(&scene).exits(0);
                }
                Some(refusal) => assert_all_refuse(&scene, &[variable, "/input", refusal]),
            }
        }
    });
}

/// Asserts that every mode that reads its inputs refuses them, with all of `parts` in what it says.
/// A set that stands is adopted without them, and deprovisioned by them alone.
#[track_caller]
fn assert_all_refuse(scene: &Scene, parts: &[&str]) {
    if scene.path(".segura.json").exists() {
        assert_refused(&Mode::Deprovision.run(scene), parts, "deprovision");
        assert!(scene.path(SEED).exists());
    }
    scene.entries().iter().for_each(|name| clear(&scene.path(name)));
    for mode in READERS {
        assert_refused(&mode.run(scene), parts, &format!("{mode:?}"));
    }
}

#[test]
fn an_input_on_procfs_is_refused_by_name_in_every_mode() {
    side_by_side(VARIABLES, |variable| {
        let mut scene = scene_of_files();
        let folder = memory_dir();
        let link = folder.path().join("input");
        symlink("/proc/self/environ", &link).unwrap();
        for path in [Path::new("/proc/self/environ"), &link] {
            scene.set(variable, &path.display().to_string());
            assert_all_refuse(&scene, &[variable, "it is on procfs"]);
        }
    });
}

#[test]
fn a_template_that_is_no_regular_file_is_refused_by_name_in_every_mode() {
    let mut scene = Scene::new();
    let (folder, aside) = (memory_dir(), memory_dir());
    let like = aside.path().join("like");
    fs::write(&like, "x").unwrap();
    scene.set("SEGURA_TEMPLATE_DIR", &folder.path().display().to_string());
    let path = folder.path().join("app.j2");
    for plant in plants() {
        plant.put(&path, &like, &like);
        match refusal(plant) {
            None => {
                Mode::Init.run(&scene).exits(0);
            }
            Some(refusal) => {
                assert_all_refuse(&scene, &["SEGURA_TEMPLATE_DIR", "app.j2", refusal]);
            }
        }
    }
}

#[test]
fn an_input_that_is_replaced_while_the_agent_lives_is_named_and_taken_up_once_it_is_back() {
    side_by_side(VARIABLES, |variable| {
        let mut scene = scene_of_files();
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
        let like = file_of(&scene, variable);
        let folder = memory_dir();
        let path = folder.path().join("input");
        fs::copy(like, &path).unwrap();
        scene.set(variable, &path.display().to_string());
        scene.init().exits(0);
        let sidecar = Sidecar::spawn(limited(&scene.agent(&["sidecar"])));
        until("it renews", || scene.state()["boot_ms"]["silent_until"].is_u64());
        let planted = folder.path().join("planted");
        for plant in plants() {
            let Some(refusal) = refusal(plant) else { continue };
            let told = sidecar.times_logged(refusal);
            plant.put(&planted, &path, &path);
            exchange(&planted, &path);
            until(&format!("{plant:?} as {variable} is named"), || {
                sidecar.times_logged(refusal) > told
            });
            until("the state says so", || scene.failures() > 0);
            exchange(&planted, &path);
            until("it renews again", || scene.failures() == 0);
        }
        sidecar.stop();
    });
}

/// Has two files take each other's names as one step.
fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_pid_file_that_is_no_regular_file_is_named_and_renewal_goes_on() {
    let mut scene = Scene::new();
    let folder = memory_dir();
    let (path, like) = (folder.path().join("pid"), folder.path().join("like"));
    fs::write(&like, "1000000000\n").unwrap();
    scene.set("SEGURA_SIGNAL_PID_FILE", &path.display().to_string());
    for plant in plants() {
        plant.put(&path, &like, &like);
        let refusal = match plant {
            Plant::Link | Plant::HardLink => "is stale: there is no process",
            // Its beginning is read: more lines may follow.
            Plant::Sparse | Plant::Huge => "does not begin with a process number",
            Plant::Fifo | Plant::Socket | Plant::Device | Plant::Directory => {
                refusal(plant).unwrap()
            }
        };
        for mode in [Mode::Doctor, Mode::Sidecar] {
            let run = mode.run(&scene);
            let said = run.stdout.contains(refusal) || run.stderr.contains(refusal);
            assert!(run.code == Some(0) && said, "{plant:?}, {mode:?}: {run:?}");
        }
    }
}

#[test]
fn a_termination_log_that_is_no_regular_file_is_named_and_not_waited_for() {
    let mut scene = Scene::new();
    let folder = memory_dir();
    let (path, like) = (folder.path().join("log"), folder.path().join("like"));
    File::create(&like).unwrap();
    scene.set("SEGURA_TERMINATION_LOG", &path.display().to_string());
    scene.set("SEGURA_TIMEOUT", "never");
    for plant in plants() {
        plant.put(&path, &like, &like);
        for mode in [Mode::Init, Mode::Sidecar, Mode::Exec] {
            let run = mode.run(&scene);
            let what = format!("{plant:?}, {mode:?}");
            assert_refused(&run, &["SEGURA_TIMEOUT"], &what);
            let named = run.stderr.contains("cannot write the termination message to ");
            match refusal(plant).filter(|_| ![Plant::Sparse, Plant::Huge].contains(&plant)) {
                Some(refusal) => assert!(named && run.stderr.contains(refusal), "{what}: {run:?}"),
                None => {
                    assert!(!named, "{what}: {run:?}");
                    assert!(
                        fs::read_to_string(&path).unwrap().contains("SEGURA_TIMEOUT"),
                        "{what}"
                    );
                }
            }
        }
    }
    scene.set("SEGURA_TERMINATION_LOG", "/proc/self/comm");
    let run = Mode::Init.run(&scene);
    assert_refused(&run, &["SEGURA_TIMEOUT", "it is on procfs"], "on procfs");
}

#[test]
fn a_service_account_that_is_no_regular_file_is_named_and_counts_as_none() {
    let test = "a_service_account_that_is_no_regular_file";
    with_own_mounts(test, || {
        let scene = Scene::new();
        let _run = Memory::mount(Path::new("/run"), 16 * 1024, MsFlags::empty());
        let folder = Path::new("/run/secrets/kubernetes.io/serviceaccount");
        fs::create_dir_all(folder).unwrap();
        if !Path::new("/var/run/secrets").exists() {
            return skip(test, "/var/run is not /run here");
        }
        let like = Path::new("/run/like");
        fs::write(like, "shop").unwrap();
        for name in ["token", "namespace"] {
            let path = folder.join(name);
            for plant in plants() {
                plant.put(&path, like, like);
                for mode in [Mode::Doctor, Mode::Init, Mode::Sidecar, Mode::Exec] {
                    let run = mode.run(&scene);
                    let said = |part: &str| run.stdout.contains(part) || run.stderr.contains(part);
                    let named = refusal(plant).is_none_or(|refusal| {
                        said(refusal) && said(&format!("serviceaccount/{name}"))
                    });
                    assert!(run.code == Some(0) && named, "{plant:?}, {mode:?}: {run:?}");
                }
            }
            clear(&path);
        }
    });
}

#[test]
fn hosts_and_resolv_conf_that_are_no_regular_files_are_named() {
    with_own_mounts("hosts_and_resolv_conf_that_are_no_regular_files", || {
        let mut scene = Scene::new();
        scene.set("SEGURA_URL", "https://vault.test").set("SEGURA_STARTUP_TIMEOUT", "1s");
        let _etc = Memory::mount(Path::new("/etc"), 16 * 1024, MsFlags::empty());
        let like = Path::new("/etc/like");
        fs::write(like, "# nothing\n").unwrap();
        for name in ["/etc/hosts", "/etc/resolv.conf"] {
            for other in ["/etc/hosts", "/etc/resolv.conf"] {
                fs::copy(like, other).unwrap();
            }
            for plant in plants() {
                plant.put(Path::new(name), like, like);
                for mode in [Mode::Doctor, Mode::Init, Mode::Sidecar, Mode::Exec] {
                    let run = mode.run(&scene);
                    let said = |part: &str| run.stdout.contains(part) || run.stderr.contains(part);
                    let named = refusal(plant).is_none_or(|refusal| said(refusal) && said(name));
                    assert!(run.code == Some(69) && named, "{plant:?}, {mode:?}: {run:?}");
                }
            }
            clear(Path::new(name));
        }
    });
}
