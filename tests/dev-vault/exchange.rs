//! One request and its answer, with whatever fault meets it.

use std::{
    future, io,
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION},
};
use tokio::time::sleep;

use super::{
    admin,
    call::Call,
    fault::{Effect, Fault, When},
    payload::Payload,
    routes,
    server::Shared,
    socket::End,
    tokens::wall_clock,
    wire::Answer,
};

/// No request is longer than this.
const LONGEST: usize = 4 << 20;

/// One connection, as its requests see it.
pub struct Connection {
    /// Counts from 1.
    pub number: usize,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// The vault.
    pub shared: Shared,
    /// How it shall end.
    pub end: End,
    /// The client's certificate, as DER.
    pub certificate: Option<Vec<u8>>,
}

/// Answers one request. An error closes the connection without an answer.
pub async fn exchange(
    connection: &Connection,
    request: Request<Incoming>,
) -> io::Result<Response<Payload>> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LONGEST).collect().await else {
        return Err(io::Error::other("the request broke off, or is too long"));
    };
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body: body.to_bytes(),
        peer: connection.peer,
        certificate: connection.certificate.clone(),
    };
    let shared = &connection.shared;
    if let Some(answer) = admin::answer(&mut shared.lock(), &call) {
        return respond(answer, Payload::whole);
    }
    let (number, fault) = shared.lock().admit(&call, connection.number);
    let mut response = match fault {
        None => respond(act(shared, &call), Payload::whole)?,
        Some(fault) => suffer(connection, &call, fault).await?,
    };
    let mut state = shared.lock();
    if state.options.clock_shift != 0 {
        let now = wall_clock(state.options.clock_shift);
        let now = UNIX_EPOCH + Duration::from_secs(now.unsigned_abs());
        let date = HeaderValue::from_str(&httpdate::fmt_http_date(now));
        response.headers_mut().extend(date.map(|date| (DATE, date)));
    }
    state.settle(number, response.status().as_u16());
    Ok(response)
}

/// Does what was asked. Nothing counts as done that could not be kept.
fn act(shared: &Shared, call: &Call) -> Answer {
    let mut state = shared.lock();
    let answer = routes::answer(&mut state, call);
    match state.save() {
        Ok(()) => answer,
        Err(_) => state.wire().unexpected(),
    }
}

async fn suffer(
    connection: &Connection,
    call: &Call,
    fault: Fault,
) -> io::Result<Response<Payload>> {
    let act = || act(&connection.shared, call);
    // Some effects need the right answer; the others get it only where it was asked for.
    let done = (fault.when == When::After).then(act);
    match fault.effect {
        Effect::Answer { status, headers, body } => {
            respond(Answer { status, headers, body }, Payload::whole)
        }
        Effect::Delay { ms } => {
            sleep(Duration::from_millis(ms)).await;
            respond(done.unwrap_or_else(act), Payload::whole)
        }
        Effect::Hang => future::pending().await,
        Effect::Cut => {
            let whole = done.unwrap_or_else(|| Answer::raw(200, r#"{"response":{"status":200,"#));
            let length = whole.body.len();
            let mut response = respond(whole, Payload::cut)?;
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            Ok(response)
        }
        Effect::Reset => {
            connection.end.reset();
            Err(io::Error::other("reset as asked"))
        }
        Effect::Close => {
            connection.end.close();
            respond(done.unwrap_or_else(act), Payload::whole)
        }
        Effect::Flood { mib } => respond(Answer::raw(200, "{"), |_| Payload::Flood(mib << 20)),
        Effect::Nest { depth } => {
            let body = "[".repeat(depth) + &"]".repeat(depth);
            respond(Answer::raw(200, body), Payload::whole)
        }
        Effect::Redirect { location } => {
            let mut answer = Answer::raw(302, "");
            answer.headers.push((LOCATION.to_string(), location));
            respond(answer, Payload::whole)
        }
        Effect::Drip { ms } => {
            let pause = Duration::from_millis(ms);
            respond(done.unwrap_or_else(act), |body| Payload::drip(body, pause))
        }
    }
}

/// The answer as hyper takes it. A fault's own status or header may not be one, which is an error.
fn respond(
    answer: Answer,
    payload: impl FnOnce(String) -> Payload,
) -> io::Result<Response<Payload>> {
    let kind = match answer.body.trim_start().chars().next() {
        Some('<') => "text/html",
        Some('{' | '[') | None => "application/json",
        Some(_) => "text/plain",
    };
    let mut response = Response::new(payload(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in answer.headers {
        let name: HeaderName = name.parse().map_err(io::Error::other)?;
        let value = HeaderValue::from_str(&value).map_err(io::Error::other)?;
        if name == CONTENT_TYPE {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    Ok(response)
}
