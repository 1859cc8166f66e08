//! The environment as it was typed: names known, empty values dropped, nothing understood yet.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;

use super::variables::{FOREIGN, is_own};
use crate::os::environment::Environment;
use crate::secret::Secret;

/// Every variable that has a say, as text.
#[derive(Debug, Default, Deserialize)]
#[expect(
    missing_docs,
    reason = "each field is the variable of its name; `VARIABLES` says what it means"
)]
pub struct Raw {
    pub segura_url: Option<String>,
    pub segura_client_id: Option<String>,
    pub segura_client_id_file: Option<String>,
    pub segura_client_secret: Option<Secret<String>>,
    pub segura_client_secret_file: Option<String>,
    pub segura_allow_http: Option<String>,
    pub segura_ca_file: Option<String>,
    pub segura_client_cert_file: Option<String>,
    pub segura_client_key_file: Option<String>,
    pub segura_private_key_file: Option<String>,
    pub segura_referer: Option<String>,
    pub segura_timeout: Option<String>,
    pub segura_connect_timeout: Option<String>,
    pub segura_provision_timeout: Option<String>,
    pub segura_pod_name: Option<String>,
    pub segura_pod_uid: Option<String>,
    pub segura_namespace: Option<String>,
    pub segura_deploy: Option<String>,
    pub segura_identity: Option<String>,
    pub segura_source: Option<String>,
    pub segura_refresh: Option<String>,
    pub segura_startup_timeout: Option<String>,
    pub segura_renew_interval: Option<String>,
    pub segura_max_stale: Option<String>,
    pub segura_on_absent: Option<String>,
    pub segura_deprovision: Option<String>,
    pub segura_output_dir: Option<String>,
    pub segura_output: Option<String>,
    pub segura_env_file: Option<String>,
    pub segura_json_file: Option<String>,
    pub segura_yaml_file: Option<String>,
    pub segura_properties_file: Option<String>,
    pub segura_env_dialect: Option<String>,
    pub segura_env_name: Option<String>,
    pub segura_env_case: Option<String>,
    pub segura_template_dir: Option<String>,
    pub segura_collision: Option<String>,
    pub segura_file_mode: Option<String>,
    pub segura_dir_mode: Option<String>,
    pub segura_file_uid: Option<String>,
    pub segura_file_gid: Option<String>,
    pub segura_file_rules: Option<String>,
    pub segura_decode: Option<String>,
    pub segura_allow_disk: Option<String>,
    pub segura_signal: Option<String>,
    pub segura_signal_process: Option<String>,
    pub segura_signal_pid_file: Option<String>,
    pub segura_notify_command: Option<String>,
    pub segura_notify_url: Option<String>,
    pub segura_on_change: Option<String>,
    pub segura_change_exit_code: Option<String>,
    pub segura_exec_env: Option<String>,
    pub segura_env_override: Option<String>,
    pub segura_restart_splay: Option<String>,
    pub segura_stop_signal: Option<String>,
    pub segura_stop_timeout: Option<String>,
    pub segura_log: Option<String>,
    pub segura_log_format: Option<String>,
    pub segura_listen: Option<String>,
    pub segura_termination_log: Option<String>,
    pub senhasegura_url: Option<String>,
    pub senhasegura_client_id: Option<String>,
    pub senhasegura_client_secret: Option<Secret<String>>,
    pub senhasegura_secrets_folder: Option<String>,
    pub pod_name: Option<String>,
    pub pod_uid: Option<String>,
    pub pod_namespace: Option<String>,
    pub deploy_name: Option<String>,
    pub hostname: Option<String>,
    pub https_proxy: Option<Secret<String>>,
    pub no_proxy: Option<String>,
    /// Names that start with `SEGURA_` and are not known.
    #[serde(skip)]
    pub unknown: Vec<String>,
    /// Known names of values that are not UTF-8.
    #[serde(skip)]
    pub broken: Vec<String>,
    /// All variables but those that are the agent's own.
    #[serde(skip)]
    pub environment: Environment,
}

impl Raw {
    /// Takes what it knows from `environment`, and notes what it should know and does not.
    pub fn from_environment(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut known = BTreeMap::new();
        let (mut unknown, mut broken, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in environment {
            let text = name.to_str().unwrap_or_default();
            let own = is_own(text);
            if own || FOREIGN.iter().any(|(name, _)| *name == text) {
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
        let known: Self = envy::from_iter(known).unwrap_or_default();
        Self { unknown, broken, environment: others.into_iter().collect(), ..known }
    }
}

/// Whether Kubernetes made the variable for a Service whose name starts with `segura`.
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
    use super::super::variables::VARIABLES;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Raw, Vec<String>) {
        let environment = pairs.iter().map(|(k, v)| (OsString::from(*k), OsString::from(*v)));
        let raw = Raw::from_environment(environment);
        let unknown = raw.unknown.clone();
        (raw, unknown)
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
        assert!(raw.segura_url.is_none() && raw.https_proxy.is_none() && raw.segura_log.is_none());
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
