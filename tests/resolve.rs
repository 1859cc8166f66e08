//! Host names: the hosts file first, then the servers of `resolv.conf`, and no other server.
//!
//! Each test gives the agent its own `/etc/hosts` and `/etc/resolv.conf` in a mount namespace.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests may fail them")]

use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::dev_vault::Options;
use crate::harness::{Run, Scene, host};

const NAME: &str = "vault.test";

/// A name server on loopback that knows one name, and counts what it is asked.
struct NameServer {
    address: IpAddr,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// `None` where this machine does not let us have port 53.
    fn start(address: &str) -> Option<Self> {
        let socket = UdpSocket::bind((address, 53)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                counter.fetch_add(1, Ordering::SeqCst);
                socket.send_to(&answer(&query[..length]), from).ok();
            }
        });
        Some(Self { address: address.parse().unwrap(), asked })
    }
}

/// RFC 1035: the question is repeated; an A question for our name is answered with 127.0.0.1.
fn answer(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let question = &query[12..end];
    let ours = question.starts_with(b"\x05vault\x04test\x00") && question.ends_with(&[0, 1, 0, 1]);
    let unknown = u8::from(!question.starts_with(b"\x05vault\x04test\x00")) * 3;
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | unknown, 0, 1, 0, u8::from(ours), 0, 0, 0, 0]);
    reply.extend(question);
    if ours {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    reply
}

/// Runs `init` against a vault that is only called by its name; `None` where this machine has no
/// mount namespaces for us.
fn init(hosts: &str, resolv_conf: &str) -> Option<Run> {
    let mut scene = Scene::with(Options { names: vec![NAME.to_owned()], ..Options::default() });
    let url = scene.vault.url().replace("127.0.0.1", NAME);
    scene.set("SEGURA_URL", &url).set("SEGURA_STARTUP_TIMEOUT", "2s");
    let files = tempfile::tempdir().unwrap();
    let (hosts_file, resolv_file) = (files.path().join("hosts"), files.path().join("resolv.conf"));
    std::fs::write(&hosts_file, hosts).unwrap();
    std::fs::write(&resolv_file, resolv_conf).unwrap();
    let namespaces = Command::new("unshare").args(["--mount", "true"]).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        return None;
    }
    let script =
        r#"mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && exec "$3" init"#;
    let agent = scene.agent(&["init"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).args([&hosts_file, &resolv_file]);
    command.arg(agent.get_program()).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null());
    Some(Run::of(command.output().unwrap()))
}

#[test]
fn a_name_in_the_hosts_file_needs_no_dns() {
    let Some(server) = NameServer::start("127.0.0.77") else {
        return host::skip("host names", "no port 53 on loopback for us");
    };
    let resolv_conf =
        format!("nameserver {}\nsearch a.test b.test\noptions ndots:5\n", server.address);
    let Some(run) = init("127.0.0.1 localhost vault.test\n", &resolv_conf) else {
        return host::skip("host names", "no mount namespaces for us");
    };
    run.exits(0);
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn other_names_are_looked_up_at_the_servers_of_resolv_conf() {
    let Some(server) = NameServer::start("127.0.0.78") else {
        return host::skip("host names", "no port 53 on loopback for us");
    };
    let resolv_conf = format!("nameserver {}\noptions ndots:1\n", server.address);
    let Some(run) = init("127.0.0.1 localhost\n", &resolv_conf) else {
        return host::skip("host names", "no mount namespaces for us");
    };
    run.exits(0);
    assert!(server.asked.load(Ordering::SeqCst) > 0);
}

#[test]
fn without_a_name_server_a_name_is_not_found_and_no_public_server_is_used() {
    let Some(run) = init("127.0.0.1 localhost\n", "# nothing\n") else {
        return host::skip("host names", "no mount namespaces for us");
    };
    run.exits(69);
    assert!(run.error().contains("/etc/resolv.conf"), "{}", run.stderr);
    assert!(run.hint().unwrap().contains("SEGURA_URL"), "{}", run.stderr);
}
