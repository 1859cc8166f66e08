//! nginx serves what is published, and what is published next.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::CertifiedKey;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::blocks;
use super::pod::{APP, Server, at, folder, pod, program, shared_with_the_app, template};
use crate::harness::host::{bounded_as, can_switch_user};
use crate::harness::sidecar::{Sidecar, free_port};
use crate::harness::{Run, Scene, until};

/// `openssl passwd -apr1 -salt recipes1` of `one` and of `two`.
const ONE: &str = "$apr1$recipes1$.N5B1bjhMP/xPQ1Zcg5dD1";
const TWO: &str = "$apr1$recipes1$T1Qji/DOzywcTJmKFsYxG/";

/// A certificate for this machine, and what the vault holds of it.
struct Certificate {
    der: CertificateDer<'static>,
    data: Value,
}

impl Certificate {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let data = json!({ "tls.crt": cert.pem(), "tls.key": signing_key.serialize_pem() });
        Self { der: cert.der().clone(), data }
    }
}

fn user(hash: &str) -> Value {
    json!({ "username": "ada", "password_hash": hash })
}

/// A pod of a recipe, and the directory and the port of its nginx.
struct Shop {
    scene: Scene,
    dir: TempDir,
    port: u16,
}

impl Shop {
    fn new(recipe: &str, certificate: &Certificate) -> Self {
        let secrets = [("web-tls", certificate.data.clone()), ("web-users", user(ONE))];
        let scene = pod(recipe, &secrets);
        template(&scene, "nginx/htpasswd.j2");
        shared_with_the_app(&scene);
        Self { scene, dir: folder(), port: free_port() }
    }

    /// The configuration with this test's port and place.
    fn configuration(&self) -> PathBuf {
        let text = at(&self.scene, "nginx/nginx.conf");
        let text = text.replace("8443", &self.port.to_string());
        let file = self.dir.path().join("nginx.conf");
        let place = format!("{}/", self.dir.path().display());
        fs::write(&file, text.replace("/tmp/", &place)).expect("it is ours");
        file
    }

    /// nginx's arguments: those of the recipe's command, and where all is.
    fn arguments(&self) -> Vec<String> {
        let mut words = blocks::command("nginx/command.yaml").split_off(4);
        let configuration = self.configuration().display().to_string();
        words.extend(["-e".to_owned(), "stderr".to_owned(), "-c".to_owned(), configuration]);
        words
    }

    /// The status line for a request by TLS with this certificate, if there is an answer.
    fn status(&self, certificate: &Certificate, password: Option<&str>) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("it is a socket");
        let mut stream = StreamOwned::new(client, socket);
        let login = password.map(|password| {
            format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("ada:{password}")))
        });
        let login = login.unwrap_or_default();
        write!(stream, "GET / HTTP/1.0\r\nHost: localhost\r\n{login}\r\n").ok()?;
        let mut answer = Vec::new();
        // nginx may close without a TLS farewell; what counts is the first line.
        let read = stream.read_to_end(&mut answer);
        let line = String::from_utf8_lossy(&answer).lines().next().map(str::to_owned);
        line.filter(|line| read.is_ok() || line.starts_with("HTTP/"))
    }

    /// Waits until it answers by this certificate, asking for a password.
    #[track_caller]
    fn until_served(&self, certificate: &Certificate) {
        until("nginx serves the certificate", || {
            self.status(certificate, None).is_some_and(|line| line.contains(" 401 "))
        });
    }
}

/// The process that nginx's PID file names, ended when this is dropped.
struct Master(PathBuf);

impl Master {
    fn id(&self) -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(&self.0).ok()?.trim().parse().ok()?)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // It takes the file with it when it ends in order.
        if let Some(id) = self.id() {
            kill_process(id, Signal::TERM).ok();
        }
    }
}

/// The path of nginx, if this test can be run here.
fn nginx(test: &str) -> Option<String> {
    if can_switch_user(test) { program(test, "nginx") } else { None }
}

fn as_app(nginx: &str, arguments: &[String]) -> Command {
    let mut command = APP.runs(nginx);
    command.args(arguments).stderr(std::process::Stdio::null());
    command
}

#[test]
fn nginx_serves_a_new_certificate_after_a_signal() {
    let Some(nginx) = nginx("nginx_serves_a_new_certificate_after_a_signal") else {
        return;
    };
    let [first, second] = [Certificate::new(), Certificate::new()];
    let shop = Shop::new("nginx/agent.yaml", &first);
    let agent = Sidecar::spawn(shop.scene.agent_as(APP, &["sidecar"]));
    agent.until_logged("published\"");
    let arguments = shop.arguments();
    let check = Run::of(bounded_as(APP, &[&nginx, "-t"]).args(&arguments).output().unwrap());
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    let _server = Server::start(as_app(&nginx, &arguments), Signal::TERM);
    shop.until_served(&first);
    assert_eq!(shop.status(&second, None), None, "that one is not served yet");
    shop.scene.vault.set_data("web-tls", &second.data);
    shop.until_served(&second);
    agent.stop();
}

#[test]
fn nginx_serves_the_old_pair_if_the_new_key_does_not_fit() {
    let Some(nginx) = nginx("nginx_serves_the_old_pair_if_the_new_key_does_not_fit") else {
        return;
    };
    let [first, second, third] = [Certificate::new(), Certificate::new(), Certificate::new()];
    let shop = Shop::new("nginx/agent.yaml", &first);
    let agent = Sidecar::spawn(shop.scene.agent_as(APP, &["sidecar"]));
    agent.until_logged("published\"");
    let said = folder();
    let log = said.path().join("log");
    let mut command = as_app(&nginx, &shop.arguments());
    command.stderr(fs::File::create(&log).unwrap());
    let _server = Server::start(command, Signal::TERM);
    shop.until_served(&first);
    let mut odd = second.data.clone();
    odd["tls.key"] = first.data["tls.key"].clone();
    shop.scene.vault.set_data("web-tls", &odd);
    let refused = || fs::read_to_string(&log).unwrap().contains("key values mismatch");
    until("nginx has refused the pair", refused);
    shop.until_served(&first);
    shop.scene.vault.set_data("web-tls", &third.data);
    shop.until_served(&third);
    agent.stop();
}

#[test]
fn nginx_under_the_wrapper_serves_a_new_certificate() {
    let Some(nginx) = nginx("nginx_under_the_wrapper_serves_a_new_certificate") else {
        return;
    };
    let [first, second] = [Certificate::new(), Certificate::new()];
    let shop = Shop::new("nginx/agent-exec.yaml", &first);
    let command = blocks::command("nginx/command.yaml");
    assert_eq!(command[1..4], ["exec", "--", "nginx"]);
    let mut agent = shop.scene.agent_as(APP, &["exec", "--", &nginx]);
    agent.args(shop.arguments());
    // Dropped last: a killed agent leaves nginx behind.
    let master = Master(shop.dir.path().join("nginx.pid"));
    let agent = Sidecar::spawn(agent);
    shop.until_served(&first);
    let before = master.id();
    shop.scene.vault.set_data("web-tls", &second.data);
    shop.until_served(&second);
    assert!(before.is_some() && master.id() == before, "nginx has not been restarted");
    // What the image's STOPSIGNAL is.
    agent.send(Signal::QUIT);
    let run = agent.wait();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_changed_password_is_accepted_without_a_reload() {
    let Some(nginx) = nginx("a_changed_password_is_accepted_without_a_reload") else {
        return;
    };
    let certificate = Certificate::new();
    let mut shop = Shop::new("nginx/agent.yaml", &certificate);
    shop.scene.unset("SEGURA_SIGNAL_PROCESS");
    let agent = Sidecar::spawn(shop.scene.agent_as(APP, &["sidecar"]));
    agent.until_logged("published\"");
    let _server = Server::start(as_app(&nginx, &shop.arguments()), Signal::TERM);
    shop.until_served(&certificate);
    // No server is behind the proxy: an admitted user gets 502.
    let let_in = |password| {
        shop.status(&certificate, Some(password)).is_some_and(|line| line.contains(" 502 "))
    };
    assert!(let_in("one") && !let_in("two"));
    shop.scene.vault.set_data("web-users", user(TWO));
    until("the new password is taken", || let_in("two"));
    assert!(!let_in("one"));
    agent.stop();
}

#[test]
fn nginx_writes_to_its_own_volume_alone() {
    let text = blocks::text("nginx/tmp.yaml");
    assert!(text.contains("mountPath: /tmp") && text.contains("emptyDir"), "{text}");
    let configuration = blocks::text("nginx/nginx.conf");
    let written = configuration.lines().map(str::trim);
    let written: Vec<&str> = written
        .filter(|line| line.starts_with("pid ") || line.contains("_temp_path "))
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert!(written.len() >= 6 && written.iter().all(|path| path.starts_with("/tmp/")));
}

#[test]
fn the_recipe_spells_out_the_entrypoint_of_the_image() {
    let mut words = blocks::command("nginx/command-entrypoint.yaml");
    assert_eq!(words.remove(3), "/docker-entrypoint.sh");
    assert_eq!(words, blocks::command("nginx/command.yaml"));
}
