//! The static binary alone in an image, as the most restricted of pods runs it.
//!
//! Takes the binary from `SEGURA_STATIC_BINARY`. Images and containers live below a directory of
//! the test's own and go with it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::{
    SEED, Scene,
    host::{is_root, skip},
};

const USER: u32 = 65532;
const FS_GROUP: u32 = 2000;
const IMAGE: &str = "localhost/segura-agent-alone";
const CONTAINERFILE: &str = "\
FROM scratch
COPY segura-agent /segura-agent
USER 65532:65532
ENTRYPOINT [\"/segura-agent\"]
";
const SETTINGS: &str = "\
[containers]
default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]
[engine]
cgroup_manager = \"cgroupfs\"
runtime = \"runc\"
";

/// Podman with storage of its own.
struct Podman {
    dir: TempDir,
}

impl Podman {
    /// An image of the binary alone.
    fn with_image_of(binary: &Path) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let context = dir.path().join("context");
        fs::create_dir(&context).expect("it is new");
        fs::copy(binary, context.join("segura-agent")).expect("the static binary");
        fs::write(context.join("Containerfile"), CONTAINERFILE).expect("it is new");
        fs::write(dir.path().join("containers.conf"), SETTINGS).expect("it is new");
        let podman = Self { dir };
        let built = podman.command("build").args(["--tag", IMAGE]).arg(&context).output();
        let built = built.expect("podman was found before");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
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

    /// Runs `init` as the pod of a scene: read-only root, no user, no capability, no new privilege.
    fn init(&self, scene: &Scene, termination_log: &Path) -> Output {
        let volume = |from: &Path, to: &str| format!("--volume={}:{to}", from.display());
        let mut run = self.command("run");
        run.args(["--rm", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all"]);
        run.args(["--security-opt=no-new-privileges", "--network=host"]);
        run.arg(format!("--group-add={FS_GROUP}"));
        run.arg(volume(scene.dir.path(), "/run/secrets/segura"));
        run.arg(volume(scene.vault.dir(), "/vault:ro"));
        run.arg(volume(termination_log, "/dev/termination-log"));
        for (name, value) in scene.agent(&[]).get_envs() {
            let (name, value) = (name.to_str(), value.and_then(|value| value.to_str()));
            run.arg(format!("--env={}={}", name.expect("text"), value.expect("text")));
        }
        run.args([IMAGE, "init"]).output().expect("podman was found before")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What a failed test left running holds mounts below the directory.
        self.command("rm").args(["--all", "--force"]).output().ok();
        self.command("rmi").args(["--all", "--force"]).output().ok();
    }
}

/// The static binary, if this host can run it in a container.
fn static_binary(test: &str) -> Option<PathBuf> {
    let given = std::env::vars_os().find(|(name, _)| name == "SEGURA_STATIC_BINARY");
    let found = match given {
        None => Err("SEGURA_STATIC_BINARY does not name the static binary"),
        Some(_) if !is_root() => Err("only root runs containers here"),
        Some((_, path)) => match Command::new("podman").arg("--version").output() {
            Ok(output) if output.status.success() => Ok(PathBuf::from(path)),
            Ok(_) | Err(_) => Err("there is no podman"),
        },
    };
    found.map_err(|why| skip(test, why)).ok()
}

#[test]
fn the_seeds_secret_lands_from_an_empty_image_without_any_right() {
    let Some(binary) = static_binary("the_seeds_secret_lands_from_an_empty_image") else {
        return;
    };
    let podman = Podman::with_image_of(&binary);
    let mut scene = Scene::new();
    let everyone = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    everyone(scene.vault.dir(), 0o755);
    // As the kubelet prepares a memory volume for fsGroup, and its termination log for anyone.
    chown(scene.dir.path(), Some(0), Some(FS_GROUP)).unwrap();
    everyone(scene.dir.path(), 0o2775);
    let log = scene.vault.dir().join("termination-log");
    fs::write(&log, "").unwrap();
    everyone(&log, 0o666);
    scene.set("SEGURA_CA_FILE", "/vault/ca.pem").unset("SEGURA_OUTPUT_DIR");
    scene.set("SEGURA_OUTPUT", "files,env,json");

    let run = podman.init(&scene, &log);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.stdout.is_empty());
    assert_eq!(scene.asked(), ["POST /iso/oauth2/token", "POST /iso/coe/dapp/provision"]);
    let provisioned = scene.vault.provisioned(SEED);
    assert_eq!(provisioned.len(), 1);
    for (path, bytes) in [
        ("secret-postman/username", provisioned[0].username.as_str()),
        ("secret-postman/password", provisioned[0].password.as_str()),
        ("secret-postman/1/username", "usera2a"),
        ("secret-postman/ip", "10.66.32.13"),
        ("secret-postman/additional_information", ""),
    ] {
        assert_eq!(scene.read(path), bytes, "{path}");
    }
    for (path, mode) in [
        ("secret-postman/ip", 0o440),
        ("secrets.env", 0o440),
        ("secrets.json", 0o440),
        (".segura.json", 0o440),
        ("secret-postman", 0o2750),
        ("..data", 0o2750),
    ] {
        let found = fs::metadata(scene.path(path)).unwrap();
        let seen = (found.uid(), found.gid(), found.mode() & 0o7777);
        assert_eq!(seen, (USER, FS_GROUP, mode), "{path}");
    }
    assert_eq!(fs::read(&log).unwrap(), b"");

    // The container starts again: nothing is asked. And as another authorization: it is told why.
    let again = podman.init(&scene, &log);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(scene.vault.provision_count(), 1);
    scene.set("SEGURA_POD_NAME", "another-0").set("SEGURA_CLIENT_SECRET", "another");
    let refused = podman.init(&scene, &log);
    assert_eq!(refused.status.code(), Some(77), "{}", String::from_utf8_lossy(&refused.stderr));
    let told = fs::read_to_string(&log).unwrap();
    assert!(told.starts_with("segura-agent: cannot log in"), "{told}");
    assert_eq!(scene.read("secret-postman/password"), provisioned[0].password);
}
