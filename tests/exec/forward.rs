//! Signals: every one that can be forwarded reaches the command, every time, and it alone; what is the
//! agent's own comes once a change.

use std::fs;
use std::io::Write;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use rustix::process::{Pid, Signal, kill_process};
use rustix_libc_wrappers::process::SignalExt;

use super::basics::{HOLD, Held, WAIT};
use crate::harness::secret::{
    after_passes, change, generations, scene as changing, until_notified,
};
use crate::harness::{Scene, for_a_while, side_by_side, until};

/// ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS: a process's own faults.
const FAULTS: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// Every signal that can be taken and passed on: not KILL, not STOP, no fault.
fn forwardable() -> impl Iterator<Item = i32> {
    let can = |signal: &i32| ![9, 19].contains(signal) && !FAULTS.contains(signal);
    (1..=31).chain(34..=64).filter(can)
}

fn signal(number: i32) -> Signal {
    Signal::from_raw(number).expect("there is one")
}

/// A script's traps, each of which prints the number of its signal.
fn traps(signals: impl Iterator<Item = i32>) -> String {
    signals.map(|signal| format!("trap 'echo heard {signal}.' {signal}\n")).collect()
}

fn signals_received(wrapper: &Held, signal: i32) -> usize {
    wrapper.stdout().matches(&format!("heard {signal}.\n")).count()
}

#[track_caller]
fn until_received(wrapper: &Held, signal: i32, times: usize) {
    until(&format!("signal {signal} is heard"), || signals_received(wrapper, signal) >= times);
    assert_eq!(signals_received(wrapper, signal), times);
}

#[test]
fn every_signal_that_can_be_forwarded_reaches_the_command_and_the_agent_lives_on() {
    let scene = Scene::with_published_set();
    let script = format!("{}echo ready", traps(forwardable()));
    let wrapper = Held::script(&scene, &script);
    wrapper.until_printed("ready\n");
    assert_eq!(forwardable().count(), 31 - 2 - 7 + 31);
    for number in forwardable() {
        wrapper.send(signal(number));
        until_received(&wrapper, number, 1);
    }
    assert!(!wrapper.has_ended());
    let printed = wrapper.stdout();
    assert_eq!(printed.matches("heard").count(), forwardable().count(), "{printed}");
    let run = wrapper.release();
    assert_eq!((run.code, run.stderr.contains("WARN")), (Some(0), false), "{}", run.stderr);
}

#[test]
fn a_signal_is_forwarded_every_time() {
    let scene = Scene::with_published_set();
    let signals = [1, 2, 3, 10, 15, 17, 40];
    let script = format!("{}echo ready", traps(signals.into_iter()));
    let wrapper = Held::script(&scene, &script);
    wrapper.until_printed("ready\n");
    for times in 1..=20 {
        for number in signals {
            wrapper.send(signal(number));
            until_received(&wrapper, number, times);
        }
    }
    assert_eq!(wrapper.release().code, Some(0));
}

#[test]
fn real_time_signals_arrive_as_often_as_they_were_sent() {
    const ROLE: &str = "COUNT_SIGNALS_ON_PURPOSE";
    const TIMES: usize = 20;
    // This test is also the command: started with every signal blocked, it takes them by hand.
    if std::env::vars_os().any(|(name, _)| name == ROLE) {
        std::thread::spawn(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
            kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
        });
        let taken = SignalFd::new(&SigSet::all()).unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "counting").unwrap();
        loop {
            let number = taken.read_signal().unwrap().unwrap().ssi_signo;
            writeln!(out, "\nheard {number}.").unwrap();
            if number == 15 {
                return;
            }
        }
    }
    let mut scene = Scene::with_published_set();
    scene.set(ROLE, "1");
    let own = std::env::current_exe().unwrap().display().to_string();
    let name = "exec::forward::real_time_signals_arrive_as_often_as_they_were_sent";
    let words = ["env", "--block-signal", &own, "--exact", name, "--nocapture"];
    let wrapper = Held::spawn(scene.wrapper(&words));
    wrapper.until_printed("counting");
    for _ in 0..TIMES {
        for number in [34, 37, 64] {
            wrapper.send(signal(number));
        }
    }
    for number in [34, 37, 64] {
        until_received(&wrapper, number, TIMES);
    }
    wrapper.send(Signal::TERM);
    let run = wrapper.wait();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout.matches("heard").count(), 3 * TIMES + 1, "{}", run.stdout);
}

#[test]
fn a_signal_from_outside_never_escalates() {
    let mut scene = Scene::with_published_set();
    scene.set("SEGURA_STOP_TIMEOUT", "100ms");
    // One hears it and goes on, the other was started to ignore it.
    let wrapper = Held::script(&scene, "trap 'echo heard 15.' TERM; echo ready");
    wrapper.until_printed("ready\n");
    for times in 1..=10 {
        wrapper.send(Signal::TERM);
        until_received(&wrapper, 15, times);
    }
    for_a_while("both live", || !wrapper.has_ended());
    assert_eq!(signals_received(&wrapper, 15), 10);
    assert_eq!(wrapper.release().code, Some(0));

    let wrapper = Held::script(&scene, "trap '' TERM INT; echo ready");
    wrapper.until_printed("ready\n");
    for _ in 0..10 {
        wrapper.send(Signal::TERM);
        wrapper.send(Signal::INT);
    }
    for_a_while("both live", || !wrapper.has_ended());
    assert_eq!(wrapper.release().code, Some(0));
}

#[test]
fn a_command_stopped_by_a_signal_is_continued_by_another() {
    let scene = Scene::with_published_set();
    let wrapper = Held::spawn(scene.wrapper(&["cat", "/proc/self/stat", "-"]));
    wrapper.until_printed("\n");
    let printed = wrapper.stdout();
    let pid = printed.split(' ').next().unwrap();
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    for stop in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        wrapper.send(stop);
        until("it is stopped", || state() == Some('T'));
        wrapper.send(Signal::CONT);
        until("it goes on", || state() == Some('S'));
    }
    assert_eq!(wrapper.release().code, Some(0));
}

#[test]
fn a_signal_goes_to_the_command_and_not_to_its_children() {
    let scene = Scene::with_published_set();
    let signals = [1, 2, 3, 10, 12, 15, 28, 37];
    let child = format!(
        "{HOLD}\n{}echo child ready\n{WAIT}",
        traps(signals.into_iter()).replace("heard", "child heard")
    );
    let script = format!(
        "sh -c '{}' <&3 & {} echo ready",
        child.replace('\'', r#"'"'"'"#),
        traps(signals.into_iter())
    );
    let wrapper = Held::script(&scene, &script);
    wrapper.until_printed("child ready\n");
    until("both are ready", || wrapper.stdout().matches("ready").count() == 2);
    for number in signals {
        wrapper.send(signal(number));
        wrapper.until_printed(&format!("heard {number}.\n"));
    }
    for_a_while("its child hears nothing", || !wrapper.stdout().contains("child heard"));
    assert_eq!(wrapper.release().code, Some(0));
}

#[test]
fn the_end_of_an_orphan_sends_the_command_no_signal() {
    let scene = Scene::with_published_set();
    let script = "(sh -c 'read -r _ <&3; :' & echo \"orphan $!.\")
        trap 'echo heard 17.' CHLD; echo ready";
    let wrapper = Held::script(&scene, script);
    wrapper.until_printed("ready\n");
    let printed = wrapper.stdout();
    let orphan = printed.split(['.', ' ']).nth(1).unwrap().to_owned();
    let status = || fs::read_to_string(format!("/proc/{orphan}/status"));
    let ours = format!("\nPPid:\t{}\n", wrapper.id());
    assert!(status().unwrap().contains(&ours), "it came to the agent");
    // What is left of the forks above is heard before this begins.
    let before = signals_received(&wrapper, 17);
    let pid = Pid::from_raw(orphan.parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    until("nothing is left of it", || status().is_err());
    for_a_while("nothing is forwarded", || signals_received(&wrapper, 17) == before);
    wrapper.send(Signal::CHILD);
    until_received(&wrapper, 17, before + 1);
    assert_eq!(wrapper.release().code, Some(0));
}

/// A scene whose one secret changes, and whose command is signalled for it.
fn signalling(signal: &str) -> Scene {
    let mut scene = changing();
    scene.set("SEGURA_LOG_FORMAT", "json").set("SEGURA_SIGNAL", signal);
    scene.set("SEGURA_ON_CHANGE", "signal");
    scene
}

#[test]
fn a_change_is_notified_once_by_signal_to_the_command_alone() {
    side_by_side([("USR1", 10), ("RTMIN+3", 37), ("HUP", 1)], |(name, number)| {
        let scene = signalling(name);
        let all = [1, 10, 12, 15, 37];
        // A child without a trap which would end it.
        let script =
            format!("(read -r _ <&3; echo child over) & {} echo ready", traps(all.into_iter()));
        let wrapper = Held::script(&scene, &script);
        wrapper.until_printed("ready\n");
        after_passes(&scene, 1);
        assert!(!wrapper.stdout().contains("heard"), "nothing has changed: {}", wrapper.stdout());
        for (times, value) in ["two", "three"].into_iter().enumerate() {
            change(&scene, value);
            until_received(&wrapper, number, times + 1);
            until_notified(&scene);
            after_passes(&scene, 1);
            assert_eq!(wrapper.stdout().matches("heard").count(), times + 1);
            assert_eq!(scene.read("app/password"), value);
        }
        assert_eq!(wrapper.stdout().matches("ready").count(), 1, "it was never restarted");
        let run = wrapper.release();
        assert!(run.stdout.contains("child over\n"), "{}", run.stdout);
        assert_eq!(run.code, Some(0));
    });
}

#[test]
fn a_signal_that_would_kill_waits_until_the_command_handles_it() {
    let scene = signalling("USR1");
    let go = scene.vault.dir().join("go");
    let script = format!(
        "echo started; while [ -d {dir} ] && ! [ -e {go} ]; do sleep 0.02; done
        {traps} echo ready",
        dir = scene.vault.dir().display(),
        go = go.display(),
        traps = traps([10].into_iter()),
    );
    let wrapper = Held::script(&scene, &script);
    wrapper.until_printed("started\n");
    change(&scene, "two");
    until("it is published", || generations(&scene).0 == 2);
    after_passes(&scene, 1);
    assert_eq!(generations(&scene), (2, 1), "it waits");
    assert!(!wrapper.has_ended());
    fs::write(&go, "").unwrap();
    until_received(&wrapper, 10, 1);
    until_notified(&scene);
    let run = wrapper.release();
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "started\nready\nheard 10.\n"));
    assert!(!run.stderr.contains("WARN"), "{}", run.stderr);
}
