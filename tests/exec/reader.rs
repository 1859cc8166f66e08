//! A reader: `exec` on the set of another agent, without a vault, a credential or a right to write.

mod beside;
mod following;
mod owner;
mod role;
mod unwatched;
mod waiting;

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::harness::secret::{change, fetch_app_alone, until_published};
use crate::harness::{
    Scene,
    host::{User, set_mode},
    sidecar::{Sidecar, with_stdin},
    until,
};

/// An app's container: another user than the agent's, in the group that the pod's volumes have.
const APP: User = User { uid: 65532, gid: FS_GROUP, groups: &[] };
const FS_GROUP: u32 = 2000;
/// Shows the entry, and lives until the test lets go of its standard input.
pub(super) const SHOWS: &str = "echo \"$$ <$password>\"; read -r _";

/// A scene whose one secret is `app`, published by an agent that renews it every second.
fn scene() -> Scene {
    let mut scene = Scene::new();
    fetch_app_alone(&mut scene);
    scene.set("SEGURA_RESTART_SPLAY", "0s").unset("SEGURA_LOG_FORMAT");
    scene
}

/// The words of a command in a shell.
pub(super) fn words(script: &str) -> [&str; 5] {
    ["exec", "--", "/bin/sh", "-c", script]
}

/// The command with an open standard input, and without every setting but the directory of the set.
fn bare(scene: &Scene, mut command: Command) -> Command {
    command.env_clear().env("SEGURA_OUTPUT_DIR", scene.dir.path());
    with_stdin(command)
}

/// Starts a reader that knows where the set is, and with these settings besides.
fn reads(scene: &Scene, script: &str, settings: &[(&str, &str)]) -> Sidecar {
    let mut reader = bare(scene, scene.agent(&words(script)));
    reader.env("SEGURA_RESTART_SPLAY", "0s").envs(settings.iter().copied());
    Sidecar::spawn(reader)
}

/// Starts a wrapper with all the settings of the pod.
pub(super) fn wraps(scene: &Scene, script: &str) -> Sidecar {
    Sidecar::spawn(with_stdin(scene.agent(&words(script))))
}

/// What the command has shown, run by run: its number, and its entry.
pub(super) fn shown(reader: &Sidecar) -> Vec<(u32, String)> {
    let stdout = reader.stdout();
    let line = |line: &str| {
        let (pid, value) = line.strip_suffix('>')?.split_once(" <")?;
        Some((pid.parse().ok()?, value.to_owned()))
    };
    stdout.lines().filter_map(line).collect()
}

/// The entries alone.
pub(super) fn values(reader: &Sidecar) -> Vec<String> {
    shown(reader).into_iter().map(|(_, value)| value).collect()
}

/// Waits until the runs of the command have had just these.
#[track_caller]
pub(super) fn until_has(reader: &Sidecar, expected: &[&str]) {
    until(&format!("its command has had {expected:?}"), || values(reader).len() >= expected.len());
    assert_eq!(values(reader), expected);
}

/// Has the directory belong to the agent's user, and be read by the group of the pod.
fn for_the_group_to_read(dir: &Path) {
    chown(dir, Some(0), Some(FS_GROUP)).expect("root may");
    set_mode(dir, 0o2755);
}

/// The same directory, where nobody can write; only on a thread with mounts of its own.
struct ReadOnly(TempDir);

impl ReadOnly {
    fn view_of(dir: &Path) -> Self {
        let view = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let bind = MsFlags::MS_BIND;
        let bound = |flags| mount(Some(dir), view.path(), None::<&str>, flags, None::<&str>);
        bound(bind).expect("root may");
        bound(bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY).expect("root may");
        Self(view)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        umount2(self.path(), MntFlags::MNT_DETACH).ok();
    }
}
