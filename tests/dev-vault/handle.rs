//! A vault as the process that started it sees it: how to start it, and where to find it.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;

use super::{
    options::Options,
    server::{self, Order, Shared},
    state::State,
    tls::Identity,
};

/// A running vault. Dropping it stops the vault and removes its files.
#[derive(Debug)]
pub struct DevVault {
    address: SocketAddr,
    base: String,
    tls: bool,
    client: (String, String),
    pub(super) shared: Shared,
    pub(super) orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
    ca_pem: String,
    files: Files,
}

/// Where a client finds what it needs; gone with the vault.
#[derive(Debug)]
struct Files {
    dir: TempDir,
    client_certificate: bool,
    private_key: bool,
}

impl DevVault {
    /// Starts a vault, and expects that this works.
    pub fn start(options: Options) -> Self {
        Self::try_start(options).expect("a vault on loopback can start")
    }

    /// Starts a vault on a thread of its own.
    pub fn try_start(mut options: Options) -> io::Result<Self> {
        let identity = Identity::new(&options).map_err(io::Error::other)?;
        if options.bind_certificate {
            options.fingerprint = Some(identity.client_fingerprint.clone());
        }
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tls = options.tls;
        let acceptor = tls.then(|| TlsAcceptor::from(identity.server.clone()));
        let base = match options.base_path.trim_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        let client_certificate = options.client_certificate || options.bind_certificate;
        let mut state = State::new(options)?;
        let files = Files {
            dir: tempfile::Builder::new().prefix("dev-vault-").tempdir()?,
            client_certificate,
            private_key: state.private_key_pem().is_some(),
        };
        files.write(&identity, state.private_key_pem())?;
        let owner = state.store.primary();
        let client = (owner.client_id.clone(), owner.client_secret.clone());
        let shared = Shared::new(state);

        let (orders, inbox) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = shared.clone();
        let thread = thread::Builder::new().name("dev-vault".to_owned()).spawn(move || {
            runtime
                .block_on(server::serve(listener, address, acceptor, serving, inbox))
                .expect("a bound listener can be served");
        })?;
        Ok(Self {
            address,
            base,
            tls,
            client,
            shared,
            orders: Some(orders),
            thread: Some(thread),
            ca_pem: identity.ca_pem,
            files,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to give to clients, with the base path.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin(), self.base)
    }

    /// Below this are the admin routes.
    pub fn admin_url(&self) -> String {
        format!("{}/_dev", self.origin())
    }

    fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The authority that signed its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The same as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.files.path("ca.pem")
    }

    /// A client certificate that the vault accepts.
    pub fn client_cert_file(&self) -> PathBuf {
        self.files.path("client.pem")
    }

    /// The key of the client certificate.
    pub fn client_key_file(&self) -> PathBuf {
        self.files.path("client.key")
    }

    /// The key that opens encrypted values; exists if encryption is on.
    pub fn private_key_file(&self) -> PathBuf {
        self.files.path("private.key")
    }

    /// A directory that goes with the vault.
    pub fn dir(&self) -> &Path {
        self.files.dir.path()
    }

    /// Half of the OAuth pair.
    pub fn client_id(&self) -> &str {
        &self.client.0
    }

    /// The other half.
    pub fn client_secret(&self) -> &str {
        &self.client.1
    }

    /// The environment by which an agent finds this vault and gets in.
    pub fn env(&self) -> Vec<(String, String)> {
        let file = |name: &str| self.files.path(name).display().to_string();
        let mut env = vec![
            ("SEGURA_URL", self.url()),
            ("SEGURA_CLIENT_ID", self.client.0.clone()),
            ("SEGURA_CLIENT_SECRET", self.client.1.clone()),
        ];
        if self.tls {
            env.push(("SEGURA_CA_FILE", file("ca.pem")));
        }
        if self.files.client_certificate {
            env.push(("SEGURA_CLIENT_CERT_FILE", file("client.pem")));
            env.push(("SEGURA_CLIENT_KEY_FILE", file("client.key")));
        }
        if self.files.private_key {
            env.push(("SEGURA_PRIVATE_KEY_FILE", file("private.key")));
        }
        env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Drop for DevVault {
    fn drop(&mut self) {
        // The server ends when no handle is left.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, identity: &Identity, private_key: Option<&str>) -> io::Result<()> {
        fs::write(self.path("ca.pem"), &identity.ca_pem)?;
        fs::write(self.path("client.pem"), &identity.client_pem)?;
        fs::write(self.path("client.key"), &identity.client_key_pem)?;
        if let Some(pem) = private_key {
            fs::write(self.path("private.key"), pem)?;
        }
        Ok(())
    }
}
