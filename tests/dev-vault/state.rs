//! Everything a vault knows while it runs, behind one lock.

use std::{io, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    call::{Call, Request},
    encrypt::Sealer,
    fault::{self, Fault},
    options::{Encryption, Options},
    persist::Keeper,
    store::{Store, date},
    tokens::{Tokens, wall_clock},
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
    /// Why the state file could not be written, if it couldn't.
    pub unsaved: Option<String>,
    sealer: Option<Arc<Sealer>>,
    keeper: Option<Keeper>,
    asked: usize,
    start: Instant,
}

impl State {
    /// A vault without a request, with the stored data of an earlier one.
    ///
    /// What the options state of the authorization goes before what was kept of it.
    pub fn new(options: Options) -> io::Result<Self> {
        let opened = options.state.as_deref().map(Keeper::open).transpose()?;
        let (keeper, kept) = opened.map_or((None, None), |(keeper, kept)| (Some(keeper), kept));
        let (store, kept_key) = match kept {
            Some(mut kept) => {
                kept.store.direct(&options);
                (kept.store, kept.private_key)
            }
            None => (Store::new(&options), None),
        };
        let encryption = match (&options.encryption, kept_key) {
            (Encryption::Pem(_), _) | (_, None) => options.encryption.clone(),
            (_, Some(pem)) => Encryption::Pem(pem),
        };
        let sealer = Sealer::new(&encryption).map_err(io::Error::other)?;
        let mut state = Self {
            store,
            options,
            tokens: Tokens::new(),
            faults: Vec::new(),
            requests: Vec::new(),
            connections: 0,
            tls_errors: Vec::new(),
            unsaved: None,
            sealer: sealer.map(Arc::new),
            keeper,
            asked: 0,
            start: Instant::now(),
        };
        state.save()?;
        Ok(state)
    }

    /// How long the vault has been running.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The wall clock, as the vault spells dates.
    pub fn now(&self) -> String {
        date::of(wall_clock(self.options.clock_shift))
    }

    /// The shape of answers that hold no values.
    pub fn wire(&self) -> Wire {
        Wire { quirks: self.options.quirks, sealer: None }
    }

    /// The shape of answers to an authorization.
    pub fn wire_for(&self, authorization: u32) -> Wire {
        let seals = self.store.place(authorization).is_some_and(|(_, known)| known.encryption);
        let sealer = self.sealer.clone().filter(|_| seals);
        Wire { sealer, ..self.wire() }
    }

    /// Makes the key that encryption needs, unless there is one.
    pub fn ensure_sealer(&mut self) {
        if self.sealer.is_none() {
            // A generated key is always valid.
            self.sealer = Sealer::new(&Encryption::Generated).ok().flatten().map(Arc::new);
        }
    }

    /// Writes what survives a restart, where that is wanted and something has changed.
    pub fn save(&mut self) -> io::Result<()> {
        let Some(keeper) = &mut self.keeper else {
            return Ok(());
        };
        let key = self.sealer.as_ref().map(|sealer| sealer.private_key_pem.as_str());
        let saved = keeper.save(&self.store, key);
        self.unsaved = saved.as_ref().err().map(ToString::to_string);
        saved
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
