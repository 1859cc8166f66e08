//! How it all ends: as the command ends, or as a start does that never came to it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use rustix::process::Signal;

use super::basics::{Held, SUPERVISED_AND_NOT, log_lines, only_line};
use crate::dev_vault::requests::path;
use crate::{
    dev_vault::{Effect, Fault},
    harness::{Run, Scene, host::set_mode, lines, side_by_side, sidecar::Sidecar, until},
};

/// Signals whose default action ends no process: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH.
const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];
/// So many wrappers at once, each with a directory of its own.
const AT_ONCE: usize = 3;

/// Every signal whose default action ends a process.
fn deadly() -> impl Iterator<Item = i32> {
    (1..=31).chain(34..=64).filter(|signal| !HARMLESS.contains(signal))
}

/// Has each case run on one of a few scenes of the same vault, whose sets are published already.
fn on_a_few<C: Send + Sync>(all: &[C], run: impl Fn(&Scene, &C) + Sync) {
    let first = Scene::with_published_set();
    let others = (1..AT_ONCE).map(|n| first.another_pod(&format!("web-{n}")));
    let others: Vec<Scene> = others.collect();
    for scene in &others {
        scene.init().exits(0);
    }
    first.vault.clear_requests();
    side_by_side(std::iter::once(&first).chain(&others).enumerate(), |(n, scene)| {
        all.iter().skip(n).step_by(AT_ONCE).for_each(|case| run(scene, case));
    });
    assert_eq!(first.request_lines(), [""; 0], "all of them adopted the set");
}

#[test]
fn every_exit_code_of_the_command_becomes_that_of_exec() {
    let all: Vec<i32> = (0..256).collect();
    on_a_few(&all, |scene, code| {
        scene.exec_to_end(&["/bin/sh", "-c", &format!("exit {code}")]).exits(*code);
    });
}

#[test]
fn every_signal_that_kills_the_command_shows_in_the_exit_code() {
    let all: Vec<i32> = deadly().collect();
    assert_eq!(all.len(), 23 + 31);
    on_a_few(&all, |scene, signal| {
        let kill = format!("kill -{signal} $$; exit 3");
        let wrapper = scene.wrapper_by("ulimit -c 0; exec \"$@\"", &["/bin/sh", "-c", &kill]);
        let run = Sidecar::spawn(wrapper).wait();
        assert_eq!(run.code, Some(128 + signal), "{}", run.stderr);
    });
}

#[test]
fn without_renewal_the_end_of_the_command_is_the_end_of_the_process() {
    let mut scene = Scene::with_published_set();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    scene.exec_to_end(&["/bin/sh", "-c", "exit 42"]).exits(42);
    for signal in [15, 9, 40] {
        let kill = format!("kill -{signal} $$; exit 3");
        let status = scene.wrapper(&["/bin/sh", "-c", &kill]).output().unwrap().status;
        assert_eq!(status.signal(), Some(signal));
    }
}

#[test]
fn without_renewal_the_command_replaces_the_agent() {
    let mut scene = Scene::with_published_set();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    let wrapper = Held::spawn(scene.wrapper(&["/bin/cat"]));
    let text = |file: &str| {
        fs::read_to_string(format!("/proc/{}/{file}", wrapper.id())).unwrap_or_default()
    };
    until("the agent is its command", || text("comm") == "cat\n");
    assert!(text("status").contains("\nThreads:\t1\n"), "{}", text("status"));
    wrapper.release().exits(0);
    let wrapper = scene.exec(&["/bin/sh", "-c", "echo $$"]);
    let pid = format!("{}\n", wrapper.id());
    assert_eq!(wrapper.wait().stdout, pid);
}

/// Programs that can't be run, and one that can after all, in a folder that goes with the vault.
fn program(scene: &Scene, name: &str, text: &str, mode: u32) -> String {
    let path = scene.file(name, text);
    set_mode(&path, mode);
    path
}

#[test]
fn a_command_that_cannot_be_run_is_126_or_127_with_its_remedy() {
    let mut scene = Scene::with_published_set();
    let program = |name: &str, text: &str, mode: u32| program(&scene, name, text, mode);
    let closed = program("closed", "#!/bin/sh\n", 0o644);
    let cases = [
        (closed.clone(), 126, "executable"),
        ("/etc".to_owned(), 126, "executable"),
        (program("shut", &format!("#!{closed}\n"), 0o755), 126, "executable"),
        ("/nonexistent/program".to_owned(), 127, "ENTRYPOINT"),
        (format!("{closed}/below"), 127, "ENTRYPOINT"),
        ("no-such-program".to_owned(), 127, "PATH"),
        (String::new(), 127, "ENTRYPOINT"),
        (program("orphan", "#!/nonexistent/sh\n", 0o755), 127, "#!"),
    ];
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        for (asked, code, hint) in &cases {
            let run = scene.exec_to_end(&[asked.as_str(), "--canary"]);
            run.exits(*code);
            assert!(only_line(&run, "segura-agent: ").contains(asked.as_str()), "{}", run.stderr);
            assert!(only_line(&run, "hint: ").contains(hint), "{}", run.stderr);
            assert!(!run.stderr.contains("canary"), "{}", run.stderr);
        }
    }
}

#[test]
fn a_command_is_searched_for_as_shells_do() {
    let mut scene = Scene::with_published_set();
    let folders = ["one", "two"].map(|name| scene.vault.dir().join(name));
    folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    program(&scene, "one/app", "#!/bin/sh\nexit 1\n", 0o644);
    program(&scene, "two/app", "#!/bin/sh\nexit 5\n", 0o755);
    program(&scene, "one/closed", "#!/bin/sh\nexit 1\n", 0o644);
    let plain = program(&scene, "plain", "printf '%s.' \"$0\" \"$@\"; exit 6\n", 0o755);
    let path = folders.map(|folder| folder.display().to_string()).join(":");
    scene.set("PATH", &path);
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        scene.exec_to_end(&["app"]).exits(5);
        scene.exec_to_end(&["closed"]).exits(126);
        scene.exec_to_end(&["sh"]).exits(127);
        // It does not say what it is to be run by.
        let run = scene.exec_to_end(&[&plain, "a b", ""]);
        assert_eq!((run.code, run.stdout), (Some(6), format!("{plain}.a b..")), "{}", run.stderr);
    }
}

/// Runs a command that leaves a trace, and returns the end of `exec` and whether the command ran.
#[track_caller]
fn traced(scene: &Scene) -> (Run, bool) {
    let trace = trace(scene);
    let run = scene.exec_to_end(&["touch", &trace.display().to_string()]);
    (run, trace.exists())
}

fn trace(scene: &Scene) -> PathBuf {
    scene.vault.dir().join("the-command-ran")
}

#[test]
fn a_failed_first_fetch_ends_exec_like_init_without_a_command() {
    type Spoil = fn(&mut Scene);
    let cases: [(&str, i32, Spoil); 6] = [
        ("nothing", 0, |_| {}),
        ("refused", 77, |scene| scene.vault.set_client_secret("another")),
        ("inactive", 77, |scene| scene.vault.set_enabled(false)),
        ("down", 69, |scene| scene.vault.go_down()),
        ("nonsense", 76, |scene| scene.vault.fault(Fault::body(path::LOGIN, "<html>"))),
        ("no directory", 73, |scene| {
            let missing = scene.path("missing").display().to_string();
            scene.set("SEGURA_OUTPUT_DIR", &missing);
        }),
    ];
    for interval in SUPERVISED_AND_NOT {
        side_by_side(cases, |(what, code, spoil)| {
            let mut scene = Scene::new();
            scene.set("SEGURA_STARTUP_TIMEOUT", "5s").set("SEGURA_RENEW_INTERVAL", interval);
            spoil(&mut scene);
            let (run, ran) = traced(&scene);
            assert_eq!((run.code, ran), (Some(code), code == 0), "{what}: {}", run.stderr);
            if code != 0 {
                only_line(&run, "segura-agent: ");
            }
        });
    }
}

#[test]
fn every_mistake_in_the_settings_is_reported_at_once() {
    let wrong = [
        ("SEGURA_URL", "canary"),
        ("SEGURA_RENEW_INTERVAL", "canary"),
        ("SEGURA_ON_CHANGE", "canary"),
        ("SEGURA_CHANGE_EXIT_CODE", "256"),
        ("SEGURA_EXEC_ENV", "canary"),
        ("SEGURA_ENV_OVERRIDE", "canary"),
        ("SEGURA_RESTART_SPLAY", "canary"),
        ("SEGURA_STOP_SIGNAL", "STOP"),
        ("SEGURA_STOP_TIMEOUT", "canary"),
    ];
    let mut scene = Scene::new();
    for (name, value) in wrong {
        scene.set(name, value);
    }
    let (run, ran) = traced(&scene);
    assert!(!ran && run.code == Some(78));
    for (name, _) in wrong {
        let log_lines = run.stderr.lines().filter(|line| line.starts_with(&format!("  {name}: ")));
        assert_eq!(log_lines.count(), 1, "{name} in {}", run.stderr);
    }
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    assert_eq!(scene.request_lines(), [""; 0]);
}

#[test]
fn an_unknown_name_that_may_be_the_apps_causes_a_warning_only() {
    let mut scene = Scene::with_published_set();
    scene.set("SEGURA_OF_THE_APP", "canary");
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let run = scene.exec_to_end(&["/bin/sh", "-c", "exit 4"]);
        let found = log_lines(run.exits(4), "SEGURA_OF_THE_APP");
        assert!(matches!(found[..], [("WARN", _)]), "{found:?}");
        assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    }
}

#[test]
fn a_signal_before_the_first_set_ends_exec_without_a_command() {
    let signals =
        [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129), (Signal::QUIT, 131)];
    for interval in SUPERVISED_AND_NOT {
        side_by_side(signals, |(signal, code)| {
            let mut scene = Scene::new();
            scene.set("SEGURA_RENEW_INTERVAL", interval);
            scene.vault.fault(Fault::new("", Effect::Hang));
            let wrapper = scene.exec(&["touch", &trace(&scene).display().to_string()]);
            until("the vault gets a request", || !scene.vault.requests().is_empty());
            wrapper.send(signal);
            let run = wrapper.wait();
            run.exits(code);
            assert!(!run.stderr.contains("segura-agent: "), "{}", run.stderr);
            assert!(!trace(&scene).exists(), "{signal:?}");
        });
    }
}

#[test]
fn a_signal_between_the_set_and_the_command_is_not_lost() {
    let mut scene = Scene::with_published_set_after(|scene| {
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
    });
    scene.wait_until_due();
    scene.vault.set_data("application5", r#"{"value": "another"}"#);
    // What stood before stays for a moment, for who still reads it, and the agent until then.
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    let wrapper = scene.exec(&["touch", &trace(&scene).display().to_string()]);
    until("the newer set is published", || scene.state()["generation"] == 2);
    wrapper.send(Signal::TERM);
    let run = wrapper.wait();
    assert!(!trace(&scene).exists(), "{:?} {}", run.code, run.stderr);
    run.exits(143);
}

#[test]
fn a_signal_that_was_ignored_at_the_start_does_not_end_exec() {
    for interval in SUPERVISED_AND_NOT {
        let mut scene = Scene::new();
        scene.set("SEGURA_RENEW_INTERVAL", interval).set("SEGURA_TIMEOUT", "2s");
        scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
        scene.vault.fault(Fault::new(path::LOGIN, Effect::Hang));
        let ignoring = "exec env --ignore-signal=HUP \"$@\"";
        let wrapper = scene.wrapper_by(ignoring, &["touch", &trace(&scene).display().to_string()]);
        let wrapper = Sidecar::spawn(wrapper);
        until("the vault gets a request", || !scene.vault.requests().is_empty());
        wrapper.send(Signal::HUP);
        let asked = scene.vault.requests().len();
        until("the vault gets another request", || scene.vault.requests().len() > asked);
        scene.vault.clear_faults();
        wrapper.wait().exits(0);
        assert!(trace(&scene).exists());
    }
}

#[test]
fn a_due_set_is_used_by_the_command_while_the_vault_is_down() {
    for interval in ["1s", "off"] {
        let mut scene = Scene::with_published_set_after(|scene| {
            scene.set("SEGURA_RENEW_INTERVAL", "1s");
        });
        scene.wait_until_due();
        scene.vault.go_down();
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let run = scene.exec_to_end(&["/bin/sh", "-c", "echo \"$my_key_name\"; exit 7"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(7), "my_key_value\n"), "{}", run.stderr);
        let found = log_lines(&run, lines::SERVES_ON);
        assert!(matches!(found[..], [("WARN", _)]), "{}", run.stderr);
    }
}
