//! Rare events that must not end a command: a log without a reader, signals
//! that the kernel merges, files that the command itself changes.

use std::fs;
use std::io::pipe;

use rustix::process::{Pid, Signal, kill_process};

use super::basics::{HOLD, Held, WAIT};
use crate::harness::secret::{
    after_passes, change, generations, scene as changing, until_published,
};
use crate::harness::{Scene, for_a_while, until};

/// The state of a process, as the third field of its `stat` has it.
fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[test]
fn a_log_without_a_reader_does_not_end_the_command() {
    let mut scene = changing();
    scene.set("SEGURA_ON_CHANGE", "none").set("SEGURA_LOG", "debug");
    let (reader, writer) = pipe().expect("a pipe");
    let mut command = scene.wrapper(&["/bin/sh", "-c", &format!("{HOLD}\necho ready\n{WAIT}")]);
    command.stderr(writer);
    let wrapper = Held::spawn(command);
    wrapper.until_printed("ready\n");
    drop(reader);
    for value in ["two", "three", "four"] {
        change(&scene, value);
        until_published(&scene, value);
    }
    assert_eq!(wrapper.release().code, Some(0), "only now it has ended");
}

#[test]
fn the_end_of_the_command_is_seen_although_its_sigchld_was_merged() {
    let scene = Scene::with_published_set();
    let wrapper = scene.exec(&["/bin/sh", "-c", "echo \"pid $$.\"; exec sleep 300"]);
    wrapper.until_printed(".\n");
    let printed = wrapper.stdout();
    let command = printed.trim().trim_start_matches("pid ").trim_end_matches('.').to_owned();
    let agent = wrapper.id().to_string();
    wrapper.send(Signal::STOP);
    until("the agent is stopped", || state(&agent) == Some('T'));
    wrapper.send(Signal::CHILD);
    let pid = command.parse().ok().and_then(Pid::from_raw).expect("a number");
    kill_process(pid, Signal::KILL).expect("it is ours");
    until("the command is dead", || state(&command) == Some('Z'));
    wrapper.send(Signal::CONT);
    assert_eq!(wrapper.wait().code, Some(128 + 9));
}

#[test]
fn a_command_that_changes_its_files_is_not_restarted_for_that() {
    let mut scene = changing();
    scene.set("SEGURA_RESTART_SPLAY", "0s");
    let file = scene.path("app/password").display().to_string();
    let script = format!("{HOLD}\nchmod 0600 {file}\necho started\n{WAIT}");
    let wrapper = Held::spawn(scene.wrapper(&["/bin/sh", "-c", &script]));
    until("its files are put back", || generations(&scene).0 > 1);
    after_passes(&scene, 2);
    for_a_while("it is not restarted", || wrapper.stdout() == "started\n");
    change(&scene, "two");
    until("another value is a reason", || wrapper.stdout() == "started\nstarted\n");
    drop(wrapper);
}

#[test]
fn a_missing_command_causes_no_provisioning() {
    let mut scene = Scene::new();
    for output in ["files", "none"] {
        scene.set("SEGURA_OUTPUT", output);
        let run = scene.exec_to_end(&["no-such-program"]);
        assert_eq!(run.code, Some(127), "{}", run.stderr);
        assert_eq!(scene.vault.requests().len(), 0, "the vault got no request");
    }
}
