//! The types of all settings, once parsed: each part of the agent takes those that it needs.

use std::fmt;
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

/// The source of one half of the OAuth 2.0 pair.
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

/// Settings of the vault.
#[derive(Debug)]
pub struct Vault {
    /// The base URL, without a trailing slash beyond the root's.
    pub url: Url,
    /// OAuth 2.0 client id.
    pub client_id: Credential,
    /// OAuth 2.0 client secret.
    pub client_secret: Credential,
    /// The only roots trusted, if it is given.
    pub ca_file: Option<PathBuf>,
    /// The certificate for authorizations that pin a fingerprint.
    pub client_certificate: Option<ClientCertificate>,
    /// The key that decrypts values of an authorization that encrypts.
    pub private_key_file: Option<PathBuf>,
    /// The `Referer` of every request.
    pub referer: Option<String>,
    /// The timeout of one whole read.
    pub timeout: Duration,
    /// The limit of the connect part of any request.
    pub connect_timeout: Duration,
    /// The timeout of one whole provisioning POST.
    pub provision_timeout: Duration,
    /// `HTTPS_PROXY`, which may hold a password.
    pub proxy: Option<Secret<String>>,
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl Vault {
    /// Lists the files that are read at a login or for a connection.
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
    /// Returns the word of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Application => "application",
            Self::Secret => "secret",
        }
    }
}

/// `SEGURA_REFRESH`: the request of a renewal, where the source is [`FetchMode::Provision`].
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

/// The secrets to fetch, and the requests that fetch them.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The request at start.
    pub source: FetchMode,
    /// The request of a renewal.
    pub refresh: Refresh,
    /// The identities in the order of the setting; an empty list means all of the authorization.
    pub identities: Vec<SecretName>,
}

/// A word of `SEGURA_OUTPUT`: a form in which secrets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// One file for each key.
    Files,
    /// Lines of variables, in a dialect.
    Env,
    /// One JSON object.
    Json,
    /// One YAML mapping.
    Yaml,
    /// Java properties.
    Properties,
}

impl OutputFormat {
    /// Parses the word; none if there is no such format.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "files" => Some(Self::Files),
            "env" => Some(Self::Env),
            "json" => Some(Self::Json),
            "yaml" => Some(Self::Yaml),
            "properties" => Some(Self::Properties),
            _ => None,
        }
    }
}

/// Modes and owners of files and folders that the agent creates.
#[derive(Clone, Debug)]
pub struct Access {
    /// Mode of files.
    pub file_mode: u32,
    /// Mode of folders.
    pub dir_mode: u32,
    /// Owner of both.
    pub uid: FileUid,
    /// Group of both.
    pub gid: FileGid,
    /// Exceptions; the first rule that matches a file counts.
    pub rules: Vec<FileRule>,
}

/// `SEGURA_FILE_UID`: the owner of files and folders that the agent creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileUid {
    /// The agent's own.
    Agent,
    /// This user.
    Id(u32),
}

/// `SEGURA_FILE_GID`: the group of files and folders that the agent creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileGid {
    /// The directory's if it is set-gid, else the agent's own.
    Inherited,
    /// This group.
    Id(u32),
}

/// Mode and owners of the files whose path in the output directory matches; absent fields are those
/// of all files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// `*` stands for any part of a name, `**` for any number of folders.
    pub glob: String,
    /// The files' mode.
    pub mode: Option<u32>,
    /// Their owner.
    pub uid: Option<u32>,
    /// Their group.
    pub gid: Option<u32>,
}

/// The treatment of an output directory on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It is refused.
    Refuse,
    /// It is accepted with a warning, as users of the historic sidecar expect.
    Warn,
    /// It is accepted.
    Allow,
}

/// The output directory.
#[derive(Clone, Debug)]
pub struct Output {
    /// The path of the directory, which holds all outputs.
    pub dir: PathBuf,
    /// The agent creates its last folder: `senhasegura`, in the layout of the historic sidecar.
    pub create_last: bool,
    /// Modes and owners.
    pub access: Access,
    /// Its treatment if it is on a disk.
    pub disk: Disk,
}

/// The destination of published secrets.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Files in a directory.
    Directory(Output),
    /// The memory of the agent alone, with `SEGURA_OUTPUT=none`.
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

/// `SEGURA_ON_ABSENT`: the treatment of published files whose secret the vault no longer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAbsent {
    /// They stay.
    Keep,
    /// They are removed, on evidence.
    Remove,
}

/// `SEGURA_ON_CHANGE`: the action on the command of `exec` when published bytes have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// It is sent `SEGURA_SIGNAL`.
    Signal,
    /// It is restarted.
    Restart,
    /// It is ended, and the agent with this code.
    Exit(u8),
    /// No action.
    Nothing,
}

/// `SEGURA_SANDBOX`: the rules by which the kernel holds `sidecar` to what it needs after its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// There are none.
    Off,
    /// They are as many as the kernel and the other settings allow.
    Auto,
    /// Rules on files are among them, or the start fails.
    Require,
}

/// Settings of a mode that renews.
#[derive(Clone, Debug)]
pub struct Renewing {
    /// The receivers of a notification.
    pub notify: Notify,
    /// The age beyond which a set is not ready.
    pub max_stale: MaxStale,
    /// The address of `/livez`, `/readyz` and `/metrics`.
    pub listen: Listen,
    /// The agent deprovisions the set at the end.
    pub deprovisions: bool,
    /// The sandbox of `sidecar`.
    pub sandbox: Sandbox,
}

/// The receivers of a notification that published bytes have changed.
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
    /// The environment of the command: the variables of the container, without those of the agent.
    pub environment: Environment,
}

/// `SEGURA_STARTUP_TIMEOUT`: the limit of the wait for the first set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupTimeout {
    /// It fails after this time.
    After(Duration),
    /// It waits without end.
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

/// `SEGURA_LISTEN`: the address of the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At this address.
    At(ProbeAddress),
    /// Nowhere.
    Off,
}

/// The address that probes are answered at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAddress {
    /// This address and port.
    One(SocketAddr),
    /// This port of every address, of IPv6 and IPv4; of IPv4 where there is no IPv6.
    Every {
        /// The port.
        port: u16,
    },
}

impl fmt::Display for ProbeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => write!(f, "{address}"),
            Self::Every { port } => write!(f, ":{port}"),
        }
    }
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

/// The naming of entries in the environment: for one named identity, and for several or none.
#[derive(Clone, Debug)]
pub struct Naming {
    pub(super) one: Variables,
    pub(super) several: Variables,
}

impl Naming {
    /// Selects the naming for this number of identities.
    pub fn of(&self, identities: usize) -> &Variables {
        if identities == 1 { &self.one } else { &self.several }
    }
}

/// Settings of the command of `exec`.
#[derive(Clone, Debug)]
pub struct Running {
    /// The variables of the container, without those of the agent.
    pub environment: Environment,
    /// The naming of entries in the environment, if it gets them.
    pub entries: Option<Naming>,
    /// Entries that are base64.
    pub decode: Decode,
    /// An entry wins over a variable that the container sets.
    pub entries_win: bool,
    /// The action on the command when published bytes have changed.
    pub on_change: OnChange,
    /// The upper bound of the random wait before a restart.
    pub splay: Duration,
    /// The signal that stops it.
    pub stop_signal: Signal,
    /// The limit of a stop, before SIGKILL.
    pub stop_timeout: Duration,
}

/// The settings of every mode that fetches.
#[derive(Debug)]
pub struct Config {
    /// The vault.
    pub vault: Vault,
    /// The identity of the pod.
    pub pod: PodIdentity,
    /// The secrets to fetch.
    pub wanted: Wanted,
    /// The files to render.
    pub layout: Layout,
    /// The destination of the files.
    pub output: Destination,
    /// The interval of renewals.
    pub renew: RenewInterval,
    /// The limit of the first fetch.
    pub startup_timeout: StartupTimeout,
    /// The treatment of secrets that the vault no longer names, or refuses for good.
    pub on_absent: OnAbsent,
}

/// The settings that decide whether `exec` is only a reader.
#[derive(Debug)]
pub struct Whereabouts {
    /// The output directory, if the settings name one.
    pub dir: Option<PathBuf>,
    /// The user of the agent that publishes there.
    pub agent_uid: AgentUid,
    /// A vault is named.
    pub has_vault: bool,
}

/// `SEGURA_AGENT_UID`: the user of the agent whose sets a reader takes, besides its own user and
/// root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentUid {
    /// The owner of the first set that the reader sees.
    #[default]
    FirstSeen,
    /// This user.
    Id(u32),
}

/// The settings of a reader, which needs neither a vault nor a pod.
#[derive(Debug)]
pub struct Reading {
    /// The output directory.
    pub dir: PathBuf,
    /// The user of the agent that publishes there.
    pub agent_uid: AgentUid,
    /// The limit of the wait for the first set.
    pub startup_timeout: StartupTimeout,
    /// The reader follows changes of the set.
    pub follows: bool,
    /// The receivers of a notification besides the command.
    pub notify: Notify,
    /// The command.
    pub running: Running,
}

/// The settings of `check`.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// No directory: `SEGURA_OUTPUT=none` writes no file.
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
    /// The user of the agent that publishes there.
    pub agent_uid: AgentUid,
}
