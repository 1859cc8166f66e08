//! The probe server: `/livez`, `/readyz` and `/metrics`. It runs in the task that awaits it, uses
//! no timer while there is no connection, and knows no secret.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep, timeout};

use crate::probes::{Counters, Facts, Question, exposition};

/// The number of connections at a time. One more closes the oldest, so that clients that send no
/// request delay no probe.
const MAX_CONNECTIONS: usize = 16;
/// The time that the head of a request may take to arrive.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// The longest life of a connection, the reading of the response included.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// The wait after a failed accept. Without a free descriptor (EMFILE, accept(2)) the connection
/// stays in the queue, and a loop without a wait would not end.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The response to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// 200, or 503 if the answer is no: the kubelet takes 200 to 399 as success (Kubernetes docs,
    /// "Configure Liveness, Readiness and Startup Probes").
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Makes the response to a path; `None` for any but the three.
pub fn answer(path: &str, facts: &Facts<'_>, counters: &Counters) -> Option<ProbeAnswer> {
    let probe = |question| {
        let verdict = facts.verdict(question);
        let status = if verdict.holds { 200 } else { 503 };
        Some(ProbeAnswer { status, content_type: TEXT, body: format!("{}\n", verdict.line) })
    };
    match path {
        "/livez" => probe(Question::Live),
        "/readyz" => probe(Question::Ready),
        "/metrics" => Some(ProbeAnswer {
            status: 200,
            content_type: METRICS,
            body: exposition(facts, counters),
        }),
        _ => None,
    }
}

/// Listens at the address of `SEGURA_LISTEN`.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves all connections until the future is dropped.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Option<ProbeAnswer>,
) -> Infallible {
    let mut connections = Connections { listener, open: Vec::new(), pause: None };
    poll_fn(|cx| connections.poll(cx, &answer)).await
}

struct Connections<'a> {
    listener: TcpListener,
    /// The open connections, the oldest first.
    open: Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<'a> Connections<'a> {
    fn poll<A: Fn(&str) -> Option<ProbeAnswer>>(
        &mut self,
        cx: &mut Context<'_>,
        answer: &'a A,
    ) -> Poll<Infallible> {
        self.open.retain_mut(|connection| connection.as_mut().poll(cx).is_pending());
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => self.admit(cx, Box::pin(serve_one(stream, answer))),
                Err(_) => self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE))),
            }
        }
    }

    fn admit(
        &mut self,
        cx: &mut Context<'_>,
        mut connection: Pin<Box<dyn Future<Output = ()> + 'a>>,
    ) {
        if connection.as_mut().poll(cx).is_pending() {
            if self.open.len() >= MAX_CONNECTIONS {
                drop(self.open.remove(0));
            }
            self.open.push(connection);
        }
    }
}

/// Serves one request of a connection, and closes it.
async fn serve_one(stream: TcpStream, answer: &impl Fn(&str) -> Option<ProbeAnswer>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), answer);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_LIMIT)
        .keep_alive(false)
        .max_buf_size(8 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // An error of a connection concerns its client alone, and needs no log line.
    timeout(CONNECTION_LIMIT, connection).await.ok();
}

fn respond(
    method: &Method,
    path: &str,
    answer: &impl Fn(&str) -> Option<ProbeAnswer>,
) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        // A 405 must name the methods that are allowed (RFC 9110, section 15.5.6).
        let mut response = respond_with(405, TEXT, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match answer(path) {
        Some(answer) => respond_with(answer.status, answer.content_type, answer.body),
        None => respond_with(404, TEXT, "there are /livez, /readyz and /metrics\n".to_owned()),
    }
}

fn respond_with(status: u16, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
