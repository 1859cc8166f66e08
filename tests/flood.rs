//! Floods of `SEGURA_LISTEN`: whatever other clients do, probes are answered, renewal goes on, and
//! descriptors and memory are bounded.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test that called it")]

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::dev_vault::requests::READ;
use crate::harness::sidecar::{Sidecar, free_port};
use crate::harness::{Scene, pause, until};

/// Probes during each flood.
const PROBES: usize = 70;
/// The kubelet's default for `timeoutSeconds`.
const IN_TIME: Duration = Duration::from_secs(1);
/// More than any answer takes on a machine that has much else to do.
const AT_ALL: Duration = Duration::from_secs(30);
/// The threads of a flood.
const THREADS: usize = 2;
/// Connections of a thread between two that wait for an answer: more than 16, which were once all.
const BURST: usize = 200;
/// Connections at a time, by `src/probes/server.rs`.
const MOST: u64 = 512;
/// What the agent may hold beside its connections: pipes, sockets of the vault, watches.
const OWN: usize = 40;
/// The growth of memory that a flood may cause, in KiB.
const GROWTH: u64 = 12 * 1024;

const GET: &[u8] = b"GET /livez HTTP/1.1\r\nHost: agent\r\n\r\n";
const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n";

/// One connection of a flood; what is returned stays open until newer ones take its place.
type Wave = fn(TcpStream) -> Option<TcpStream>;

/// What clients can do to a port, by name.
const FLOODS: [(&str, Wave); 10] = [
    ("they connect and close", |_| None),
    ("they connect and reset", |stream| {
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        None
    }),
    ("they connect and stay", Some),
    ("they send half a request", |mut stream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").ok();
        Some(stream)
    }),
    ("they send a byte at a time", |mut stream| {
        for byte in GET.iter().take(20) {
            stream.write_all(&[*byte]).ok();
            thread::yield_now();
        }
        Some(stream)
    }),
    ("they send bytes for ever", |mut stream| {
        // Until the agent cuts it off.
        while stream.write_all(&[b'A'; 16 * 1024]).is_ok() {}
        None
    }),
    ("they ask, and send bytes for ever", |mut stream| {
        stream.write_all(GET).ok();
        while stream.write_all(&[b'A'; 16 * 1024]).is_ok() {}
        None
    }),
    ("they never read the metrics", |mut stream| {
        sockopt::set_socket_recv_buffer_size(&stream, 1).unwrap();
        stream.write_all(SCRAPE).ok();
        Some(stream)
    }),
    ("they scrape without a pause", |mut stream| {
        stream.write_all(SCRAPE).ok();
        stream.read_to_end(&mut Vec::new()).ok();
        None
    }),
    ("they speak TLS", |mut stream| {
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").ok();
        stream.read_to_end(&mut Vec::new()).ok();
        None
    }),
];

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

/// Connects, and never waits without end for a server that does not answer.
fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, AT_ALL)?;
    stream.set_read_timeout(Some(AT_ALL))?;
    stream.set_write_timeout(Some(AT_ALL))?;
    Ok(stream)
}

/// Asks as the kubelet does, by a new connection; returns the time until the whole answer.
fn probe(address: SocketAddr, path: &str) -> Result<Duration, String> {
    let began = now();
    let mut stream = connect(address).map_err(|error| format!("connect: {error}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("send: {error}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| format!("read: {error}"))?;
    let is_whole = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(" ago\n");
    if is_whole { Ok(now() - began) } else { Err(format!("answer: {answer:?}")) }
}

/// Measures for how long a thread of this machine does not run although it should.
fn watch_machine(stop: &AtomicBool, stalled: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let began = now();
        pause(5);
        let late = (now() - began).as_millis().try_into().unwrap_or(u64::MAX);
        stalled.fetch_max(late, Ordering::Relaxed);
    }
}

/// Floods the agent as fast as it can take it.
///
/// A flood that has more of the processor than the agent has fills the kernel's queue of connections
/// that are not accepted yet; the kernel then drops the first packet of a new one, whatever program
/// listens. So the flood waits for an answer now and then.
fn flood(address: SocketAddr, wave: Wave, held: usize, stop: &AtomicBool) {
    let mut open = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            // A flood may fail to connect, such as for want of ports; probes may not.
            open.extend(connect(address).ok().and_then(wave));
            if open.len() > held {
                open.pop_front();
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        probe(address, "/livez").ok();
    }
}

fn descriptors(agent: &Sidecar) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap().count()
}

/// The most memory that the agent has had, in KiB.
fn peak(agent: &Sidecar) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn listening() -> (Scene, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "1s").set("SEGURA_LISTEN", &address.to_string());
    (scene, address)
}

/// Asserts that every probe is answered during a flood, and in time as far as the machine allows.
#[track_caller]
fn assert_answered(
    agent: &Sidecar,
    scene: &Scene,
    address: SocketAddr,
    (name, wave): (&str, Wave),
) {
    // Two thirds of what may be opened stay for the other tests of this process.
    let held = usize::try_from((limit() / 3).min(700)).unwrap() / THREADS;
    let (stop, stalled) = (AtomicBool::new(false), AtomicU64::new(0));
    let reads = scene.count(READ);
    let mut most = 0;
    let answers: Vec<Result<Duration, String>> = thread::scope(|scope| {
        scope.spawn(|| watch_machine(&stop, &stalled));
        for _ in 0..THREADS {
            scope.spawn(|| flood(address, wave, held, &stop));
        }
        let paths = ["/livez", "/readyz"].into_iter().cycle().take(PROBES);
        let answers = paths.map(|path| {
            pause(10);
            let answer = probe(address, path);
            most = most.max(descriptors(agent));
            answer
        });
        let answers = answers.collect();
        let renewed = crate::harness::wait::within(AT_ALL, || scene.count(READ) > reads + 1);
        stop.store(true, Ordering::Relaxed);
        assert!(renewed, "{name}: renewal goes on");
        answers
    });
    let failed: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{name}: {} failed: {failed:?}", failed.len());
    let slowest = answers.iter().flatten().max().unwrap();
    let stalled = Duration::from_millis(stalled.load(Ordering::Relaxed));
    assert!(
        *slowest < IN_TIME || stalled > IN_TIME / 4,
        "{name}: the slowest took {slowest:?}, and no thread waited longer than {stalled:?}"
    );
    let allowed = usize::try_from((limit() / 4).min(MOST)).unwrap() + OWN;
    assert!(most <= allowed, "{name}: {most} descriptors");
}

#[test]
fn every_probe_is_answered_during_each_flood() {
    let (scene, address) = listening();
    let sidecar = scene.renewing_sidecar();
    until("it answers", || probe(address, "/readyz").is_ok());
    let before = peak(&sidecar);
    for flood in FLOODS {
        assert_answered(&sidecar, &scene, address, flood);
    }
    let grown = peak(&sidecar) - before;
    assert!(grown < GROWTH, "memory grew by {grown} KiB");
    // What is left of the floods is closed by time.
    until("their connections end", || descriptors(&sidecar) < OWN);
    let run = sidecar.stop();
    assert!(!run.stderr.contains("Too many open files"), "{}", run.stderr);
}

#[test]
fn a_few_descriptors_are_enough_for_probes_and_renewal() {
    let (scene, address) = listening();
    let agent = scene.agent(&["sidecar"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -n 48; exec \"$0\" sidecar"]).arg(agent.get_program()).env_clear();
    shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stderr(std::process::Stdio::piped());
    let sidecar = Sidecar::spawn(shell);
    until("it answers", || probe(address, "/readyz").is_ok());
    let silent: Vec<TcpStream> = (0..200).map(|_| connect(address).unwrap()).collect();
    let reads = scene.count(READ);
    scene.vault.rotate();
    // Each needs a descriptor: its request and a new connection to the vault.
    scene.vault.disconnect();
    until("it reads on", || scene.count(READ) > reads + 2);
    for path in ["/livez", "/readyz"] {
        assert!(probe(address, path).is_ok(), "{path}: {:?}", probe(address, path));
    }
    assert_eq!(scene.failures(), 0);
    drop(silent);
    let run = sidecar.stop();
    assert!(!run.stderr.contains("Too many open files"), "{}", run.stderr);
}

#[test]
fn a_wrapper_answers_during_a_flood() {
    let (scene, address) = listening();
    let wrapper = scene.exec(&["sleep", "600"]);
    until("it answers", || probe(address, "/readyz").is_ok());
    for flood in FLOODS.into_iter().filter(|(name, _)| name.ends_with("stay")) {
        assert_answered(&wrapper, &scene, address, flood);
    }
    wrapper.kill();
}

#[test]
fn a_port_alone_is_answered_at_every_address() {
    let (mut scene, address) = listening();
    let port = address.port();
    scene.set("SEGURA_LISTEN", &format!(":{port}"));
    let sidecar = scene.renewing_sidecar();
    until("it answers", || probe(address, "/readyz").is_ok());
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let address = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
        assert!(probe(address, "/livez").is_ok(), "{:?}", probe(address, "/livez"));
    } else {
        crate::harness::host::skip("a_port_alone_is_answered_at_every_address", "no IPv6");
    }
    sidecar.stop();
}
