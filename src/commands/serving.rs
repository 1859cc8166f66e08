//! `/livez`, `/readyz` and `/metrics` beside a mode that renews.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::settings::{Destination, Listen, Renewing};
use crate::exit::{Exit, Failure};
use crate::os::clock;
use crate::probes::server::{self, ProbeServer};
use crate::probes::{Board, Facts};
use crate::store::state::Agent;

/// Runs a mode to its end, and answers probes meanwhile if `SEGURA_LISTEN` gives an address.
pub(super) async fn serving<T>(
    renewing: &Renewing,
    output: &Destination,
    board: Rc<RefCell<Board>>,
    running: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Listen::At(address) = renewing.listen else {
        return running.await;
    };
    let server = ProbeServer::bind(address).map_err(|error| {
        Failure::said(Exit::Settings, format!("cannot listen on {address}: {error}"))
            .hint(Some("SEGURA_LISTEN must be an address of the pod and a free port"))
    })?;
    let place = output.dir().map(|dir| dir.display().to_string());
    let place = place.unwrap_or_else(|| "memory".to_owned());
    let answer = |path: &str| {
        let board = board.borrow();
        let agent = if board.state.is_some() { Agent::Running } else { Agent::Starting };
        let facts = Facts {
            place: &place,
            state: board.state.as_ref(),
            whole: board.state.is_some(),
            agent,
            boot: clock::boot(),
            max_stale: renewing.max_stale,
        };
        server::answer(path, &facts, &board.counters)
    };
    tokio::select! {
        // The mode begins before the first connection is accepted: it enters its sandbox first.
        biased;
        ended = running => ended,
        never = server.serve(answer) => match never {},
    }
}
