//! `install`: our own binary, whole and for everyone to run, in a directory of someone else's choice.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::mount::MsFlags;
use tempfile::TempDir;

use crate::harness::{
    Run, Scene,
    host::{Memory, NOBODY, can_switch_user, with_own_mounts},
    names,
};

const AGENT: &str = env!("CARGO_BIN_EXE_segura-agent");
const NAME: &str = "segura-agent";

fn dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env_clear().stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn install(dir: &Path) -> Run {
    Run::of(command(AGENT, &["install"]).arg(dir).output().expect("the agent runs"))
}

#[track_caller]
fn assert_silent(run: &Run) {
    assert_eq!(run.exits(0).stderr, "");
}

/// Asserts that it is whole, for everyone to run, and alone.
#[track_caller]
fn assert_installed(dir: &Path) {
    let installed = dir.join(NAME);
    let mode = fs::metadata(&installed).map(|found| found.permissions().mode() & 0o7777);
    assert_eq!(mode.ok(), Some(0o755));
    let whole = fs::read(AGENT).expect("cargo has built it");
    assert!(fs::read(&installed).is_ok_and(|bytes| bytes == whole), "it is the same to the byte");
    assert_eq!(names(dir), [NAME]);
}

/// Asserts one line of the reason and one of the remedy.
#[track_caller]
fn assert_refused(run: &Run, dir: &Path, reason: &str, remedy: &str) {
    run.exits(73);
    assert!(run.error().contains(&dir.display().to_string()), "{}", run.stderr);
    assert!(run.error().contains(reason), "{}", run.stderr);
    assert!(run.hint().is_some_and(|hint| hint.contains(remedy)), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
}

/// A program under our name that is not ours, and one run of it.
fn older(dir: &Path) -> Child {
    // Not copied by this process, whose open descriptor a child might hold at the wrong moment.
    let copied = Command::new("cp").arg("/bin/sleep").arg(dir.join(NAME)).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let child = Command::new(dir.join(NAME)).arg("600").env_clear().spawn();
    child.expect("sleep starts under any name")
}

#[test]
fn the_copy_is_complete_and_executable_by_everyone_under_every_umask() {
    for umask in ["000", "022", "077", "777"] {
        let dir = dir();
        let script = format!("umask {umask}; exec \"$@\"");
        let mut shell = command("/bin/sh", &["-c", &script, "sh", AGENT, "install"]);
        assert_silent(&Run::of(shell.arg(dir.path()).output().unwrap()));
        assert_installed(dir.path());
    }
}

#[test]
fn an_older_copy_is_replaced_while_it_runs() {
    let dir = dir();
    let mut older = older(dir.path());
    let before = fs::metadata(dir.path().join(NAME)).unwrap().ino();
    assert_silent(&install(dir.path()));
    assert_installed(dir.path());
    assert_ne!(fs::metadata(dir.path().join(NAME)).unwrap().ino(), before);
    assert!(matches!(older.try_wait(), Ok(None)), "who runs the old one runs on");
    older.kill().unwrap();
    older.wait().unwrap();
}

#[test]
fn a_reader_during_install_sees_the_old_copy_or_the_new() {
    /// How long a file is, and the end of it.
    fn ending(path: &Path) -> (u64, Vec<u8>) {
        let file = File::open(path).expect("it is never missing");
        let length = file.metadata().expect("it is open").len();
        let mut end = vec![0; 4_096];
        file.read_exact_at(&mut end, length - 4_096).expect("it is as long as it was");
        (length, end)
    }
    let dir = dir();
    let installed = dir.path().join(NAME);
    assert!(Command::new("cp").arg("/bin/sleep").arg(&installed).status().unwrap().success());
    let whole = [ending(Path::new("/bin/sleep")), ending(Path::new(AGENT))];
    let over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut seen = [0; 2];
            while !over.load(Ordering::Relaxed) {
                let found = ending(&installed);
                let which = whole.iter().position(|one| *one == found);
                seen[which.expect("it is never in part")] += 1;
            }
            seen
        });
        for _ in 0..3 {
            assert_silent(&install(dir.path()));
        }
        over.store(true, Ordering::Relaxed);
        looking.join().expect("it never saw a part")
    });
    assert!(seen[0] > 0 && seen[1] > 0, "it looked before and after: {seen:?}");
}

#[test]
fn the_copy_runs() {
    let dir = dir();
    assert_silent(&install(dir.path()));
    let installed = dir.path().join(NAME).display().to_string();
    let version = Run::of(command(&installed, &["--version"]).output().unwrap());
    assert_eq!(version.code, Some(0), "{}", version.stderr);
    assert!(version.stdout.starts_with("segura-agent "), "{}", version.stdout);
    let scene = Scene::new();
    scene.init().exits(0);
    let words = ["exec", "--", "/bin/sh", "-c", "echo \"$username\""];
    let mut reader = command(&installed, &words);
    reader.env("SEGURA_OUTPUT_DIR", scene.dir.path()).env("SEGURA_RENEW_INTERVAL", "off");
    let run = Run::of(reader.output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout.trim_end(), scene.read("secret-postman/username"));
    // A copy installs itself as well.
    let next = self::dir();
    let again = command(&installed, &["install"]).arg(next.path()).output().unwrap();
    assert_silent(&Run::of(again));
    assert_installed(next.path());
}

#[test]
fn a_missing_directory_is_reported_with_the_remedy() {
    let dir = dir();
    let missing = dir.path().join("missing");
    assert_refused(&install(&missing), &missing, "No such file or directory", "emptyDir");
    assert!(names(dir.path()).is_empty(), "it is not made either");
}

#[test]
fn a_file_in_place_of_the_directory_is_reported_with_the_remedy() {
    let dir = dir();
    let file = dir.path().join("file");
    fs::write(&file, "theirs").unwrap();
    assert_refused(&install(&file), &file, "Not a directory", "mount");
    assert_eq!(fs::read(&file).unwrap(), b"theirs");
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn a_read_only_volume_is_reported_with_the_remedy() {
    with_own_mounts("a_read_only_volume_is_reported_with_the_remedy", || {
        let dir = dir();
        let _memory = Memory::mount(dir.path(), 64, MsFlags::MS_RDONLY);
        assert_refused(&install(dir.path()), dir.path(), "Read-only file system", "readOnly");
        assert!(names(dir.path()).is_empty());
    });
}

#[test]
fn a_directory_of_another_user_is_reported_with_the_remedy() {
    if !can_switch_user("a_directory_of_another_user_is_reported_with_the_remedy") {
        return;
    }
    let scene = Scene::new();
    let mut agent = scene.agent_as(NOBODY, &["install"]);
    let run = Run::of(agent.arg(scene.dir.path()).output().unwrap());
    assert_refused(&run, scene.dir.path(), "Permission denied", "must be able to write");
    assert!(scene.entries().is_empty());
}

#[test]
fn a_full_volume_is_reported_and_keeps_its_files() {
    with_own_mounts("a_full_volume_is_reported_and_keeps_its_files", || {
        let dir = dir();
        let _memory = Memory::mount(dir.path(), 64, MsFlags::empty());
        for older in [None, Some("an older one")] {
            if let Some(older) = older {
                fs::write(dir.path().join(NAME), older).unwrap();
            }
            assert_refused(&install(dir.path()), dir.path(), "No space left", "sizeLimit");
            let stands = fs::read_to_string(dir.path().join(NAME)).ok();
            assert_eq!(stands.as_deref(), older);
            assert_eq!(
                names(dir.path()).len(),
                usize::from(older.is_some()),
                "no part of it stays"
            );
        }
    });
}

#[test]
fn wrong_use_is_64() {
    let dir = dir();
    let there = dir.path().display().to_string();
    for words in [&["install"][..], &["install", &there, &there], &["install", "--force", &there]] {
        let run = Run::of(command(AGENT, words).output().unwrap());
        run.exits(64);
        assert!(run.hint().is_some(), "{}", run.stderr);
    }
    assert!(names(dir.path()).is_empty());
}

#[test]
fn install_ignores_the_settings_of_the_pod() {
    let dir = dir();
    let mut agent = command(AGENT, &["install"]);
    agent.env("SEGURA_URL", "nonsense").env("SEGURA_TYPO", "x").arg(dir.path());
    let agent = agent.spawn().unwrap();
    assert_silent(&Run::wait(agent));
    assert_installed(dir.path());
}
