//! Real processes that are not the agent's children, as the main process of another container.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal as Kernel, kill_process_group};
use tokio::time::{Instant, sleep};

use super::*;
use crate::os::clock::{self, Clock, Machine};
use crate::os::environment::Environment;
use crate::os::signal::{KILL, Signal, TERM};

#[path = "../../../tests/harness/dispositions.rs"]
pub(crate) mod dispositions;

/// Enough for the slowest machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let at = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < deadline, "{at}: not in time: {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Writes a program by a child, so that no writable descriptor here makes running it fail with
/// `ETXTBSY` (`execve(2)`).
pub(crate) fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    dispositions::default_for_children();
    let path = folder.join(name);
    let mut child = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    path
}

/// A copy of the shell under another name.
fn shell(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let copied = Command::new("cp").arg("-L").arg("/bin/sh").arg(&path).status().unwrap();
    assert!(copied.success());
    path
}

/// A name that no other process has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", own())
}

/// A process that was left to process 1; ends with the test, and its family with it.
pub(crate) struct Stranger {
    pub(crate) pid: i32,
    group: Pid,
    handle: Handle,
}

impl Stranger {
    pub(crate) fn start(words: &[&str]) -> Self {
        dispositions::default_for_children();
        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$@\" </dev/null >/dev/null 2>&1 & echo $!", "sh"]).args(words);
        let child = shell.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let group = Pid::from_child(&child);
        let output = child.wait_with_output().unwrap();
        let pid = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        Self { pid, group, handle: Handle::open(pid).unwrap() }
    }

    /// Starts a script, and waits until it goes by its name.
    pub(crate) async fn script(folder: &Path, name: &str, text: &str) -> Self {
        let path = program(folder, name, &format!("#!/bin/sh\n{text}\n"));
        let stranger = Self::start(&[path.to_str().unwrap()]);
        until("the script runs", || stranger.names().matches(name)).await;
        stranger
    }

    pub(crate) fn names(&self) -> Names {
        self.handle.process().unwrap().names
    }

    pub(crate) fn lives(&self) -> bool {
        self.handle.process().is_ok()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // While its head lives, the group's number is its own.
        if self.handle.probe().is_ok() && self.lives() {
            kill_process_group(self.group, Kernel::KILL).ok();
        }
    }
}

const IDLE: &str = "while :; do sleep 0.1; done";

fn pids(name: &str) -> Vec<i32> {
    named(name).unwrap().iter().map(|process| process.pid).collect()
}

fn signal(name: &str) -> Signal {
    Signal::parse(name).unwrap()
}

#[tokio::test]
async fn only_the_head_of_a_family_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("family");
    let text = format!("({IDLE}) & ({IDLE}) & wait");
    let one = Stranger::script(folder.path(), &name, &text).await;
    let other = Stranger::start(&[folder.path().join(&name).to_str().unwrap()]);
    until("both have children", || {
        let all = all().unwrap();
        let matching = all.values().filter(|process| process.names.matches(&name));
        matching.count() == 6
    })
    .await;
    let mut heads = vec![one.pid, other.pid];
    heads.sort_unstable();
    assert_eq!(pids(&name), heads);
}

#[tokio::test]
async fn a_program_is_found_by_its_executable_and_a_decoy_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("server");
    let path = shell(folder.path(), &name);
    let server = Stranger::start(&[path.to_str().unwrap(), "-c", &format!("{IDLE}; :")]);
    // Of the name are also a file on a decoy's command line, and the decoy's script's text.
    let decoy = Stranger::start(&["tail", "-f", path.to_str().unwrap()]);
    let other = Stranger::start(&["sh", "-c", &format!("{IDLE}; : {name}"), &name]);
    until("it runs", || pids(&name) == [server.pid]).await;
    until("they run", || decoy.names().matches("tail") && !other.names().matches(&name)).await;
    assert_eq!(pids(&name), [server.pid]);
    fs::remove_file(&path).unwrap();
    assert_eq!(pids(&name), [server.pid], "its executable was replaced meanwhile");
}

#[tokio::test]
async fn a_script_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("a-script-of-a-long-name");
    let script = Stranger::script(folder.path(), &name, IDLE).await;
    assert_eq!(pids(&name), [script.pid]);
    let shown = named(&name).unwrap()[0].to_string();
    assert_eq!(shown, format!("{name} (pid {})", script.pid));
}

#[tokio::test]
async fn the_agents_own_processes_are_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("ours");
    let path = program(folder.path(), &name, &format!("#!/bin/sh\n{IDLE}\n"));
    let mut child = Command::new(&path).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    until("it runs", || Process::read(pid).unwrap().names.matches(&name)).await;
    assert_eq!(pids(&name), Vec::<i32>::new());
    assert_eq!(Process::read(pid).unwrap().parent, own());
    child.kill().unwrap();
    // Until it was waited for, it keeps its number, but counts as ended.
    until("it ends", || Process::read(pid).is_err()).await;
    child.wait().unwrap();
    assert_eq!(Process::read(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(Handle::open(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
    let us = Process::read(own()).unwrap().names.executable.unwrap();
    assert!(!pids(&us).contains(&own()));
}

#[tokio::test]
async fn a_handle_signals_its_own_process_only() {
    let stranger = Stranger::start(&["sleep", "100"]);
    let handle = Handle::open(stranger.pid).unwrap();
    until("it runs", || handle.process().unwrap().names.matches("sleep")).await;
    handle.probe().unwrap();
    handle.signal(signal("WINCH")).unwrap();
    assert!(stranger.lives());
    handle.signal(signal("TERM")).unwrap();
    until("it ends", || !stranger.lives()).await;
    until("nobody is left", || {
        let sent = handle.signal(signal("TERM"));
        sent.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
    .await;
}

#[tokio::test]
async fn the_signals_that_a_process_catches_and_ignores_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("trap : USR1 RTMIN+3; trap '' USR2; {IDLE}");
    let text = text.replace("RTMIN+3", "37");
    let stranger = Stranger::script(folder.path(), &unique("traps"), &text).await;
    let reaction = |name: &str| Dispositions::read(stranger.pid).unwrap().reaction(signal(name));
    until("it ignores", || reaction("USR2") == Reaction::Lives).await;
    assert_eq!(reaction("USR1"), Reaction::Lives);
    assert_eq!(reaction("RTMIN+3"), Reaction::Lives);
    assert_eq!(reaction("RTMIN+4"), Reaction::Dies);
    assert_eq!(reaction("ALRM"), Reaction::Dies);
    assert_eq!(Dispositions::read(i32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn start_times_are_by_the_boot_clock() {
    let before = StartTime::at(clock::boot());
    let stranger = Stranger::start(&["sleep", "100"]);
    let process = Process::read(stranger.pid).unwrap();
    assert!(before <= process.start && process.start <= StartTime::at(clock::boot()));
    let now = Machine.now();
    let age = now.wall.duration_since(process.start.wall(now).unwrap()).unwrap();
    assert!(age < LONG, "{age:?}");
}

#[test]
fn the_start_is_read_behind_any_name() {
    let text = "7 (a) b (c) S 3 7 7 0 -1 4194304 100 0 0 0 0 0 0 0 20 0 1 0 1154382 313 390\n";
    let (state, stat) = Stat::parse(text).unwrap();
    assert_eq!((state, stat.comm.as_str()), ("S", "a) b (c"));
    assert_eq!((stat.parent, stat.start), (3, StartTime(1_154_382)));
    assert!(Stat::parse("7 (a) S 3").is_none());
    assert!(Stat::parse("").is_none());
}

#[test]
fn process_1_of_a_pod_is_recognized() {
    let mut process = Process::read(own()).unwrap();
    assert!(!process.is_pause());
    for name in ["pause", "catatonit"] {
        process.names =
            Names { arguments: vec![format!("/{name}"), "-P".to_owned()], ..Names::default() };
        assert!(process.is_pause(), "{name}");
    }
    assert!(is_above_us(process.parent) || process.parent == 0);
    assert!(!is_above_us(own()));
}

fn environment() -> Environment {
    [(OsString::from("PATH"), OsString::from("/usr/bin:/bin"))].into_iter().collect()
}

fn start(reaper: &Reaper, words: &[&str]) -> io::Result<Child> {
    dispositions::default_for_children();
    let program = Program::new(words.iter().map(OsString::from)).unwrap();
    reaper.spawn(&program, &environment(), Streams::Aside)
}

#[tokio::test]
async fn a_child_is_waited_for_and_its_group_can_be_killed() {
    let reaper = Reaper::listening();
    let mut child = start(&reaper, &["sh", "-c", "exit 3"]).unwrap();
    assert_eq!(child.wait().await, End::Code(3));
    assert_eq!(child.wait().await, End::Code(3), "it may be asked again");
    assert_eq!(child.signal(TERM).unwrap_err().kind(), io::ErrorKind::NotFound);
    let mut child = start(&reaper, &["sh", "-c", "sleep 100 & sleep 100"]).unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(50), child.wait()).await;
    assert!(waited.is_err() && child.ended().is_none() && !child.is_group_gone());
    child.signal_group(KILL).unwrap();
    assert_eq!(child.wait().await, End::Signal(KILL));
    until("its group is gone", || child.is_group_gone()).await;
    for number in [40, 64] {
        let mut child = start(&reaper, &["sleep", "100"]).unwrap();
        let real_time = Signal::of(number).unwrap();
        child.signal(real_time).unwrap();
        assert_eq!(child.wait().await, End::Signal(real_time));
    }
}

#[tokio::test]
async fn a_file_that_can_not_be_run_differs_from_one_that_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let reaper = Reaper::listening();
    let kind = |words: &[&str]| start(&reaper, words).unwrap_err().kind();
    assert_eq!(kind(&["/nonexistent/program"]), io::ErrorKind::NotFound);
    let file = |name: &str, text: &str| program(folder.path(), name, text).display().to_string();
    assert_eq!(kind(&[&file("orphan", "#!/nonexistent/interpreter\n")]), io::ErrorKind::NotFound);
    let plain = file("plain", "");
    fs::set_permissions(&plain, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(kind(&[&plain]), io::ErrorKind::PermissionDenied);
    let mut child = start(&reaper, &[&file("script", "exit $1\n"), "7"]).unwrap();
    assert_eq!(child.wait().await, End::Code(7), "a script that names no interpreter is a shell's");
}
