//! Processes beside an agent: a reader changes nothing, and other agents report an `exec`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{SHOWS, bare, change, reads, scene, shown, until_has, wraps};
use crate::dev_vault::requests::LOGIN;
use crate::harness::{Run, Scene, for_a_while, lines, sidecar::Sidecar, until};

/// Everything below a directory and the directory itself: which it is, and when it last changed.
fn traces(dir: &Path) -> BTreeMap<PathBuf, [i64; 5]> {
    let found = fs::symlink_metadata(dir).expect("it is there");
    let inode = i64::try_from(found.ino()).expect("a small number");
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    let mut traces = BTreeMap::new();
    traces.insert(dir.to_owned(), [inode, times[0], times[1], times[2], times[3]]);
    if found.is_dir() {
        for entry in fs::read_dir(dir).expect("a directory") {
            traces.extend(self::traces(&entry.expect("an entry").path()));
        }
    }
    traces
}

#[test]
fn a_reader_changes_nothing_in_the_directory_of_the_sidecar() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "1h");
    let sidecar = scene.renewing_sidecar();
    // The last that its start writes.
    until("the first set is notified", || scene.state()["notified"] == 1);
    let before = traces(scene.dir.path());
    assert!(before.len() > 8, "{before:?}");
    for settings in [&[][..], &[("SEGURA_RENEW_INTERVAL", "off")]] {
        let reader = reads(&scene, SHOWS, settings);
        until_has(&reader, &["one"]);
        let (live, line) = scene.check("live");
        assert!(live && line.starts_with("live: generation 1"), "{line}");
        reader.kill();
    }
    assert_eq!(traces(scene.dir.path()), before);
    let (live, line) = scene.check("live");
    assert!(live, "{line}");
    let second = scene.sidecar().wait();
    let name = format!("sidecar, pid {}", sidecar.id());
    assert!(second.exits(73).error().contains(&name), "{}", second.stderr);
    sidecar.stop();
}

#[test]
fn another_agent_in_the_directory_of_exec_reports_its_holder() {
    let scene = scene();
    let agent = wraps(&scene, SHOWS);
    until_has(&agent, &["one"]);
    let name = format!("exec, pid {}", agent.id());
    for second in [scene.init(), scene.sidecar().wait()] {
        assert!(second.exits(73).error().contains(&name), "{}", second.stderr);
        assert!(second.hint().is_some(), "{}", second.stderr);
    }
    change(&scene, "two");
    until_has(&agent, &["one", "two"]);
}

#[test]
fn probes_of_exec_answer_like_those_of_a_sidecar() {
    let scene = scene();
    let agent = wraps(&scene, SHOWS);
    until_has(&agent, &["one"]);
    for question in ["started", "ready", "live"] {
        let start = format!("{question}: generation 1, fetched ");
        until("it is answered", || scene.check(question).0);
        let (yes, line) = scene.check(question);
        assert!(yes && line.starts_with(&start), "{line}");
    }
    agent.kill();
    for (question, holds) in [("started", true), ("ready", false), ("live", false)] {
        let (yes, line) = scene.check(question);
        assert_eq!(yes, holds, "{line}");
    }
}

#[test]
fn a_second_exec_reads_and_outlives_the_first() {
    let scene = scene();
    let first = wraps(&scene, SHOWS);
    until_has(&first, &["one"]);
    let second = wraps(&scene, SHOWS);
    until_has(&second, &["one"]);
    second.until_logged(lines::READS);
    assert_eq!(first.times_logged(lines::READS), 0);
    change(&scene, "two");
    until_has(&first, &["one", "two"]);
    until_has(&second, &["one", "two"]);
    first.send(Signal::TERM);
    assert_eq!(first.wait().code, Some(143));
    let third = wraps(&scene, SHOWS);
    until_has(&third, &["two"]);
    third.until_logged(lines::ADOPTED);
    assert_eq!(third.times_logged(lines::READS), 0, "it publishes in the first one's place");
    change(&scene, "three");
    until_has(&third, &["two", "three"]);
    until_has(&second, &["one", "two", "three"]);
    let runs = shown(&second);
    assert_eq!(runs.len(), 3, "the first one's end was nothing to the second: {runs:?}");
}

#[test]
fn of_several_exec_started_at_once_one_publishes_and_the_others_read() {
    let mut scene = scene();
    scene.unset("SEGURA_SOURCE").set("SEGURA_RENEW_INTERVAL", "1h");
    let wrappers: Vec<Sidecar> = (0..5).map(|_| wraps(&scene, SHOWS)).collect();
    for wrapper in &wrappers {
        until("its command runs", || shown(wrapper).len() == 1);
    }
    let account = scene.vault.provisioned("app").pop().expect("the pod has an account");
    wrappers.iter().for_each(|wrapper| until_has(wrapper, &[&account.password]));
    let reading =
        || wrappers.iter().filter(|wrapper| wrapper.times_logged(lines::READS) == 1).count();
    until("all but one read", || reading() == 4);
    assert_eq!((scene.vault.provision_count(), scene.count(LOGIN)), (1, 1));
}

#[test]
fn only_the_publisher_deprovisions() {
    let mut scene = scene();
    scene.unset("SEGURA_SOURCE").set("SEGURA_RENEW_INTERVAL", "1h");
    scene.set("SEGURA_DEPROVISION", "true");
    let held = || scene.vault.provisioned("app").len();
    let agent = wraps(&scene, SHOWS);
    until("its command runs", || shown(&agent).len() == 1);
    let [short, long] = [wraps(&scene, SHOWS), wraps(&scene, SHOWS)];
    for reader in [&short, &long] {
        until("its command runs", || shown(reader).len() == 1);
        reader.until_logged(lines::READS);
    }
    short.send(Signal::TERM);
    assert_eq!(short.wait().code, Some(143));
    assert_eq!((held(), scene.published().is_empty()), (1, false));
    agent.send(Signal::TERM);
    let run = agent.wait();
    assert_eq!(run.code, Some(143), "{}", run.stderr);
    assert_eq!((held(), scene.published().is_empty()), (0, true));
    for_a_while("the reader runs on", || !long.has_ended() && shown(&long).len() == 1);
}

/// Types a script to a shell in a wrapper, as `kubectl exec -i` does.
fn typed(mut agent: Command, script: &str) -> Run {
    let mut child = agent.stdin(Stdio::piped()).spawn().expect("env(1) is everywhere");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    stdin.write_all(script.as_bytes()).expect("the shell reads");
    drop(stdin);
    Run::wait(child)
}

#[test]
fn a_shell_beside_an_agent_has_the_entries_and_no_credentials() {
    for starts in [Scene::renewing_sidecar, |scene: &Scene| wraps(scene, SHOWS)] {
        let scene = scene();
        let agent = starts(&scene);
        until("the set is published", || scene.check("live").0 && scene.check("started").0);
        let words = scene.agent(&["exec", "--", "sh"]);
        // With all settings, as in the agent's own container, and with none, as in another.
        let own = words.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let shell = || {
            let mut env = Command::new("env");
            env.arg(words.get_program()).args(words.get_args()).env_clear();
            env.stdout(Stdio::piped()).stderr(Stdio::piped());
            env
        };
        let mut with_all = shell();
        with_all.envs(own);
        for command in [with_all, bare(&scene, shell())] {
            let run = typed(command, "echo \"<$password>\"; set; exit 3\n");
            assert_eq!(run.code, Some(3), "{}", run.stderr);
            assert!(run.stdout.starts_with("<one>\n"), "{}", run.stdout);
            assert!(!run.stdout.contains("SEGURA_"), "{}", run.stdout);
            assert!(!run.stdout.contains(scene.vault.client_secret()), "{}", run.stdout);
            assert!(run.stderr.contains(lines::READS), "{}", run.stderr);
        }
        agent.kill();
    }
}
