//! What a sidecar does after its start goes on in the sandbox.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test that called it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{hold, is_held, scene};
use crate::dev_vault::requests::{DEPROVISION, LOGIN, READ};
use crate::dev_vault::{Options, Provisioned};
use crate::harness::secret::{change, fetch_app_alone, until_notified};
use crate::harness::sidecar::{Sidecar, free_port};
use crate::harness::{POD, SEED, Scene, memory_dir, until};
use crate::notify::app::App;

/// The line of a sidecar whose files are governed.
const HELD: &str = "the sandbox is on";

/// Starts a sidecar, and waits until it renews in its sandbox.
#[track_caller]
fn kept(scene: &Scene) -> Sidecar {
    let sidecar = scene.renewing_sidecar();
    sidecar.until_logged(HELD);
    sidecar
}

fn password(scene: &Scene) -> String {
    let mut accounts: Vec<Provisioned> = scene.vault.provisioned(SEED);
    accounts.retain(|account| account.pod_name == POD);
    accounts.pop().expect("the pod has an account").password
}

/// Waits until the account's password is what is published.
#[track_caller]
fn until_fresh(scene: &Scene) {
    let password = password(scene);
    until("the password is published", || scene.read("secret-postman/password") == password);
}

/// Rotates the secret, and waits until that is published.
#[track_caller]
fn renews(scene: &Scene) {
    scene.vault.rotate();
    until_fresh(scene);
}

/// Stops a sidecar, which was denied nothing.
#[track_caller]
fn ends_well(sidecar: Sidecar) {
    let run = sidecar.stop();
    assert!(!run.stderr.contains("SEGURA_SANDBOX=off"), "{}", run.stderr);
}

#[test]
fn a_set_is_renewed_swept_and_deprovisioned() {
    if !is_held("a_set_is_renewed_swept_and_deprovisioned") {
        return;
    }
    let mut scene = scene();
    scene.set("SEGURA_DEPROVISION", "true").set("SEGURA_OUTPUT", "files,env,json,yaml,properties");
    let sidecar = kept(&scene);
    // A new version in each of its first two reads would look as if reading provisioned.
    until("it has read twice", || scene.count(READ) >= 2);
    for _ in 0..3 {
        renews(&scene);
    }
    until("older generations are swept", || scene.generations().len() == 1);
    // Published links that somebody removes are put back at once: the directory is watched.
    fs::remove_file(scene.path(SEED)).unwrap();
    until("the link is put back", || scene.path(SEED).exists());
    ends_well(sidecar);
    assert_eq!(scene.count(DEPROVISION), 1);
    assert!(scene.published().is_empty());
}

#[test]
fn a_directory_behind_a_link_and_one_that_the_agent_makes_are_written() {
    if !is_held("a_directory_behind_a_link_and_one_that_the_agent_makes_are_written") {
        return;
    }
    let mut scene = scene();
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("output");
    symlink(scene.dir.path(), &link).unwrap();
    scene.set("SEGURA_OUTPUT_DIR", &link.display().to_string());
    let sidecar = kept(&scene);
    renews(&scene);
    ends_well(sidecar);
    // The layout of the historic sidecar, whose folder the agent makes.
    let folder = memory_dir();
    for (old, new) in [
        ("SENHASEGURA_URL", "SEGURA_URL"),
        ("SENHASEGURA_CLIENT_ID", "SEGURA_CLIENT_ID"),
        ("SENHASEGURA_CLIENT_SECRET", "SEGURA_CLIENT_SECRET"),
    ] {
        let agent = scene.agent(&[]);
        let (_, value) = agent.get_envs().find(|(name, _)| *name == new).unwrap();
        let value = value.unwrap().to_string_lossy().into_owned();
        scene.unset(new).set(old, &value);
    }
    scene.unset("SEGURA_OUTPUT_DIR");
    scene.set("SENHASEGURA_SECRETS_FOLDER", &folder.path().display().to_string());
    let sidecar = scene.sidecar();
    sidecar.until_logged(HELD);
    let file = folder.path().join("senhasegura/secret-postman/password");
    let is_fresh = || fs::read_to_string(&file).is_ok_and(|found| found == password(&scene));
    until("the first set stands", is_fresh);
    scene.vault.rotate();
    until("the next one stands", is_fresh);
    ends_well(sidecar);
}

/// A volume as the kubelet fills it: its one file is found through `..data`, which leads to a version.
struct Volume(TempDir);

impl Volume {
    /// Makes a volume of this file, whose path may have folders.
    fn new(name: &str, content: &str) -> Self {
        let volume = Self(tempfile::tempdir().unwrap());
        volume.swap(name, content);
        let top = name.split('/').next().unwrap();
        symlink(Path::new("..data").join(top), volume.path(top)).unwrap();
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the file as one step, and removes the version before.
    fn swap(&self, name: &str, content: &str) {
        let old = fs::read_link(self.path("..data")).ok();
        let version = tempfile::Builder::new().prefix("..v").tempdir_in(self.0.path()).unwrap();
        let version = version.keep();
        let file = version.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
        symlink(version.file_name().unwrap(), self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.path("").join(old)).unwrap();
        }
    }
}

/// Has a scene take its credentials from files.
fn by_file(scene: &mut Scene, id: &Path, secret: &Path) {
    scene.unset("SEGURA_CLIENT_ID").unset("SEGURA_CLIENT_SECRET");
    scene.set("SEGURA_CLIENT_ID_FILE", &id.display().to_string());
    scene.set("SEGURA_CLIENT_SECRET_FILE", &secret.display().to_string());
}

#[test]
fn volumes_that_the_kubelet_swaps_are_read_and_watched() {
    if !is_held("volumes_that_the_kubelet_swaps_are_read_and_watched") {
        return;
    }
    let mut scene = scene();
    let (id, secret) = (scene.vault.client_id().to_owned(), scene.vault.client_secret().to_owned());
    let authority = scene.vault.ca_pem().to_owned();
    // A file at the top, one in a folder, and one that is named by the kubelet's own link: each in a
    // volume of its own, so that none is readable by what another one needs.
    let ids = Volume::new("id", &id);
    let secrets = Volume::new("deep/secret", &secret);
    let authorities = Volume::new("ca.pem", &authority);
    by_file(&mut scene, &ids.path("id"), &secrets.path("deep/secret"));
    scene.set("SEGURA_CA_FILE", &authorities.path("..data/ca.pem").display().to_string());
    scene.set("SEGURA_RENEW_INTERVAL", "10m");
    let sidecar = kept(&scene);
    for (secret, more) in [("second", "\n"), ("third", "\n\n")] {
        ids.swap("id", &id);
        authorities.swap("ca.pem", &format!("{authority}{more}"));
        scene.vault.set_client_secret(secret);
        scene.vault.rotate();
        // The interval is so long that only the watch can be what brings it.
        secrets.swap("deep/secret", secret);
        until_fresh(&scene);
    }
    ends_well(sidecar);
}

#[test]
fn a_folder_that_appears_below_an_existing_one_is_read() {
    if !is_held("a_folder_that_appears_below_an_existing_one_is_read") {
        return;
    }
    let mut scene = scene();
    let (id, secret) = (scene.vault.client_id().to_owned(), scene.vault.client_secret().to_owned());
    let (ids, secrets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, late) = (ids.path().join("id"), secrets.path().join("late/later/secret"));
    fs::write(&file, &id).unwrap();
    scene.init().exits(0);
    by_file(&mut scene, &file, &late);
    let sidecar = kept(&scene);
    until("the file is missed", || scene.failures() > 0);
    scene.vault.rotate();
    fs::create_dir_all(late.parent().unwrap()).unwrap();
    fs::write(&late, secret).unwrap();
    // The folder could not be watched; one that is has the agent look at all of its files.
    fs::write(&file, &id).unwrap();
    until_fresh(&scene);
    until("renewal works", || scene.failures() == 0);
    ends_well(sidecar);
}

#[test]
fn an_authority_that_is_replaced_is_trusted() {
    if !is_held("an_authority_that_is_replaced_is_trusted") {
        return;
    }
    let scene = scene();
    let other = Scene::new();
    let file = scene.vault.ca_file();
    let whole = fs::read(&file).unwrap();
    let replace = |pem: &[u8]| {
        let next = file.with_extension("next");
        fs::write(&next, pem).unwrap();
        fs::rename(next, &file).unwrap();
    };
    let sidecar = kept(&scene);
    replace(&fs::read(other.vault.ca_file()).unwrap());
    until("the vault is not trusted", || scene.state()["last_error"] == "unreachable");
    replace(&whole);
    until("it is trusted again", || scene.failures() == 0);
    renews(&scene);
    ends_well(sidecar);
}

#[test]
fn probes_are_answered() {
    if !is_held("probes_are_answered") {
        return;
    }
    let mut scene = scene();
    let address = format!("127.0.0.1:{}", free_port());
    scene.set("SEGURA_LISTEN", &address);
    let sidecar = kept(&scene);
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    ends_well(sidecar);
}

#[test]
fn a_process_that_a_pid_file_names_is_signalled() {
    if !is_held("a_process_that_a_pid_file_names_is_signalled") {
        return;
    }
    let mut scene = Scene::new();
    fetch_app_alone(&mut scene);
    hold(&mut scene);
    let (first, second) = (App::new(&scene), App::new(&scene));
    let (one, two) = (first.start(), second.start());
    let file = first.dir().join("pid");
    let write = |pid: u32| {
        let next = first.dir().join("next");
        fs::write(&next, format!("{pid}\n")).unwrap();
        fs::rename(next, &file).unwrap();
    };
    write(one.pid());
    scene.set("SEGURA_SIGNAL_PID_FILE", &file.display().to_string());
    let sidecar = scene.sidecar();
    sidecar.until_logged(HELD);
    first.until_notified(&["head HUP one"]);
    until_notified(&scene);
    write(two.pid());
    change(&scene, "two");
    second.until_notified(&["head HUP two"]);
    until_notified(&scene);
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    ends_well(sidecar);
}

#[test]
fn a_url_is_posted_to() {
    if !is_held("a_url_is_posted_to") {
        return;
    }
    let mut scene = scene();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/reload", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).ok();
            stream.write_all(b"HTTP/1.1 204 Told\r\nConnection: close\r\n\r\n").ok();
        }
    });
    scene.set("SEGURA_NOTIFY_URL", &url);
    let sidecar = kept(&scene);
    until_notified(&scene);
    renews(&scene);
    until_notified(&scene);
    ends_well(sidecar);
}

/// Takes `CONNECT` requests, and leads each to the address that was given, whatever it asks for.
fn proxy_to(vault: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let vault = vault.clone();
            // Ends with the process of the tests, or when one end closes.
            thread::spawn(move || tunnel(stream, &vault).ok());
        }
    });
    format!("http://{address}")
}

fn tunnel(mut client: TcpStream, vault: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut server = TcpStream::connect(vault)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut there, mut back) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        std::io::copy(&mut back, &mut there).ok();
        there.shutdown(std::net::Shutdown::Write).ok();
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(std::net::Shutdown::Write)
}

#[test]
fn the_vault_is_reached_through_a_proxy() {
    if !is_held("the_vault_is_reached_through_a_proxy") {
        return;
    }
    let name = "vault.invalid";
    let mut scene = Scene::with(Options { names: vec![name.to_owned()], ..Options::default() });
    hold(&mut scene);
    let vault = scene.vault.url().trim_start_matches("https://").to_owned();
    scene.set("HTTPS_PROXY", &proxy_to(vault)).set("SEGURA_URL", &format!("https://{name}:8443"));
    let sidecar = kept(&scene);
    renews(&scene);
    assert!(scene.count(LOGIN) > 0);
    ends_well(sidecar);
}

#[test]
fn a_fatal_error_reaches_the_termination_log() {
    if !is_held("a_fatal_error_reaches_the_termination_log") {
        return;
    }
    let mut scene = scene();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("termination-log");
    fs::write(&log, "of an earlier container, and longer than what comes now ".repeat(20)).unwrap();
    scene.set("SEGURA_TERMINATION_LOG", &log.display().to_string());
    scene.vault.set_client_secret("another");
    let sidecar = scene.sidecar();
    sidecar.until_logged(HELD);
    let run = sidecar.wait();
    run.exits(77);
    let told = fs::read_to_string(&log).unwrap();
    assert_eq!(told.lines().next(), Some(run.error()), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn every_thread_is_held() {
    if !is_held("every_thread_is_held") {
        return;
    }
    let scene = scene();
    let sidecar = kept(&scene);
    let threads = format!("/proc/{}/task", sidecar.id());
    until("it has started the thread that watches", || fs::read_dir(&threads).unwrap().count() > 1);
    for thread in fs::read_dir(&threads).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    }
    // A signal ends it as ever.
    sidecar.send(Signal::INT);
    sidecar.wait().exits(0);
}
