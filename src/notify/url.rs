//! Notifying by an empty POST to a loopback address, without a resolver, TLS or a proxy.

use std::future::{Future, pending, ready};
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
use url::{Host, Position, Url};

use super::Finding;
use super::job::Way;
use crate::model::Generation;
use crate::os::sandbox;

const RETRY_HINT: &str = "the request is sent again in two minutes or at the next renewal pass";

/// Notifies by a request; a status of 2xx is a success (RFC 9110, section 15.3).
pub(super) struct Post {
    pub(super) url: Url,
    /// The time that a request may take.
    pub(super) limit: Duration,
}

/// A request under way, with all of its state.
pub(super) type Sending = Pin<Box<dyn Future<Output = Result<(), Refusal>>>>;

/// The reason why a request has failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The port is closed.
    Closed,
    Io(io::Error),
    /// The connection was closed, or the response is not HTTP.
    Broken,
    Status(StatusCode),
    TimedOut,
}

impl Post {
    fn finding(&self, refusal: Refusal) -> Finding {
        let name = self.name();
        match refusal {
            Refusal::Closed => {
                Finding::expected(format!("no server listens at {name}"), RETRY_HINT)
            }
            Refusal::Io(error) => {
                let error = sandbox::unconnected(&error);
                Finding::warning(format!("cannot reach {name}: {error}"), RETRY_HINT)
            }
            Refusal::Broken => Finding::warning(format!("{name} gave no HTTP answer"), RETRY_HINT),
            Refusal::Status(status) => Finding::warning(
                format!("{name} answered {}", status.as_u16()),
                "the request is sent again in two minutes or at the next renewal pass; only a status of 2xx counts as notified",
            ),
            Refusal::TimedOut => Finding::warning(
                format!("{name} did not answer within {:?}", self.limit),
                RETRY_HINT,
            ),
        }
    }
}

impl Way for Post {
    type Attempt = Sending;

    /// Scheme, host and port: path and query may hold a token.
    fn name(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{host}:{}", self.url.scheme(), port(&self.url))
    }

    fn succeeded(&self, generation: Generation) {
        tracing::info!(%generation, "notified {}", self.name());
    }

    fn would(&self) -> String {
        format!("would POST to {}", self.url)
    }

    fn limit(&self) -> Duration {
        self.limit
    }

    fn start(&self) -> Result<Sending, Finding> {
        Ok(Box::pin(post(self.url.clone())))
    }

    async fn end(&self, sending: &mut Sending) -> Result<(), Finding> {
        sending.await.map_err(|refusal| self.finding(refusal))
    }

    fn stop(&self, sending: &mut Sending) {
        *sending = Box::pin(ready(Err(Refusal::TimedOut)));
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
    // An error of the connection ends `send_request` too, which reports it.
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

/// Connects to the first address that accepts; the error is that of the first address.
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

/// Lists the addresses of the URL's host. `localhost` always means loopback (RFC 6761, section
/// 6.3), so no resolver is needed; the settings refuse other names.
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
