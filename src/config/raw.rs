//! The environment as text: known names, without empty values, not parsed.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;

use super::variables::is_own;
use crate::os::environment::Environment;
use crate::secret::Secret;

/// A variable: its name, and the value that the environment gives it.
#[derive(Debug)]
pub struct RawVariable<T = String> {
    /// The name, as the environment spells it.
    pub name: &'static str,
    /// The value; an empty one is dropped.
    pub value: Option<T>,
}

impl RawVariable {
    /// Borrows the value.
    pub fn as_deref(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl<T> RawVariable<T> {
    /// Tests for a value.
    pub fn is_set(&self) -> bool {
        self.value.is_some()
    }
}

/// Makes the name of a field's variable: its letters become capitals.
macro_rules! name {
    ($field:ident) => {
        const {
            const NAME: [u8; stringify!($field).len()] = capitals(stringify!($field));
            text(&NAME)
        }
    };
}

const fn capitals<const N: usize>(field: &str) -> [u8; N] {
    let mut name = [0; N];
    name.copy_from_slice(field.as_bytes());
    name.make_ascii_uppercase();
    name
}

const fn text(name: &'static [u8]) -> &'static str {
    match std::str::from_utf8(name) {
        Ok(name) => name,
        // Capitals of UTF-8 are UTF-8.
        Err(_) => "",
    }
}

/// Defines [`Raw`], the names of its variables, and the struct that envy fills, from one list.
macro_rules! variables {
    ($($field:ident: $kind:ty,)*) => {
        /// The names of all variables that the agent reads.
        const NAMES: &[&str] = &[$(name!($field)),*];

        /// Values as envy finds them: it looks for a field by the variable's name in small letters.
        #[derive(Default, Deserialize)]
        struct RawValues {
            $($field: Option<$kind>,)*
        }

        /// Every variable that the agent reads, as text.
        #[derive(Debug)]
        #[expect(
            missing_docs,
            reason = "each field is the variable of its name; `VARIABLES` says what it means"
        )]
        pub struct Raw {
            $(pub $field: RawVariable<$kind>,)*
            /// Names that start with `SEGURA_` and are not known.
            pub unknown: Vec<String>,
            /// Known names of values that are not UTF-8.
            pub broken: Vec<String>,
            /// All variables but those that are the agent's own.
            pub environment: Environment,
        }

        impl From<RawValues> for Raw {
            fn from(values: RawValues) -> Self {
                Self {
                    $($field: RawVariable { name: name!($field), value: values.$field },)*
                    unknown: Vec::new(),
                    broken: Vec::new(),
                    environment: Environment::default(),
                }
            }
        }
    };
}

variables! {
    segura_url: String,
    segura_client_id: Secret<String>,
    segura_client_id_file: String,
    segura_client_secret: Secret<String>,
    segura_client_secret_file: String,
    segura_allow_http: String,
    segura_ca_file: String,
    segura_client_cert_file: String,
    segura_client_key_file: String,
    segura_private_key_file: String,
    segura_referer: String,
    segura_timeout: String,
    segura_connect_timeout: String,
    segura_provision_timeout: String,
    segura_pod_name: String,
    segura_pod_uid: String,
    segura_namespace: String,
    segura_deploy: String,
    segura_identity: String,
    segura_source: String,
    segura_refresh: String,
    segura_startup_timeout: String,
    segura_renew_interval: String,
    segura_max_stale: String,
    segura_on_absent: String,
    segura_deprovision: String,
    segura_output_dir: String,
    segura_output: String,
    segura_env_file: String,
    segura_json_file: String,
    segura_yaml_file: String,
    segura_properties_file: String,
    segura_env_dialect: String,
    segura_env_name: String,
    segura_env_case: String,
    segura_template_dir: String,
    segura_collision: String,
    segura_file_mode: String,
    segura_dir_mode: String,
    segura_file_uid: String,
    segura_file_gid: String,
    segura_file_rules: String,
    segura_decode: String,
    segura_allow_disk: String,
    segura_signal: String,
    segura_signal_process: String,
    segura_signal_pid_file: String,
    segura_notify_command: String,
    segura_notify_url: String,
    segura_agent_uid: String,
    segura_on_change: String,
    segura_change_exit_code: String,
    segura_exec_env: String,
    segura_env_override: String,
    segura_restart_splay: String,
    segura_stop_signal: String,
    segura_stop_timeout: String,
    segura_log: String,
    segura_log_format: String,
    segura_sandbox: String,
    segura_listen: String,
    segura_termination_log: String,
    senhasegura_url: String,
    senhasegura_client_id: Secret<String>,
    senhasegura_client_secret: Secret<String>,
    senhasegura_secrets_folder: String,
    pod_name: String,
    pod_uid: String,
    pod_namespace: String,
    deploy_name: String,
    hostname: String,
    https_proxy: Secret<String>,
    no_proxy: String,
}

impl Default for Raw {
    fn default() -> Self {
        RawValues::default().into()
    }
}

impl Raw {
    /// Selects the known variables of `environment`, and notes unknown names that start with
    /// `SEGURA_`.
    pub fn from_environment(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut known = BTreeMap::new();
        let (mut unknown, mut broken, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in environment {
            let text = name.to_str().unwrap_or_default();
            let own = is_own(text);
            if NAMES.contains(&text) {
                match value.to_str() {
                    Some("") => {}
                    Some(value) => {
                        known.insert(text.to_owned(), value.to_owned());
                    }
                    None => broken.push(text.to_owned()),
                }
            } else if text.starts_with("SEGURA_") && !is_service_link(text) {
                unknown.push(text.to_owned());
            }
            if !own {
                others.push((name, value));
            }
        }
        // Optional strings can't fail to be read, so envy has no value to put into an error.
        let known: RawValues = envy::from_iter(known).unwrap_or_default();
        Self { unknown, broken, environment: others.into_iter().collect(), ..known.into() }
    }
}

/// Tests for a variable that Kubernetes makes for a Service whose name starts with `segura`.
///
/// The shapes are those of "Service environment variables" in the Kubernetes documentation.
fn is_service_link(name: &str) -> bool {
    let tail = |marker: &str| name.find(marker).and_then(|at| name.get(at + marker.len()..));
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_PORT") {
        return true;
    }
    if tail("_SERVICE_PORT_").is_some_and(|port| !port.is_empty()) {
        return true;
    }
    let Some(port) = tail("_PORT_") else {
        return false;
    };
    let mut parts = port.split('_');
    let number = parts.next().is_some_and(|n| n.parse::<u16>().is_ok());
    let protocol = parts.next().is_some_and(|p| matches!(p, "TCP" | "UDP" | "SCTP"));
    let field = parts.next().is_none_or(|f| matches!(f, "PROTO" | "PORT" | "ADDR"));
    number && protocol && field && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::super::variables::{ALIASES, FOREIGN, VARIABLES};
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Raw, Vec<String>) {
        let environment = pairs.iter().map(|(k, v)| (OsString::from(*k), OsString::from(*v)));
        let raw = Raw::from_environment(environment);
        let unknown = raw.unknown.clone();
        (raw, unknown)
    }

    #[test]
    fn the_fields_are_the_variables_of_the_tables() {
        let documented = VARIABLES.iter().map(|variable| variable.name).chain(ALIASES);
        let mut documented: Vec<&str> = documented.chain(FOREIGN.map(|(name, _)| name)).collect();
        let mut read = NAMES.to_vec();
        documented.sort_unstable();
        read.sort_unstable();
        assert_eq!(read, documented);
        let raw = Raw::default();
        assert_eq!((raw.segura_url.name, raw.no_proxy.name), ("SEGURA_URL", "NO_PROXY"));
    }

    #[test]
    fn every_variable_reaches_its_field() {
        for variable in VARIABLES {
            let (raw, problems) = read(&[(variable.name, "value-of-it")]);
            assert!(problems.is_empty());
            assert_ne!(format!("{raw:?}"), format!("{:?}", Raw::default()), "{}", variable.name);
        }
    }

    #[test]
    fn empty_is_unset_and_case_counts() {
        let (raw, problems) =
            read(&[("SEGURA_URL", ""), ("https_proxy", "http://p"), ("segura_log", "x")]);
        assert!(!raw.segura_url.is_set() && !raw.https_proxy.is_set() && !raw.segura_log.is_set());
        assert!(problems.is_empty());
    }

    #[test]
    fn debug_shows_no_credential() {
        let names = ["SEGURA_CLIENT_SECRET", "SENHASEGURA_CLIENT_SECRET", "HTTPS_PROXY"];
        let (raw, _) = read(&names.map(|name| (name, "canary")));
        assert!(!format!("{raw:?}").contains("canary"));
    }

    #[test]
    fn unknown_names_are_reported_and_service_links_are_not() {
        let (_, problems) =
            read(&[("SEGURA_RENEW_INTERVALL", "canary"), ("SEGURAX", "x"), ("OTHER", "x")]);
        assert_eq!(problems, ["SEGURA_RENEW_INTERVALL"]);
        for link in [
            "SEGURA_PORT",
            "SEGURA_SERVICE_HOST",
            "SEGURA_SERVICE_PORT",
            "SEGURA_SERVICE_PORT_HTTPS",
            "SEGURA_PORT_443_TCP",
            "SEGURA_PORT_443_TCP_ADDR",
            "SEGURA_PORT_443_TCP_PORT",
            "SEGURA_PORT_443_TCP_PROTO",
            "SEGURA_VAULT_PORT_53_UDP",
            "SEGURA_VAULT_SERVICE_HOST",
        ] {
            assert!(is_service_link(link), "{link}");
        }
        for typo in
            ["SEGURA_PORT_X", "SEGURA_PORT_443_TCP_NAME", "SEGURA_SERVICE_PORT_", "SEGURA_HOST"]
        {
            assert!(!is_service_link(typo), "{typo}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn values_that_are_not_text_are_reported_by_name() {
        use std::os::unix::ffi::OsStringExt;
        let pair = (OsString::from("SEGURA_URL"), OsString::from_vec(vec![0xff]));
        assert_eq!(Raw::from_environment([pair]).broken, ["SEGURA_URL"]);
    }
}
