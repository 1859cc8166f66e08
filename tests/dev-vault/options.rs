//! Options of a start of the vault: its address, its requirements, its faults.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;

use super::store::authorization::Resource;

/// How one vault starts, and how it behaves until the admin routes change it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Speak TLS. Plain HTTP otherwise.
    pub tls: bool,
    /// Which certificate the server shows.
    pub certificate: Certificate,
    /// More names for the server's certificate, beside loopback's.
    pub names: Vec<String>,
    /// Insist on a client certificate that the vault's own authority signed.
    pub client_certificate: bool,
    /// The authorization wants the very client certificate that this start makes.
    pub bind_certificate: bool,
    /// The fingerprint of the only client certificate that the authorization allows.
    pub fingerprint: Option<String>,
    /// Where everything that is stored is kept over a restart.
    pub state: Option<PathBuf>,
    /// A path in front of every route, such as `/vault`.
    pub base_path: String,
    /// The authorization's OAuth pair; made up at start where it is not given.
    pub client_id: Option<String>,
    /// See `client_id`.
    pub client_secret: Option<String>,
    /// How long a token lives, unless the request sets another time. Fractions are allowed.
    pub token_ttl: Duration,
    /// Every so often, passwords change and versions rise.
    pub rotate: Option<Duration>,
    /// Seconds by which the vault's wall clock (tokens, `Date`) is ahead.
    pub clock_shift: i64,
    /// Put a `TTL` with this text into provisioned entries.
    pub ttl: Option<String>,
    /// `GET` provision makes an account as well.
    pub get_provisions: bool,
    /// Where `GET` provision reads its fields, if it exists.
    pub get_provision: GetProvision,
    /// How an identity with slashes may be written in a path.
    pub slashes: Slashes,
    /// Whether sensitive values leave encrypted.
    pub encryption: Encryption,
    /// The only `Referer` the authorization allows.
    pub referer: Option<String>,
    /// The addresses the authorization allows, with `*` for any part; empty allows all.
    pub allowed_ips: Vec<String>,
    /// When the authorization ends, as `Y-m-d H:i:s`.
    pub expiration_date: Option<String>,
    /// What the authorization may be used for; empty allows all.
    pub resources: Vec<Resource>,
    /// Whether applications may be registered.
    pub registration: bool,
    /// Whether the authorization may use PAM at all.
    pub pam_access: bool,
    /// Whether the authorization may write PAM credentials.
    pub pam_write: bool,
    /// Start with the demo secrets. An empty application otherwise.
    pub demo_secrets: bool,
    /// How answers differ from the documented shape.
    pub quirks: Quirks,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: true,
            certificate: Certificate::Good,
            names: Vec::new(),
            client_certificate: false,
            bind_certificate: false,
            fingerprint: None,
            state: None,
            base_path: String::new(),
            client_id: None,
            client_secret: None,
            token_ttl: Duration::from_secs(3600),
            rotate: None,
            clock_shift: 0,
            ttl: None,
            get_provisions: false,
            get_provision: GetProvision::Both,
            slashes: Slashes::Both,
            encryption: Encryption::Off,
            referer: None,
            allowed_ips: Vec::new(),
            expiration_date: None,
            resources: Vec::new(),
            registration: true,
            pam_access: true,
            pam_write: true,
            demo_secrets: true,
            quirks: Quirks::default(),
        }
    }
}

/// The certificate the server shows. The authority in `ca_pem()` is the same in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Certificate {
    /// Valid for the loopback names, signed by the authority.
    Good,
    /// As good, but its time is over.
    Expired,
    /// As good, but for `elsewhere.invalid`.
    WrongName,
    /// Signed by an authority of the same name with another key.
    OtherCa,
    /// A leaf and an intermediate below a root that no client has.
    UnknownChain,
}

/// Where `GET` provision reads the secret's and the pod's fields.
///
/// One page alone names the route. It shows a JSON body as the request, which few clients send with
/// `GET`, and says nothing of a query; the other pages have `POST` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GetProvision {
    /// In the query alone.
    Query,
    /// In the body alone, as the page's example has it.
    Body,
    /// In the query, in the body, or in both; the body's win.
    Both,
    /// Nowhere: the gateway knows no such route.
    None,
}

/// How `/iso/sctm/secret/{identity}` takes an identity that holds a slash.
///
/// The documents don't say, so a client has to survive each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Slashes {
    /// As `%2F` and as it is.
    Both,
    /// Only as `%2F`.
    Encoded,
    /// Only as it is.
    Raw,
}

/// The authorization's "encryption of sensitive information".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Values leave as they are.
    Off,
    /// With a key made on first use in this process (2048 bits).
    Generated,
    /// With this PKCS#8 PEM key.
    Pem(String),
}

/// Shapes that real vaults have answered with, and that clients must take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// `data` is one flat object, the last entry winning.
    pub object_data: bool,
    /// The same in the answers of provision alone.
    pub object_provisioned: bool,
    /// The envelope has only `status`, `mensagem` and `erro`.
    pub portuguese_only: bool,
    /// Provision answers in `application.secrets`, not in `secret`.
    pub provision_in_application: bool,
    /// `secret_id` and `version` are numbers.
    pub numbers: bool,
    /// Empty metadata are null.
    pub nulls: bool,
    /// The status inside the envelope, where it differs from HTTP's.
    pub inner_status: Option<u16>,
}

impl Quirks {
    /// What releases before 4.0 answer. Their pages show `data` as an object in the answer of provision
    /// alone, and the vendor's clients of 2022 read an array everywhere else.
    pub fn legacy() -> Self {
        Self {
            object_provisioned: true,
            portuguese_only: true,
            provision_in_application: true,
            ..Self::default()
        }
    }
}
