//! Faults: which requests they meet, and what happens to those.

use serde::{Deserialize, Serialize};

/// Something that goes wrong with the requests it matches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A part of the path and query, in any case of letters; empty matches every request.
    #[serde(default)]
    pub path: String,
    /// The only method it meets.
    #[serde(default)]
    pub method: Option<String>,
    /// So many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// So many requests are met; for ever if it is left out.
    #[serde(default)]
    pub times: Option<u32>,
    /// Whether the vault still does what was asked.
    #[serde(default)]
    pub when: When,
    /// What happens.
    pub effect: Effect,
}

/// Whether the vault still does what the request asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Nothing is done.
    #[default]
    Before,
    /// It is done, and then the answer suffers.
    After,
}

/// What happens to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Another answer.
    Answer {
        /// The HTTP status.
        #[serde(default = "ok")]
        status: u16,
        /// Headers beside `Content-Type`, which follows from the body unless it is given.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// Sent as it is.
        #[serde(default)]
        body: String,
    },
    /// The right answer, late: the wait is before or after the work, by `when`.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// No answer, and the connection stays open.
    Hang,
    /// A full `Content-Length`, half of the body, and the connection is closed.
    Cut,
    /// The connection is reset.
    Reset,
    /// The right answer, and the connection is closed after it without a word.
    Close,
    /// A body that goes on and on.
    Flood {
        /// Where it ends after all.
        #[serde(default = "flood")]
        mib: u64,
    },
    /// JSON arrays within arrays.
    Nest {
        /// How many.
        #[serde(default = "depth")]
        depth: usize,
    },
    /// A redirect.
    Redirect {
        /// Where to.
        location: String,
    },
    /// The right answer, byte by byte.
    Drip {
        /// Milliseconds between two bytes.
        ms: u64,
    },
}

fn ok() -> u16 {
    200
}

fn flood() -> u64 {
    64
}

fn depth() -> usize {
    100_000
}

impl Fault {
    /// Meets every request whose path and query hold `path`, for ever, before anything is done.
    pub fn new(path: &str, effect: Effect) -> Self {
        Self {
            path: path.to_owned(),
            method: None,
            skip: 0,
            times: None,
            when: When::Before,
            effect,
        }
    }

    /// Another answer, of JSON or whatever the body looks like.
    pub fn answer(path: &str, status: u16, body: &str) -> Self {
        Self::new(path, Effect::Answer { status, headers: Vec::new(), body: body.to_owned() })
    }

    /// This body, with status 200.
    pub fn body(path: &str, body: &str) -> Self {
        Self::answer(path, 200, body)
    }

    /// The gateway's answer to a token that is no longer good.
    pub fn expired(path: &str) -> Self {
        Self::answer(path, 401, r#"{"exp":"token expired"}"#)
    }

    /// The gateway's answer to what it doesn't know or doesn't allow.
    pub fn no_route(path: &str) -> Self {
        Self::answer(path, 404, super::wire::NO_ROUTE)
    }

    /// Too many requests.
    pub fn rate_limit(path: &str, retry_after: &str) -> Self {
        let fault = Self::answer(path, 429, r#"{"message":"API rate limit exceeded"}"#);
        fault.header("Retry-After", retry_after)
    }

    /// A gateway that can't reach the vault.
    pub fn bad_gateway(path: &str) -> Self {
        let html = "<html><head><title>502 Bad Gateway</title></head></html>";
        Self::answer(path, 502, html)
    }

    /// The right answer, late.
    pub fn delay(path: &str, ms: u64) -> Self {
        Self::new(path, Effect::Delay { ms })
    }

    /// Adds a header to another answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Effect::Answer { headers, .. } = &mut self.effect {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Meets only this method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Meets so many requests.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Meets one request.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Lets so many matching requests pass first.
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Does what was asked, and then spoils the answer.
    pub fn after(mut self) -> Self {
        self.when = When::After;
        self
    }

    fn matches(&self, method: &str, target: &str) -> bool {
        self.method.as_ref().is_none_or(|only| only.eq_ignore_ascii_case(method))
            && target.to_ascii_lowercase().contains(&self.path.to_ascii_lowercase())
    }

    /// Whether this request is met; counts it either way.
    fn meets(&mut self, method: &str, target: &str) -> bool {
        if !self.matches(method, target) || self.times == Some(0) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.map(|left| left - 1);
        true
    }
}

/// The first fault that meets a request. Those behind it don't count the request.
pub fn meet(faults: &mut [Fault], method: &str, target: &str) -> Option<Fault> {
    faults.iter_mut().find_map(|fault| fault.meets(method, target).then(|| fault.clone()))
}
