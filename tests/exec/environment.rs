//! The command's environment: the container's and the entries, and nothing of the agent's.

mod canaries;
mod nowhere;
mod refused;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use segura_agent::config::variables::{ALIASES, VARIABLES};
use serde_json::{Value, json};

use super::basics::{SUPERVISED_AND_NOT, log_lines};
use crate::harness::{Run, Scene};

/// A pod that asks for one secret, `app`, with this in it.
fn scene_with(data: &Value) -> Scene {
    let mut scene = Scene::new();
    scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "app");
    scene.set("SEGURA_RENEW_INTERVAL", "1h");
    scene.vault.set_data("app", data);
    scene
}

/// A pod whose two secrets are asked for every second.
fn scene_with_changes() -> Scene {
    let mut scene = scene_with(&json!({"k": "one"}));
    scene.vault.set_data("other", json!({"k": "one"}));
    scene.set("SEGURA_IDENTITY", "app,other").set("SEGURA_RENEW_INTERVAL", "1s");
    scene.set("SEGURA_RESTART_SPLAY", "0s").set("SEGURA_STOP_TIMEOUT", "2s");
    scene
}

/// The environment that a command is given.
#[track_caller]
fn given(scene: &Scene) -> BTreeMap<String, String> {
    given_by(&scene.exec_to_end(&["cat", "/proc/self/environ"]))
}

#[track_caller]
fn given_by(run: &Run) -> BTreeMap<String, String> {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let all =
        run.stdout.split_terminator('\0').map(|variable| variable.split_once('=').expect("a name"));
    let all: Vec<(&str, &str)> = all.collect();
    let by_name: BTreeMap<String, String> =
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(by_name.len(), all.len(), "each is there once");
    by_name
}

/// Names and values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn expected(pairs: Pairs<'_>) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Starts a command that would leave a trace, and asserts that it never ran.
#[track_caller]
fn refused(scene: &Scene) -> Run {
    let trace = scene.vault.dir().join("the-command-ran");
    let run = scene.exec_to_end(&["touch", &trace.display().to_string()]);
    assert!(!trace.exists(), "{}", run.stderr);
    run
}

#[test]
fn entries_are_exact_to_the_byte() {
    let values = [
        ("plain", "one"),
        ("newline", "one\ntwo\n\n"),
        ("quotes", "'single' \"double\" `back`"),
        ("equals", "=a=b="),
        ("other", "çã €\u{1f511}"),
        ("script", "$HOME $(id) \\ * #"),
        ("control", "\u{1}\t\r\u{7f}"),
        ("spaces", "  x  "),
        ("empty", ""),
    ];
    let data: BTreeMap<&str, &str> = values.into_iter().collect();
    let mut scene = scene_with(&json!(data));
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        assert_eq!(given(&scene), expected(&values), "{interval}");
    }
}

#[test]
fn entries_are_named_as_in_the_env_file() {
    let cases: [(&str, &str, &str, Pairs<'_>); 6] = [
        ("app", "", "", &[("user_name", "u"), ("_1st", "f"), ("n", "1.50")]),
        ("app", "", "upper", &[("USER_NAME", "u"), ("_1ST", "f"), ("N", "1.50")]),
        ("app", "DB_{key}", "", &[("DB_user_name", "u"), ("DB_1st", "f"), ("DB_n", "1.50")]),
        (
            "app,db/main",
            "",
            "",
            &[("app_user_name", "u"), ("app_1st", "f"), ("app_n", "1.50"), ("db_main_ip", "i")],
        ),
        (
            "app,db/main",
            "X_{key}",
            "upper",
            &[("X_USER_NAME", "u"), ("X_1ST", "f"), ("X_N", "1.50"), ("X_IP", "i")],
        ),
        ("db/main", "{key}.of.{identity}", "keep", &[("ip_of_db_main", "i")]),
    ];
    for (identities, pattern, case, variables) in cases {
        let mut scene = scene_with(&json!({}));
        scene.vault.set_data("app", r#"{"user-name": "u", "1st": "f", "n": 1.50}"#);
        scene.vault.set_data("db/main", r#"{"ip": "i"}"#);
        scene.set("SEGURA_IDENTITY", identities).set("SEGURA_OUTPUT", "env");
        scene.set("SEGURA_ENV_NAME", pattern).set("SEGURA_ENV_CASE", case);
        let given = given(&scene);
        assert_eq!(given, expected(variables), "{identities} {pattern} {case}");
        let file: String =
            given.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        assert_eq!(scene.read("secrets.env"), file);
    }
}

#[test]
fn without_exec_env_there_is_no_entry() {
    let mut scene =
        scene_with(&json!({"password": "canary", "nul": "\0", "long": "x".repeat(200_000)}));
    scene.set("SEGURA_EXEC_ENV", "false").set("OF_THE_CONTAINER", "stays");
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        assert_eq!(given(&scene), expected(&[("OF_THE_CONTAINER", "stays")]), "{interval}");
    }
    assert_eq!(scene.read("app/nul"), "\0", "files carry every byte");
}

#[test]
fn settings_and_credentials_are_removed_and_all_other_variables_stay() {
    let stays = [
        ("SEGURA_OF_THE_APP", "x"),
        ("SEGURA_PORT", "tcp://10.0.0.1:443"),
        ("SEGURA_SERVICE_HOST", "10.0.0.1"),
        ("SEGURA_PORT_443_TCP_ADDR", "10.0.0.1"),
        ("SENHASEGURA_OF_THE_APP", "x"),
        ("HTTPS_PROXY", "http://user:password@127.0.0.1:9"),
        ("NO_PROXY", ".local"),
        ("POD_NAME", "web-0"),
        ("POD_NAMESPACE", "shop"),
        ("HOSTNAME", "web-0"),
        ("PATH", "/usr/bin:/bin"),
        ("EMPTY", ""),
        ("two words", "a = b"),
        ("segura_url", "x"),
    ];
    let mut scene = scene_with(&json!({"password": "p"}));
    // Empty means unset, so all names that the agent knows can be there at once.
    for variable in VARIABLES {
        if scene.agent(&[]).get_envs().all(|(name, _)| name != variable.name) {
            scene.set(variable.name, "");
        }
    }
    for name in ALIASES {
        scene.set(name, "https://canary");
    }
    for (name, value) in stays {
        scene.set(name, value);
    }
    let mut all = expected(&stays);
    all.insert("password".to_owned(), "p".to_owned());
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let mut wrapper = scene.wrapper(&["cat", "/proc/self/environ"]);
        // Not UTF-8, as old programs have it.
        wrapper.env(OsStr::from_bytes(b"LATIN_\xe9"), OsStr::from_bytes(b"caf\xe9 \xff"));
        let output = wrapper.output().unwrap();
        let mut variables = output.stdout.split(|byte| *byte == 0);
        assert!(variables.any(|variable| variable == b"LATIN_\xe9=caf\xe9 \xff"), "{interval}");
        assert_eq!(given(&scene), all, "{interval}");
    }
}

#[test]
fn the_winner_of_a_name_clash_is_logged_once_and_without_a_value() {
    let mut scene =
        scene_with(&json!({"login": "canary-1", "password": "canary-2", "ip": "canary-3"}));
    scene.set("login", "canary-4").set("password", "canary-5").set("OTHER", "canary-6");
    let own = [("OTHER", "canary-6"), ("ip", "canary-3")];
    let cases = [
        ("", "canary-1", "canary-2", "entries replace variables of the container"),
        ("true", "canary-1", "canary-2", "entries replace variables of the container"),
        ("false", "canary-4", "canary-5", "variables of the container override entries"),
    ];
    for (wins, login, password, line) in cases {
        for interval in SUPERVISED_AND_NOT {
            scene.set("SEGURA_ENV_OVERRIDE", wins).set("SEGURA_RENEW_INTERVAL", interval);
            let run = scene.exec_to_end(&["cat", "/proc/self/environ"]);
            let all = [&own[..], &[("login", login), ("password", password)]].concat();
            assert_eq!(given_by(&run), expected(&all), "{wins} {interval}");
            let found = log_lines(&run, line);
            assert!(matches!(found[..], [("INFO", _)]), "{}", run.stderr);
            assert!(found[0].1.contains(r#""names":"login, password""#), "{}", found[0].1);
            assert!(!run.stderr.contains("canary"), "{}", run.stderr);
        }
    }
}

#[test]
fn names_that_steer_programs_are_withheld_and_logged_once() {
    let names = [
        "BASH_ENV",
        "Hostname",
        "KUBERNETES_PORT",
        "NODE_OPTIONS",
        "PATH",
        "PYTHONPATH",
        "home",
        "ld_preload",
        "pod_name",
    ];
    let mut data: BTreeMap<&str, &str> = names.map(|name| (name, "canary")).into_iter().collect();
    data.insert("password", "p");
    let mut scene = scene_with(&json!(data));
    scene.set("PATH", "/usr/bin:/bin").set("HOSTNAME", "web-0");
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let run = scene.exec_to_end(&["cat", "/proc/self/environ"]);
        let all = [("PATH", "/usr/bin:/bin"), ("HOSTNAME", "web-0"), ("password", "p")];
        assert_eq!(given_by(&run), expected(&all));
        let found = log_lines(&run, &names.join(", "));
        assert!(matches!(found[..], [("INFO", _)]), "{}", run.stderr);
        let line = found[0].1;
        assert!(line.contains("SEGURA_ENV_NAME"), "{line}");
        assert!(!run.stderr.contains("canary"), "{}", run.stderr);
        assert_eq!(scene.read("app/PATH"), "canary", "files are not concerned");
    }
    scene.set("SEGURA_ENV_NAME", "APP_{key}");
    let given = given(&scene);
    for name in names {
        assert_eq!(given[&format!("APP_{name}")], "canary");
    }
}
