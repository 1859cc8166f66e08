//! From the environment's text to settings that are proven. Pure: it reads no file, no clock and no
//! environment; all problems are reported at once, by variable and expected shape, never by value.

pub mod parse;
pub mod raw;

use std::fmt;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::logging;
use crate::model::{PodIdentity, SecretName, check_part};
use crate::pod::{self, Given, Mounted};
use crate::render::name::{Case, Variables};
use crate::render::{Collision, Layout};
use crate::schedule::RenewInterval;
use crate::secret::Secret;
use crate::settings::{
    Access, ClientCertificate, Credential, Disk, Output, Refresh, Source, Vault, Wanted,
};
use parse::Shape;
use raw::Raw;

/// One thing that is wrong with the settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    variable: String,
    remedy: String,
}

impl Problem {
    /// `remedy` follows the variable's name and never quotes its value.
    pub fn new(variable: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.remedy)
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration is invalid")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// What `init` needs, proven.
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
    pub output: Output,
    /// When a set is due again.
    pub renew: RenewInterval,
    /// How long the first fetch is retried; none is for ever.
    pub give_up_after: Option<Duration>,
    /// What the user should be told, once.
    pub warnings: Vec<String>,
}

/// Where a fatal error is also written, if the file is there.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

impl Config {
    /// Proves what `raw` says; `found` are problems that its reading brought.
    pub fn from_raw(raw: Raw, mounted: Mounted, found: Vec<Problem>) -> Result<Self, Problems> {
        let mut reader = Reader {
            problems: found,
            warnings: Vec::new(),
        };
        let wanted = reader.wanted(&raw);
        let pod = reader.pod(&raw, mounted);
        let layout = reader.layout(&raw, wanted.as_ref());
        let output = reader.output(&raw);
        let renew = reader.renew(&raw);
        let give_up_after = reader.give_up_after(&raw);
        reader.other_modes(&raw);
        reader.not_yet(&raw);
        let vault = reader.vault(raw);
        match (
            vault,
            pod,
            wanted,
            layout,
            output,
            reader.problems.is_empty(),
        ) {
            (Some(vault), Some(pod), Some(wanted), Some(layout), Some(output), true) => Ok(Self {
                vault,
                pod,
                wanted,
                layout,
                output,
                renew,
                give_up_after,
                warnings: reader.warnings,
            }),
            _ => Err(Problems(reader.problems)),
        }
    }
}

/// What the log looks like; found problems come back beside usable settings, so that they can be
/// logged together with all others.
pub fn log_settings(raw: &Raw, terminal: bool) -> (logging::Settings, Vec<Problem>) {
    let mut reader = Reader {
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let filter = reader.text("SEGURA_LOG", raw.segura_log.as_deref(), |text| {
        text.parse::<Targets>()
            .map_err(|_| "filter directives such as warn or info,segura_agent=debug")
    });
    let format = match raw.segura_log_format.as_deref() {
        Some("text") => logging::Format::Text,
        Some("json") => logging::Format::Json,
        Some("auto") | None if terminal => logging::Format::Text,
        Some("auto") | None => logging::Format::Json,
        Some(_) => {
            reader.wrong("SEGURA_LOG_FORMAT", "`auto`, `text` or `json`");
            logging::Format::Json
        }
    };
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    (logging::Settings { filter, format }, reader.problems)
}

struct Reader {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Reader {
    fn problem(&mut self, variable: &str, remedy: impl Into<String>) {
        self.problems.push(Problem::new(variable, remedy));
    }

    fn wrong(&mut self, variable: &str, shape: Shape) {
        self.problem(variable, format!("must be {shape}"));
    }

    /// Understands a value, if there is one.
    fn text<T>(
        &mut self,
        variable: &str,
        value: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, Shape>,
    ) -> Option<T> {
        match parse(value?) {
            Ok(value) => Some(value),
            Err(shape) => {
                self.wrong(variable, shape);
                None
            }
        }
    }

    fn flag(&mut self, variable: &str, value: Option<&str>, default: bool) -> bool {
        self.text(variable, value, parse::boolean)
            .unwrap_or(default)
    }

    fn vault(&mut self, raw: Raw) -> Option<Vault> {
        let allow_http = self.flag("SEGURA_ALLOW_HTTP", raw.segura_allow_http.as_deref(), false);
        let (variable, url) = match (&raw.segura_url, &raw.senhasegura_url) {
            (None, Some(url)) => ("SENHASEGURA_URL", Some(url)),
            (url, _) => ("SEGURA_URL", url.as_ref()),
        };
        if url.is_none() {
            self.problem(variable, "must be set, to the vault's https URL");
        }
        let url = self.text(variable, url.map(String::as_str), parse::base_url);
        if let Some(url) = &url
            && url.scheme() == "http"
            && !allow_http
            && !parse::is_loopback(url)
        {
            self.problem(
                variable,
                "must be an https URL (SEGURA_ALLOW_HTTP=true allows plain http)",
            );
        }
        let old = |value: Option<String>| value.map(|value| value.trim().to_owned());
        let old_secret = |value: Option<Secret<String>>| {
            value.map(|value| Secret::new(value.expose().trim().to_owned()))
        };
        let client_id = self.credential(
            ["SEGURA_CLIENT_ID", "SEGURA_CLIENT_ID_FILE"],
            raw.segura_client_id.map(Secret::new),
            raw.segura_client_id_file.as_deref(),
            old(raw.senhasegura_client_id).map(Secret::new),
        );
        let client_secret = self.credential(
            ["SEGURA_CLIENT_SECRET", "SEGURA_CLIENT_SECRET_FILE"],
            raw.segura_client_secret,
            raw.segura_client_secret_file.as_deref(),
            old_secret(raw.senhasegura_client_secret),
        );
        let seconds = Duration::from_secs;
        let ca_file = self.text("SEGURA_CA_FILE", raw.segura_ca_file.as_deref(), parse::path);
        let private_key_file = raw.segura_private_key_file.as_deref();
        let private_key_file = self.text("SEGURA_PRIVATE_KEY_FILE", private_key_file, parse::path);
        let client_certificate = self.client_certificate(
            raw.segura_client_cert_file.as_deref(),
            raw.segura_client_key_file.as_deref(),
        );
        let referer = self.text("SEGURA_REFERER", raw.segura_referer.as_deref(), |text| {
            let visible = text.bytes().all(|c| (0x20..0x7f).contains(&c));
            visible
                .then(|| text.to_owned())
                .ok_or("printable ASCII, as a URL is")
        });
        let mut time = |variable, value: Option<String>, default| {
            self.text(variable, value.as_deref(), parse::timeout)
                .unwrap_or(default)
        };
        let timeout = time("SEGURA_TIMEOUT", raw.segura_timeout, seconds(10));
        let connect_timeout = time(
            "SEGURA_CONNECT_TIMEOUT",
            raw.segura_connect_timeout,
            seconds(3),
        );
        let provision_timeout = time(
            "SEGURA_PROVISION_TIMEOUT",
            raw.segura_provision_timeout,
            seconds(60),
        );
        Some(Vault {
            url: url?,
            client_id: client_id?,
            client_secret: client_secret?,
            ca_file,
            client_certificate,
            private_key_file,
            referer,
            timeout,
            connect_timeout,
            provision_timeout,
            proxy: raw.https_proxy,
            no_proxy: raw.no_proxy,
        })
    }

    fn credential(
        &mut self,
        [variable, file_variable]: [&'static str; 2],
        given: Option<Secret<String>>,
        file: Option<&str>,
        old: Option<Secret<String>>,
    ) -> Option<Credential> {
        let path = self.text(file_variable, file, parse::path);
        match (given, file, old) {
            (Some(_), Some(_), _) => {
                self.problem(variable, format!("must not be set beside {file_variable}"));
                None
            }
            (Some(value), None, _) | (None, None, Some(value)) => {
                if value.expose().is_empty() {
                    self.problem(variable, "must not be blank");
                }
                Some(Credential::Given(value))
            }
            (None, Some(_), _) => path.map(|path| Credential::File {
                variable: file_variable,
                path,
            }),
            (None, None, None) => {
                self.problem(variable, format!("must be set, or {file_variable}"));
                None
            }
        }
    }

    fn client_certificate(
        &mut self,
        certificate: Option<&str>,
        key: Option<&str>,
    ) -> Option<ClientCertificate> {
        match (certificate.is_some(), key.is_some()) {
            (true, false) => {
                self.problem(
                    "SEGURA_CLIENT_KEY_FILE",
                    "must be set beside SEGURA_CLIENT_CERT_FILE",
                );
            }
            (false, true) => {
                self.problem(
                    "SEGURA_CLIENT_CERT_FILE",
                    "must be set beside SEGURA_CLIENT_KEY_FILE",
                );
            }
            (true, true) | (false, false) => {}
        }
        let certificate = self.text("SEGURA_CLIENT_CERT_FILE", certificate, parse::path);
        let key = self.text("SEGURA_CLIENT_KEY_FILE", key, parse::path);
        Some(ClientCertificate {
            certificate: certificate?,
            key: key?,
        })
    }

    fn pod(&mut self, raw: &Raw, mounted: Mounted) -> Option<PodIdentity> {
        let first = |one: &Option<String>, other: &Option<String>| one.clone().or(other.clone());
        let given = Given {
            name: first(&raw.segura_pod_name, &raw.pod_name),
            uid: first(&raw.segura_pod_uid, &raw.pod_uid),
            namespace: first(&raw.segura_namespace, &raw.pod_namespace),
            deploy: first(&raw.segura_deploy, &raw.deploy_name),
            hostname: raw.hostname.clone(),
        };
        let Some(identified) = pod::identify(given, mounted) else {
            self.problem(
                "SEGURA_POD_NAME",
                "must be set, from metadata.name of the pod",
            );
            return None;
        };
        let provisions = source(raw) == Ok(Source::Provision);
        if provisions {
            self.warnings.extend(identified.warnings);
        }
        if provisions && identified.pod.namespace.is_none() {
            self.warnings.push(
                "the pod's namespace is unknown and is not sent; set SEGURA_NAMESPACE from metadata.namespace"
                    .to_owned(),
            );
        }
        Some(identified.pod)
    }

    fn wanted(&mut self, raw: &Raw) -> Option<Wanted> {
        let identities = raw.segura_identity.as_deref().map(identities);
        let identities = match identities.transpose() {
            Ok(identities) => identities.unwrap_or_default(),
            Err(remedy) => {
                self.problem("SEGURA_IDENTITY", remedy);
                Vec::new()
            }
        };
        let source = match source(raw) {
            Ok(source) => Some(source),
            Err(shape) => {
                self.wrong("SEGURA_SOURCE", shape);
                None
            }
        };
        if source == Some(Source::Provision) && raw.segura_identity.is_none() {
            self.problem("SEGURA_IDENTITY", "must be set for SEGURA_SOURCE=provision");
        }
        let refresh = self.text(
            "SEGURA_REFRESH",
            raw.segura_refresh.as_deref(),
            |text| match text {
                "auto" => Ok(Refresh::Auto),
                "get" => Ok(Refresh::Get),
                "application" => Ok(Refresh::Application),
                "secret" => Ok(Refresh::Secret),
                "post" => Ok(Refresh::Post),
                _ => Err("`auto`, `get`, `application`, `secret` or `post`"),
            },
        );
        Some(Wanted {
            source: source?,
            refresh: refresh.unwrap_or(Refresh::Auto),
            identities,
        })
    }

    fn layout(&mut self, raw: &Raw, wanted: Option<&Wanted>) -> Option<Layout> {
        let outputs = raw.segura_output.as_deref().unwrap_or("files");
        let (mut files, mut env, mut json) = (false, None, None);
        let mut name = |variable, value: Option<&str>, default| {
            let checked = self.text(variable, value, |text| {
                let sound = check_part(text).is_ok() && text != crate::model::STATE_LINK;
                sound
                    .then(|| text.to_owned())
                    .ok_or("a file name without slashes or leading `..`")
            });
            checked.unwrap_or_else(|| String::from(default))
        };
        let env_file = name(
            "SEGURA_ENV_FILE",
            raw.segura_env_file.as_deref(),
            "secrets.env",
        );
        let json_file = name(
            "SEGURA_JSON_FILE",
            raw.segura_json_file.as_deref(),
            "secrets.json",
        );
        name("SEGURA_YAML_FILE", raw.segura_yaml_file.as_deref(), "");
        name(
            "SEGURA_PROPERTIES_FILE",
            raw.segura_properties_file.as_deref(),
            "",
        );
        for output in outputs.split(',').map(str::trim) {
            match output {
                "files" => files = true,
                "env" => env = Some(env_file.clone()),
                "json" => json = Some(json_file.clone()),
                "yaml" | "properties" => {
                    self.problem(
                        "SEGURA_OUTPUT",
                        format!("`{output}` is not in this version"),
                    );
                }
                "none" => self.problem("SEGURA_OUTPUT", "`none` is for exec alone"),
                _ => self.wrong("SEGURA_OUTPUT", "a comma list of `files`, `env` and `json`"),
            }
        }
        if env.is_some() && env == json {
            self.problem(
                "SEGURA_JSON_FILE",
                "must not be the name that SEGURA_ENV_FILE has",
            );
        }
        let one = wanted.is_some_and(|wanted| wanted.identities.len() == 1);
        let pattern = raw.segura_env_name.as_deref();
        let pattern = pattern.unwrap_or(if one { "{key}" } else { "{identity}_{key}" });
        let case = self.text(
            "SEGURA_ENV_CASE",
            raw.segura_env_case.as_deref(),
            parse::case,
        );
        let variables = self.text("SEGURA_ENV_NAME", Some(pattern), |pattern| {
            Variables::new(pattern, case.unwrap_or(Case::Keep))
                .ok_or("a pattern that holds {key}, and {identity} if you like")
        });
        let collision = self.text(
            "SEGURA_COLLISION",
            raw.segura_collision.as_deref(),
            |text| match text {
                "last" => Ok(Collision::Last),
                "error" => Ok(Collision::Refuse),
                _ => Err("`last` or `error`"),
            },
        );
        let collision = collision.unwrap_or(Collision::Last);
        Some(Layout {
            files,
            env,
            json,
            variables: variables?,
            collision,
        })
    }

    fn output(&mut self, raw: &Raw) -> Option<Output> {
        let drop_in = raw.segura_output_dir.is_none() && uses_only_old_names(raw);
        let folder = raw
            .senhasegura_secrets_folder
            .as_deref()
            .unwrap_or("/var/run/secrets");
        let dir = match &raw.segura_output_dir {
            Some(dir) => self.text("SEGURA_OUTPUT_DIR", Some(dir), parse::path),
            None if drop_in => {
                let folder = self.text("SENHASEGURA_SECRETS_FOLDER", Some(folder), parse::path);
                folder.map(|folder| folder.join("senhasegura"))
            }
            None => Some("/run/secrets/segura".into()),
        };
        let modes = if drop_in {
            (0o444, 0o755)
        } else {
            (0o440, 0o750)
        };
        let file_mode = self.text(
            "SEGURA_FILE_MODE",
            raw.segura_file_mode.as_deref(),
            parse::mode,
        );
        let dir_mode = self.text(
            "SEGURA_DIR_MODE",
            raw.segura_dir_mode.as_deref(),
            parse::mode,
        );
        let access = Access {
            file_mode: file_mode.unwrap_or(modes.0),
            dir_mode: dir_mode.unwrap_or(modes.1),
            uid: self.text("SEGURA_FILE_UID", raw.segura_file_uid.as_deref(), parse::id),
            gid: self.text("SEGURA_FILE_GID", raw.segura_file_gid.as_deref(), parse::id),
        };
        let allow = raw.segura_allow_disk.as_deref();
        let disk = match self.text("SEGURA_ALLOW_DISK", allow, parse::boolean) {
            Some(true) => Disk::Allow,
            Some(false) => Disk::Refuse,
            None if drop_in => Disk::Warn,
            None => Disk::Refuse,
        };
        Some(Output {
            dir: dir?,
            create_last: drop_in,
            access,
            disk,
        })
    }

    fn renew(&mut self, raw: &Raw) -> RenewInterval {
        let interval = raw.segura_renew_interval.as_deref();
        let read = self.text("SEGURA_RENEW_INTERVAL", interval, |text| match text {
            "auto" => Ok(RenewInterval::Auto),
            "off" => Ok(RenewInterval::Off),
            _ => parse::duration(text)
                .ok()
                .filter(|interval| *interval >= Duration::from_secs(1))
                .map(RenewInterval::Every)
                .ok_or("`auto`, `off` or a duration of 1s or more, such as 5m"),
        });
        read.unwrap_or(RenewInterval::Auto)
    }

    fn give_up_after(&mut self, raw: &Raw) -> Option<Duration> {
        let timeout = raw.segura_startup_timeout.as_deref();
        self.text("SEGURA_STARTUP_TIMEOUT", timeout, parse::duration_or_off)
            .unwrap_or(Some(Duration::from_secs(120)))
    }

    /// Settings that other modes use: a typo in them is told by every mode that shares the pod spec.
    fn other_modes(&mut self, raw: &Raw) {
        fn one_of<'a>(words: &'a [&str], shape: Shape) -> impl Fn(&str) -> Result<(), Shape> + 'a {
            move |text| {
                if words.contains(&text) {
                    Ok(())
                } else {
                    Err(shape)
                }
            }
        }
        let dialects = ["shell", "dotenv", "docker", "k8s"];
        let on_change = ["signal", "restart", "exit", "none"];
        let word = raw.segura_on_absent.as_deref();
        self.text(
            "SEGURA_ON_ABSENT",
            word,
            one_of(&["keep", "remove"], "`keep` or `remove`"),
        );
        let word = raw.segura_env_dialect.as_deref();
        let shape = "`shell`, `dotenv`, `docker` or `k8s`";
        let dialect = self.text("SEGURA_ENV_DIALECT", word, one_of(&dialects, shape));
        if dialect.is_some() && word != Some("shell") {
            self.problem("SEGURA_ENV_DIALECT", "only `shell` is in this version");
        }
        let word = raw.segura_on_change.as_deref();
        let shape = "`signal`, `restart`, `exit` or `none`";
        self.text("SEGURA_ON_CHANGE", word, one_of(&on_change, shape));
        if self.flag(
            "SEGURA_DEPROVISION",
            raw.segura_deprovision.as_deref(),
            false,
        ) {
            self.problem(
                "SEGURA_DEPROVISION",
                "must not be set for init, which ends before the app starts",
            );
        }
        self.flag("SEGURA_EXEC_ENV", raw.segura_exec_env.as_deref(), true);
        self.flag(
            "SEGURA_ENV_OVERRIDE",
            raw.segura_env_override.as_deref(),
            true,
        );
        self.text(
            "SEGURA_MAX_STALE",
            raw.segura_max_stale.as_deref(),
            parse::duration_or_off,
        );
        self.text(
            "SEGURA_RESTART_SPLAY",
            raw.segura_restart_splay.as_deref(),
            parse::duration,
        );
        self.text(
            "SEGURA_STOP_TIMEOUT",
            raw.segura_stop_timeout.as_deref(),
            parse::duration,
        );
        self.text("SEGURA_SIGNAL", raw.segura_signal.as_deref(), parse::signal);
        self.text(
            "SEGURA_STOP_SIGNAL",
            raw.segura_stop_signal.as_deref(),
            parse::signal,
        );
        self.text(
            "SEGURA_SIGNAL_PID_FILE",
            raw.segura_signal_pid_file.as_deref(),
            parse::path,
        );
        self.text(
            "SEGURA_NOTIFY_COMMAND",
            raw.segura_notify_command.as_deref(),
            parse::command,
        );
        self.text(
            "SEGURA_NOTIFY_URL",
            raw.segura_notify_url.as_deref(),
            parse::loopback_url,
        );
        let code = raw.segura_change_exit_code.as_deref();
        self.text("SEGURA_CHANGE_EXIT_CODE", code, parse::exit_code);
        self.text(
            "SEGURA_LISTEN",
            raw.segura_listen.as_deref(),
            parse::address,
        );
        self.text(
            "SEGURA_TERMINATION_LOG",
            raw.segura_termination_log.as_deref(),
            parse::path,
        );
    }

    /// Outputs of later versions are refused rather than silently left out.
    fn not_yet(&mut self, raw: &Raw) {
        for (variable, value) in [
            ("SEGURA_TEMPLATE_DIR", &raw.segura_template_dir),
            ("SEGURA_FILE_RULES", &raw.segura_file_rules),
            ("SEGURA_DECODE", &raw.segura_decode),
        ] {
            if value.is_some() {
                self.problem(variable, "is not in this version");
            }
        }
    }
}

fn identities(text: &str) -> Result<Vec<SecretName>, String> {
    let mut named: Vec<SecretName> = Vec::new();
    for (identity, n) in text.split(',').map(str::trim).zip(1..) {
        let identity = SecretName::new(identity)
            .map_err(|problem| format!("its identity number {n} {problem}"))?;
        if named.contains(&identity) {
            return Err(format!("its identity number {n} stands there already"));
        }
        named.push(identity);
    }
    Ok(named)
}

fn source(raw: &Raw) -> Result<Source, Shape> {
    match raw.segura_source.as_deref() {
        Some("provision") => Ok(Source::Provision),
        Some("application") => Ok(Source::Application),
        Some("secret") => Ok(Source::Secret),
        Some(_) => Err("`provision`, `application` or `secret`"),
        None if raw.segura_identity.is_some() => Ok(Source::Provision),
        None => Ok(Source::Application),
    }
}

/// Only the vendor's names reach the vault: the agent stands in for the historic sidecar.
fn uses_only_old_names(raw: &Raw) -> bool {
    let new = raw.segura_url.is_some()
        || raw.segura_client_id.is_some()
        || raw.segura_client_id_file.is_some()
        || raw.segura_client_secret.is_some()
        || raw.segura_client_secret_file.is_some();
    raw.senhasegura_url.is_some() && !new
}

#[cfg(test)]
mod tests;
