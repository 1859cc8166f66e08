use std::ffi::OsString;
use std::time::Duration;

use super::*;
use crate::config::settings::{
    Credential, Disk, FetchMode, Listen, MaxStale, Notify, OnAbsent, Output, RenewInterval,
    StartupTimeout,
};
use crate::model::SecretName;

const REQUIRED: [(&str, &str); 4] = [
    ("SEGURA_URL", "https://vault.example.com"),
    ("SEGURA_CLIENT_ID", "id"),
    ("SEGURA_CLIENT_SECRET", "canary"),
    ("SEGURA_POD_NAME", "web-0"),
];

fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    proven(pairs).map(|proven| proven.settings)
}

fn proven(pairs: &[(&str, &str)]) -> Result<Proven<Config>, Vec<String>> {
    let environment = pairs.iter().map(|(k, v)| (OsString::from(*k), OsString::from(*v)));
    let raw = Raw::from_environment(environment);
    Config::for_init(raw, Mounts::default())
        .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}

fn with(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    read(&completed(pairs))
}

/// The variables that are required, with others beside or in place of them.
fn completed<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let required = REQUIRED
        .into_iter()
        .filter(|(k, _)| pairs.iter().all(|(p, _)| p != k))
        .chain(pairs.iter().copied());
    required.collect()
}

fn output(config: &Config) -> &Output {
    match &config.output {
        Destination::Directory(output) => output,
        Destination::Memory => panic!("nothing is written"),
    }
}

#[test]
fn defaults_are_those_of_the_interface() {
    let config = with(&[]).unwrap();
    assert_eq!(config.wanted.source, FetchMode::Application);
    assert_eq!(output(&config).dir.to_str(), Some("/run/secrets/segura"));
    assert_eq!((output(&config).access.file_mode, output(&config).access.dir_mode), (0o440, 0o750));
    assert_eq!(output(&config).disk, Disk::Refuse);
    assert_eq!(config.startup_timeout, StartupTimeout::After(Duration::from_secs(120)));
    assert_eq!(config.renew, RenewInterval::Auto);
    assert_eq!(config.vault.timeout, Duration::from_secs(10));
    assert_eq!(config.vault.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.vault.provision_timeout, Duration::from_secs(60));
    assert!(config.layout.files && config.layout.env.is_none() && config.layout.json.is_none());

    let one = with(&[("SEGURA_IDENTITY", "a/b")]).unwrap();
    assert_eq!(one.wanted.source, FetchMode::Provision);
    let name = SecretName::new("a/b").unwrap();
    assert_eq!(one.layout.variables.name(&name, "k"), "k");
    let two = with(&[("SEGURA_IDENTITY", "a/b, c"), ("SEGURA_STARTUP_TIMEOUT", "off")]).unwrap();
    assert_eq!(two.wanted.identities.len(), 2);
    assert_eq!(two.layout.variables.name(&name, "k"), "a_b_k");
    assert_eq!(two.startup_timeout, StartupTimeout::Never);
}

#[test]
fn missing_variables_are_reported_at_once() {
    assert_eq!(
        read(&[]).unwrap_err(),
        [
            "SEGURA_POD_NAME: must be set from the pod's metadata.name",
            "SEGURA_URL: must be set to the vault's https URL",
            "SEGURA_CLIENT_ID: must be set, unless SEGURA_CLIENT_ID_FILE is",
            "SEGURA_CLIENT_SECRET: must be set, unless SEGURA_CLIENT_SECRET_FILE is",
        ]
    );
}

/// A value of the wrong shape for each variable that has one.
const MALFORMED: &[&str] = &[
    "SEGURA_URL",
    "SEGURA_CLIENT_ID_FILE",
    "SEGURA_CLIENT_SECRET_FILE",
    "SEGURA_ALLOW_HTTP",
    "SEGURA_CA_FILE",
    "SEGURA_CLIENT_CERT_FILE",
    "SEGURA_CLIENT_KEY_FILE",
    "SEGURA_PRIVATE_KEY_FILE",
    "SEGURA_REFERER",
    "SEGURA_TIMEOUT",
    "SEGURA_CONNECT_TIMEOUT",
    "SEGURA_PROVISION_TIMEOUT",
    "SEGURA_IDENTITY",
    "SEGURA_SOURCE",
    "SEGURA_REFRESH",
    "SEGURA_STARTUP_TIMEOUT",
    "SEGURA_RENEW_INTERVAL",
    "SEGURA_MAX_STALE",
    "SEGURA_ON_ABSENT",
    "SEGURA_DEPROVISION",
    "SEGURA_OUTPUT_DIR",
    "SEGURA_OUTPUT",
    "SEGURA_ENV_FILE",
    "SEGURA_JSON_FILE",
    "SEGURA_YAML_FILE",
    "SEGURA_PROPERTIES_FILE",
    "SEGURA_ENV_DIALECT",
    "SEGURA_ENV_NAME",
    "SEGURA_ENV_CASE",
    "SEGURA_TEMPLATE_DIR",
    "SEGURA_COLLISION",
    "SEGURA_FILE_MODE",
    "SEGURA_DIR_MODE",
    "SEGURA_FILE_UID",
    "SEGURA_FILE_GID",
    "SEGURA_FILE_RULES",
    "SEGURA_DECODE",
    "SEGURA_ALLOW_DISK",
    "SEGURA_SIGNAL",
    "SEGURA_SIGNAL_PID_FILE",
    "SEGURA_NOTIFY_COMMAND",
    "SEGURA_NOTIFY_URL",
    "SEGURA_AGENT_UID",
    "SEGURA_ON_CHANGE",
    "SEGURA_CHANGE_EXIT_CODE",
    "SEGURA_EXEC_ENV",
    "SEGURA_ENV_OVERRIDE",
    "SEGURA_RESTART_SPLAY",
    "SEGURA_STOP_SIGNAL",
    "SEGURA_STOP_TIMEOUT",
    "SEGURA_SANDBOX",
    "SEGURA_LISTEN",
    "SEGURA_TERMINATION_LOG",
];

#[test]
fn every_malformed_variable_is_reported_at_once_and_none_by_value() {
    let pairs: Vec<(&str, &str)> =
        MALFORMED.iter().map(|variable| (*variable, "canary/../\u{1}")).collect();
    let problems = read(&pairs).unwrap_err();
    for variable in MALFORMED {
        let prefix = format!("{variable}: ");
        assert!(problems.iter().any(|p| p.starts_with(&prefix)), "{variable} in {problems:#?}");
    }
    assert!(problems.iter().all(|problem| !problem.contains("canary")), "{problems:#?}");
}

#[test]
fn variables_that_take_any_text_are_the_only_ones_not_listed_as_malformed() {
    let any_text = [
        "SEGURA_CLIENT_ID",
        "SEGURA_CLIENT_SECRET",
        "SEGURA_POD_NAME",
        "SEGURA_POD_UID",
        "SEGURA_NAMESPACE",
        "SEGURA_DEPLOY",
        "SEGURA_SIGNAL_PROCESS",
        "SEGURA_LOG",
        "SEGURA_LOG_FORMAT",
    ];
    for variable in variables::VARIABLES {
        let listed = MALFORMED.contains(&variable.name);
        assert_ne!(listed, any_text.contains(&variable.name), "{}", variable.name);
    }
}

#[test]
fn the_log_settings_are_checked_apart_so_that_they_can_be_used_first() {
    let environment = [("SEGURA_LOG", "=canary="), ("SEGURA_LOG_FORMAT", "canary")];
    let environment = environment.map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let raw = Raw::from_environment(environment);
    let (_, problems) = log_settings(&raw, logging::Format::Json);
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(|problem| !problem.to_string().contains("canary")));
    for auto in [logging::Format::Json, logging::Format::Text] {
        assert_eq!(log_settings(&Raw::default(), auto).0.format, auto);
    }
}

#[test]
fn plain_http_needs_loopback_or_a_setting() {
    assert!(with(&[("SEGURA_URL", "http://127.0.0.1:80")]).is_ok());
    assert!(with(&[("SEGURA_URL", "http://localhost")]).is_ok());
    let problems = with(&[("SEGURA_URL", "http://vault.example.com")]).unwrap_err();
    assert!(problems.first().unwrap().starts_with("SEGURA_URL: must be an https URL"));
    let allowed = [("SEGURA_URL", "http://vault.example.com"), ("SEGURA_ALLOW_HTTP", "true")];
    assert!(with(&allowed).is_ok());
}

#[test]
fn a_credential_in_both_forms_is_a_problem() {
    let problems = with(&[("SEGURA_CLIENT_SECRET_FILE", "/x")]).unwrap_err();
    assert_eq!(
        problems,
        ["SEGURA_CLIENT_SECRET: must not be set beside SEGURA_CLIENT_SECRET_FILE"]
    );
}

#[test]
fn the_vendors_names_alone_make_a_drop_in() {
    let old = [
        ("SENHASEGURA_URL", "https://vault.example.com"),
        ("SENHASEGURA_CLIENT_ID", " id\n"),
        ("SENHASEGURA_CLIENT_SECRET", " secret \n"),
        ("HOSTNAME", "web-0"),
    ];
    let config = read(&old).unwrap();
    assert_eq!(output(&config).dir.to_str(), Some("/var/run/secrets/senhasegura"));
    assert_eq!((output(&config).access.file_mode, output(&config).access.dir_mode), (0o444, 0o755));
    assert_eq!(output(&config).disk, Disk::Warn);
    assert!(output(&config).create_last);
    let Credential::Given(secret) = &config.vault.client_secret else { panic!() };
    assert_eq!(secret.expose(), "secret");

    let mixed: Vec<_> =
        old.into_iter().chain([("SEGURA_URL", "https://other.example.com")]).collect();
    let config = read(&mixed).unwrap();
    assert_eq!(config.vault.url.as_str(), "https://other.example.com/");
    assert_eq!(output(&config).dir.to_str(), Some("/run/secrets/segura"));
}

#[test]
fn provisioning_needs_an_identity_and_a_namespace() {
    let problems = with(&[("SEGURA_SOURCE", "provision")]).unwrap_err();
    assert_eq!(problems, ["SEGURA_IDENTITY: must be set for SEGURA_SOURCE=provision"]);
    let warnings = |pairs| proven(&completed(pairs)).unwrap().warnings;
    assert_eq!(warnings(&[("SEGURA_IDENTITY", "db")]).len(), 1);
    let named = [("SEGURA_IDENTITY", "db"), ("POD_NAMESPACE", "shop")];
    assert!(warnings(&named).is_empty());
    assert_eq!(
        with(&[("SEGURA_IDENTITY", "a,,b")]).unwrap_err(),
        ["SEGURA_IDENTITY: identity number 2 is empty or has an empty part"]
    );
    assert_eq!(
        with(&[("SEGURA_IDENTITY", "a,b,a")]).unwrap_err(),
        ["SEGURA_IDENTITY: identity number 3 is listed before"]
    );
}

#[test]
fn an_unusable_proxy_is_reported_without_its_password() {
    let problems = with(&[("HTTPS_PROXY", "socks5://user:canary@proxy")]).unwrap_err();
    assert_eq!(problems, ["HTTPS_PROXY: must be a URL such as http://proxy.example.com:3128"]);
}

#[test]
fn neither_settings_nor_problems_show_a_credential() {
    let config = with(&[("HTTPS_PROXY", "http://user:canary@proxy")]).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}

fn sidecar(pairs: &[(&str, &str)]) -> Result<(Config, Renewing), Vec<String>> {
    let all = REQUIRED.into_iter().chain(pairs.iter().copied());
    let environment = all.map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let raw = Raw::from_environment(environment);
    Config::for_sidecar(raw, Mounts::default())
        .map(|proven| proven.settings)
        .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}

#[test]
fn a_sidecar_renews_by_the_defaults_of_the_interface() {
    let (config, renewing) = sidecar(&[]).unwrap();
    assert_eq!(renewing.notify.signal, crate::os::signal::HUP);
    assert_eq!(config.on_absent, OnAbsent::Keep);
    assert_eq!((renewing.max_stale, renewing.listen), (MaxStale::Never, Listen::Off));
    assert!(!renewing.deprovisions);
    let Notify { process, pid_file, command, url, .. } = renewing.notify;
    assert!(process.is_none() && pid_file.is_none() && command.is_none() && url.is_none());
}

#[test]
fn settings_that_a_sidecar_cant_have_are_reported() {
    for (pairs, expected) in [
        (&[("SEGURA_SIGNAL", "KILL")][..], "SEGURA_SIGNAL: must be a signal that a process can"),
        (&[("SEGURA_SIGNAL_PROCESS", "/bin/x")], "SEGURA_SIGNAL_PROCESS: must be the file name"),
        (&[("SEGURA_ON_ABSENT", "drop")], "SEGURA_ON_ABSENT: must be `keep` or `remove`"),
        (&[("SEGURA_DEPROVISION", "true")], "SEGURA_DEPROVISION: must not be set: only"),
        (&[("SEGURA_NOTIFY_URL", "http://example.com/")], "SEGURA_NOTIFY_URL: must be an http URL"),
    ] {
        let problems = sidecar(pairs).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
    }
    let deprovisions = [("SEGURA_DEPROVISION", "true"), ("SEGURA_IDENTITY", "db")];
    assert!(sidecar(&deprovisions).unwrap().1.deprovisions);
    let hosted: Vec<(OsString, OsString)> = REQUIRED
        .into_iter()
        .filter(|(name, _)| *name != "SEGURA_POD_NAME")
        .chain([("HOSTNAME", "web-0")])
        .chain(deprovisions)
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let raw = Raw::from_environment(hosted);
    let refused = Config::for_sidecar(raw, Mounts::default()).unwrap_err();
    let expected = "SEGURA_POD_NAME: must be set for deprovisioning";
    assert!(refused.0.iter().any(|problem| problem.to_string().starts_with(expected)));
}

#[cfg(unix)]
#[test]
fn doctor_reports_a_value_that_is_not_utf_8_and_warns_of_an_unknown_name() {
    use std::os::unix::ffi::OsStringExt;
    let environment = |more: Vec<(OsString, OsString)>| {
        let required = REQUIRED.map(|(name, value)| (name.into(), value.into()));
        Raw::from_environment(required.into_iter().chain(more))
    };
    let unknown = (OsString::from("SEGURA_OF_THE_APP"), OsString::from("x"));
    let broken = (OsString::from("SEGURA_LOG"), OsString::from_vec(vec![0xff]));
    let raw = environment(vec![unknown.clone()]);
    let proven = Config::for_doctor(raw, Mounts::default()).unwrap();
    assert_eq!(proven.warnings, ["SEGURA_OF_THE_APP is not a variable of segura-agent"]);
    let raw = environment(vec![unknown, broken]);
    let problems = Config::for_doctor(raw, Mounts::default()).unwrap_err();
    assert_eq!(problems.0, [Problem::new("SEGURA_LOG", "must be UTF-8")]);
}
