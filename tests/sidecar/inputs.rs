//! Files that change under it: its own inputs, and what it has published.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test that called it")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{Change, LOGIN, READ, left_by_init};
use crate::harness::lines;
use crate::{
    dev_vault::{Encryption, Options},
    harness::{SEED, Scene, for_a_while, host::skip, pause, side_by_side, sidecar::Sidecar, until},
};

/// A directory as the kubelet fills it: names that lead through one link to the version.
struct Mounted(TempDir);

impl Mounted {
    fn new(files: &[(&str, &str)]) -> Self {
        let mounted = Self(tempfile::tempdir().expect("a directory"));
        mounted.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mounted.path(name)).expect("it is ours");
        }
        mounted
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Replaces all files as one step.
    fn swap(&self, files: &[(&str, &str)]) {
        let old = fs::read_link(self.path("..data")).ok();
        let version = tempfile::Builder::new().prefix("..v").tempdir_in(self.0.path());
        let version = version.expect("it is ours").keep();
        for (name, content) in files {
            fs::write(version.join(name), content).expect("it is ours");
        }
        symlink(version.file_name().expect("it has one"), self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.path("").join(old)).expect("it is ours");
        }
    }
}

/// A set whose next due is far away, by credentials that are mounted.
fn mounted() -> (Scene, Mounted) {
    let mut scene = Scene::new();
    let (id, secret) = (scene.vault.client_id().to_owned(), scene.vault.client_secret().to_owned());
    let mounted = Mounted::new(&[("id", &id), ("secret", &secret)]);
    scene.unset("SEGURA_CLIENT_ID").unset("SEGURA_CLIENT_SECRET");
    scene.set("SEGURA_CLIENT_ID_FILE", &mounted.path("id").display().to_string());
    scene.set("SEGURA_CLIENT_SECRET_FILE", &mounted.path("secret").display().to_string());
    scene.set("SEGURA_RENEW_INTERVAL", "10m");
    scene.init().exits(0);
    scene.vault.clear_requests();
    (scene, mounted)
}

/// Whether a login was tried with this.
fn tried(scene: &Scene, credential: &str) -> bool {
    scene.vault.requests().iter().any(|request| request.body.contains(credential))
}

#[test]
fn a_replaced_client_secret_is_used_at_once() {
    let (scene, mounted) = mounted();
    let id = scene.vault.client_id().to_owned();
    let sidecar = scene.renewing_sidecar();
    for_a_while("no request is sent", || scene.request_lines().is_empty());
    scene.vault.set_client_secret("second");
    mounted.swap(&[("id", &id), ("secret", "second")]);
    scene.vault.rotate();
    scene.wait_until_fresh();
    assert!(tried(&scene, "client_secret=second"));
    assert!(!tried(&scene, scene.vault.client_secret()), "the old one is not used any more");
    assert_eq!((scene.count(LOGIN), scene.count(READ)), (1, 1));
    assert!(sidecar.warnings().is_empty(), "{:?}", sidecar.warnings());
    // The same again changes nothing and asks nothing.
    mounted.swap(&[("id", &id), ("secret", "second")]);
    for_a_while("no request is sent", || scene.request_lines().len() == 2);
    sidecar.stop();
}

#[test]
fn a_replaced_client_secret_is_tried_while_the_old_token_is_valid() {
    let (scene, mounted) = mounted();
    let id = scene.vault.client_id().to_owned();
    let sidecar = scene.renewing_sidecar();
    for secret in ["second", "third"] {
        scene.vault.set_client_secret(secret);
        mounted.swap(&[("id", &id), ("secret", secret)]);
        until("it is used", || tried(&scene, &format!("client_secret={secret}")));
    }
    sidecar.stop();
}

#[test]
fn a_replaced_client_id_is_used_at_once() {
    let (scene, mounted) = mounted();
    let (id, secret) = (scene.vault.client_id().to_owned(), scene.vault.client_secret().to_owned());
    let sidecar = scene.renewing_sidecar();
    // A token of the first one, to be given up.
    super::poke(&scene);
    until("it has a token", || scene.count(READ) == 1);
    let files = scene.published();
    mounted.swap(&[("id", "another"), ("secret", &secret)]);
    until("it is used", || tried(&scene, "client_id=another"));
    until("it is refused", || scene.failures() > 0);
    assert_eq!(scene.published(), files);
    mounted.swap(&[("id", &id), ("secret", &secret)]);
    until("it is repaired", || scene.failures() == 0);
    scene.vault.rotate();
    super::poke(&scene);
    scene.wait_until_fresh();
    sidecar.stop();
}

#[test]
fn a_client_id_that_never_fetched_the_set_does_not_own_it() {
    let (scene, mounted) = mounted();
    let secret = scene.vault.client_secret().to_owned();
    let before = scene.state()["origin"]["client"].clone();
    let sidecar = scene.renewing_sidecar();
    mounted.swap(&[("id", "another"), ("secret", &secret)]);
    until("it is refused", || scene.failures() > 0);
    assert_eq!(scene.state()["origin"]["client"], before);
    sidecar.stop();
}

#[test]
fn an_incomplete_file_is_not_fatal_and_is_read_again_once_complete() {
    type Half = (&'static str, fn(&Scene) -> std::path::PathBuf);
    let cases: [Half; 4] = [
        ("SEGURA_CA_FILE", |scene| scene.vault.ca_file()),
        ("SEGURA_CLIENT_CERT_FILE", |scene| scene.vault.client_cert_file()),
        ("SEGURA_CLIENT_KEY_FILE", |scene| scene.vault.client_key_file()),
        ("SEGURA_PRIVATE_KEY_FILE", |scene| scene.vault.private_key_file()),
    ];
    side_by_side(cases, |(variable, file)| {
        let encryption = if variable == "SEGURA_PRIVATE_KEY_FILE" {
            Encryption::Generated
        } else {
            Encryption::Off
        };
        let options = Options { client_certificate: true, encryption, ..Options::default() };
        let scene = Scene::after_init(options, |scene| {
            scene.set("SEGURA_RENEW_INTERVAL", "10m");
        });
        let (file, files) = (file(&scene), scene.published());
        let whole = fs::read(&file).unwrap();
        let sidecar = scene.renewing_sidecar();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        until("it is logged", || sidecar.times_logged(variable) > 0);
        until("the state says so", || scene.state()["last_error"] == "settings");
        assert_eq!(scene.published(), files, "{variable}");
        fs::remove_file(&file).unwrap();
        let failures = scene.failures();
        until("it fails on", || scene.failures() > failures);
        scene.vault.rotate();
        fs::write(&file, &whole).unwrap();
        scene.wait_until_fresh();
        until("it is over", || scene.failures() == 0);
        sidecar.assert_warned(1, variable);
        sidecar.stop();
    });
}

#[test]
fn a_replaced_ca_file_is_used_at_once() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_RENEW_INTERVAL", "10m");
    });
    let other = Scene::new();
    let whole = fs::read(scene.vault.ca_file()).unwrap();
    let sidecar = scene.renewing_sidecar();
    fs::copy(other.vault.ca_file(), scene.vault.ca_file()).unwrap();
    until("the vault is not trusted", || scene.state()["last_error"] == "unreachable");
    assert_eq!(scene.read("secret-postman/password"), scene.password());
    fs::write(scene.vault.ca_file(), whole).unwrap();
    until("it is trusted again", || scene.failures() == 0);
    sidecar.stop();
}

/// Something that someone does to what is published.
type Harm = (&'static str, Change);

#[test]
fn removed_links_are_restored_at_once() {
    let cases: [Harm; 5] = [
        ("a name", |scene| fs::remove_file(scene.path(SEED)).unwrap()),
        ("..data", |scene| fs::remove_file(scene.path("..data")).unwrap()),
        ("..data turned", |scene| {
            fs::remove_file(scene.path("..data")).unwrap();
            symlink("..segura", scene.path("..data")).unwrap();
        }),
        ("the state", |scene| fs::remove_file(scene.path(".segura.json")).unwrap()),
        ("all", |scene| {
            for name in [SEED, "..data", ".segura.json"] {
                fs::remove_file(scene.path(name)).unwrap();
            }
        }),
    ];
    side_by_side(cases, |(what, harm)| {
        let scene = Scene::after_init(Options::default(), |scene| {
            scene.set("SEGURA_RENEW_INTERVAL", "10m");
        });
        let files = scene.published();
        let sidecar = scene.renewing_sidecar();
        pause(300);
        harm(&scene);
        until(&format!("{what} is put back"), || {
            scene.path(".segura.json").exists()
                && scene.path(SEED).exists()
                && scene.published() == files
        });
        let run = sidecar.stop();
        assert!(scene.request_lines().is_empty(), "{what}: {:?}", scene.request_lines());
        assert_eq!(scene.state()["generation"], 1, "{what}: {}", run.stderr);
        assert_eq!(scene.generations().len(), 1, "{what}");
    });
}

#[test]
fn altered_published_files_are_restored_by_the_next_pass() {
    let cases: [Harm; 6] = [
        ("other bytes", |scene| {
            let path = scene.path("secret-postman/password");
            fs::remove_file(&path).unwrap();
            fs::write(&path, "evil").unwrap();
        }),
        ("a file less", |scene| fs::remove_file(scene.path("secret-postman/ip")).unwrap()),
        ("a file more", |scene| fs::write(scene.path("secret-postman/more"), "x").unwrap()),
        ("a folder less", |scene| fs::remove_dir_all(scene.path("secret-postman/1")).unwrap()),
        ("the bundle", |scene| fs::remove_file(scene.path("..data/..bundle.json")).unwrap()),
        ("a generation", |scene| {
            let generation = fs::read_link(scene.path("..data")).unwrap();
            fs::remove_dir_all(scene.dir.path().join(generation)).unwrap();
        }),
    ];
    side_by_side(cases, |(what, harm)| {
        let scene = left_by_init();
        let files = scene.published();
        let sidecar = scene.renewing_sidecar();
        until("it renews", || scene.count(READ) >= 1);
        harm(&scene);
        until(&format!("{what} is undone"), || {
            scene.path(SEED).exists()
                && scene.path("..data/..bundle.json").exists()
                && scene.published() == files
        });
        until("it is one whole set", || scene.check("ready").0);
        until("no other stays", || scene.generations().len() == 1);
        sidecar.stop();
        assert_eq!(scene.vault.provision_count(), 1, "{what}");
    });
}

#[test]
fn a_removed_generation_is_fetched_again_before_it_is_due() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_RENEW_INTERVAL", "10m");
    });
    let files = scene.published();
    let sidecar = scene.renewing_sidecar();
    // A set that was fetched a moment ago is not fetched again at once.
    pause(3_000);
    let generation = fs::read_link(scene.path("..data")).unwrap();
    fs::remove_dir_all(scene.path("").join(generation)).unwrap();
    until("it is logged", || sidecar.times_logged(lines::NOT_PUT_BACK) > 0);
    until("it is published again", || scene.path(SEED).exists() && scene.published() == files);
    until("it is one whole set", || scene.check("ready").0);
    sidecar.stop();
    assert_eq!((scene.count(READ), scene.vault.provision_count()), (1, 1));
}

#[test]
fn a_file_in_place_of_a_link_is_moved_aside_and_the_link_is_restored() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_RENEW_INTERVAL", "10m");
    });
    let files = scene.published();
    let sidecar = scene.renewing_sidecar();
    fs::remove_file(scene.path(SEED)).unwrap();
    fs::write(scene.path(SEED), "mine").unwrap();
    until("the link is restored", || scene.path(SEED).is_dir() && scene.published() == files);
    until("it is told", || sidecar.warnings().iter().any(|line| line.contains(SEED)));
    let moved = scene.entries().into_iter().find(|name| name.starts_with("..moved-"));
    assert_eq!(scene.read(&moved.expect("the file is kept")), "mine");
    sidecar.stop();
    assert_eq!(scene.state()["generation"], 1);
    assert!(scene.request_lines().is_empty(), "{:?}", scene.request_lines());
}

/// An agent that may watch nothing, as where other agents of its user have taken every instance.
fn unwatched(scene: &Scene) -> Command {
    let agent = scene.agent(&["sidecar"]);
    let mut command = Command::new("unshare");
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" sidecar";
    command.args(["--user", "--map-root-user", "/bin/sh", "-c", script]).arg(agent.get_program());
    command.env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[test]
fn without_a_watch_inputs_are_read_at_each_pass() {
    let (mut scene, mounted) = mounted();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    let sidecar = Sidecar::spawn(unwatched(&scene));
    until("it says so, or could not be started", || {
        sidecar.times_logged(lines::NOT_WATCHED) > 0 || sidecar.has_ended()
    });
    if sidecar.has_ended() {
        let why = sidecar.log().join(" ");
        return skip("without_a_watch_inputs_are_read_at_each_pass", &why);
    }
    until("it renews", || scene.count(READ) > 1);
    scene.vault.set_client_secret("second");
    let id = scene.vault.client_id().to_owned();
    mounted.swap(&[("id", &id), ("secret", "second")]);
    until("it is used", || tried(&scene, "client_secret=second"));
    fs::remove_file(scene.path(SEED)).unwrap();
    until("it is put back", || scene.path(SEED).exists());
    sidecar.assert_logged(lines::NOT_WATCHED, 1, "once");
    sidecar.stop();
}
