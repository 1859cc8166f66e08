//! Telling by an empty POST to a loopback address, without a resolver, TLS or a proxy.

use std::fmt;
use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Position, Url};

use super::{Finding, Health, Limits, Order, Target, Tries, Working};
use crate::model::Generation;

const AGAIN: &str = "it is asked again, in two minutes or at the next pass";

/// Told by an answer of 2xx.
pub(super) struct Post {
    url: Url,
    limit: Duration,
    tries: Tries,
    sending: Option<(Order, Sending)>,
    health: Health,
}

/// A request under way, of which nothing is kept elsewhere.
type Sending = Pin<Box<dyn Future<Output = Result<(), Refusal>>>>;

/// Why the URL was not told.
#[derive(Debug)]
enum Refusal {
    /// Nobody listens.
    Closed,
    Io(io::Error),
    /// The connection was closed, or what came is no HTTP.
    Broken,
    Status(StatusCode),
    TimedOut,
}

impl Post {
    pub(super) fn new(url: Url, limits: Limits) -> Self {
        let tries = Tries::new(limits.again);
        Self { url, limit: limits.post, tries, sending: None, health: Health::default() }
    }

    fn ended(&mut self, order: Order, result: Result<(), Refusal>) {
        let shown = Shown::of(&self.url);
        let finding = match result {
            Ok(()) => {
                tracing::info!(generation = %order.generation, "told {shown}");
                self.health.works(&shown);
                self.tries.done(order);
                return;
            }
            Err(Refusal::Closed) => Finding::expected(format!("nobody listens at {shown}"), AGAIN),
            Err(Refusal::Io(error)) => {
                Finding::warning(format!("cannot reach {shown}: {error}"), AGAIN)
            }
            Err(Refusal::Broken) => Finding::warning(format!("{shown} gave no HTTP answer"), AGAIN),
            Err(Refusal::Status(status)) => Finding::warning(
                format!("{shown} answered {}", status.as_u16()),
                "it is asked again, in two minutes or at the next pass; only 2xx says that it was told",
            ),
            Err(Refusal::TimedOut) => {
                Finding::warning(format!("{shown} did not answer within {:?}", self.limit), AGAIN)
            }
        };
        self.tries.failed();
        self.health.fails(finding);
    }
}

impl Target for Post {
    fn would(&mut self) -> Vec<String> {
        vec![format!("would POST to {}", self.url)]
    }

    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn publish(&mut self, order: Order) {
        self.tries.publish(order);
    }

    fn carry_on(&mut self, generation: Generation) {
        self.tries.carry_on(generation);
    }

    fn pass(&mut self) {
        if self.sending.is_none() {
            self.tries.pass();
        }
    }

    fn work(&mut self) -> Working<'_> {
        Box::pin(async {
            while let Some(order) = self.tries.order {
                if let Some((of, sending)) = &mut self.sending {
                    let (of, result) = (*of, sending.await);
                    self.sending = None;
                    self.ended(of, result);
                } else {
                    self.tries.next().await;
                    let (request, limit) = (post(self.url.clone()), self.limit);
                    let within = async move {
                        timeout(limit, request).await.unwrap_or(Err(Refusal::TimedOut))
                    };
                    self.sending = Some((order, Box::pin(within)));
                }
            }
        })
    }
}

/// Scheme, host and port: the rest may hold a token.
struct Shown(String);

impl Shown {
    fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        Self(format!("{}://{host}:{}", url.scheme(), port(url)))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(80)
}

async fn post(url: Url) -> Result<(), Refusal> {
    let stream = connect(&url).await.map_err(|error| {
        let closed = error.kind() == ErrorKind::ConnectionRefused;
        if closed { Refusal::Closed } else { Refusal::Io(error) }
    })?;
    let request = Request::post(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(USER_AGENT, concat!("segura-agent/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_LENGTH, 0)
        .body(Empty::<Bytes>::new())
        .map_err(|_| Refusal::Broken)?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| Refusal::Broken)?;
    // The connection has nothing to say that the answer does not.
    let driven = async {
        connection.await.ok();
        pending().await
    };
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.map_err(|_| Refusal::Broken)?,
        () = driven => return Err(Refusal::Broken),
    };
    if answer.status().is_success() { Ok(()) } else { Err(Refusal::Status(answer.status())) }
}

/// Connects to the first address that takes us; the first one's error is the one told.
async fn connect(url: &Url) -> io::Result<TcpStream> {
    let mut failed = None;
    for address in addresses(url) {
        match TcpStream::connect((address, port(url))).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into()))
}

/// Names are not looked up: only `localhost` gets this far.
fn addresses(url: &Url) -> Vec<IpAddr> {
    match url.host() {
        Some(Host::Ipv4(address)) => vec![address.into()],
        Some(Host::Ipv6(address)) => vec![address.into()],
        Some(Host::Domain("localhost" | "localhost.")) => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Some(Host::Domain(_)) | None => Vec::new(),
    }
}
