//! The variables are those that the interface promises, with their defaults.

use std::collections::BTreeMap;

use segura_agent::config::variables::VARIABLES;

/// Every variable that the interface promises, with its default where that is one word.
const PROMISED: &[(&str, Option<&str>)] = &[
    ("SEGURA_AGENT_UID", None),
    ("SEGURA_ALLOW_DISK", Some("false")),
    ("SEGURA_ALLOW_HTTP", Some("false")),
    ("SEGURA_CA_FILE", None),
    ("SEGURA_CHANGE_EXIT_CODE", Some("75")),
    ("SEGURA_CLIENT_CERT_FILE", Some("none")),
    ("SEGURA_CLIENT_ID", Some("required")),
    ("SEGURA_CLIENT_ID_FILE", None),
    ("SEGURA_CLIENT_KEY_FILE", Some("none")),
    ("SEGURA_CLIENT_SECRET", Some("required")),
    ("SEGURA_CLIENT_SECRET_FILE", None),
    ("SEGURA_COLLISION", Some("last")),
    ("SEGURA_CONNECT_TIMEOUT", Some("3s")),
    ("SEGURA_DECODE", Some("none")),
    ("SEGURA_DEPLOY", None),
    ("SEGURA_DEPROVISION", Some("false")),
    ("SEGURA_DIR_MODE", Some("0750")),
    ("SEGURA_ENV_CASE", Some("keep")),
    ("SEGURA_ENV_DIALECT", Some("shell")),
    ("SEGURA_ENV_FILE", Some("secrets.env")),
    ("SEGURA_ENV_NAME", None),
    ("SEGURA_ENV_OVERRIDE", Some("true")),
    ("SEGURA_EXEC_ENV", Some("true")),
    ("SEGURA_FILE_GID", None),
    ("SEGURA_FILE_MODE", Some("0440")),
    ("SEGURA_FILE_RULES", Some("none")),
    ("SEGURA_FILE_UID", None),
    ("SEGURA_IDENTITY", Some("none")),
    ("SEGURA_JSON_FILE", Some("secrets.json")),
    ("SEGURA_LISTEN", Some("off")),
    ("SEGURA_LOG", Some("info")),
    ("SEGURA_LOG_FORMAT", Some("auto")),
    ("SEGURA_MAX_STALE", Some("off")),
    ("SEGURA_NAMESPACE", None),
    ("SEGURA_NOTIFY_COMMAND", Some("none")),
    ("SEGURA_NOTIFY_URL", Some("none")),
    ("SEGURA_ON_ABSENT", Some("keep")),
    ("SEGURA_ON_CHANGE", None),
    ("SEGURA_OUTPUT", Some("files")),
    ("SEGURA_OUTPUT_DIR", Some("/run/secrets/segura")),
    ("SEGURA_POD_NAME", None),
    ("SEGURA_POD_UID", None),
    ("SEGURA_PRIVATE_KEY_FILE", Some("none")),
    ("SEGURA_PROPERTIES_FILE", Some("secrets.properties")),
    ("SEGURA_PROVISION_TIMEOUT", Some("60s")),
    ("SEGURA_REFERER", Some("none")),
    ("SEGURA_REFRESH", Some("auto")),
    ("SEGURA_RENEW_INTERVAL", Some("auto")),
    ("SEGURA_RESTART_SPLAY", Some("30s")),
    ("SEGURA_SANDBOX", Some("off")),
    ("SEGURA_SIGNAL", Some("HUP")),
    ("SEGURA_SIGNAL_PID_FILE", Some("none")),
    ("SEGURA_SIGNAL_PROCESS", Some("none")),
    ("SEGURA_SOURCE", None),
    ("SEGURA_STARTUP_TIMEOUT", Some("2m")),
    ("SEGURA_STOP_SIGNAL", Some("TERM")),
    ("SEGURA_STOP_TIMEOUT", Some("20s")),
    ("SEGURA_TEMPLATE_DIR", Some("none")),
    ("SEGURA_TERMINATION_LOG", Some("/dev/termination-log")),
    ("SEGURA_TIMEOUT", Some("10s")),
    ("SEGURA_URL", Some("required")),
    ("SEGURA_YAML_FILE", Some("secrets.yaml")),
];

#[test]
fn the_variables_are_those_of_the_interface() {
    let known: BTreeMap<&str, &str> =
        VARIABLES.iter().map(|variable| (variable.name, variable.default)).collect();
    assert_eq!(known.len(), VARIABLES.len(), "no variable is listed twice");
    let names: Vec<&str> = known.keys().copied().collect();
    let promised: Vec<&str> = PROMISED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, promised);
    for (name, default) in PROMISED {
        if let Some(default) = default {
            assert_eq!(known[name], *default, "{name}");
        }
    }
}
