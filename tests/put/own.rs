//! A document can't send the agent's own credentials: not by a variable, not by a file, not by way of
//! the kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{file, run};
use crate::dev_vault::requests::{PUT_CREDENTIAL, PUT_SECRET};
use crate::harness::{Run, Scene, host::skip};

const CANARY: &str = "cAnArY-oWn-4f1d";

/// The variables that name a file with a credential of the agent.
const FILES: [&str; 6] = [
    "SEGURA_CLIENT_ID_FILE",
    "SEGURA_CLIENT_SECRET_FILE",
    "SEGURA_CLIENT_CERT_FILE",
    "SEGURA_CLIENT_KEY_FILE",
    "SEGURA_PRIVATE_KEY_FILE",
    "SENHASEGURA_CONFIG_FILE",
];

/// Documents of both commands that refer to `reference`: the command, the text, and the place of the
/// reference.
fn documents(reference: &str) -> [(&'static str, String, &'static str); 4] {
    let device = "username: u\nhostname: w2016\nip: 10.66.33.15\n";
    [
        ("secret", format!("identity: a\ndata: {{k: {reference}}}\n"), "data.k: "),
        ("secret", format!("identity: {reference}\ndata: {{k: v}}\n"), "identity: "),
        ("credential", format!("{device}content: {reference}\n"), "content: "),
        (
            "credential",
            format!("{device}additional_settings: {{secret_key: {reference}}}\n"),
            "additional_settings.secret_key: ",
        ),
    ]
}

/// Asserts that one line refuses the reference at `place`, and names `cause` there.
#[track_caller]
fn refused(run: &Run, place: &str, cause: &str) {
    assert_eq!(run.code, Some(78), "{}{}", run.stdout, run.stderr);
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains(place)).collect();
    assert!(matches!(lines[..], [line] if line.contains(cause)), "{cause}: {}", run.stderr);
    assert!(run.stderr.contains("document 1"), "{}", run.stderr);
    assert!(run.stdout.starts_with("failed   ") && run.stdout.lines().count() == 1);
    assert!(!format!("{run:?}").contains(CANARY), "{run:?}");
}

#[test]
fn no_document_sends_a_variable_of_the_agents_credentials() {
    let mut scene = Scene::new();
    scene.set("SENHASEGURA_CLIENT_ID", CANARY).set("SENHASEGURA_CLIENT_SECRET", CANARY);
    scene.set("segura_client_secret", CANARY).set("Segura_Client_Id", CANARY);
    scene.set("https_proxy", &format!("http://user:{CANARY}@127.0.0.1:1"));
    let names = [
        "SEGURA_CLIENT_ID",
        "SEGURA_CLIENT_SECRET",
        "SENHASEGURA_CLIENT_ID",
        "SENHASEGURA_CLIENT_SECRET",
        "segura_client_secret",
        "Segura_Client_Id",
        "https_proxy",
    ];
    for name in names {
        for (command, text, place) in documents(&format!("{{from_env: {name}}}")) {
            let run = run(&scene, &[command, "put", &file(&scene, "a.yaml", &text)]);
            refused(&run, place, name);
        }
    }
    assert_eq!(scene.count(PUT_SECRET) + scene.count(PUT_CREDENTIAL), 0);
}

#[test]
fn no_document_sends_a_file_of_the_agents_credentials_by_any_path() {
    for variable in FILES {
        let mut scene = Scene::new();
        let own = file(&scene, "own", CANARY);
        let dir = scene.vault.dir().to_owned();
        fs::hard_link(&own, dir.join("hard")).expect("a link");
        symlink(&own, dir.join("soft")).expect("a link");
        symlink("soft", dir.join("softer")).expect("a link");
        fs::create_dir(dir.join("folder")).expect("a folder");
        scene.set(variable, &own);
        let paths = ["own", "hard", "soft", "softer", "folder/../own"].map(str::to_owned);
        let by_kernel = format!("/proc/self/root{own}");
        for path in paths.into_iter().chain([own, by_kernel]) {
            for (command, text, place) in documents(&format!("{{from_file: {path}}}")) {
                let document = file(&scene, "a.yaml", &text);
                let run = run(&scene, &[command, "put", &document, "--dry-run"]);
                refused(&run, place, variable);
            }
        }
        // The variable may name a link, and the document the file behind it.
        scene.set(variable, &dir.join("softer").display().to_string());
        let text = "identity: a\ndata: {k: {from_file: own}}\n";
        let run = run(&scene, &["secret", "put", &file(&scene, "a.yaml", text), "--dry-run"]);
        refused(&run, "data.k: ", variable);
    }
}

#[test]
fn no_document_sends_a_file_of_the_kernel() {
    let scene = Scene::new();
    symlink("/proc/self/environ", scene.vault.dir().join("link")).expect("a link");
    let sysfs = "/sys/devices/system/cpu/online";
    let mut paths = vec![
        ("/proc/self/environ", "procfs"),
        ("/proc/thread-self/environ", "procfs"),
        ("/proc/self/cmdline", "procfs"),
        ("/proc/self/root/proc/self/environ", "procfs"),
        ("link", "procfs"),
    ];
    if Path::new(sysfs).exists() {
        paths.push((sysfs, "sysfs"));
    } else {
        skip("files of the kernel", "this machine has no sysfs");
    }
    for (path, system) in paths {
        for (command, text, place) in documents(&format!("{{from_file: {path}}}")) {
            let run = run(&scene, &[command, "put", &file(&scene, "a.yaml", &text)]);
            refused(&run, place, system);
        }
    }
    assert_eq!(scene.count(PUT_SECRET) + scene.count(PUT_CREDENTIAL), 0);
}

#[test]
fn a_document_sends_other_variables_and_files() {
    let mut scene = Scene::new();
    scene.set("DB_PASSWORD", "x");
    scene.set("HTTPS_PROXY_OF_MINE", "http://u@p");
    scene.set("SEGURA_PRIVATE_KEY_FILE", &file(&scene, "own", "secret"));
    file(&scene, "twin", "secret");
    let text = "identity: a\ndata:\n  a: {from_env: DB_PASSWORD}\n  b: {from_file: twin}\n  c: {from_env: HTTPS_PROXY_OF_MINE}\n";
    let run = run(&scene, &["secret", "put", &file(&scene, "a.yaml", text), "--dry-run"]);
    assert_eq!((run.code, &*run.stdout), (Some(0), "valid    a  keys=a,b,c\n"), "{}", run.stderr);
}
