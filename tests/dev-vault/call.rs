//! A request as routes see it, and its parameters from every place.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hyper::{HeaderMap, Method, body::Bytes, header::CONTENT_TYPE};
use serde::Serialize;

use super::store::data::{Fields, raw_text};

/// A request that was read to its end.
#[derive(Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path as it was sent.
    pub path: String,
    /// What stood behind the question mark.
    pub query: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who sent it.
    pub peer: SocketAddr,
    /// The client's certificate, as DER.
    pub certificate: Option<Vec<u8>>,
}

/// A request as it is remembered.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Counts from 1, over all connections.
    pub number: usize,
    /// Its method.
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    /// What was answered; nothing if no answer was even begun.
    pub status: Option<u16>,
    /// Counts from 1.
    pub connection: usize,
    /// When it had arrived, since the vault's start.
    #[serde(serialize_with = "millis", rename = "at_ms")]
    pub at: Duration,
}

/// The sides of a request that hold its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// The query alone.
    Query,
    /// The body alone.
    Body,
    /// Both.
    Both,
}

impl Request {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// Whether method and a part of path and query are these.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }
}

impl Call {
    /// Path and query as they were sent.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The request to remember.
    pub fn record(&self, number: usize, connection: usize, at: Duration) -> Request {
        Request {
            number,
            method: self.method.to_string(),
            target: self.target(),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    (name.to_string(), value.into_owned())
                })
                .collect(),
            body: String::from_utf8_lossy(&self.body).into_owned(),
            status: None,
            connection,
            at,
        }
    }

    /// The parameters of query and body, names in lower case; the body's come last and so win.
    ///
    /// Takes JSON, multipart and forms, and JSON that nothing announces.
    pub fn params(&self) -> Result<Fields, &'static str> {
        self.params_of(Sides::Both)
    }

    /// The parameters of one side, or of both.
    pub fn params_of(&self, sides: Sides) -> Result<Fields, &'static str> {
        let query = self.query.as_deref().filter(|_| sides != Sides::Body);
        let mut params = form(query.unwrap_or_default().as_bytes());
        if sides == Sides::Query {
            return Ok(lower_case(params));
        }
        let kind = self.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let body = if kind.contains("json") || self.body.trim_ascii_start().starts_with(b"{") {
            if self.body.trim_ascii().is_empty() {
                Fields::default()
            } else {
                serde_json::from_slice(&self.body).map_err(|_| "Invalid JSON")?
            }
        } else if let Some((_, boundary)) = kind.split_once("boundary=") {
            let body = str::from_utf8(&self.body).map_err(|_| "Invalid multipart")?;
            multipart(body, boundary.trim_matches('"'))
        } else {
            form(&self.body)
        };
        params.0.extend(body.0);
        Ok(lower_case(params))
    }
}

fn lower_case(mut params: Fields) -> Fields {
    for (name, _) in &mut params.0 {
        name.make_ascii_lowercase();
    }
    params
}

fn form(text: &[u8]) -> Fields {
    let pairs = url::form_urlencoded::parse(text);
    Fields(pairs.map(|(name, value)| (name.into_owned(), raw_text(&value))).collect())
}

fn multipart(body: &str, boundary: &str) -> Fields {
    let part = |part: &str| {
        let (head, value) = part.strip_prefix("\r\n")?.split_once("\r\n\r\n")?;
        let (_, name) = head.split_once("name=\"")?;
        let (name, _) = name.split_once('"')?;
        Some((name.to_owned(), raw_text(value.strip_suffix("\r\n")?)))
    };
    let boundary = format!("--{boundary}");
    Fields(body.split(&boundary).filter_map(part).collect())
}

/// Decodes base64: standard, URL-safe, or with commas for padding, and with or without it.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let plain: String = text
        .chars()
        .filter(|symbol| !symbol.is_ascii_whitespace())
        .map(|symbol| match symbol {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    STANDARD_NO_PAD.decode(plain.trim_end_matches(['=', ','])).ok()
}

/// Decodes `%XX`; what isn't such an escape stays.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let code = after.get(..2).filter(|code| code.is_ascii());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn millis<S: serde::Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(at.as_millis())
}
