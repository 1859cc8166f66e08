use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use rustix::net::getsockname;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connections::REQUEST_LIMIT;
use super::*;
use crate::config::settings::MaxStale;
use crate::store::state::tests::state;
use crate::store::state::{Agent, State};

/// The connections of a test's server.
const FEW: usize = 16;

fn facts(state: &State, agent: Agent) -> Facts<'_> {
    let boot = Duration::from_secs(2);
    Facts {
        place: "/run/s",
        state: Some(state),
        whole: true,
        agent,
        boot,
        max_stale: MaxStale::Never,
    }
}

/// Serves the answers of a test while its `client` runs.
async fn serving<A: Fn(&str) -> Option<ProbeAnswer>, G: Future>(
    answer: A,
    client: impl FnOnce(SocketAddr) -> G,
) -> G::Output {
    let (server, address) = bound("127.0.0.1:0");
    let server = pin!(server.serve(answer));
    tokio::select! {
        never = server => match never {},
        output = client(address) => output,
    }
}

/// A server of few connections.
fn bound(address: &str) -> (ProbeServer, SocketAddr) {
    let listener = listener::open(ProbeAddress::One(address.parse().unwrap())).unwrap();
    let address = getsockname(&listener).unwrap().try_into().unwrap();
    (ProbeServer::with(listener, FEW).unwrap(), address)
}

fn fixed(path: &str) -> Option<ProbeAnswer> {
    let body = "yes\n".to_owned();
    (path == "/livez").then_some(ProbeAnswer { status: 200, content_type: TEXT, body })
}

async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.ok();
    String::from_utf8(response).unwrap()
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn paths_answer_by_the_verdict() {
    let mut state = state();
    state.boot_ms.silent_until = Some(9_000);
    let counters = Counters::default();
    let said = |path, agent| answer(path, &facts(&state, agent), &counters).unwrap();
    for path in ["/livez", "/readyz"] {
        assert_eq!(said(path, Agent::Running).status, 200, "{path}");
        assert_eq!(said(path, Agent::Gone).status, 503, "{path}");
    }
    assert_eq!(said("/readyz", Agent::Running).body, "ready: generation 1, fetched 1 s ago\n");
    let metrics = said("/metrics", Agent::Gone);
    assert_eq!((metrics.status, metrics.content_type), (200, METRICS));
    assert!(metrics.body.contains("\nsegura_agent_ready 0\n"), "{}", metrics.body);
    for path in ["/", "/livez/", "/readyz/x", ""] {
        assert_eq!(answer(path, &facts(&state, Agent::Running), &counters), None, "{path}");
    }
}

#[tokio::test]
async fn requests_are_answered() {
    serving(fixed, async |address| {
        let get = send(address, &request("GET", "/livez?verbose")).await;
        assert!(get.starts_with("HTTP/1.1 200 OK\r\n"), "{get}");
        assert!(get.contains("content-type: text/plain; charset=utf-8\r\n"), "{get}");
        assert!(get.contains("connection: close\r\n"), "{get}");
        assert!(get.ends_with("\r\n\r\nyes\n"), "{get}");
        let head = send(address, &request("HEAD", "/livez")).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let none = send(address, &request("GET", "/")).await;
        assert!(none.starts_with("HTTP/1.1 404 "), "{none}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let refused = send(address, &request(method, "/livez")).await;
            assert!(refused.starts_with("HTTP/1.1 405 "), "{method}: {refused}");
            assert!(refused.contains("allow: GET, HEAD\r\n"), "{method}: {refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_is_passed_on() {
    let down = |_: &str| {
        let body = "not ready: x\n".to_owned();
        Some(ProbeAnswer { status: 503, content_type: TEXT, body })
    };
    serving(down, async |address| {
        let get = send(address, &request("GET", "/readyz")).await;
        assert!(get.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{get}");
        assert!(get.ends_with("not ready: x\n"), "{get}");
    })
    .await;
}

#[tokio::test]
async fn a_malformed_request_ends_its_own_connection_alone() {
    serving(fixed, async |address| {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(64 * 1024));
        let body = "POST /livez HTTP/1.1\r\nContent-Length: 99999999\r\n\r\nabc";
        for malformed in ["\r\n\r\n\0\0\0", "GET", "GET / HTTP/9\r\n\r\n", &long, body] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(malformed.as_bytes()).await.ok();
            stream.shutdown().await.ok();
            let mut response = Vec::new();
            stream.read_to_end(&mut response).await.ok();
            let response = String::from_utf8_lossy(&response).into_owned();
            assert!(!response.contains(" 200 "), "{malformed:.20}: {response}");
        }
        assert!(send(address, &request("GET", "/livez")).await.contains(" 200 "));
    })
    .await;
}

#[tokio::test]
async fn connections_without_a_request_delay_no_other() {
    let answered = Cell::new(0);
    let counting = |path: &str| {
        answered.set(answered.get() + 1);
        fixed(path)
    };
    serving(counting, async |address| {
        let mut silent = Vec::new();
        for _ in 0..3 * FEW {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..3 {
            assert!(send(address, &request("GET", "/livez")).await.contains(" 200 "));
        }
        let mut byte = [0];
        assert!(matches!(silent[0].read(&mut byte).await, Ok(0) | Err(_)), "the oldest was closed");
        let last = silent.last_mut().unwrap();
        last.write_all(request("GET", "/livez").as_bytes()).await.unwrap();
        assert!(matches!(last.read(&mut byte).await, Ok(1)), "the newest is still served");
    })
    .await;
    assert_eq!(answered.get(), 4);
}

#[tokio::test]
async fn a_request_that_does_not_arrive_is_closed() {
    serving(fixed, async |address| {
        let began = crate::os::clock::boot();
        let response = send(address, "GET /livez HTTP/1.1\r\nHost:").await;
        assert!(!response.contains(" 200 "), "{response}");
        let took = crate::os::clock::boot() - began;
        assert!(took < REQUEST_LIMIT + Duration::from_secs(3), "{took:?}");
    })
    .await;
}

/// The first line of the answer from a server at `address`, which a client reaches at `via`.
async fn answered(server: ProbeServer, via: SocketAddr) -> String {
    let get = request("GET", "/livez");
    tokio::select! {
        never = server.serve(fixed) => match never {},
        said = send(via, &get) => said,
    }
}

/// True where the machine has IPv6.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[tokio::test]
async fn it_listens_on_ipv6_where_the_machine_has_it() {
    if has_ipv6() {
        let (server, address) = bound("[::1]:0");
        assert!(answered(server, address).await.contains(" 200 "));
    }
}

#[tokio::test]
async fn a_port_alone_is_that_of_every_address() {
    for via in ["127.0.0.1", "::1"] {
        if via == "::1" && !has_ipv6() {
            continue;
        }
        let listener = listener::open(ProbeAddress::Every { port: 0 }).unwrap();
        let port = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap().port();
        let server = ProbeServer::with(listener, FEW).unwrap();
        let via = SocketAddr::new(via.parse().unwrap(), port);
        assert!(answered(server, via).await.contains(" 200 "), "{via}");
    }
}

#[tokio::test]
async fn the_peer_with_the_most_connections_loses_its_oldest() {
    serving(fixed, async |address| {
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = other.connect(address).await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..3 * FEW {
            flood.push(TcpStream::connect(address).await.unwrap());
        }
        let mut byte = [0];
        assert!(matches!(flood[0].read(&mut byte).await, Ok(0) | Err(_)), "one of the many");
        other.write_all(request("GET", "/livez").as_bytes()).await.unwrap();
        assert!(matches!(other.read(&mut byte).await, Ok(1)), "the oldest of all is served");
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_whole_however_slowly_it_is_read() {
    let long = |path: &str| {
        let body = "0123456789".repeat(100_000);
        (path == "/metrics").then_some(ProbeAnswer { status: 200, content_type: METRICS, body })
    };
    serving(long, async |address| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request("GET", "/metrics").as_bytes()).await.unwrap();
        let (mut read, mut part) = (Vec::new(), vec![0; 10_000]);
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            read.extend_from_slice(&part[..count]);
            yield_now().await;
        }
        let text = String::from_utf8(read).unwrap();
        assert!(text.contains("content-length: 1000000\r\n"), "{} bytes", text.len());
        assert!(text.ends_with("0123456789") && text.len() > 1_000_000, "{} bytes", text.len());
    })
    .await;
}

#[tokio::test]
async fn long_answers_that_nobody_reads_are_few_and_made_once_for_many() {
    let made = Cell::new(0);
    let long = |path: &str| {
        made.set(made.get() + 1);
        let body = "x".repeat(if path == "/metrics" { 1_000_000 } else { 1 });
        Some(ProbeAnswer { status: 200, content_type: METRICS, body })
    };
    serving(long, async |address| {
        let mut unread = Vec::new();
        // They are all accepted in one turn, since the server runs only while this task waits.
        for _ in 0..FEW {
            let stream = std::net::TcpStream::connect(address).unwrap();
            io::Write::write_all(&mut (&stream), request("GET", "/metrics").as_bytes()).unwrap();
            unread.push(stream);
        }
        assert!(send(address, &request("GET", "/livez")).await.contains(" 200 "));
    })
    .await;
    assert_eq!(made.get(), 2);
}
