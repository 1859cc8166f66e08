//! A pod whose containers share their processes: the sidecar signals the app in the other one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::agent::{change, eventually, scene, until_told};
use crate::harness::Scene;
use crate::harness::host::{is_root, skip};
use crate::herd::report;

const USER: &str = "65532:65532";
const FS_GROUP: u32 = 2000;
const IMAGE: &str = "localhost/segura-agent-and-shell";
const CONTAINERFILE: &str = "FROM scratch\nCOPY segura-agent /segura-agent\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\n";
const SETTINGS: &str = "\
[containers]
default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]
[engine]
cgroup_manager = \"cgroupfs\"
runtime = \"runc\"
";
/// Writes down each signal and the value that is published at it.
const APP: &str = r#"
told() { read -r value </run/secrets/segura/app/password; echo "$1 $value" >>/app/log; }
trap 'told HUP' HUP
echo ready >>/app/log
while :; do sleep 1; done
"#;

/// Podman with storage of its own.
struct Podman {
    dir: TempDir,
}

impl Podman {
    fn with_image_of(binary: &Path, shell: &Path) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let context = dir.path().join("context");
        fs::create_dir(&context).expect("it is new");
        fs::copy(binary, context.join("segura-agent")).expect("the static binary");
        fs::copy(shell, context.join("busybox")).expect("the shell");
        fs::write(context.join("Containerfile"), CONTAINERFILE).expect("it is new");
        fs::write(dir.path().join("containers.conf"), SETTINGS).expect("it is new");
        let podman = Self { dir };
        podman.does(podman.command("build").args(["--tag", IMAGE]).arg(&context));
        podman
    }

    fn command(&self, verb: &str) -> Command {
        let place = |name: &str| self.dir.path().join(name);
        let mut podman = Command::new("podman");
        podman.env("CONTAINERS_CONF", place("containers.conf"));
        podman.arg("--root").arg(place("storage")).arg("--runroot").arg(place("run"));
        podman.args(["--storage-driver", "vfs", verb]);
        podman
    }

    #[track_caller]
    fn does(&self, command: &mut Command) -> String {
        let output = command.output().expect("podman was found before");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// A container of the pod, as restricted as can be.
    fn runs(&self, name: &str, volumes: &[(&Path, &str)]) -> Command {
        let mut run = self.command("run");
        run.args([
            "--detach",
            "--network=host",
            "--pod=shop",
            "--name",
            name,
            "--user",
            USER,
            "--read-only",
        ]);
        run.args(["--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]);
        run.arg(format!("--group-add={FS_GROUP}"));
        for (from, to) in volumes {
            run.arg(format!("--volume={}:{to}", from.display()));
        }
        run
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["main", "sidecar"] {
                let logs = self.command("logs").arg(name).output();
                report(&format!("{name}: {logs:?}"));
            }
        }
        // What a failed test left running holds mounts below the directory.
        self.command("pod").args(["rm", "--all", "--force", "--time=0"]).output().ok();
        self.command("rmi").args(["--all", "--force"]).output().ok();
    }
}

/// The static agent and a static shell, if this host can run them in containers.
fn binaries(test: &str) -> Option<(PathBuf, PathBuf)> {
    let given = std::env::vars_os().find(|(name, _)| name == "SEGURA_STATIC_BINARY");
    let is_static = |path: &&str| {
        let linked = Command::new("ldd").arg(path).output();
        Path::new(path).exists() && linked.is_ok_and(|linked| !linked.status.success())
    };
    let shell = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(is_static);
    let podman = Command::new("podman").arg("--version").output();
    let found = match (given, shell) {
        (None, _) => Err("SEGURA_STATIC_BINARY does not name the static binary"),
        (_, None) => Err("there is no static busybox"),
        _ if !is_root() => Err("only root runs containers here"),
        _ if !podman.is_ok_and(|podman| podman.status.success()) => Err("there is no podman"),
        (Some((_, binary)), Some(shell)) => Ok((binary.into(), shell.into())),
    };
    found.map_err(|why| skip(test, why)).ok()
}

fn everyone(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn env_of(scene: &Scene, run: &mut Command) {
    for (name, value) in scene.agent(&[]).get_envs() {
        let (name, value) = (name.to_str(), value.and_then(|value| value.to_str()));
        run.arg(format!("--env={}={}", name.expect("text"), value.expect("text")));
    }
}

#[test]
fn a_sidecar_signals_the_app_in_another_container_of_its_pod() {
    let Some((binary, shell)) = binaries("a_sidecar_signals_the_app_in_another_container") else {
        return;
    };
    let podman = Podman::with_image_of(&binary, &shell);
    let mut scene = scene();
    let app = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(app.path().join("shop.sh"), APP).unwrap();
    everyone(app.path(), 0o777);
    everyone(scene.vault.dir(), 0o755);
    chown(scene.dir.path(), Some(0), Some(FS_GROUP)).unwrap();
    everyone(scene.dir.path(), 0o2775);
    scene.set("SEGURA_CA_FILE", "/vault/ca.pem").unset("SEGURA_OUTPUT_DIR");
    scene.set("SEGURA_SIGNAL_PROCESS", "shop.sh");

    let mut pod = podman.command("pod");
    podman.does(pod.args(["create", "--name=shop", "--share=pid"]));
    let secrets = (scene.dir.path(), "/run/secrets/segura");
    let mut main = podman.runs("main", &[secrets, (app.path(), "/app")]);
    podman.does(main.args([IMAGE, "/bin/sh", "/app/shop.sh"]));
    let log = || fs::read_to_string(app.path().join("log")).unwrap_or_default();
    eventually("the app is ready", || log() == "ready\n");

    let mut sidecar = podman.runs("sidecar", &[secrets, (scene.vault.dir(), "/vault:ro")]);
    env_of(&scene, &mut sidecar);
    podman.does(sidecar.args([IMAGE, "/segura-agent", "sidecar"]));
    eventually("the app is told of the first set", || log() == "ready\nHUP one\n");
    until_told(&scene);
    change(&scene, "two");
    eventually("the app is told of a change", || log() == "ready\nHUP one\nHUP two\n");
    until_told(&scene);
    podman.does(podman.command("stop").args(["--time=60", "sidecar"]));
    let said = podman.does(podman.command("logs").arg("sidecar"));
    assert!(!said.contains(" WARN "), "{said}");
    assert!(said.contains("told shop.sh (pid "), "{said}");
    let code = podman.command("wait").arg("sidecar").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&code.stdout), "0\n", "{said}");
}
