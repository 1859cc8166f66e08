//! The probe server: `/livez`, `/readyz` and `/metrics`. It runs in the task that awaits it, uses
//! no timer while there is no connection, and knows no secret.

mod connections;
mod http;
mod listener;

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use connections::{Answers, Connections, Turn};
use http::{Asked, Wants, refusal, written};
use rustix::event::epoll::{CreateFlags, create};
use rustix::process::{Resource, getrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::config::settings::ProbeAddress;
use crate::os::clock::wall;
use crate::probes::{Counters, Facts, Question, exposition};

/// The most connections at a time. A flood of new ones must take longer to fill them than a probe
/// takes to send its request.
const MOST: usize = 512;
/// The fewest connections at a time.
const FEWEST: usize = 4;

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const METRICS_PATH: &str = "/metrics";

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
        METRICS_PATH => Some(ProbeAnswer {
            status: 200,
            content_type: METRICS,
            body: exposition(facts, counters),
        }),
        _ => None,
    }
}

/// The server, which listens and does not answer yet.
#[derive(Debug)]
pub struct ProbeServer {
    connections: Connections,
    /// Tells what there is to do in all connections at once.
    epoll: AsyncFd<OwnedFd>,
}

impl ProbeServer {
    /// Listens at the address of `SEGURA_LISTEN`.
    pub fn bind(address: ProbeAddress) -> io::Result<Self> {
        // Files, vault and watches need descriptors, too.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(limit / 4).unwrap_or(MOST).clamp(FEWEST, MOST);
        Self::with(listener::open(address)?, most)
    }

    fn with(listener: OwnedFd, most: usize) -> io::Result<Self> {
        let epoll = create(CreateFlags::CLOEXEC)?;
        let connections = Connections::new(listener, most);
        connections.register(epoll.as_fd())?;
        // An epoll instance is readable while it has events (`epoll(7)`).
        let epoll = registered(epoll)?;
        Ok(Self { connections, epoll })
    }

    /// Serves all connections until the future is dropped.
    pub async fn serve(mut self, answer: impl Fn(&str) -> Option<ProbeAnswer>) -> Infallible {
        let answers = AnswersBy(answer);
        loop {
            let due = self.connections.due();
            // Both arms are cancel-safe, and no arm body awaits.
            tokio::select! {
                ready = self.epoll.readable() => {
                    let Ok(mut ready) = ready else { continue };
                    let epoll = ready.get_inner().as_fd();
                    let turn = self.connections.turn(epoll, Instant::now(), &answers);
                    if turn == Turn::Idle {
                        ready.clear_ready();
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.connections.expire(self.epoll.get_ref().as_fd(), Instant::now());
            // A flood never leaves the server without work: renewal gets its turn all the same.
            yield_now().await;
        }
    }
}

#[expect(deprecated, reason = "its successor is unsafe and asks for no more than an OwnedFd gives")]
fn registered(epoll: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(epoll, Interest::READABLE)
}

/// Answers by a function from paths.
struct AnswersBy<A>(A);

impl<A: Fn(&str) -> Option<ProbeAnswer>> Answers for AnswersBy<A> {
    fn answer(&self, asked: &Asked) -> Vec<u8> {
        match (self.0)(&asked.path) {
            Some(ProbeAnswer { status, content_type, body }) => {
                written(status, content_type, &body, &date(), asked.wants)
            }
            None => refusal(404, &date(), asked.wants),
        }
    }

    fn refuse(&self, status: u16) -> Vec<u8> {
        refusal(status, &date(), Wants::Whole)
    }

    fn is_shared(&self, asked: &Asked) -> bool {
        asked.path == METRICS_PATH
    }
}

/// The present time as HTTP writes it: an answer must have it (RFC 9110, section 6.6.1).
fn date() -> String {
    httpdate::fmt_http_date(wall())
}

#[cfg(test)]
mod tests;
