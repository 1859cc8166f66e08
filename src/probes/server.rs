//! Answers `/livez`, `/readyz` and `/metrics`. It runs within the task that awaits it, asks for
//! nothing while nobody connects, and knows no secret.

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

/// So many connections at a time: one more pushes out the oldest, so that those who connect and say
/// nothing keep no probe waiting.
const MOST: usize = 16;
/// How long a request may take to arrive.
const ARRIVES: Duration = Duration::from_secs(5);
/// How long a connection lasts at most, its answer being read included.
const LASTS: Duration = Duration::from_secs(10);
/// How long no one is taken after taking someone has failed: descriptors may be short.
const PAUSE: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a path has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// 200, or 503 where what is asked does not hold.
    pub status: u16,
    /// Of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// What there is to say at a path; nothing at any but the three.
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

/// Takes the address of `SEGURA_LISTEN`.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves those who connect, until it is dropped.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Option<ProbeAnswer>,
) -> Infallible {
    let mut guests = Guests { listener, present: Vec::new(), pause: None };
    poll_fn(|cx| guests.poll(cx, &answer)).await
}

struct Guests<'a> {
    listener: TcpListener,
    /// The oldest first.
    present: Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<'a> Guests<'a> {
    fn poll<A: Fn(&str) -> Option<ProbeAnswer>>(
        &mut self,
        cx: &mut Context<'_>,
        answer: &'a A,
    ) -> Poll<Infallible> {
        self.present.retain_mut(|guest| guest.as_mut().poll(cx).is_pending());
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => self.take(cx, Box::pin(attend(stream, answer))),
                Err(_) => self.pause = Some(Box::pin(sleep(PAUSE))),
            }
        }
    }

    fn take(&mut self, cx: &mut Context<'_>, mut guest: Pin<Box<dyn Future<Output = ()> + 'a>>) {
        if guest.as_mut().poll(cx).is_pending() {
            if self.present.len() >= MOST {
                drop(self.present.remove(0));
            }
            self.present.push(guest);
        }
    }
}

/// One connection, one request.
async fn attend(stream: TcpStream, answer: &impl Fn(&str) -> Option<ProbeAnswer>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), answer);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVES)
        .keep_alive(false)
        .max_buf_size(8 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // What became of a connection is the business of who made it.
    timeout(LASTS, connection).await.ok();
}

fn respond(
    method: &Method,
    path: &str,
    answer: &impl Fn(&str) -> Option<ProbeAnswer>,
) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = said(405, TEXT, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match answer(path) {
        Some(answer) => said(answer.status, answer.content_type, answer.body),
        None => said(404, TEXT, "there are /livez, /readyz and /metrics\n".to_owned()),
    }
}

fn said(status: u16, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
