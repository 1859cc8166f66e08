//! Processes as `/proc` shows them, and a wrapped command that evaluates lines.

use std::fs;
use std::io::{PipeWriter, Write, pipe};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Scene, sidecar::Sidecar, until};

/// A process, as it was when looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    /// `R`, `S`, `T`, `Z`, …
    pub state: char,
    pub parent: i32,
    pub group: i32,
    session: i32,
    /// The group that has the terminal; -1 where there is none.
    pub foreground: i32,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(' ')?;
        let (_, rest) = rest.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let mut numbers = fields.map(|field| field.parse().unwrap_or(-1));
        let (parent, group, session) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let foreground = numbers.nth(1)?;
        Some(Self { pid: pid.parse().ok()?, state, parent, group, session, foreground })
    }
}

/// One process; none if there is none, or only what is left of it until it is waited for.
pub fn living(pid: i32) -> Option<Stat> {
    look(pid).filter(|stat| stat.state != 'Z' && stat.state != 'X')
}

/// Whether a process has ended and was waited for.
pub fn is_gone(pid: i32) -> bool {
    look(pid).is_none()
}

fn look(pid: i32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether a process has been stopped.
pub fn is_stopped(pid: i32) -> bool {
    look(pid).is_some_and(|stat| stat.state == 'T')
}

/// Everyone.
fn all() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").expect("it is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(look).collect()
}

/// Everyone whose parent this is, zombies included.
pub fn children(of: i32) -> Vec<Stat> {
    all().into_iter().filter(|stat| stat.parent == of).collect()
}

/// Ends, when it is dropped, all who descend from a process or are of its session, so that a test
/// that fails leaves no process running.
#[derive(Debug)]
pub struct Litter(pub i32);

impl Drop for Litter {
    fn drop(&mut self) {
        let all = all();
        // Its number may have passed to a process of another test, which is no child of ours.
        let us = i32::try_from(std::process::id()).unwrap_or_default();
        if all.iter().any(|stat| stat.pid == self.0 && stat.parent != us) {
            return;
        }
        let mut found: Vec<i32> = Vec::new();
        let mut next = vec![self.0];
        while let Some(pid) = next.pop() {
            let below = |stat: &&Stat| stat.parent == pid || (pid == self.0 && stat.session == pid);
            let below: Vec<i32> = all.iter().filter(below).map(|stat| stat.pid).collect();
            found.push(pid);
            next.extend(below.into_iter().filter(|pid| !found.contains(pid)));
        }
        for pid in found.into_iter().filter(|pid| *pid != self.0).filter_map(Pid::from_raw) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// How many children of a process have ended and were not waited for.
pub fn zombies(of: i32) -> usize {
    children(of).iter().filter(|stat| stat.state == 'Z').count()
}

/// Asserts that a process soon has this one child that has not ended.
#[track_caller]
pub fn only_child(of: i32) -> i32 {
    let alive = || children(of).into_iter().filter(|stat| stat.state != 'Z').collect::<Vec<_>>();
    until("it has one child", || alive().len() == 1);
    alive().first().map(|stat| stat.pid).expect("it has one")
}

/// Sends a signal to a process by its number.
pub fn send_to(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process has a number");
    kill_process(pid, signal).expect("it is there");
}

/// Says its process and `$password`, then runs each line that it reads; the end of its input is its
/// own. A trap that sets `again` has it go on.
pub const EVAL_LINES: &str = r#"
echo "start $password $$"
while read -r line || [ -n "$again" ]; do again=; eval "$line"; done
"#;

/// An agent and its command, whose input ends with it.
pub struct Wrapped {
    _litter: Litter,
    pub agent: Sidecar,
    input: PipeWriter,
}

impl Wrapped {
    /// Starts an agent with a command, whose input is a pipe of the test.
    pub fn spawn(mut command: Command) -> Self {
        let (reader, input) = pipe().expect("a pipe");
        command.stdin(reader);
        let agent = Sidecar::spawn(command);
        Self { _litter: Litter(number(&agent)), agent, input }
    }

    /// Has a shell do `first`, and then each line that it reads; see [`EVAL_LINES`].
    pub fn shell(scene: &Scene, first: &str) -> Self {
        let script = format!("{first}\n{EVAL_LINES}");
        Self::spawn(scene.agent(&["exec", "--", "/bin/sh", "-c", &script]))
    }

    /// Sends the command a line to evaluate.
    pub fn eval(&self, line: &str) {
        writeln!(&self.input, "{line}").expect("somebody holds the other end");
    }

    /// The commands that have started so far: the value that each got, and its PID.
    pub fn starts(&self) -> Vec<(String, i32)> {
        let stdout = self.agent.stdout();
        let start = |line: &str| {
            let (value, pid) = line.strip_prefix("start ")?.rsplit_once(' ')?;
            Some((value.to_owned(), pid.parse().ok()?))
        };
        stdout.lines().filter_map(start).collect()
    }

    /// The values that the commands got that have started so far.
    pub fn values(&self) -> Vec<String> {
        self.starts().into_iter().map(|(value, _)| value).collect()
    }

    /// Waits until so many have started, and returns the PID of the last.
    #[track_caller]
    pub fn until_started(&self, times: usize) -> i32 {
        until("the command is started", || self.starts().len() >= times);
        self.starts().last().expect("one at least").1
    }

    /// The agent's number.
    pub fn agent_pid(&self) -> i32 {
        number(&self.agent)
    }
}

/// The number of a child of ours.
pub fn number(child: &Sidecar) -> i32 {
    child.id().try_into().expect("a number of a process")
}
