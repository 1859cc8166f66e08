//! The words of the settings, once understood: each part of the agent takes the ones it needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::model::{PodIdentity, SecretName};
use crate::os::environment::Environment;
use crate::os::signal::Signal;
use crate::render::Layout;
use crate::render::decode::Decode;
use crate::render::name::Variables;
use crate::secret::Secret;

/// One half of the OAuth 2.0 pair, and where it comes from.
#[derive(Debug)]
pub enum Credential {
    /// Given in the environment.
    Given(Secret<String>),
    /// A file, read again at every login; one final newline is dropped.
    File {
        /// The variable that names the file, for errors.
        variable: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// A client certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// `SEGURA_CLIENT_CERT_FILE`.
    pub certificate: PathBuf,
    /// `SEGURA_CLIENT_KEY_FILE`.
    pub key: PathBuf,
}

/// How the vault is reached, and as whom.
#[derive(Debug)]
pub struct Vault {
    /// The base URL, without a trailing slash beyond the root's.
    pub url: Url,
    /// OAuth 2.0 client id.
    pub client_id: Credential,
    /// OAuth 2.0 client secret.
    pub client_secret: Credential,
    /// When set, the only roots trusted.
    pub ca_file: Option<PathBuf>,
    /// For authorizations that pin a fingerprint.
    pub client_certificate: Option<ClientCertificate>,
    /// Opens values that arrive encrypted.
    pub private_key_file: Option<PathBuf>,
    /// Sent as `Referer`.
    pub referer: Option<String>,
    /// One whole read.
    pub timeout: Duration,
    /// The connect part of any request.
    pub connect_timeout: Duration,
    /// One whole provisioning POST.
    pub provision_timeout: Duration,
    /// `HTTPS_PROXY`, which may hold a password.
    pub proxy: Option<Secret<String>>,
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl Vault {
    /// Every file that is read at a login or for a connection.
    pub fn files(&self) -> Vec<PathBuf> {
        let credential = |credential: &Credential| match credential {
            Credential::Given(_) => None,
            Credential::File { path, .. } => Some(path.clone()),
        };
        let certificate = self.client_certificate.as_ref();
        [
            credential(&self.client_id),
            credential(&self.client_secret),
            self.ca_file.clone(),
            certificate.map(|certificate| certificate.certificate.clone()),
            certificate.map(|certificate| certificate.key.clone()),
            self.private_key_file.clone(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The request that brings the set at start: `SEGURA_SOURCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchMode {
    /// `POST /iso/coe/dapp/provision`, one for each identity.
    Provision,
    /// `GET /iso/dapp/application`.
    Application,
    /// `GET /iso/sctm/secret/{identity}`, or the list.
    Secret,
}

impl FetchMode {
    /// The word of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Application => "application",
            Self::Secret => "secret",
        }
    }
}

/// How renewal asks, where the source is [`FetchMode::Provision`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// `GET` provision, until the vault proves to have no such route.
    Auto,
    /// `GET` provision.
    Get,
    /// `GET` application.
    Application,
    /// `GET` secret.
    Secret,
    /// `POST` provision.
    Post,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which request brings it.
    pub source: FetchMode,
    /// How renewal asks.
    pub refresh: Refresh,
    /// In the order they were named; none is all of the authorization.
    pub identities: Vec<SecretName>,
}

/// Modes and owners of what the agent creates.
#[derive(Clone, Debug)]
pub struct Access {
    /// Of files.
    pub file_mode: u32,
    /// Of folders.
    pub dir_mode: u32,
    /// Owner of both.
    pub uid: FileUid,
    /// Group of both.
    pub gid: FileGid,
    /// Files that are to have others; the first rule that matches counts.
    pub rules: Vec<FileRule>,
}

/// `SEGURA_FILE_UID`: the owner of what the agent creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileUid {
    /// The agent's own.
    Agent,
    /// This user.
    Id(u32),
}

/// `SEGURA_FILE_GID`: the group of what the agent creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileGid {
    /// The directory's if it is set-gid, else the agent's own.
    Inherited,
    /// This group.
    Id(u32),
}

/// What files are to have whose path inside the output directory matches; what is not said is as
/// for all files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// `*` stands for any part of a name, `**` for any number of folders.
    pub glob: String,
    /// The files' mode.
    pub mode: Option<u32>,
    /// Whose they are.
    pub uid: Option<u32>,
    /// Their group.
    pub gid: Option<u32>,
}

/// Whether a directory that is not in memory will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It is refused.
    Refuse,
    /// It is taken with a warning, as the historic sidecar's users expect.
    Warn,
    /// It is taken.
    Allow,
}

/// Where outputs go.
#[derive(Clone, Debug)]
pub struct Output {
    /// The one directory that all outputs live in.
    pub dir: PathBuf,
    /// Its last folder is ours to create: the historic layout's `senhasegura`.
    pub create_last: bool,
    /// Modes and owners.
    pub access: Access,
    /// Whether a disk will do.
    pub disk: Disk,
}

/// Where published secrets are kept.
#[derive(Clone, Debug)]
pub enum Destination {
    /// In files.
    Directory(Output),
    /// `SEGURA_OUTPUT=none`: in the memory of the agent alone.
    Memory,
}

impl Destination {
    /// Returns the output directory, if there is one.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Directory(output) => Some(&output.dir),
            Self::Memory => None,
        }
    }
}

/// What becomes of published files whose secret the vault no longer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAbsent {
    /// They stay.
    Keep,
    /// They go, on evidence.
    Remove,
}

/// What becomes of the command that `exec` runs when published bytes have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// It is sent `SEGURA_SIGNAL`.
    Signal,
    /// It is started anew.
    Restart,
    /// It is ended, and the agent with this code.
    Exit(u8),
    /// Nothing.
    Nothing,
}

/// How a set is kept, once it stands.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Who is told of a change.
    pub notify: Notify,
    /// What becomes of what the vault no longer names.
    pub on_absent: OnAbsent,
    /// How old a set may be.
    pub max_stale: MaxStale,
    /// Where `/livez`, `/readyz` and `/metrics` are answered.
    pub listen: Listen,
    /// The set is given back to the vault at the end.
    pub give_back: bool,
}

/// Who is told when published bytes have changed, and how.
#[derive(Clone, Debug)]
pub struct Notify {
    /// `SEGURA_SIGNAL`, for the processes that are signalled.
    pub signal: Signal,
    /// `SEGURA_SIGNAL_PROCESS`: processes of this name.
    pub process: Option<String>,
    /// `SEGURA_SIGNAL_PID_FILE`: the process that this file names.
    pub pid_file: Option<PathBuf>,
    /// `SEGURA_NOTIFY_COMMAND`: program and arguments.
    pub command: Option<Vec<String>>,
    /// `SEGURA_NOTIFY_URL`, on loopback.
    pub url: Option<Url>,
    /// What the command is given: the container's variables, without what is the agent's own.
    pub environment: Environment,
}

/// `SEGURA_STARTUP_TIMEOUT`: how long a start waits for its first set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupTimeout {
    /// It fails after this time.
    After(Duration),
    /// It waits for ever.
    Never,
}

/// `SEGURA_MAX_STALE`: the age beyond which a set is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStale {
    /// A set is stale after this time.
    After(Duration),
    /// No set is stale, however old it is.
    Never,
}

/// `SEGURA_LISTEN`: where probes are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At this address.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// `SEGURA_RENEW_INTERVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewInterval {
    /// From what the vault says of the secrets.
    Auto,
    /// Always this.
    Every(Duration),
    /// Never.
    Off,
}

/// How entries become variables: with one identity named to who fetches, and with several or none.
#[derive(Clone, Debug)]
pub struct Naming {
    pub(super) one: Variables,
    pub(super) several: Variables,
}

impl Naming {
    /// The names for so many identities.
    pub fn of(&self, identities: usize) -> &Variables {
        if identities == 1 { &self.one } else { &self.several }
    }
}

/// How the command is run.
#[derive(Clone, Debug)]
pub struct Running {
    /// The container's variables, without what is the agent's own.
    pub environment: Environment,
    /// How the entries are named that are put into it, if any are.
    pub entries: Option<Naming>,
    /// Entries that are base64.
    pub decode: Decode,
    /// An entry wins over a variable that the container sets.
    pub entries_win: bool,
    /// What becomes of the command when published bytes have changed.
    pub on_change: OnChange,
    /// It is started anew after a random part of this.
    pub splay: Duration,
    /// What stops it.
    pub stop_signal: Signal,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
}

/// Settings that are proven, with the warnings that they deserve.
#[derive(Debug)]
pub struct Proven<T> {
    /// The settings.
    pub settings: T,
    /// Lines for the user, each to be told once.
    pub warnings: Vec<String>,
}

impl<T> Proven<T> {
    /// Changes the settings, and keeps the warnings.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Proven<U> {
        Proven { settings: change(self.settings), warnings: self.warnings }
    }
}

/// The settings of every mode that fetches.
#[derive(Debug)]
pub struct Config {
    /// How the vault is reached.
    pub vault: Vault,
    /// Who this pod is.
    pub pod: PodIdentity,
    /// What is asked for.
    pub wanted: Wanted,
    /// What is rendered.
    pub layout: Layout,
    /// Where it goes.
    pub output: Destination,
    /// When a set is due again.
    pub renew: RenewInterval,
    /// How long the first fetch is retried.
    pub startup_timeout: StartupTimeout,
}

/// The settings that decide whether `exec` is only a reader.
#[derive(Debug)]
pub struct Whereabouts {
    /// The output directory, if the settings name one.
    pub dir: Option<PathBuf>,
    /// A vault is named.
    pub has_vault: bool,
}

/// The settings of a reader, which needs neither a vault nor a pod.
#[derive(Debug)]
pub struct Reading {
    /// The output directory.
    pub dir: PathBuf,
    /// How long the first set is waited for.
    pub startup_timeout: StartupTimeout,
    /// Its changes are followed.
    pub follows: bool,
    /// Who is told besides the command.
    pub notify: Notify,
    /// How the command is run.
    pub running: Running,
}

/// The settings of `check`.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// `SEGURA_OUTPUT=none`: nothing is written that could be looked at.
    Nothing,
    /// A directory.
    Watched(Watched),
}

/// A directory, and the greatest age of the set in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Watched {
    /// `SEGURA_OUTPUT_DIR`.
    pub dir: PathBuf,
    /// `SEGURA_MAX_STALE`.
    pub max_stale: MaxStale,
}
