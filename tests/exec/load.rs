//! Storms: of rotations, of signals, of ends.

use std::fs;
use std::io::pipe;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::orphans::processes::{EVAL_LINES, Wrapped, living, zombies};
use super::restart::{change_now, watched_scene};
use crate::dev_vault::Options;
use crate::harness::host::{User, is_root};
use crate::harness::secret::{fetch_app_alone, until_notified, until_published};
use crate::harness::sidecar::Sidecar;
use crate::harness::{Scene, for_a_while, lines, pause, sha256, side_by_side, until};

/// How many rotations come within a second.
const ROTATIONS: usize = 50;
/// Between two of them.
const PAUSE: u64 = 20;
/// An agent that has nothing to do runs for no more than a tick in this time.
const REST: u64 = 1_500;
/// What is heard of within this is one change.
const BURST: Duration = Duration::from_millis(100);

/// Has everything change again and again; asserts that the command is restarted for a few of the
/// changes, and has the last value.
#[track_caller]
fn assert_few_restarts(scene: &Scene, wrapped: &Wrapped, change: impl Fn(usize)) {
    let began = scene.vault.elapsed();
    for n in 1..=ROTATIONS {
        change(n);
        pause(PAUSE);
    }
    let last = format!("value {ROTATIONS}");
    until("the command has the last value", || wrapped.values().last() == Some(&last));
    let bursts = (scene.vault.elapsed() - began).div_duration_f64(BURST);
    let given = wrapped.values();
    for_a_while("there are no more starts", || wrapped.starts().len() == given.len());
    assert!(given.len() as f64 <= 2.0 + bursts, "{given:?}");
    assert!(given.len() < ROTATIONS, "{given:?}");
    wrapped.eval("exit 0");
}

#[test]
fn fifty_rotations_within_a_second_cause_few_restarts_and_the_last_value_counts() {
    let scene = watched_scene();
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    until_notified(&scene);
    assert_few_restarts(&scene, &wrapped, |n| change_now(&scene, &format!("value {n}")));
    until_notified(&scene);
    assert_eq!(wrapped.agent.text_warnings(), Vec::<String>::new());
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn fifty_rotations_while_the_command_is_being_stopped_cause_one_restart() {
    let mut scene = watched_scene();
    scene.set("SEGURA_STOP_TIMEOUT", "10m");
    let wrapped = Wrapped::shell(&scene, "trap 'echo held; read -r line; exit 0' TERM");
    wrapped.until_started(1);
    until_notified(&scene);
    for n in 1..=ROTATIONS {
        change_now(&scene, &format!("value {n}"));
        pause(PAUSE);
    }
    let last = format!("value {ROTATIONS}");
    until_published(&scene, &last);
    wrapped.agent.until_printed("held");
    wrapped.eval("");
    wrapped.until_started(2);
    until_notified(&scene);
    for_a_while("there is no third", || wrapped.starts().len() == 2);
    assert_eq!(wrapped.values(), ["one".to_owned(), last]);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

/// A reader of the published set.
fn reader(scene: &mut Scene) -> Wrapped {
    for name in ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"] {
        scene.unset(name);
    }
    let wrapped = Wrapped::spawn(scene.agent(&["exec", "--", "sh", "-c", EVAL_LINES]));
    wrapped.agent.until_logged(lines::READS);
    wrapped.until_started(1);
    wrapped
}

/// Publishes a set as an agent does: a new generation, then one rename.
fn publish(scene: &Scene, number: usize, value: &str) {
    let record = fs::read(scene.path("..data/..generation.json")).expect("a set is published");
    let mut record: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&record).expect("JSON");
    record.insert("generation".to_owned(), number.into());
    let folder = format!("..2026_11_22_12_00_00.{number:09}");
    let path = |name: &str| scene.path(&folder).join(name);
    fs::create_dir(scene.path(&folder)).expect("it is new");
    let bundle = serde_json::json!({ "app": [{ "password": value }] }).to_string();
    let snapshot = serde_json::to_vec(&record).expect("JSON");
    fs::write(path("..bundle.json"), &bundle).expect("it is new");
    fs::write(path("..generation.json"), &snapshot).expect("it is new");
    let set = serde_json::json!({
        "folder": folder,
        "bundle_sha256": sha256(bundle.as_bytes()),
        "generation_sha256": sha256(&snapshot),
        "file_uid": 0,
    });
    record.insert("set".to_owned(), set);
    let state = scene.path("..segura/state.json");
    let next = scene.path("..segura/state.json.new");
    fs::write(&next, serde_json::to_vec(&record).expect("JSON")).expect("it is new");
    fs::rename(next, state).expect("the same directory");
    symlink(&folder, scene.path("..data_tmp")).expect("it is new");
    fs::rename(scene.path("..data_tmp"), scene.path("..data")).expect("the same directory");
}

#[test]
fn fifty_generations_within_a_second_cause_few_restarts_of_a_readers_command() {
    let mut scene = watched_scene();
    scene.init().exits(0);
    let wrapped = reader(&mut scene);
    assert_few_restarts(&scene, &wrapped, |n| publish(&scene, n + 1, &format!("value {n}")));
    assert_eq!(wrapped.agent.text_warnings(), Vec::<String>::new());
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn fifty_rotations_beside_a_sidecar_cause_few_restarts_of_a_readers_command() {
    let mut scene = watched_scene();
    scene.unset("SEGURA_LOG_FORMAT");
    let sidecar = scene.renewing_sidecar();
    let vault = scene.another_pod("vault");
    let wrapped = reader(&mut scene);
    assert_few_restarts(&scene, &wrapped, |n| change_now(&vault, &format!("value {n}")));
    assert_eq!(wrapped.agent.wait().code, Some(0));
    sidecar.stop();
}

#[test]
fn an_unreadable_set_leaves_the_command_of_a_reader_running() {
    let mut scene = watched_scene();
    scene.init().exits(0);
    let wrapped = reader(&mut scene);
    let command = wrapped.until_started(1);
    publish(&scene, 2, "two");
    wrapped.until_started(2);
    let harms: [fn(&Scene); 2] = [
        |scene| fs::write(scene.path("..data/..bundle.json"), "{").unwrap(),
        |scene| fs::remove_file(scene.path("..data/..bundle.json")).unwrap(),
    ];
    assert_eq!(living(command), None);
    let command = wrapped.until_started(2);
    for harm in harms {
        harm(&scene);
        // Something moves in the directory, so that it is looked at.
        fs::write(scene.path(".hint"), "").unwrap();
        for_a_while("the command runs", || living(command).is_some());
        assert_eq!(wrapped.starts().len(), 2);
    }
    publish(&scene, 3, "three");
    wrapped.until_started(3);
    assert_eq!(wrapped.values(), ["one", "two", "three"]);
    let complaints = wrapped.agent.text_warnings();
    assert!(complaints.len() <= 1, "{complaints:#?}");
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

/// Ticks that a process has been running on a processor.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields = fields.split_ascii_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Sends a signal a thousand times, by a shell that does nothing else.
fn storm(wrapped: &Wrapped, number: i32) {
    let script = "i=0; while [ $i -lt 1000 ]; do kill -$1 $2; i=$((i+1)); done";
    let (number, pid) = (number.to_string(), wrapped.agent_pid().to_string());
    let sent = Command::new("sh").args(["-c", script, "sh", &number, &pid]).status();
    assert!(sent.expect("a shell").success());
}

#[test]
fn a_thousand_signals_leave_the_agent_alive_and_idle() {
    // USR1, TERM, CHLD and CONT as anybody may send them, and two real-time ones.
    side_by_side([10, 15, 17, 18, 35, 64], |number| {
        let scene = watched_scene();
        let first = format!("trap 'n=$((n + 1)); again=1; echo signalled' {number}");
        let wrapped = Wrapped::shell(&scene, &first);
        let command = wrapped.until_started(1);
        until_notified(&scene);
        storm(&wrapped, number);
        until("it is forwarded", || wrapped.agent.stdout().contains("signalled\n"));
        wrapped.eval("echo counted $n");
        wrapped.agent.until_printed("counted ");
        let agent = wrapped.agent_pid();
        // Work under way comes to its end first, which takes its time on a busy machine.
        until("it rests", || {
            let before = ticks(agent);
            pause(REST);
            ticks(agent) <= before + 1
        });
        assert_eq!((wrapped.starts().len(), living(command).is_some()), (1, true), "{number}");
        assert_eq!(wrapped.agent.text_warnings(), Vec::<String>::new());
        wrapped.eval("exit 5");
        assert_eq!(wrapped.agent.wait().code, Some(5), "{number}");
    });
}

#[test]
fn a_thousand_children_that_end_at_once_are_waited_for_beside_signals() {
    let scene = watched_scene();
    let wrapped = Wrapped::shell(&scene, "trap 'again=1; echo signalled' USR1");
    wrapped.until_started(1);
    wrapped.eval("i=0; while [ $i -lt 1000 ]; do (: &); i=$((i+1)); done; echo bombed");
    for _ in 0..20 {
        wrapped.agent.send(Signal::USR1);
    }
    wrapped.agent.until_printed("signalled\n");
    wrapped.agent.until_printed("bombed\n");
    until("no zombie is left", || zombies(wrapped.agent_pid()) == 0);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn a_hundred_commands_that_end_at_once_give_their_own_codes() {
    let mut scene = Scene::with(Options { tls: false, ..Options::default() });
    fetch_app_alone(&mut scene);
    scene.set("SEGURA_OUTPUT", "none").set("SEGURA_STARTUP_TIMEOUT", "1m");
    scene.set("PATH", "/usr/bin:/bin").set("SEGURA_RENEW_INTERVAL", "10m");
    let (reader, writer) = pipe().unwrap();
    let words = |code: &str| {
        ["exec", "--", "sh", "-c", "echo ready; read -r line; exit $0", code].map(str::to_owned)
    };
    let wrapper = |n: u8| {
        let words = words(&(100 + n).to_string());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // A user may have 128 inotify instances, and other tests want some as well.
        let uid = 21_000 + u32::from(n / 40);
        let user = User { uid, gid: uid, groups: &[] };
        let mut command =
            if is_root() { scene.agent_as(user, &words) } else { scene.agent(&words) };
        command.stdin(Stdio::from(reader.try_clone().unwrap()));
        Sidecar::spawn(command)
    };
    let wrappers: Vec<Sidecar> = (0..100).map(wrapper).collect();
    until("all of them run", || wrappers.iter().all(|one| one.stdout() == "ready\n"));
    drop((reader, writer));
    until("all of them end", || wrappers.iter().all(Sidecar::has_ended));
    let codes: Vec<Option<i32>> = wrappers.into_iter().map(|one| one.wait().code).collect();
    assert_eq!(codes, (100..200).map(Some).collect::<Vec<_>>());
}
