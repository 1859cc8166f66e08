//! Settings as pods have them: typos, leftovers, the vendor's old names; and the command line.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use segura_agent::config::variables::VARIABLES;

use crate::dev_vault::requests::{APPLICATION, LOGIN, path};
use crate::{
    dev_vault::Fault,
    harness::{Run, SEED, Scene, host::mode, memory_dir},
};

/// Variables that take any text, or a path that is only looked at when it is used.
const FREE: [&str; 9] = [
    "SEGURA_CLIENT_ID",
    "SEGURA_CLIENT_SECRET",
    "SEGURA_POD_NAME",
    "SEGURA_POD_UID",
    "SEGURA_NAMESPACE",
    "SEGURA_DEPLOY",
    "SEGURA_SIGNAL_PROCESS",
    // Always reported, with any value: they are for later versions.
    "SEGURA_TEMPLATE_DIR",
    "SEGURA_DECODE",
];

/// The lines that name a variable and say what it must be.
fn problems(run: &Run) -> BTreeMap<String, String> {
    let lines = run.stderr.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": "));
    lines.map(|(name, remedy)| (name.to_owned(), remedy.to_owned())).collect()
}

#[track_caller]
fn assert_refused(scene: &Scene, variable: &str) {
    let run = scene.init();
    run.refuses(variable);
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    assert_eq!(scene.vault.connections(), 0);
}

#[test]
fn an_unknown_variable_is_refused_by_name() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVALL", "canary");
    assert_refused(&scene, "SEGURA_RENEW_INTERVALL");
    assert!(scene.entries().is_empty(), "{:?}", scene.entries());
}

#[test]
fn every_malformed_variable_is_reported_at_once_and_without_its_value() {
    let mut scene = Scene::new();
    scene.set("SEGURA_NOT_KNOWN", "canary");
    for variable in VARIABLES.iter().filter(|variable| !FREE.contains(&variable.name)) {
        let value = match variable.name {
            // What is no absolute path, no number, no word and no duration is still good text here.
            "SEGURA_ENV_NAME" => "canary{",
            "SEGURA_REFERER" => "canary\u{e9}",
            "SEGURA_IDENTITY" => "fine,../canary",
            "SEGURA_LOG" => "canary=nothing",
            name if name.ends_with("_FILE") => "../canary",
            _ => "canary",
        };
        scene.set(variable.name, value);
    }
    scene.unset("SEGURA_CLIENT_ID").unset("SEGURA_CLIENT_SECRET");
    let run = scene.init();
    for variable in VARIABLES.iter().filter(|variable| !FREE.contains(&variable.name)) {
        run.refuses(variable.name);
    }
    run.refuses("SEGURA_NOT_KNOWN");
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    assert_eq!(scene.vault.connections(), 0);
}

#[test]
fn missing_variables_are_reported_at_once() {
    let mut scene = Scene::new();
    let names = ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET", "SEGURA_POD_NAME"];
    for name in names {
        scene.unset(name);
    }
    let run = scene.init();
    let problems = problems(run.exits(78));
    assert!(
        problems.keys().map(String::as_str).eq(BTreeMap::from(names.map(|n| (n, ()))).into_keys())
    );
}

#[test]
fn service_links_of_a_service_named_segura_are_no_typos() {
    let mut scene = Scene::new();
    for (name, value) in [
        ("SEGURA_PORT", "tcp://10.96.0.7:443"),
        ("SEGURA_SERVICE_HOST", "10.96.0.7"),
        ("SEGURA_SERVICE_PORT", "443"),
        ("SEGURA_SERVICE_PORT_HTTPS", "443"),
        ("SEGURA_PORT_443_TCP", "tcp://10.96.0.7:443"),
        ("SEGURA_PORT_443_TCP_ADDR", "10.96.0.7"),
        ("SEGURA_PORT_443_TCP_PORT", "443"),
        ("SEGURA_PORT_443_TCP_PROTO", "tcp"),
    ] {
        scene.set(name, value);
    }
    scene.init().exits(0);
}

#[test]
fn an_empty_value_counts_as_unset() {
    let mut scene = Scene::new();
    let set = ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET", "SEGURA_CA_FILE"];
    let set = set.iter().chain(&["SEGURA_OUTPUT_DIR", "SEGURA_POD_NAME", "SEGURA_IDENTITY"]);
    let set: Vec<&str> = set.copied().collect();
    for variable in VARIABLES.iter().filter(|variable| !set.contains(&variable.name)) {
        scene.set(variable.name, "");
    }
    scene.init().exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_by_name() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let scene = Scene::new();
    let value = OsString::from_vec(b"canary\xff".to_vec());
    let output = scene.agent(&["init"]).env("SEGURA_DEPLOY", value).output().unwrap();
    let run = Run::of(output);
    assert_eq!(problems(run.exits(78))["SEGURA_DEPLOY"], "must be UTF-8");
    assert!(!run.stderr.contains("canary"));
}

#[test]
fn a_credential_in_both_forms_is_refused() {
    for variable in ["SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"] {
        let mut scene = Scene::new();
        scene.set_file(&format!("{variable}_FILE"), "canary");
        assert_refused(&scene, variable);
    }
}

#[test]
fn half_a_client_certificate_is_refused() {
    for (set, missing) in [
        ("SEGURA_CLIENT_CERT_FILE", "SEGURA_CLIENT_KEY_FILE"),
        ("SEGURA_CLIENT_KEY_FILE", "SEGURA_CLIENT_CERT_FILE"),
    ] {
        let mut scene = Scene::new();
        scene.set(set, "/dev/null");
        assert_refused(&scene, missing);
    }
}

#[test]
fn a_file_without_a_usable_credential_is_reported_before_any_request() {
    let names = ["SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"];
    let contents: [Option<&[u8]>; 6] = [
        None,
        Some(b""),
        Some(b"\n"),
        Some(b"canary\0canary"),
        Some(b"canary\ncanary\n"),
        Some(b"canary\xff"),
    ];
    for name in names {
        for content in contents {
            let mut scene = Scene::new();
            // A directory can be opened, even by root, and not be read.
            let path = scene.vault.dir().join("credential");
            match content {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::create_dir(&path).unwrap(),
            }
            let variable = format!("{name}_FILE");
            scene.unset(name).set(&variable, &path.display().to_string());
            let run = scene.init();
            let error = run.exits(78).error();
            assert!(error.contains(&variable), "{content:?}: {error}");
            assert!(error.contains(&path.display().to_string()), "{content:?}: {error}");
            assert!(!run.stderr.contains("canary"), "{}", run.stderr);
            assert_eq!(scene.vault.connections(), 0, "{content:?}");
            assert!(scene.published().is_empty());
        }
    }
}

#[test]
fn a_missing_file_is_reported_before_any_request() {
    for variable in ["SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"] {
        let mut scene = Scene::new();
        let file = format!("{variable}_FILE");
        scene.unset(variable).set(&file, "/nowhere/at/all");
        let run = scene.init();
        assert!(run.exits(78).error().contains(&file), "{}", run.error());
        assert!(run.error().contains("/nowhere/at/all"), "{}", run.error());
        assert_eq!(scene.vault.connections(), 0);
    }
}

#[test]
fn init_refuses_deprovisioning() {
    let mut scene = Scene::new();
    scene.set("SEGURA_DEPROVISION", "true");
    assert_refused(&scene, "SEGURA_DEPROVISION");
    scene.set("SEGURA_DEPROVISION", "false");
    scene.init().exits(0);
}

#[test]
fn init_refuses_output_none_and_malformed_outputs() {
    for output in ["none", "canary", "files,canary", "files,,env"] {
        let mut scene = Scene::new();
        scene.set("SEGURA_OUTPUT", output);
        assert_refused(&scene, "SEGURA_OUTPUT");
    }
}

#[test]
fn with_the_vendors_variables_alone_the_agent_replaces_the_historic_sidecar() {
    let scene = Scene::new();
    let folder = memory_dir();
    let mut command = scene.agent(&["init"]);
    command.env_clear();
    command.env("SENHASEGURA_URL", scene.vault.url());
    command.env("SENHASEGURA_CLIENT_ID", format!(" {}\n", scene.vault.client_id()));
    command.env("SENHASEGURA_CLIENT_SECRET", format!("\n{} \n", scene.vault.client_secret()));
    command.env("SENHASEGURA_SECRETS_FOLDER", folder.path());
    command.env("SEGURA_CA_FILE", scene.vault.ca_file());
    command.env("HOSTNAME", "web-0");
    Run::of(command.output().unwrap()).exits(0);

    assert_eq!(scene.request_lines(), [LOGIN, APPLICATION]);
    let published = folder.path().join("senhasegura");
    for (path, value) in [
        ("application5/ip", "app.application.com"),
        ("application5/TTL", ""),
        ("payments/database/username", "payments"),
        ("secret-postman/hostname", "WinSUP"),
    ] {
        let path = published.join(path);
        assert_eq!(fs::read_to_string(&path).unwrap(), value, "{}", path.display());
        assert_eq!(mode(&path), 0o444, "{}", path.display());
        assert_eq!(mode(path.parent().unwrap()), 0o755, "{}", path.display());
    }
    assert_eq!(mode(&published), 0o755);
}

#[test]
fn the_drop_in_trusts_no_unknown_authority() {
    let scene = Scene::new();
    let folder = memory_dir();
    let mut command = scene.agent(&["init"]);
    command.env_clear();
    command.env("SENHASEGURA_URL", scene.vault.url());
    command.env("SENHASEGURA_CLIENT_ID", scene.vault.client_id());
    command.env("SENHASEGURA_CLIENT_SECRET", scene.vault.client_secret());
    command.env("SENHASEGURA_SECRETS_FOLDER", folder.path());
    command.env("HOSTNAME", "web-0").env("SEGURA_STARTUP_TIMEOUT", "5s");
    let run = Run::of(command.output().unwrap());
    assert!(run.exits(69).hint().is_some_and(|hint| hint.contains("SEGURA_CA_FILE")));
    assert!(scene.vault.requests().is_empty());
}

#[test]
fn our_own_names_win_over_the_vendors() {
    let mut scene = Scene::new();
    scene.set("SENHASEGURA_URL", "https://vault.invalid");
    scene.set("SENHASEGURA_CLIENT_ID", "old").set("SENHASEGURA_CLIENT_SECRET", "old");
    scene.set("SENHASEGURA_SECRETS_FOLDER", "/nowhere");
    scene.init().exits(0);
    assert_eq!(mode(scene.path("secret-postman/ip")), 0o440);
    assert_eq!(mode(scene.path("secret-postman/1")), 0o750);
}

#[test]
fn the_pods_name_is_found_without_a_variable() {
    let mut scene = Scene::new();
    scene.unset("SEGURA_POD_NAME").unset("SEGURA_NAMESPACE");
    scene.set("POD_NAME", "kafka-2").set("POD_NAMESPACE", "queues").set("HOSTNAME", "other-9");
    scene.init().exits(0);
    let own = scene.vault.provisioned(SEED).remove(0);
    assert_eq!((own.pod_name.as_str(), own.deploy.as_str()), ("kafka-2", "kafka"));
    assert_eq!(own.namespace, "queues");

    let mut scene = Scene::new();
    scene.unset("SEGURA_POD_NAME").set("HOSTNAME", "other-9");
    let run = scene.init();
    assert!(run.exits(0).stderr.contains("HOSTNAME"), "{}", run.stderr);
    assert_eq!(scene.vault.provisioned(SEED).remove(0).pod_name, "other-9");
}

#[test]
fn wrong_use_of_the_command_line_is_64() {
    let scene = Scene::new();
    for args in [&[][..], &["frobnicate"], &["init", "--frobnicate"], &["init", "more"]] {
        let run = scene.run(args);
        assert!(!run.exits(64).error().is_empty(), "{args:?}");
        assert!(run.hint().is_some_and(|hint| hint.contains("--help")), "{args:?}");
    }
    assert_eq!(scene.vault.connections(), 0);
}

#[test]
fn help_and_version_go_to_stdout_and_need_no_settings() {
    let scene = Scene::new();
    for (args, words) in [
        (&["--help"][..], "init"),
        (&["init", "--help"], "SEGURA_STARTUP_TIMEOUT"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = scene.agent(args).env_clear().output().unwrap();
        let run = Run::of(output);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(run.stdout.contains(words), "{args:?}: {}", run.stdout);
    }
}

#[test]
fn a_fatal_error_is_also_written_to_the_termination_log() {
    let mut scene = Scene::new();
    let log = scene.vault.dir().join("termination-log");
    scene.set("SEGURA_TERMINATION_LOG", &log.display().to_string());
    scene.set("SEGURA_CLIENT_SECRET", "canary");
    scene.init().exits(77);
    assert!(!log.exists(), "a file that is not mounted is not made");

    fs::write(&log, "something longer that was there before\n".repeat(20)).unwrap();
    let run = scene.init();
    let message = fs::read_to_string(&log).unwrap();
    assert_eq!(message, format!("{}\nhint: {}\n", run.error(), run.hint().unwrap()));
    assert!(!message.contains("canary"));

    scene.set("SEGURA_TIMEOUT", "soon");
    scene.init().exits(78);
    assert!(fs::read_to_string(&log).unwrap().contains("\n  SEGURA_TIMEOUT: "));

    let before = fs::read_to_string(&log).unwrap();
    let (id, secret) = ("SEGURA_CLIENT_SECRET", scene.vault.client_secret().to_owned());
    scene.unset("SEGURA_TIMEOUT").set(id, &secret);
    scene.init().exits(0);
    assert_eq!(fs::read_to_string(&log).unwrap(), before, "a success says nothing there");
}

#[test]
fn log_lines_are_json_unless_text_is_wanted() {
    let mut scene = Scene::new();
    scene.vault.fault(Fault::bad_gateway(path::LOGIN).once());
    scene.set("SEGURA_LOG", "debug");
    for format in ["json", "auto"] {
        scene.set("SEGURA_LOG_FORMAT", format);
        let run = scene.init();
        assert!(!run.exits(0).stderr.is_empty());
        for line in run.stderr.lines() {
            let event: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            for field in ["timestamp", "level", "message"] {
                assert!(event[field].is_string(), "{format}: {line}");
            }
        }
    }
    scene.set("SEGURA_LOG_FORMAT", "text");
    let run = scene.init();
    assert!(run.exits(0).stderr.lines().all(|line| !line.starts_with('{')), "{}", run.stderr);
    assert!(run.stderr.contains("INFO"), "{}", run.stderr);
}

#[test]
fn the_log_level_is_that_of_the_settings() {
    let mut scene = Scene::new();
    scene.set("SEGURA_LOG", "warn").set("SEGURA_IDENTITY", "payments/database");
    let run = scene.init();
    assert!(run.exits(0).stderr.lines().all(|line| line.contains("WARN")), "{}", run.stderr);
    scene.set("SEGURA_LOG", "off");
    assert_eq!(scene.init().exits(0).stderr, "");
}

#[test]
fn loopback_is_never_proxied() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let names =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    for (name, by_name) in names.into_iter().flat_map(|name| [(name, false), (name, true)]) {
        let mut scene = Scene::new();
        if by_name {
            let vault = scene.vault.url().replace("127.0.0.1", "localhost");
            scene.set("SEGURA_URL", &vault);
        }
        scene.set(name, &url);
        scene.init().exits(0);
    }
    let asked = proxy.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(asked, Err(std::io::ErrorKind::WouldBlock), "the proxy was asked");
}

#[test]
fn other_hosts_are_reached_through_the_proxy_by_name() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let heard = thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
        line
    });
    let mut scene = Scene::new();
    scene.set("SEGURA_URL", "https://vault.invalid:8443").set("SEGURA_STARTUP_TIMEOUT", "5s");
    scene.set("HTTPS_PROXY", &format!("http://user:canary@{address}"));
    let run = scene.init();
    assert_eq!(heard.join().unwrap(), "CONNECT vault.invalid:8443 HTTP/1.1\r\n");
    assert!(!run.exits(69).stderr.contains("canary"), "{}", run.stderr);
}
