//! A command that is run on a change.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::harness::dispositions::mask;
use crate::harness::host::replace;
use crate::harness::secret::{
    after_passes, change, change_with_ttl, generations, passes, scene, until_notified,
};
use crate::harness::{Scene, lines, side_by_side, until};

/// Writes down its arguments and its environment; then runs `then.sh`.
const SCRIPT: &str = r#"#!/bin/sh
cd "${0%/*}"
printf '%s\n' "$@" >arguments
env -0 >environment
ls -l /proc/self/fd >descriptors
grep -E '^Sig(Blk|Ign):' /proc/self/status >signals
echo "$$ $(cat "$FILE")" >>runs
. ./then.sh
"#;

/// The script in a folder of its own; processes that still run it are killed when this is dropped.
pub struct Script(TempDir);

impl Script {
    /// Has a scene run it with these arguments.
    pub fn of(scene: &mut Scene, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        fs::write(dir.path().join("script.sh"), SCRIPT).expect("it is new");
        let script = Self(dir);
        script.then("exit 0");
        let path = script.path("script.sh").display().to_string();
        let mut words = vec!["/bin/sh", &path];
        words.extend(arguments);
        let words = serde_json::json!(words).to_string();
        scene.set("SEGURA_NOTIFY_COMMAND", &words).set("PATH", "/usr/bin:/bin");
        let file = scene.path("app/password").display().to_string();
        scene.set("FILE", &file);
        script
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What runs do from now on.
    pub fn then(&self, text: &str) {
        replace(self.path("then.sh"), text);
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn runs(&self) -> Vec<(i32, String)> {
        let run = |line: &str| {
            let (pid, value) = line.split_once(' ')?;
            Some((pid.parse().ok()?, value.to_owned()))
        };
        self.text("runs").lines().filter_map(run).collect()
    }

    /// What was published at each run.
    pub fn values(&self) -> Vec<String> {
        self.runs().into_iter().map(|(_, value)| value).collect()
    }

    /// Waits until it has run so often.
    #[track_caller]
    pub fn until_runs(&self, times: usize) {
        until("the command is run", || self.runs().len() >= times);
    }

    /// Signals all that still run.
    fn signal_runs(&self, signal: Signal) {
        for group in self.living().into_iter().filter_map(Pid::from_raw) {
            kill_process_group(group, signal).ok();
        }
    }

    fn living(&self) -> Vec<i32> {
        let script = self.path("script.sh").display().to_string();
        let is_ours = |pid: &i32| {
            let words =
                fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("cmdline"));
            words.is_ok_and(|words| words.split('\0').any(|word| word == script))
        };
        self.runs().into_iter().map(|(pid, _)| pid).filter(is_ours).collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.signal_runs(Signal::KILL);
    }
}

#[test]
fn a_command_gets_its_arguments_and_nothing_of_the_agents() {
    let mut scene = scene();
    let words = ["two words", "$HOME", "*", "`id`", "", "; exit 9", "ünï"];
    let script = Script::of(&mut scene, &words);
    scene.set("SENHASEGURA_CLIENT_SECRET", "old").set("SENHASEGURA_URL", "https://old.invalid");
    scene.set("HTTPS_PROXY", "http://user:word@127.0.0.1:9").set("NO_PROXY", "elsewhere");
    scene.set("HOME", "/home/app").set("APP_MODE", " two words ").set("SEGURA_SIGNAL", "USR1");
    let sidecar = scene.sidecar();
    until_notified(&scene);
    assert_eq!(script.values(), ["one"]);
    assert_eq!(script.text("arguments"), words.map(|word| format!("{word}\n")).concat());

    let environment = script.text("environment");
    let names: BTreeSet<&str> =
        environment.split('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    let own = ["_", "OLDPWD", "PWD", "SHLVL"];
    let given: Vec<&str> = names.into_iter().filter(|name| !own.contains(name)).collect();
    assert_eq!(given, ["APP_MODE", "FILE", "HOME", "NO_PROXY", "PATH"]);
    assert!(environment.split('\0').any(|pair| pair == "APP_MODE= two words "));

    let descriptors = script.text("descriptors");
    let plain = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    let known: Vec<(&str, &str)> = plain.lines().filter_map(descriptor).collect();
    for (number, target) in descriptors.lines().filter_map(descriptor) {
        // What ls(1) itself has open, and what a child of this process has that is not the agent.
        let known = known.contains(&(number, target)) || target.ends_with("/segura-agent");
        let fine = ["0", "1", "2"].contains(&number) || target.ends_with("/fd") || known;
        assert!(fine, "{number} -> {target}");
    }
    assert!(descriptors.contains(" 0 -> /dev/null"), "{descriptors}");

    let ours = fs::read_to_string("/proc/self/status").unwrap();
    // SIGPIPE is ignored here, and 32 and 33 are the C library's own.
    let others = !(1 << 12 | 1 << 31 | 1 << 32);
    let signals = script.text("signals");
    assert_eq!(mask(&signals, "SigIgn") & others, mask(&ours, "SigIgn") & others, "{signals}");
    assert_eq!(mask(&signals, "SigBlk"), 0, "{signals}");
    sidecar.stop();
}

/// A descriptor's number and where it leads, as `ls -l` shows them.
fn descriptor(line: &str) -> Option<(&str, &str)> {
    let (before, target) = line.split_once(" -> ")?;
    Some((before.rsplit_once(' ')?.1, target))
}

#[test]
fn a_failing_or_slow_command_delays_no_renewal() {
    let cases: [fn(); 3] = [
        a_failure_is_retried_at_passes_and_fetches_nothing,
        a_slow_command_delays_no_renewal,
        the_agent_ends_while_a_command_runs,
    ];
    side_by_side(cases, |case| case());
}

fn a_failure_is_retried_at_passes_and_fetches_nothing() {
    let mut scene = scene();
    let script = Script::of(&mut scene, &[]);
    script.then("exit 3");
    let sidecar = scene.sidecar();
    script.until_runs(4);
    let runs = script.runs().len();
    let made = passes(&scene) as f64;
    // An interval of one second is never shorter than 0.99 s.
    assert!(made <= scene.vault.elapsed().as_secs_f64() / 0.99 + 1.0, "{made}");
    assert!(runs as f64 <= made + 1.0, "{runs} runs in {made} passes");
    assert_eq!(generations(&scene), (1, 0));
    script.then("exit 0");
    until_notified(&scene);
    sidecar.until_logged(lines::NOTIFIED_AGAIN);
    let runs = script.runs().len();
    after_passes(&scene, 2);
    assert_eq!(script.runs().len(), runs);
    let said = sidecar.text_warnings();
    assert_eq!(said.len(), 1, "{said:#?}");
    let right = |line: &String| line.contains(" sh ") && line.contains(" 3");
    assert!(said.iter().all(right), "{said:#?}");
    sidecar.stop();
}

fn a_slow_command_delays_no_renewal() {
    let mut scene = scene();
    let script = Script::of(&mut scene, &[]);
    script.then("sleep 600");
    let sidecar = scene.sidecar();
    script.until_runs(1);
    after_passes(&scene, 2);
    change(&scene, "two");
    until("the change is published", || scene.read("app/password") == "two");
    after_passes(&scene, 2);
    assert_eq!(script.values(), ["one"]);
    assert_eq!(generations(&scene), (2, 0));
    // The run's end is no telling of what came after its start.
    script.then("exit 0");
    script.signal_runs(Signal::TERM);
    until_notified(&scene);
    assert_eq!(script.values(), ["one", "two"]);
    sidecar.stop();
}

fn the_agent_ends_while_a_command_runs() {
    let mut scene = scene();
    let script = Script::of(&mut scene, &[]);
    script.then("sleep 600");
    let sidecar = scene.sidecar();
    script.until_runs(1);
    sidecar.stop();
    assert_eq!(generations(&scene), (1, 0));
    assert_eq!(script.living().len(), 1, "it is not the agent's to end it");
}

#[test]
fn a_change_of_lifetimes_alone_runs_no_command() {
    let mut scene = scene();
    let script = Script::of(&mut scene, &[]);
    // Another target can't be notified yet.
    let nobody = script.path("pid").display().to_string();
    scene.set("SEGURA_SIGNAL_PID_FILE", &nobody);
    let sidecar = scene.sidecar();
    script.until_runs(1);
    for ttl in ["3000", "2000", "1000"] {
        change_with_ttl(&scene, "one", ttl);
        until("the lifetime is published", || scene.read("app/TTL") == ttl);
        after_passes(&scene, 1);
    }
    assert_eq!(script.values(), ["one"]);
    sidecar.stop();
}
