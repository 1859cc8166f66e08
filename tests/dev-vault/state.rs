//! Everything a vault knows while it runs, behind one lock.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    call::{Call, Request},
    fault::{self, Fault},
    options::Options,
    seal::Sealer,
    store::Store,
    tokens::Tokens,
    wire::Wire,
};

/// What a vault knows while it runs.
#[derive(Debug)]
pub struct State {
    /// How it behaves now.
    pub options: Options,
    /// What it holds.
    pub store: Store,
    /// What it has let in.
    pub tokens: Tokens,
    /// What goes wrong, in the order it was asked for.
    pub faults: Vec<Fault>,
    /// What it was asked, except by the admin routes.
    pub requests: Vec<Request>,
    /// How many connections it has accepted.
    pub connections: usize,
    /// Handshakes that failed, in rustls's words.
    pub tls_errors: Vec<String>,
    sealer: Option<Arc<Sealer>>,
    asked: usize,
    start: Instant,
}

impl State {
    /// A vault that nobody has spoken to.
    pub fn new(options: Options, sealer: Option<Sealer>) -> Self {
        Self {
            store: Store::new(&options),
            options,
            tokens: Tokens::new(),
            faults: Vec::new(),
            requests: Vec::new(),
            connections: 0,
            tls_errors: Vec::new(),
            sealer: sealer.map(Arc::new),
            asked: 0,
            start: Instant::now(),
        }
    }

    /// How long the vault has been running.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The shape of answers now.
    pub fn wire(&self) -> Wire {
        Wire { quirks: self.options.quirks, sealer: self.sealer.clone() }
    }

    /// The key that opens what the vault encrypts.
    pub fn private_key_pem(&self) -> Option<&str> {
        Some(&self.sealer.as_ref()?.private_key_pem)
    }

    /// Remembers a request, and finds the fault that meets it.
    pub fn admit(&mut self, call: &Call, connection: usize) -> (usize, Option<Fault>) {
        self.asked += 1;
        let record = call.record(self.asked, connection, self.elapsed());
        let fault = fault::meet(&mut self.faults, &record.method, &record.target);
        self.requests.push(record);
        (self.asked, fault)
    }

    /// Remembers what a request was answered.
    pub fn settle(&mut self, number: usize, status: u16) {
        let record = self.requests.iter_mut().rev();
        if let Some(record) = record.into_iter().find(|known| known.number == number) {
            record.status = Some(status);
        }
    }
}
