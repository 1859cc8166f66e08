//! What all of the vendor's Go programs share: how a request looks, and what an answer must be.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::dev_vault::{DevVault, Options};

/// An answer, read as far as its `Content-Length` says.
pub struct Reply {
    pub status: u16,
    pub body: String,
}

/// `response` of the envelope: an integer here is no text, and a boolean is no number.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Response {
    #[serde(deserialize_with = "or_zero")]
    pub status: i64,
    #[serde(deserialize_with = "or_zero")]
    pub message: String,
    #[serde(deserialize_with = "or_zero")]
    pub error: bool,
    #[serde(deserialize_with = "or_zero")]
    pub error_code: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Application {
    #[serde(deserialize_with = "or_zero")]
    pub name: String,
    #[serde(deserialize_with = "or_zero")]
    pub description: String,
    #[serde(deserialize_with = "or_zero")]
    pub tags: Vec<String>,
    #[serde(deserialize_with = "or_zero")]
    pub system: String,
    #[serde(deserialize_with = "or_zero")]
    pub environment: String,
    #[serde(deserialize_with = "or_zero")]
    pub secrets: Vec<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Secret {
    #[serde(deserialize_with = "or_zero")]
    pub secret_id: String,
    #[serde(deserialize_with = "or_zero")]
    pub secret_name: String,
    #[serde(deserialize_with = "or_zero")]
    pub identity: String,
    #[serde(deserialize_with = "or_zero")]
    pub version: String,
    #[serde(deserialize_with = "or_zero")]
    pub expiration_date: String,
    #[serde(deserialize_with = "or_zero")]
    pub engine: String,
    #[serde(deserialize_with = "or_zero")]
    pub data: Vec<HashMap<String, Option<String>>>,
}

impl Secret {
    /// A value as these programs find it: the last one wins, and null is empty.
    pub fn value(&self, key: &str) -> Option<&str> {
        let found = self.data.iter().rev().find_map(|entry| entry.get(key))?;
        Some(found.as_deref().unwrap_or_default())
    }
}

/// Go reads null as the type's zero, and takes what is absent for it too.
pub fn or_zero<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Decodes an answer, or says how it fails to.
pub fn decode<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| format!("{error} in {body}"))
}

/// A vault over TLS that has nothing in it.
pub fn empty() -> DevVault {
    DevVault::start(Options { demo_secrets: false, ..Options::default() })
}

/// Sends a request as Go's `net/http` writes it, on a connection of its own as these programs do.
///
/// A form is encoded with its names in order. A GET with an empty form has a type and no body.
pub fn call(
    vault: &DevVault,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    form: &[(&str, &str)],
) -> Reply {
    let mut form = form.to_vec();
    form.sort_unstable();
    let mut coded = url::form_urlencoded::Serializer::new(String::new());
    let body = coded.extend_pairs(form).finish();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", vault.address());
    head += "User-Agent: Go-http-client/1.1\r\n";
    if method != "GET" || !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    if let Some(authorization) = authorization {
        head += &format!("Authorization: {authorization}\r\n");
    }
    head += "Content-Type: application/x-www-form-urlencoded\r\nAccept-Encoding: gzip\r\n\r\n";
    send(vault, &(head + &body))
}

/// Sends these bytes over TLS, and reads one answer.
pub fn send(vault: &DevVault, request: &str) -> Reply {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(vault.ca_pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(vault.address().ip());
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(vault.address()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(tls, tcp);
    stream.write_all(request.as_bytes()).unwrap();
    read(BufReader::new(stream))
}

fn read(mut stream: impl BufRead) -> Reply {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Reply { status, body: String::from_utf8(body).unwrap() }
}
