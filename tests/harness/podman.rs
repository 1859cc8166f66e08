//! Containers by a podman whose images, containers and storage go with it, as restricted as pods can
//! be. The agent is the static binary that `SEGURA_STATIC_BINARY` names.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::Scene;
use super::host::{is_root, set_mode, skip};

/// Who containers run as.
pub const USER: u32 = 65532;
/// The group that the volumes of a pod share.
pub const FS_GROUP: u32 = 2000;
const SETTINGS: &str = "\
[containers]
default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]
[engine]
cgroup_manager = \"cgroupfs\"
runtime = \"runc\"
";

/// Podman with storage of its own.
pub struct Podman {
    dir: TempDir,
}

impl Podman {
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        fs::write(dir.path().join("containers.conf"), SETTINGS).expect("it is new");
        Self { dir }
    }

    /// Builds an image from nothing, out of `files` by the names that `recipe` has for them.
    pub fn build(&self, image: &str, recipe: &str, files: &[(&Path, &str)]) {
        let context = tempfile::tempdir_in(self.dir.path()).expect("a directory");
        for (file, name) in files {
            fs::copy(file, context.path().join(name)).expect("a static binary");
        }
        fs::write(context.path().join("Containerfile"), recipe).expect("it is new");
        self.run_to_success(self.command("build").args(["--tag", image]).arg(context.path()));
    }

    pub fn command(&self, verb: &str) -> Command {
        let place = |name: &str| self.dir.path().join(name);
        let mut podman = Command::new("podman");
        podman.env("CONTAINERS_CONF", place("containers.conf"));
        // Its monitor of a container leaves a note here when the kernel ends one for want of memory.
        podman.current_dir(self.dir.path());
        podman.arg("--root").arg(place("storage")).arg("--runroot").arg(place("run"));
        podman.args(["--storage-driver", "vfs", verb]);
        podman
    }

    /// A container in the host's network: read-only root, no capability, no new privilege.
    pub fn restricted_run(&self, volumes: &[(&Path, &str)]) -> Command {
        let mut run = self.command("run");
        run.args(["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--network=host"]);
        run.arg("--security-opt=no-new-privileges");
        run.arg(format!("--user={USER}:{USER}")).arg(format!("--group-add={FS_GROUP}"));
        for (from, to) in volumes {
            run.arg(format!("--volume={}:{to}", from.display()));
        }
        run
    }

    /// Has podman do what must succeed, and gives all that it printed.
    #[track_caller]
    pub fn run_to_success(&self, command: &mut Command) -> String {
        let output = command.output().expect("podman was found before");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        printed(&output)
    }

    /// The log of a container so far.
    pub fn logs(&self, container: &str) -> String {
        let output = self.command("logs").arg(container).output();
        printed(&output.expect("podman was found before"))
    }

    /// Waits for a container's end, and gives its code.
    #[track_caller]
    pub fn code(&self, container: &str) -> String {
        self.run_to_success(self.command("wait").arg(container)).trim().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let all = self.command("ps").args(["--all", "--format={{.Names}}"]).output();
            for name in all.iter().flat_map(|all| all.stdout.split(|byte| *byte == b'\n')) {
                let name = String::from_utf8_lossy(name);
                writeln!(std::io::stderr(), "{name}: {}", self.logs(&name)).ok();
            }
        }
        // What a failed test left running holds mounts below the directory.
        self.command("pod").args(["rm", "--all", "--force", "--time=0"]).output().ok();
        self.command("rm").args(["--all", "--force", "--time=0"]).output().ok();
        self.command("rmi").args(["--all", "--force"]).output().ok();
    }
}

fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The static binary that `SEGURA_STATIC_BINARY` names.
pub fn static_binary() -> Option<PathBuf> {
    let given = std::env::vars_os().find(|(name, _)| name == "SEGURA_STATIC_BINARY");
    given.map(|(_, path)| path.into())
}

/// The static agent, if this host can run it in containers.
pub fn static_agent(test: &str) -> Option<PathBuf> {
    let found = match static_binary() {
        None => Err("SEGURA_STATIC_BINARY does not name the static binary"),
        Some(_) if !is_root() => Err("only root runs containers here"),
        Some(path) => match Command::new("podman").arg("--version").output() {
            Ok(output) if output.status.success() => Ok(path),
            Ok(_) | Err(_) => Err("there is no podman"),
        },
    };
    found.map_err(|why| skip(test, why)).ok()
}

/// The same, and a static shell.
pub fn static_agent_and_shell(test: &str) -> Option<(PathBuf, PathBuf)> {
    let agent = static_agent(test)?;
    let is_static = |path: &&str| {
        let linked = Command::new("ldd").arg(path).output();
        Path::new(path).exists() && linked.is_ok_and(|linked| !linked.status.success())
    };
    let Some(shell) = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(is_static) else {
        skip(test, "there is no static busybox");
        return None;
    };
    Some((agent, shell.into()))
}

impl Scene {
    /// Prepares the output directory as the kubelet does a memory volume for fsGroup, and the vault's
    /// files to be mounted at `/vault`; settings are then a container's.
    pub fn settle_in_pod(&mut self) {
        set_mode(self.vault.dir(), 0o755);
        chown(self.dir.path(), Some(0), Some(FS_GROUP)).expect("root may");
        set_mode(self.dir.path(), 0o2775);
        self.set("SEGURA_CA_FILE", "/vault/ca.pem").unset("SEGURA_OUTPUT_DIR");
    }

    /// The pod's variables, as podman takes them.
    pub fn env_options(&self) -> impl Iterator<Item = String> {
        self.variables().map(|(name, value)| format!("--env={name}={value}"))
    }

    /// The pod's variables.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
