//! Host names in the sandbox: the files of the resolver are read again at each look-up.
//!
//! The agent gets an `/etc` of its own, in a mount namespace, whose `resolv.conf` leads elsewhere.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{hold, is_held};
use crate::dev_vault::Options;
use crate::harness::host::skip;
use crate::harness::sidecar::Sidecar;
use crate::harness::{Scene, until};

/// A name server on loopback that has no room in UDP: it sends who asks to TCP.
struct NameServer {
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// None where this machine does not let us have port 53.
    fn start(address: &str) -> Option<Self> {
        let udp = UdpSocket::bind((address, 53)).ok()?;
        let tcp = TcpListener::bind((address, 53)).ok()?;
        let asked = Arc::<AtomicUsize>::default();
        // Both end with the process of the tests.
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut query) {
                udp.send_to(&reply(&query[..length], 0x02), from).ok();
            }
        });
        let counter = Arc::clone(&asked);
        thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let counter = Arc::clone(&counter);
                thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut query = vec![0; u16::from_be_bytes(length).into()];
                        stream.read_exact(&mut query)?;
                        counter.fetch_add(1, Ordering::SeqCst);
                        let reply = reply(&query, 0);
                        let length = u16::try_from(reply.len()).unwrap_or_default().to_be_bytes();
                        stream.write_all(&[&length, reply.as_slice()].concat())?;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Some(Self { asked })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Answers every question for an A record by 127.0.0.1 (RFC 1035), unless the answer is cut short.
fn reply(query: &[u8], cut: u8) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let question = &query[12..end];
    let found = u8::from(question.ends_with(&[0, 1, 0, 1]) && cut == 0);
    let mut reply = query[..2].to_vec();
    reply.extend([0x81 | cut, 0x80, 0, 1, 0, found, 0, 0, 0, 0]);
    reply.extend(question);
    if found == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    reply
}

#[test]
fn a_name_server_that_changes_is_asked_by_tcp_too() {
    const TEST: &str = "a_name_server_that_changes_is_asked_by_tcp_too";
    if !is_held(TEST) {
        return;
    }
    let namespaces = Command::new("unshare").args(["--mount", "true"]).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        return skip(TEST, "no mount namespaces for us");
    }
    let servers = [NameServer::start("127.0.0.79"), NameServer::start("127.0.0.80")];
    let [Some(first), Some(second)] = servers else {
        return skip(TEST, "no port 53 on loopback for us");
    };
    let name = "vault.test";
    let mut scene = Scene::with(Options { names: vec![name.to_owned()], ..Options::default() });
    hold(&mut scene);
    let url = scene.vault.url().replace("127.0.0.1", name);
    scene.set("SEGURA_URL", &url);
    let (etc, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(etc.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
    symlink(run.path().join("resolv.conf"), etc.path().join("resolv.conf")).unwrap();
    let serve_by = |address: &str| {
        let next = run.path().join("next");
        fs::write(&next, format!("nameserver {address}\noptions ndots:1\n")).unwrap();
        fs::rename(next, run.path().join("resolv.conf")).unwrap();
    };
    serve_by("127.0.0.79");
    let agent = scene.agent(&["sidecar"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", r#"mount --bind "$1" /etc && exec "$2" sidecar"#, "sh"]);
    command.arg(etc.path()).arg(agent.get_program()).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let sidecar = Sidecar::spawn(command);
    sidecar.until_logged("the sandbox is on");
    until("the first set stands", || scene.path(".segura.json").exists());
    assert!(first.asked() > 0 && second.asked() == 0);
    serve_by("127.0.0.80");
    until("the other server is asked", || second.asked() > 0);
    scene.vault.rotate();
    until("the next set stands", || scene.state()["generation"] == 2);
    sidecar.stop();
}
