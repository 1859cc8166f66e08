//! The variables of the interface: their names, their defaults and their lines in the help.

/// A group of variables in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The vault.
    Vault,
    /// The identity of the pod.
    Pod,
    /// The secrets to fetch.
    Fetch,
    /// The output.
    Write,
    /// Notifying the main process.
    Notify,
    /// The command of `exec`.
    Exec,
    /// Observing the agent: log, probes, metrics.
    Watch,
}

impl Group {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 7] =
        [Self::Vault, Self::Pod, Self::Fetch, Self::Write, Self::Notify, Self::Exec, Self::Watch];

    /// Returns the heading of the group in the help.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vault => "The vault",
            Self::Pod => "The pod",
            Self::Fetch => "The secrets to fetch",
            Self::Write => "The output",
            Self::Notify => "Notifying the main process",
            Self::Exec => "The command of exec",
            Self::Watch => "Observing the agent",
        }
    }
}

/// One variable of the interface.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its group in the help.
    pub group: Group,
    /// Its default, in words.
    pub default: &'static str,
    /// Its meaning, in a few words.
    pub meaning: &'static str,
}

/// Every variable that starts with `SEGURA_`.
pub const VARIABLES: &[Variable] = &[
    variable(
        "SEGURA_URL",
        Group::Vault,
        "required",
        "the vault's base URL; https, a path prefix is kept",
    ),
    variable(
        "SEGURA_CLIENT_ID",
        Group::Vault,
        "required",
        "OAuth 2.0 client id of the authorization; or SEGURA_CLIENT_ID_FILE",
    ),
    variable(
        "SEGURA_CLIENT_ID_FILE",
        Group::Vault,
        "none",
        "file of the client id; read again at every login and watched, one final newline dropped",
    ),
    variable(
        "SEGURA_CLIENT_SECRET",
        Group::Vault,
        "required",
        "OAuth 2.0 client secret of the authorization; or SEGURA_CLIENT_SECRET_FILE",
    ),
    variable(
        "SEGURA_CLIENT_SECRET_FILE",
        Group::Vault,
        "none",
        "file of the client secret; read like the file of the client id",
    ),
    variable(
        "SEGURA_ALLOW_HTTP",
        Group::Vault,
        "false",
        "allow plain http to a host that is not loopback",
    ),
    variable(
        "SEGURA_CA_FILE",
        Group::Vault,
        "built-in roots",
        "PEM bundle of CAs; it replaces the built-in roots",
    ),
    variable(
        "SEGURA_CLIENT_CERT_FILE",
        Group::Vault,
        "none",
        "client certificate, PEM, for authorizations that pin its fingerprint",
    ),
    variable("SEGURA_CLIENT_KEY_FILE", Group::Vault, "none", "key of the client certificate, PEM"),
    variable(
        "SEGURA_PRIVATE_KEY_FILE",
        Group::Vault,
        "none",
        "private key of the authorization (PKCS#8 PEM), to decrypt values",
    ),
    variable(
        "SEGURA_REFERER",
        Group::Vault,
        "none",
        "sent as Referer, for authorizations that allow only some",
    ),
    variable("SEGURA_TIMEOUT", Group::Vault, "10s", "timeout of one whole read"),
    variable("SEGURA_CONNECT_TIMEOUT", Group::Vault, "3s", "timeout of establishing a connection"),
    variable(
        "SEGURA_PROVISION_TIMEOUT",
        Group::Vault,
        "60s",
        "timeout of one whole provisioning POST",
    ),
    variable(
        "SEGURA_POD_NAME",
        Group::Pod,
        "POD_NAME, else the token's claim, else HOSTNAME",
        "the pod's name",
    ),
    variable("SEGURA_POD_UID", Group::Pod, "POD_UID, else the token's claim", "the pod's UID"),
    variable(
        "SEGURA_NAMESPACE",
        Group::Pod,
        "POD_NAMESPACE, else the service account's",
        "the pod's namespace",
    ),
    variable(
        "SEGURA_DEPLOY",
        Group::Pod,
        "DEPLOY_NAME, else derived from the pod's name",
        "the workload the pod belongs to",
    ),
    variable(
        "SEGURA_IDENTITY",
        Group::Fetch,
        "none",
        "identity of the secret, or several with commas",
    ),
    variable(
        "SEGURA_SOURCE",
        Group::Fetch,
        "provision with an identity, else application",
        "provision, application or secret",
    ),
    variable(
        "SEGURA_REFRESH",
        Group::Fetch,
        "auto",
        "request of a renewal: auto, get, application, secret or post",
    ),
    variable(
        "SEGURA_STARTUP_TIMEOUT",
        Group::Fetch,
        "2m",
        "timeout of the first fetch with its retries; off is none",
    ),
    variable(
        "SEGURA_RENEW_INTERVAL",
        Group::Fetch,
        "auto",
        "interval of renewal: auto, off, or a duration of 1s or more",
    ),
    variable(
        "SEGURA_MAX_STALE",
        Group::Fetch,
        "off",
        "greatest age of the set for `check ready`: a duration, or off",
    ),
    variable(
        "SEGURA_ON_ABSENT",
        Group::Fetch,
        "keep",
        "keep or remove the published files of a secret that the vault no longer names",
    ),
    variable(
        "SEGURA_DEPROVISION",
        Group::Fetch,
        "false",
        "deprovision the set at the end (sidecar, exec)",
    ),
    variable(
        "SEGURA_OUTPUT_DIR",
        Group::Write,
        "/run/secrets/segura",
        "the directory of all outputs; tmpfs",
    ),
    variable(
        "SEGURA_OUTPUT",
        Group::Write,
        "files",
        "comma list of files, env, json, yaml and properties; none, for exec alone, writes nothing",
    ),
    variable("SEGURA_ENV_FILE", Group::Write, "secrets.env", "name of the env file"),
    variable("SEGURA_JSON_FILE", Group::Write, "secrets.json", "name of the JSON file"),
    variable("SEGURA_YAML_FILE", Group::Write, "secrets.yaml", "name of the YAML file"),
    variable(
        "SEGURA_PROPERTIES_FILE",
        Group::Write,
        "secrets.properties",
        "name of the properties file",
    ),
    variable(
        "SEGURA_ENV_DIALECT",
        Group::Write,
        "shell",
        "dialect of the env file: shell (also systemd), dotenv, docker or k8s",
    ),
    variable(
        "SEGURA_ENV_NAME",
        Group::Write,
        "{key} with one identity, else {identity}_{key}",
        "pattern for names of variables; characters that a name can't hold become _",
    ),
    variable("SEGURA_ENV_CASE", Group::Write, "keep", "case of those names: keep or upper"),
    variable(
        "SEGURA_TEMPLATE_DIR",
        Group::Write,
        "none",
        "directory of Jinja templates: each NAME.j2 makes NAME",
    ),
    variable(
        "SEGURA_COLLISION",
        Group::Write,
        "last",
        "if entries of a secret share a key: last (it counts, with a warning) or error",
    ),
    variable("SEGURA_FILE_MODE", Group::Write, "0440", "mode of published files, octal"),
    variable("SEGURA_DIR_MODE", Group::Write, "0750", "mode of created directories, octal"),
    variable(
        "SEGURA_FILE_UID",
        Group::Write,
        "the agent's own",
        "numeric owner of created files and directories",
    ),
    variable(
        "SEGURA_FILE_GID",
        Group::Write,
        "the directory's if set-gid, else the agent's own",
        "numeric group of created files and directories",
    ),
    variable(
        "SEGURA_FILE_RULES",
        Group::Write,
        "none",
        "JSON array of {\"glob\",\"mode\",\"uid\",\"gid\"}: modes and owners of single files; the first match wins",
    ),
    variable(
        "SEGURA_DECODE",
        Group::Write,
        "none",
        "comma list of identity/key globs whose values are base64 and published decoded",
    ),
    variable(
        "SEGURA_ALLOW_DISK",
        Group::Write,
        "false",
        "accept an output directory that is not tmpfs or ramfs",
    ),
    variable(
        "SEGURA_SIGNAL",
        Group::Notify,
        "HUP",
        "signal that is sent when published bytes have changed",
    ),
    variable(
        "SEGURA_SIGNAL_PROCESS",
        Group::Notify,
        "none",
        "name of the processes to signal, in a pod with shareProcessNamespace",
    ),
    variable(
        "SEGURA_SIGNAL_PID_FILE",
        Group::Notify,
        "none",
        "file of the id of the process to signal, read again each time",
    ),
    variable(
        "SEGURA_NOTIFY_COMMAND",
        Group::Notify,
        "none",
        "command that is run on a change: a JSON array of strings, no shell, 30 s at most",
    ),
    variable(
        "SEGURA_NOTIFY_URL",
        Group::Notify,
        "none",
        "loopback URL that gets a POST with an empty body on a change",
    ),
    variable(
        "SEGURA_AGENT_UID",
        Group::Exec,
        "the owner that is seen first",
        "a reader, check: user of the agent whose sets are followed",
    ),
    variable(
        "SEGURA_ON_CHANGE",
        Group::Exec,
        "restart with SEGURA_EXEC_ENV, else signal",
        "action on the command at a change: signal, restart, exit or none",
    ),
    variable("SEGURA_CHANGE_EXIT_CODE", Group::Exec, "75", "exit code for SEGURA_ON_CHANGE=exit"),
    variable(
        "SEGURA_EXEC_ENV",
        Group::Exec,
        "true",
        "put the entries into the command's environment",
    ),
    variable(
        "SEGURA_ENV_OVERRIDE",
        Group::Exec,
        "true",
        "an entry wins over the container's own variable",
    ),
    variable("SEGURA_RESTART_SPLAY", Group::Exec, "30s", "greatest random delay of a restart"),
    variable(
        "SEGURA_STOP_SIGNAL",
        Group::Exec,
        "TERM",
        "signal that stops a command for a restart",
    ),
    variable("SEGURA_STOP_TIMEOUT", Group::Exec, "20s", "time between the stop signal and SIGKILL"),
    variable(
        "SEGURA_LOG",
        Group::Watch,
        "info",
        "filter of the log: directives such as warn or info,segura_agent=debug",
    ),
    variable(
        "SEGURA_LOG_FORMAT",
        Group::Watch,
        "auto",
        "auto (text on a terminal, else json), text or json; to stderr",
    ),
    variable(
        "SEGURA_SANDBOX",
        Group::Watch,
        "off",
        "sidecar: auto, require or off; the kernel denies it what it does not need after its start",
    ),
    variable(
        "SEGURA_LISTEN",
        Group::Watch,
        "off",
        "ADDR:PORT, or :PORT for every address, of /livez, /readyz and /metrics",
    ),
    variable(
        "SEGURA_TERMINATION_LOG",
        Group::Watch,
        "/dev/termination-log",
        "a fatal error is also written to this file, if it exists",
    ),
];

/// Names of the vendor, each accepted where the `SEGURA_` name is unset. With only them set, the
/// agent replaces the vendor's historic sidecar, with its directory and its modes.
pub const ALIASES: [&str; 4] = [
    "SENHASEGURA_URL",
    "SENHASEGURA_CLIENT_ID",
    "SENHASEGURA_CLIENT_SECRET",
    "SENHASEGURA_SECRETS_FOLDER",
];

/// Variables of other owners that the agent reads, and their meaning.
pub const FOREIGN: [(&str, &str); 7] = [
    ("POD_NAME", "the pod's name, if SEGURA_POD_NAME is unset"),
    ("POD_UID", "the pod's UID, if SEGURA_POD_UID is unset"),
    ("POD_NAMESPACE", "the pod's namespace, if SEGURA_NAMESPACE is unset"),
    ("DEPLOY_NAME", "the workload, if SEGURA_DEPLOY is unset"),
    ("HOSTNAME", "the pod's name, with a warning, if no other source has it"),
    ("HTTPS_PROXY", "proxy to the vault; loopback is never proxied"),
    ("NO_PROXY", "hosts that are reached without the proxy"),
];

/// Tests for a variable of the agent, which the command of `exec` does not get.
pub(super) fn is_own(name: &str) -> bool {
    ALIASES.contains(&name) || VARIABLES.iter().any(|variable| variable.name == name)
}

const fn variable(
    name: &'static str,
    group: Group,
    default: &'static str,
    meaning: &'static str,
) -> Variable {
    Variable { name, group, default, meaning }
}
