//! The least that any program can do for the same files: std's sockets, rustls with ring, two
//! requests on one connection, one plain write a file. The benches measure the agent against it.
//!
//! It takes the agent's environment, checks the same certificate, and knows one answer only.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Outcome<()> {
    let environment = Environment::read();
    let mut vault = Vault::connect(&environment)?;
    let form = Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", environment.get("SEGURA_CLIENT_ID")?)
        .append_pair("client_secret", environment.get("SEGURA_CLIENT_SECRET")?)
        .finish();
    let head = "content-type: application/x-www-form-urlencoded\r\n";
    let answer = vault.post("/iso/oauth2/token", head, &form)?;
    let token = text(&answer, "/access_token")?;

    let identity = environment.get("SEGURA_IDENTITY")?;
    let pod = json!({
        "identity": identity,
        "pod_name": environment.get("SEGURA_POD_NAME")?,
        "deploy": environment.get("SEGURA_DEPLOY")?,
        "namespace": environment.get("SEGURA_NAMESPACE")?,
    });
    let head = format!("content-type: application/json\r\nauthorization: Bearer {token}\r\n");
    let answer = vault.post("/iso/coe/dapp/provision", &head, &pod.to_string())?;
    write(&answer, &Path::new(environment.get("SEGURA_OUTPUT_DIR")?).join(identity))
}

/// One file a key, with the last entry's value; of several entries each also by its number.
fn write(answer: &Value, folder: &Path) -> Outcome<()> {
    fs::create_dir(folder)?;
    let entries = answer.pointer("/secret/data").and_then(Value::as_array).ok_or("no data")?;
    for (entry, number) in entries.iter().filter_map(Value::as_object).zip(1..) {
        let apart = folder.join(format!("{number}"));
        if entries.len() > 1 {
            fs::create_dir(&apart)?;
        }
        for (key, value) in entry {
            let value = value.as_str().unwrap_or_default();
            fs::write(folder.join(key), value)?;
            if entries.len() > 1 {
                fs::write(apart.join(key), value)?;
            }
        }
    }
    Ok(())
}

fn text<'a>(answer: &'a Value, pointer: &str) -> Outcome<&'a str> {
    Ok(answer.pointer(pointer).and_then(Value::as_str).ok_or("not the answer that was expected")?)
}

struct Environment(BTreeMap<String, String>);

impl Environment {
    fn read() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    fn get(&self, name: &str) -> Outcome<&str> {
        Ok(self.0.get(name).ok_or_else(|| format!("{name} is not set"))?)
    }
}

struct Vault {
    host: String,
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Vault {
    fn connect(environment: &Environment) -> Outcome<Self> {
        let address = environment.get("SEGURA_URL")?.strip_prefix("https://").ok_or("no https")?;
        let (host, _) = address.rsplit_once(':').ok_or("no port")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(environment.get("SEGURA_CA_FILE")?)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(host.to_owned())?;
        let tls = ClientConnection::new(Arc::new(config), name)?;
        Ok(Self { host: address.to_owned(), stream: StreamOwned::new(tls, tcp) })
    }

    fn post(&mut self, path: &str, head: &str, body: &str) -> Outcome<Value> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n{head}content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        loop {
            if let Some(body) = whole_body(&answer)? {
                return Ok(serde_json::from_slice(body)?);
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }
}

/// The body, once all of it is there.
fn whole_body(answer: &[u8]) -> Outcome<Option<&[u8]>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = answer.split_at(end + 4);
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        return Err(format!("{head:?}").into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.ok_or("no length")?.trim().parse()?;
    Ok(body.get(..length))
}
