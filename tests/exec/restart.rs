//! Changes: the command is restarted, or notified as `SEGURA_ON_CHANGE` says.

mod deprovision;
mod no_restart;
mod on_change;
mod terminated;

use rustix::process::{Pid, Signal, kill_process};

use crate::exec::orphans::processes::{Wrapped, living};
use crate::harness::secret::{
    change, change_with_ttl, fetch_app_alone, generations, until_notified, until_published,
};
use crate::harness::{Scene, for_a_while, lines, side_by_side, until};
pub use crate::sidecar::poke as look_again;

/// A splay of which no random part is over soon.
const LONG: &str = "1000h";

/// Leaves a zombie in its group that no process waits for: the group still exists for the kernel, so
/// that the next command is not started for a while. [`end_remaining_processes`] ends its parent.
pub const LINGERS: &str = "trap 'exit 0' TERM; sh -c 'sleep 60 & exec setsid sleep 60' & \
                           echo \"keeper $!\"";

/// Ends the parents that do not wait for their zombies, by the output of their commands.
pub fn end_remaining_processes(said: &str) {
    let keepers = said.lines().filter_map(|line| line.strip_prefix("keeper ")?.parse().ok());
    for keeper in keepers.filter_map(Pid::from_raw) {
        kill_process(keeper, Signal::KILL).ok();
    }
}

/// A scene whose one secret is `app`, and is read again when it is looked at; a change restarts
/// the command at once.
pub fn watched_scene() -> Scene {
    let mut scene = Scene::new();
    fetch_app_alone(&mut scene);
    scene.set("SEGURA_RENEW_INTERVAL", "10m").set("SEGURA_RESTART_SPLAY", "0s");
    scene.set("PATH", "/usr/bin:/bin");
    scene
}

/// Gives the secret another value, which the agent soon reads.
pub fn change_now(scene: &Scene, password: &str) {
    change(scene, password);
    look_again(scene);
}

/// Waits until the agent watches its files, which it does after the start of the command.
#[track_caller]
fn until_watched(scene: &Scene) {
    until("the first set is notified", || generations(scene) == (1, 1));
}

#[test]
fn a_change_restarts_the_command_with_the_new_entries() {
    let signals = [("TERM", "SIGTERM", 15), ("QUIT", "SIGQUIT", 3), ("RTMIN+3", "RTMIN+3", 37)];
    side_by_side(signals, |(name, shown, number)| {
        let mut scene = watched_scene();
        scene.set("SEGURA_STOP_SIGNAL", name);
        let wrapped = Wrapped::shell(&scene, &format!("trap 'echo stopped; exit 7' {number}"));
        let first = wrapped.until_started(1);
        until_watched(&scene);
        change_now(&scene, "two");
        let second = wrapped.until_started(2);
        assert_ne!(first, second);
        assert_eq!(wrapped.values(), ["one", "two"]);
        assert_eq!(wrapped.agent.stdout().matches("stopped\n").count(), 1, "{name}");
        until_notified(&scene);
        assert_eq!(generations(&scene), (2, 2));
        assert!(
            wrapped.agent.until_logged(lines::STOPPING).contains(shown),
            "{:?}",
            wrapped.agent.log()
        );
        assert_eq!(wrapped.agent.text_warnings(), Vec::<String>::new());
        wrapped.eval("exit 5");
        assert_eq!(wrapped.agent.wait().code, Some(5));
    });
}

/// The members of its group that commands have named so far.
fn members(wrapped: &Wrapped) -> Vec<i32> {
    let stdout = wrapped.agent.stdout();
    stdout.lines().filter_map(|line| line.strip_prefix("member ")?.parse().ok()).collect()
}

#[test]
fn a_command_that_ignores_the_stop_signal_is_killed_with_its_group_and_restarted() {
    let mut scene = watched_scene();
    scene.set("SEGURA_STOP_TIMEOUT", "300ms");
    let first = "trap '' TERM; sleep 600 & echo \"member $!\"";
    let wrapped = Wrapped::shell(&scene, first);
    let command = wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    wrapped.until_started(2);
    assert_eq!((living(command), living(members(&wrapped)[0])), (None, None));
    assert_eq!(wrapped.values(), ["one", "two"]);
    let complaints = wrapped.agent.text_warnings();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("SEGURA_STOP_TIMEOUT"), "{complaints:?}");
    wrapped.eval("kill -KILL $!; exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn all_processes_of_the_group_are_gone_before_the_next_start() {
    let scene = watched_scene();
    let first = "trap 'exit 0' TERM; (trap '' TERM HUP; exec sleep 600) & echo \"member $!\"";
    let wrapped = Wrapped::shell(&scene, first);
    for (times, value) in [(2, "two"), (3, "three"), (4, "four")] {
        wrapped.until_started(times - 1);
        until_notified(&scene);
        change_now(&scene, value);
        wrapped.until_started(times);
        assert_eq!(living(members(&wrapped)[times - 2]), None, "{value}");
    }
    assert_eq!(wrapped.values(), ["one", "two", "three", "four"]);
    assert_eq!(wrapped.agent.text_warnings(), Vec::<String>::new());
    wrapped.eval("kill -KILL $!; exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn a_command_that_ends_by_itself_is_never_restarted() {
    let ends = [("exit 0", 0), ("exit 9", 9), ("kill -TERM $$", 143), ("kill -KILL $$", 137)];
    side_by_side(ends, |(end, code)| {
        for splaying in [false, true] {
            let mut scene = watched_scene();
            scene.set("SEGURA_RESTART_SPLAY", LONG);
            let wrapped = Wrapped::shell(&scene, "");
            wrapped.until_started(1);
            until_watched(&scene);
            if splaying {
                change_now(&scene, "two");
                wrapped.agent.until_logged(lines::SPLAYING);
            }
            wrapped.eval(end);
            let run = wrapped.agent.wait();
            assert_eq!(run.code, Some(code), "{end}: {}", run.stderr);
            assert_eq!(run.stdout.matches("start ").count(), 1, "{end}");
        }
    });
}

#[test]
fn a_command_that_dies_while_it_is_stopped_is_started_again() {
    side_by_side(["exit 3", "exit 0", "kill -KILL $$", "kill -SEGV $$"], |end| {
        let scene = watched_scene();
        let first = format!("ulimit -c 0; trap '{end}' TERM");
        let wrapped = Wrapped::shell(&scene, &first);
        wrapped.until_started(1);
        until_watched(&scene);
        change_now(&scene, "two");
        wrapped.until_started(2);
        assert_eq!(wrapped.values(), ["one", "two"], "{end}");
        wrapped.eval("exit 8");
        assert_eq!(wrapped.agent.wait().code, Some(8), "{end}");
    });
}

#[test]
fn a_change_of_lifetimes_alone_restarts_no_command() {
    let scene = watched_scene();
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    until_watched(&scene);
    change_with_ttl(&scene, "one", "1800");
    look_again(&scene);
    until("the lifetime is published", || scene.read("app/TTL") == "1800");
    until("it counts as notified", || generations(&scene) == (2, 2));
    for_a_while("the command runs", || wrapped.starts().len() == 1);
    assert_eq!(wrapped.agent.times_logged(lines::SPLAYING), 0);
    change_with_ttl(&scene, "two", "1800");
    look_again(&scene);
    wrapped.until_started(2);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn changes_during_a_restart_cause_no_second_one() {
    let mut scene = watched_scene();
    scene.set("SEGURA_STOP_TIMEOUT", "10m");
    let wrapped = Wrapped::shell(&scene, "trap 'echo held; read -r line; exit 0' TERM");
    wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    wrapped.agent.until_printed("held");
    for value in ["three", "four", "five", "six", "seven"] {
        change_now(&scene, value);
        until_published(&scene, value);
    }
    wrapped.eval("");
    wrapped.until_started(2);
    until_notified(&scene);
    for_a_while("there is no third", || wrapped.starts().len() == 2);
    assert_eq!(wrapped.values(), ["one", "seven"]);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

/// The seconds that a line of the log names after `within=`.
fn within(line: &str) -> u64 {
    let (_, rest) = line.split_once("within=").expect("the line says it");
    let text = rest.split(" segura").next().unwrap_or_default().trim_matches('"');
    let text = text.split('"').next().unwrap_or_default();
    humantime::parse_duration(text).expect("a duration").as_secs()
}

#[test]
fn with_output_none_the_new_entries_are_in_the_new_environment() {
    let mut scene = watched_scene();
    scene.set("SEGURA_OUTPUT", "none").set("SEGURA_RENEW_INTERVAL", "1s");
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    for (times, value) in [(2, "two"), (3, "three")] {
        change(&scene, value);
        wrapped.until_started(times);
    }
    assert_eq!(wrapped.values(), ["one", "two", "three"]);
    assert!(scene.entries().is_empty(), "{:?}", scene.entries());
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}

#[test]
fn a_restart_waits_for_a_random_part_of_the_splay() {
    let waits = std::sync::Mutex::new(Vec::new());
    side_by_side(0..6, |_| {
        let mut scene = watched_scene();
        scene.set("SEGURA_RESTART_SPLAY", LONG);
        let wrapped = Wrapped::shell(&scene, "");
        wrapped.until_started(1);
        until_watched(&scene);
        change_now(&scene, "two");
        let wait = within(&wrapped.agent.until_logged(lines::SPLAYING));
        waits.lock().unwrap().push(wait);
        wrapped.eval("exit 0");
        assert_eq!(wrapped.agent.wait().code, Some(0));
    });
    let mut waits = waits.into_inner().unwrap();
    assert!(waits.iter().all(|wait| *wait <= 1_000 * 3_600), "{waits:?}");
    waits.sort_unstable();
    waits.dedup();
    assert_eq!(waits.len(), 6, "each has its own: {waits:?}");
}

#[test]
fn the_command_is_restarted_at_the_end_of_the_splay() {
    let mut scene = watched_scene();
    scene.set("SEGURA_RESTART_SPLAY", "2s");
    let wrapped = Wrapped::shell(&scene, "");
    wrapped.until_started(1);
    until_watched(&scene);
    change_now(&scene, "two");
    wrapped.agent.until_logged(lines::SPLAYING);
    until("the command is started", || wrapped.starts().len() == 2);
    assert_eq!(wrapped.values(), ["one", "two"]);
    until_notified(&scene);
    wrapped.eval("exit 0");
    assert_eq!(wrapped.agent.wait().code, Some(0));
}
