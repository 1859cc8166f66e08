//! The agent's own files, folders and links in the output directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{CANARY, Mode, Over, Plant, ReadOnly, clear};
use crate::dev_vault::Options;
use crate::dev_vault::requests::{DEPROVISION, PROVISION};
use crate::harness::{
    Run, SEED, Scene,
    host::{skip, with_own_mounts},
    memory_dir, side_by_side,
};

/// The current generation's folder, in [`NAMES`].
const GENERATION: &str = "GENERATION";
/// Each name that the agent opens, makes or replaces.
const NAMES: [&str; 19] = [
    "..segura",
    "..segura/lock",
    "..segura/holder",
    "..segura/seal",
    "..segura/state.json",
    "..segura/state.json.tmp",
    "..segura/kept.json",
    "..segura/pending.json",
    "..segura/pending.json.tmp",
    "..segura/probe",
    "..data",
    "..data_tmp",
    ".segura.json",
    SEED,
    GENERATION,
    "GENERATION/..bundle.json",
    "GENERATION/..generation.json",
    "GENERATION/secret-postman",
    "GENERATION/secret-postman/password",
];

/// A directory with a published set, which can be had again and again.
struct Bed {
    scene: Scene,
    /// A copy of the directory.
    copy: TempDir,
    /// Files that are planted, and must stay as they are.
    aside: TempDir,
    generation: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl Bed {
    fn new() -> Self {
        let scene = Scene::with(Options { tls: false, ..Options::default() });
        scene.init().exits(0);
        let (copy, aside) = (memory_dir(), memory_dir());
        copy_all(scene.dir.path(), copy.path());
        fs::write(aside.path().join("other"), CANARY).unwrap();
        scene.vault.clear_requests();
        let generation = scene.generations().remove(0);
        let files = scene.published();
        Self { scene, copy, aside, generation, files }
    }

    /// Has the directory as it was published.
    fn reset(&self) {
        for name in self.scene.entries() {
            clear(&self.scene.path(&name));
        }
        copy_all(self.copy.path(), self.scene.dir.path());
    }

    /// Runs a command; one that would deprovision the set is refused by the vault.
    #[track_caller]
    fn run(&self, mode: Mode) -> Run {
        let vault = &self.scene.vault;
        let secret = vault.client_secret();
        vault.set_client_secret(if mode == Mode::Deprovision { "another" } else { secret });
        mode.run(&self.scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.path(&name.replace(GENERATION, &self.generation))
    }

    /// A file that the agent would take for the one of this name, with another password; for a
    /// folder, a copy of it.
    fn like(&self, name: &str) -> PathBuf {
        let like = self.aside.path().join("like");
        clear(&like);
        let from = self.copy.path().join(name.replace(GENERATION, &self.generation));
        if from.is_dir() {
            fs::create_dir(&like).unwrap();
            copy_all(&from, &like);
        } else {
            let text = fs::read_to_string(from).unwrap_or_default();
            let password =
                String::from_utf8(self.files["secret-postman/password"].clone()).unwrap();
            fs::write(&like, text.replace(&password, CANARY)).unwrap();
        }
        like
    }

    /// Asserts that a command has come to an end that it may come to, and has used nothing of what
    /// was planted.
    #[track_caller]
    fn assert_unharmed(&self, name: &str, mode: Mode, what: &str, run: &Run) {
        let what = format!("{what} at {name}, {mode:?}: {run:?}");
        assert!(!run.stdout.contains(CANARY) && !run.stderr.contains(CANARY), "{what}");
        let named = name.rsplit('/').next().unwrap_or_default();
        let named = if named == GENERATION { &self.generation } else { named };
        let names = || run.stdout.contains(named) || run.stderr.contains(named);
        match (mode, run.code) {
            // Its refusal by the vault comes after each of the agent's own files.
            (Mode::Deprovision, Some(77)) => {}
            (Mode::Check, Some(1)) | (_, Some(73)) => assert!(names(), "{what}"),
            // A sidecar that SIGTERM has reached before its first publish.
            (Mode::Sidecar, Some(143)) | (Mode::Check | Mode::Doctor | Mode::DryRun, Some(0)) => {}
            (Mode::Init | Mode::Sidecar | Mode::Exec, Some(0)) => {
                assert_eq!(self.scene.published(), self.files, "{what}");
            }
            _ => panic!("{what}"),
        }
        if (mode, run.code) == (Mode::Exec, Some(0)) {
            assert_eq!(run.stdout.trim_end().as_bytes(), self.files["secret-postman/password"]);
        }
    }

    /// Asserts that the vault was asked for no further account, and what is aside stands.
    #[track_caller]
    fn assert_none_more(&self, name: &str) {
        assert_eq!(self.scene.count(PROVISION), 0, "{name}: {:?}", self.scene.request_lines());
        assert_eq!(self.scene.count(DEPROVISION), 0, "{name}");
        assert_eq!(fs::read_to_string(self.aside.path().join("other")).unwrap(), CANARY, "{name}");
    }
}

fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn no_kind_of_file_in_the_place_of_one_of_the_agents_own_does_harm() {
    if !Plant::Device.can_be_made() {
        skip("devices in the place of the agent's own files", "only root can make them");
    }
    side_by_side(NAMES, |name| {
        let bed = Bed::new();
        for plant in Plant::ALL.into_iter().filter(|plant| plant.can_be_made()) {
            for mode in Mode::ALL {
                bed.reset();
                plant.put(&bed.path(name), &bed.like(name), &bed.aside.path().join("other"));
                let run = bed.run(mode);
                bed.assert_unharmed(name, mode, &format!("{plant:?}"), &run);
            }
        }
        bed.assert_none_more(name);
    });
}

#[test]
fn no_mount_over_one_of_the_agents_own_files_does_harm() {
    with_own_mounts("no_mount_over_one_of_the_agents_own_files_does_harm", || {
        side_by_side(NAMES, |name| {
            let bed = Bed::new();
            for mode in Mode::ALL {
                bed.reset();
                let path = bed.path(name);
                let over = Over::mount(&path, &bed.aside.path().join("other"));
                let run = bed.run(mode);
                bed.assert_unharmed(name, mode, "a mount", &run);
                drop(over);
            }
            bed.assert_none_more(name);
        });
    });
}

/// Names that a reader of another agent's set opens.
const READ_BY_OTHERS: [&str; 5] = [
    "..segura",
    "..segura/state.json",
    GENERATION,
    "GENERATION/..bundle.json",
    "GENERATION/..generation.json",
];

#[test]
fn no_kind_of_file_in_the_place_of_an_agents_own_does_harm_to_a_reader() {
    with_own_mounts("no_kind_of_file_does_harm_to_a_reader", || {
        side_by_side(READ_BY_OTHERS, |name| {
            let mut bed = Bed::new();
            bed.scene.set("SEGURA_STARTUP_TIMEOUT", "1s");
            for variable in ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"] {
                bed.scene.unset(variable);
            }
            for plant in Plant::ALL.into_iter().filter(|plant| plant.can_be_made()) {
                bed.reset();
                plant.put(&bed.path(name), &bed.like(name), &bed.aside.path().join("other"));
                let volume = ReadOnly::mount(bed.scene.dir.path());
                let run = Mode::Exec.run(&bed.scene);
                let what = format!("{plant:?} at {name}: {run:?}");
                assert!(matches!(run.code, Some(69 | 73)), "{what}");
                assert!(!run.stdout.contains(CANARY) && !run.stderr.contains(CANARY), "{what}");
                assert_eq!(run.stdout, "", "{what}");
                drop(volume);
            }
            bed.reset();
            let _volume = ReadOnly::mount(bed.scene.dir.path());
            let run = Mode::Exec.run(&bed.scene);
            assert_eq!(run.code, Some(0), "nothing else was in its way: {run:?}");
        });
    });
}
