//! Characters that a terminal obeys in place of showing them, in names and messages from everywhere:
//! no line of the agent holds one. And lines that are too long, which stay whole.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test that called it")]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::dev_vault::Fault;
use crate::dev_vault::requests::path;
use crate::harness::sidecar::free_port;
use crate::harness::{Run, SEED, Scene, lines, until};

/// Format characters, separators, fillers and noncharacters: a file may be named by them.
const FORMAT: [char; 40] = [
    '\u{ad}',
    '\u{34f}',
    '\u{600}',
    '\u{61c}',
    '\u{6dd}',
    '\u{70f}',
    '\u{890}',
    '\u{8e2}',
    '\u{115f}',
    '\u{17b4}',
    '\u{180b}',
    '\u{180e}',
    '\u{200b}',
    '\u{200d}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202e}',
    '\u{2060}',
    '\u{2066}',
    '\u{2069}',
    '\u{206f}',
    '\u{3164}',
    '\u{fdd0}',
    '\u{fe0f}',
    '\u{feff}',
    '\u{ffa0}',
    '\u{fff9}',
    '\u{ffff}',
    '\u{110bd}',
    '\u{13430}',
    '\u{1bca0}',
    '\u{1d173}',
    '\u{1fffe}',
    '\u{e0001}',
    '\u{e0041}',
    '\u{e0100}',
    '\u{10ffff}',
];
/// Control characters, of C0 and C1.
const CONTROL: [char; 14] = [
    '\u{1}', '\u{7}', '\u{8}', '\t', '\n', '\u{b}', '\r', '\u{1b}', '\u{1f}', '\u{7f}', '\u{80}',
    '\u{85}', '\u{9b}', '\u{9f}',
];
/// The most bytes of a line, its line feed included, and of a termination message.
const LONGEST: usize = 4096;

/// A name that may be published.
fn name() -> String {
    FORMAT.iter().fold("x".to_owned(), |name, c| name + &c.to_string()) + "y"
}

/// A text that may not.
fn text() -> String {
    CONTROL.iter().fold(name(), |text, c| text + &c.to_string()) + "forged: z"
}

/// Asserts that a text has these characters, and shows each of them.
#[track_caller]
fn assert_visible(what: &str, shown: &str) {
    let raw = FORMAT.iter().chain(&CONTROL).filter(|c| **c != '\n');
    let raw: Vec<&char> = raw.filter(|c| shown.contains(**c)).collect();
    assert!(raw.is_empty(), "{what}: {raw:?} in {shown:?}");
    assert!(shown.contains("\\u{202e}"), "{what}: it names nothing: {shown}");
    assert!(shown.lines().all(|line| !line.starts_with("forged")), "{what}: {shown}");
    // Readers of the strings of a log line get no such character, either.
    for line in shown.lines().filter(|line| line.starts_with('{')) {
        let value: Value = serde_json::from_str(line).unwrap();
        for (field, value) in value.as_object().unwrap() {
            let held = value.as_str().is_some_and(|text| {
                text.contains([FORMAT.as_slice(), &CONTROL].concat().as_slice())
            });
            assert!(!held, "{what}: {field} in {line}");
        }
    }
}

fn termination_log(scene: &mut Scene) -> PathBuf {
    let log = scene.vault.dir().join("termination-log");
    fs::write(&log, "").unwrap();
    scene.set("SEGURA_TERMINATION_LOG", &log.display().to_string());
    log
}

/// Runs the agent, and returns all that it shows: both streams, and the termination message.
fn shown(scene: &mut Scene, args: &[&str]) -> (Option<i32>, String) {
    let log = termination_log(scene);
    let run = Run::of(scene.agent(args).output().unwrap());
    let message = fs::read_to_string(log).unwrap();
    assert!(message.len() <= LONGEST);
    (run.code, format!("{}{}{message}", run.stdout, run.stderr))
}

/// A place that names come from, the command that shows them, its exit code, and what to prepare.
type Place = (&'static str, &'static [&'static str], i32, fn(&mut Scene));

/// Has the vault hold a secret of this name, whose every word is another one.
fn put_named(scene: &mut Scene) {
    let name = name();
    scene.vault.put_secret(json!({
        "identity": name, "version": name, "engine": name, "name": name, "expiration_date": name,
        "data": [{ name.as_str(): "one" }, { name.as_str(): "two" }],
    }));
    scene.set("SEGURA_IDENTITY", &name);
}

/// Has the vault refuse to provision, in these words.
fn refuse(scene: &mut Scene) {
    let envelope = json!({ "status": 400, "error": true, "error_code": 1, "message": text() });
    let body = json!({ "response": envelope }).to_string();
    scene.vault.fault(Fault::answer(path::PROVISION, 400, &body).method("POST"));
}

const PLACES: [Place; 16] = [
    ("a variable of init", &["init"], 78, |scene| {
        scene.set(&format!("SEGURA_{}", text()), "x");
    }),
    ("a variable of exec", &["exec", "true"], 0, |scene| {
        scene.set(&format!("SEGURA_{}", text()), "x");
    }),
    ("a variable in a log of text", &["exec", "true"], 0, |scene| {
        scene.set("SEGURA_LOG_FORMAT", "text").set(&format!("SEGURA_{}", text()), "x");
    }),
    ("a path of the output", &["init"], 73, |scene| {
        scene.set("SEGURA_OUTPUT_DIR", &format!("/nowhere/{}", text()));
    }),
    ("a path of a file", &["init"], 78, |scene| {
        scene.set("SEGURA_CA_FILE", &format!("/nowhere/{}", text()));
    }),
    ("a template", &["init"], 78, |scene| {
        let dir = scene.vault.dir().join("templates");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(text() + ".j2"), "{{ nothing").unwrap();
        scene.set("SEGURA_TEMPLATE_DIR", &dir.display().to_string());
    }),
    ("the vault's message", &["init"], 78, refuse),
    ("the vault's message to doctor", &["doctor"], 77, |scene| {
        let body = json!({ "error": "invalid_client", "error_description": text() }).to_string();
        scene.vault.fault(Fault::answer(path::LOGIN, 401, &body));
    }),
    ("an identity", &["init"], 0, put_named),
    ("an identity in a plan", &["init", "--dry-run"], 0, |scene| {
        put_named(scene);
        scene.set("SEGURA_SOURCE", "application");
    }),
    ("an identity in doctor", &["doctor"], 0, |scene| {
        put_named(scene);
        scene.set("SEGURA_SOURCE", "application");
    }),
    ("an identity that is missing", &["init"], 78, |scene| {
        scene.set("SEGURA_IDENTITY", &name());
    }),
    ("a table", &["secret", "list"], 0, put_named),
    ("a document", &["secret", "put", "-"], 78, |_| {}),
    ("a set that is deprovisioned", &["deprovision"], 0, |scene| {
        put_named(scene);
        scene.init().exits(0);
    }),
    ("a folder to install in", &["install", "/nowhere/\u{202e}\u{2028}\u{1b}"], 73, |_| {}),
];

#[test]
fn names_from_everywhere_are_shown_and_never_obeyed() {
    let document = json!({ "identity": text(), "data": { name(): { name(): 1 } }, text(): 1 });
    for (what, args, code, prepare) in PLACES {
        let mut scene = Scene::new();
        prepare(&mut scene);
        if args.last() == Some(&"-") {
            let log = termination_log(&mut scene);
            let file = scene.vault.dir().join(text());
            fs::write(&file, document.to_string()).unwrap();
            let args = [args[0], args[1], &file.display().to_string()];
            let run = Run::of(scene.agent(&args).output().unwrap());
            assert_eq!(run.code, Some(code), "{what}: {}", run.stderr);
            assert_visible(what, &run.stderr);
            assert_visible(what, &run.stdout);
            assert_eq!(fs::read_to_string(log).unwrap(), "");
            continue;
        }
        let (ended, shown) = shown(&mut scene, args);
        assert_eq!(ended, Some(code), "{what}: {shown}");
        assert_visible(what, &shown);
    }
}

#[test]
fn words_of_the_command_line_are_shown_and_never_obeyed() {
    let mut scene = Scene::new();
    let text = text();
    for (args, code) in [
        (vec![text.as_str()], 64),
        (vec!["check", text.as_str()], 64),
        (vec!["secret", "get", text.as_str()], 64),
        (vec!["secret", "put", text.as_str()], 78),
        (vec!["exec", "--", text.as_str()], 127),
        (vec!["kubernetes", "init-container", "--type", text.as_str()], 64),
    ] {
        let (ended, shown) = shown(&mut scene, &args);
        let what = format!("{args:?}");
        assert_eq!(ended, Some(code), "{what}: {shown}");
        // An identity that can't be one is not repeated.
        if args.get(1) != Some(&"get") {
            assert_visible(&what, &shown);
        }
    }
}

#[test]
fn json_for_scripts_has_the_exact_strings_and_none_of_the_characters() {
    let mut scene = Scene::new();
    put_named(&mut scene);
    for args in [
        &["secret", "list", "--output", "json"][..],
        &["secret", "get", &name(), "--output", "json"],
    ] {
        let run = Run::of(scene.agent(args).output().unwrap());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let raw = run.stdout.chars().find(|c| FORMAT.contains(c));
        assert_eq!(raw, None, "{}", run.stdout);
        let value: Value = serde_json::from_str(&run.stdout).unwrap();
        let secrets = value.as_array().cloned().unwrap_or_else(|| vec![value]);
        let own = secrets.iter().find(|secret| secret["identity"] == name()).unwrap();
        assert_eq!((&own["engine"], &own["keys"][0][0]), (&json!(name()), &json!(name())));
    }
}

#[test]
fn probes_and_logs_of_a_sidecar_show_what_is_held_back() {
    let mut scene = Scene::new();
    put_named(&mut scene);
    let identities = format!("{SEED},{}", name());
    let port = free_port();
    scene.set("SEGURA_IDENTITY", &identities).set("SEGURA_RENEW_INTERVAL", "1s");
    scene.set("SEGURA_LISTEN", &format!("127.0.0.1:{port}"));
    scene.set("SEGURA_SIGNAL_PROCESS", &name());
    let sidecar = scene.renewing_sidecar();
    scene.vault.remove_secret(&name());
    until("it is held back", || scene.held_back(&name()).is_some());
    sidecar.until_logged(lines::HELD_BACK);
    let (holds, line) = scene.check("ready");
    assert!(holds, "{line}");
    assert_visible("check", &line);
    let mut answer = String::new();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /readyz HTTP/1.1\r\n\r\n").unwrap();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_visible("/readyz", body);
    assert_visible("the log of a sidecar", &sidecar.stop().stderr);
}

/// A remark of this many bytes at least: the keys whose values differ.
fn remark(scene: &Scene, bytes: usize) {
    let keys: Vec<String> = (0..=bytes / 240).map(|n| format!("{n:0>240}")).collect();
    let entry = |value: &str| keys.iter().map(|key| (key.clone(), json!(value))).collect::<Value>();
    scene.vault.set_data(SEED, json!([entry("one"), entry("two")]));
}

#[test]
fn a_line_of_any_length_stays_a_whole_line() {
    for bytes in [1 << 10, 1 << 11, 3_000, 1 << 12, 1 << 14, 1 << 17, 1 << 20] {
        for format in ["json", "text"] {
            let mut scene = Scene::new();
            scene.set("SEGURA_OUTPUT", "json").set("SEGURA_LOG_FORMAT", format);
            remark(&scene, bytes);
            let run = scene.init();
            run.exits(0);
            let remark = run.stderr.lines().find(|line| line.contains(lines::ENTRIES_DIFFER));
            let remark = remark.unwrap_or_else(|| panic!("{bytes}: {}", run.stderr));
            let is_cut = remark.contains('…');
            assert_eq!(is_cut, bytes >= 1 << 12, "{bytes} as {format}: {remark}");
            for line in run.stderr.lines() {
                assert!(line.len() < LONGEST, "{bytes} as {format}: {} bytes", line.len());
                if format == "json" {
                    let value: Value = serde_json::from_str(line).expect("an object");
                    for field in ["timestamp", "level", "message", "target"] {
                        assert!(value[field].is_string(), "{field}: {line}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_fatal_error_keeps_its_beginning_and_the_log_has_all() {
    let mut scene = Scene::new();
    for n in 0..300 {
        let name = format!("SEGURA_UNKNOWN_{n:03}_{}", "x".repeat(60));
        scene.set(&name, "canary");
    }
    let log = termination_log(&mut scene);
    let run = scene.init();
    run.exits(78);
    assert_eq!(run.problems().len(), 300, "{}", run.stderr);
    let message = fs::read_to_string(log).unwrap();
    assert!(message.len() <= LONGEST, "{} bytes", message.len());
    assert!(run.stderr.starts_with(&message[..3_000]), "{message}");
    let shown = message.lines().filter(|line| line.contains("SEGURA_UNKNOWN_")).count();
    assert!(message.contains(&format!("  and {} more", 300 - shown)), "{message}");
}
