//! SIGKILL at every step of a publish. The agent runs under ptrace(2) and is killed at the entry of
//! its n-th system call that changes a file system, for every n; killed anywhere else, it leaves
//! the same files as at the next of these.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options as Tracing};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use crate::dev_vault::requests::PROVISION;
use crate::{
    dev_vault::Options,
    harness::{Run, SEED, Scene, host::skip, memory_dir, names, send, until},
};

type Files = BTreeMap<String, Vec<u8>>;

/// As many agents are traced at once; most of their time is the kernel's.
const TRACERS: usize = 4;

/// Where a traced agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Exited(i32),
}

/// One system call as its entry shows it.
struct Call {
    number: i64,
    arguments: [u64; 3],
}

#[cfg(target_arch = "x86_64")]
fn entered(agent: Pid) -> nix::Result<Call> {
    let registers = ptrace::getregs(agent)?;
    let arguments = [registers.rdi, registers.rsi, registers.rdx];
    Ok(Call { number: registers.orig_rax.cast_signed(), arguments })
}

#[cfg(target_arch = "x86_64")]
fn returned(agent: Pid) -> nix::Result<u64> {
    ptrace::getregs(agent).map(|registers| registers.rax)
}

#[cfg(target_arch = "aarch64")]
fn entered(agent: Pid) -> nix::Result<Call> {
    let registers = ptrace::getregs(agent)?.regs;
    let arguments = [registers[0], registers[1], registers[2]];
    Ok(Call { number: registers[8].cast_signed(), arguments })
}

#[cfg(target_arch = "aarch64")]
fn returned(agent: Pid) -> nix::Result<u64> {
    ptrace::getregs(agent).map(|registers| registers.regs[0])
}

impl Call {
    fn creates(&self) -> bool {
        let [_, _, flags] = self.arguments;
        self.number == libc::SYS_openat && flags & u64::from(libc::O_CREAT.cast_unsigned()) != 0
    }

    /// Whether it changes a file system; `made` are descriptors of files that it has made.
    fn changes(&self, made: &HashSet<u64>) -> bool {
        let [descriptor, ..] = self.arguments;
        match self.number {
            libc::SYS_mkdirat
            | libc::SYS_symlinkat
            | libc::SYS_linkat
            | libc::SYS_mknodat
            | libc::SYS_renameat2
            | libc::SYS_unlinkat
            | libc::SYS_fchmod
            | libc::SYS_fchmodat
            | libc::SYS_fchown
            | libc::SYS_fchownat
            | libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_utimensat => true,
            libc::SYS_write | libc::SYS_writev | libc::SYS_pwrite64 => made.contains(&descriptor),
            number => self.creates() || is_rename(number),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn is_rename(number: i64) -> bool {
    [libc::SYS_rename, libc::SYS_renameat].contains(&number)
}

#[cfg(not(target_arch = "x86_64"))]
fn is_rename(number: i64) -> bool {
    number == libc::SYS_renameat
}

/// Starts an agent that waits to be traced, in a shell that becomes it.
fn held(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "read -r go; exec \"$0\" \"$@\""]).arg(command.get_program());
    shell.args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

/// Runs an agent until its system call number `last` that changes a file system, counted from 1;
/// returns how it ended and how many it began. `seen` is called after each of them.
#[expect(clippy::zombie_processes, reason = "a tracer waits for every stop, and so for the end")]
fn trace(command: &Command, last: usize, mut seen: impl FnMut(Pid)) -> nix::Result<(End, usize)> {
    let mut shell = held(command).spawn().expect("a shell");
    let agent = Pid::from_raw(i32::try_from(shell.id()).expect("a pid"));
    let options =
        Tracing::PTRACE_O_TRACESYSGOOD | Tracing::PTRACE_O_TRACEEXEC | Tracing::PTRACE_O_EXITKILL;
    let seized = ptrace::seize(agent, options);
    // Without a tracer, too, the shell must end.
    if seized.is_err() {
        shell.kill().and_then(|()| shell.wait()).expect("it is ours");
    }
    seized?;
    shell.stdin.take().expect("a pipe").write_all(b"go\n").expect("it waits for that");
    let (mut begun, mut inside, mut changing) = (0, None, false);
    let mut made = HashSet::new();
    loop {
        let mut pass = None;
        match waitpid(agent, None)? {
            // The call that this stop is in the middle of is execve(2) itself.
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => {
                inside = Some(Call { number: libc::SYS_execve, arguments: [0; 3] });
            }
            WaitStatus::PtraceSyscall(_) => match inside.take() {
                None => {
                    let call = entered(agent)?;
                    changing = call.changes(&made);
                    begun += usize::from(changing);
                    if changing && begun == last {
                        kill(agent, Signal::SIGKILL)?;
                        shell.wait().expect("it was killed");
                        return Ok((End::Killed, begun));
                    }
                    inside = Some(call);
                }
                Some(call) => {
                    if call.creates() {
                        made.insert(returned(agent)?);
                    } else if call.number == libc::SYS_close {
                        made.remove(&call.arguments[0]);
                    }
                    if changing {
                        seen(agent);
                    }
                }
            },
            WaitStatus::Stopped(_, signal) => pass = Some(signal),
            WaitStatus::Exited(_, code) => return Ok((End::Exited(code), begun)),
            WaitStatus::Signaled(..) => return Ok((End::Killed, begun)),
            WaitStatus::PtraceEvent(..) | WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        match ptrace::syscall(agent, pass) {
            // Killed between its stop and this call; the next wait tells.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a reader finds under the names that users see; what leads nowhere is not there.
fn visible(dir: &Path) -> Files {
    fn collect(root: &Path, path: &str, files: &mut Files) {
        let full = root.join(path);
        if full.is_dir() {
            for name in names(&full) {
                collect(root, &format!("{path}/{name}"), files);
            }
        } else if let Ok(bytes) = fs::read(&full) {
            files.insert(path.to_owned(), bytes);
        }
    }
    let mut files = Files::new();
    for name in names(dir).into_iter().filter(|name| !name.starts_with('.')) {
        collect(dir, &name, &mut files);
    }
    files
}

fn generation(dir: &Path) -> u64 {
    let state = fs::read(dir.join(".segura.json")).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
    state["generation"].as_u64().unwrap_or_default()
}

/// Asserts that nothing lies around but one generation and what the agent keeps.
#[track_caller]
fn assert_tidy(dir: &Path, n: usize) {
    let all = names(dir);
    let generations: Vec<_> = all.iter().filter(|name| name.starts_with("..2")).collect();
    let data = fs::read_link(dir.join("..data")).expect("a set is published");
    assert_eq!(generations, [data.to_str().expect("text")], "killed at {n}");
    for name in &all {
        assert!(dir.join(name).exists(), "{name} leads nowhere, killed at {n}");
    }
    let hidden = all.iter().filter(|name| name.starts_with('.') && !name.starts_with("..2"));
    assert_eq!(hidden.collect::<Vec<_>>(), ["..data", "..segura", ".segura.json"], "killed at {n}");
    let own = names(&dir.join("..segura"));
    assert_eq!(own, ["holder", "lock", "seal", "state.json"], "killed at {n}");
}

/// A vault, and how an agent is started for one of the kills.
struct Stage {
    scene: Scene,
    /// A directory with a published set, by the files that are visible in it.
    before: Option<(TempDir, Files)>,
    /// The start whose set can't be rendered, if one is to keep it.
    failing: Failing,
}

/// The start of a stage whose set can't be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// None fails.
    Never,
    /// The start that is killed: it keeps its set.
    Killed,
    /// The one before it: the start that is killed publishes what is kept.
    Before,
}

impl Stage {
    fn new() -> Self {
        // Plain HTTP: certificates have no part in this, and starts are many.
        let options = Options { tls: false, ..Options::default() };
        let mut scene = Scene::with(options);
        scene.set("SEGURA_RENEW_INTERVAL", "1s").set("SEGURA_STARTUP_TIMEOUT", "30s");
        Self { scene, before: None, failing: Failing::Never }
    }

    /// Has a first set published.
    fn publish_first(&mut self) {
        self.scene.init().exits(0);
        let copy = memory_dir();
        copy_into(self.scene.dir.path(), copy.path());
        let files = visible(copy.path());
        self.before = Some((copy, files));
    }

    fn wait_until_due(&self) {
        let due = self.scene.state()["boot_ms"]["next_due"].as_u64().expect("an interval is set");
        until("the set is due", || {
            let now = clock_gettime(ClockId::Boottime);
            u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).expect("a time") > due
        });
    }

    /// An agent in a directory of its own, as a pod of its own.
    fn agent(&self, dir: &Path, n: usize) -> Command {
        let mut agent = self.scene.agent(&["init"]);
        agent.env("SEGURA_OUTPUT_DIR", dir);
        if self.before.is_none() {
            agent.env("SEGURA_POD_NAME", pod(n));
        }
        agent
    }

    /// The same agent, whose set can't be rendered.
    fn failing_agent(&self, dir: &Path, n: usize) -> Command {
        let mut agent = self.agent(dir, n);
        // The entries of the secret differ in some keys.
        agent.env("SEGURA_COLLISION", "error");
        agent
    }

    fn directory(&self, n: usize) -> TempDir {
        let dir = memory_dir();
        if let Some((before, _)) = &self.before {
            copy_into(before.path(), dir.path());
        }
        if self.failing == Failing::Before {
            let mut agent = self.failing_agent(dir.path(), n);
            Run::of(agent.output().expect("the agent runs")).exits(78);
        }
        dir
    }

    /// Runs an agent to its call number `n`; one that has replaced a set gets SIGTERM.
    fn run(&self, dir: &Path, n: usize) -> nix::Result<(End, usize)> {
        let old = generation(dir);
        let mut terminated = false;
        let agent = match self.failing {
            Failing::Killed => self.failing_agent(dir, n),
            Failing::Never | Failing::Before => self.agent(dir, n),
        };
        trace(&agent, n, |agent| {
            if !terminated && old > 0 && generation(dir) > old {
                terminated = true;
                kill(agent, Signal::SIGTERM).expect("it is stopped at a system call");
            }
        })
    }

    /// Kills an agent at its call number `n`, and lets the next one come after it.
    fn kill_at(&self, n: usize) {
        let dir = self.directory(n);
        let dir = dir.path();
        let (end, begun) = self.run(dir, n).expect("tracing worked before");
        assert_eq!((end, begun), (End::Killed, n), "every run takes the same steps");
        let old = self.before.as_ref().map(|(_, files)| files.clone()).unwrap_or_default();
        let left = visible(dir);
        self.run_after(dir, n, left == old);
        let new = visible(dir);
        assert!(left == old || left == new, "a mixture, killed at {n}: {:?}", left.keys());
        assert_ne!(new, old, "killed at {n}");
        assert_tidy(dir, n);
        if self.before.is_none() {
            let accounts = self.scene.vault.provisioned(SEED).into_iter();
            let accounts: Vec<_> = accounts.filter(|account| account.pod_name == pod(n)).collect();
            let [account] = accounts.as_slice() else {
                panic!("{} accounts, killed at {n}", accounts.len());
            };
            let password = new.get("secret-postman/password").map(Vec::as_slice);
            assert_eq!(password, Some(account.password.as_bytes()), "killed at {n}");
        }
    }

    /// The start after the kill; if it has a set to replace, it gets SIGTERM.
    fn run_after(&self, dir: &Path, n: usize, replaces: bool) {
        let old = generation(dir);
        let agent = self.agent(dir, n).spawn().expect("the agent starts");
        if replaces && self.before.is_some() {
            until("the set is replaced", || generation(dir) > old);
            send(&agent, rustix::process::Signal::TERM);
        }
        Run::wait(agent).exits(0);
    }

    /// Kills an agent at each of its calls.
    fn kill_at_each(&self, test: &str, least: usize) {
        let first = self.directory(usize::MAX);
        let code = if self.failing == Failing::Killed { 78 } else { 0 };
        let steps = match self.run(first.path(), usize::MAX) {
            Ok((end, steps)) => {
                assert_eq!(end, End::Exited(code));
                steps
            }
            Err(error) => return skip(test, &format!("ptrace is not allowed ({error})")),
        };
        assert!(steps >= least, "a publish takes more than {steps} steps");
        if code == 0 {
            assert_tidy(first.path(), 0);
        }
        let next = AtomicUsize::new(1);
        std::thread::scope(|scope| {
            for _ in 0..TRACERS {
                scope.spawn(|| {
                    loop {
                        match next.fetch_add(1, Ordering::Relaxed) {
                            n if n <= steps => self.kill_at(n),
                            _ => break,
                        }
                    }
                });
            }
        });
    }
}

fn pod(n: usize) -> String {
    format!("killed-{n}")
}

/// Copies a directory with links, modes and owners as they are.
fn copy_into(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    assert!(copied.expect("cp is everywhere").success());
}

#[test]
fn a_first_publish_can_be_killed_anywhere() {
    let mut stage = Stage::new();
    stage.scene.set("SEGURA_OUTPUT", "files,json");
    stage.kill_at_each("a_first_publish_can_be_killed_anywhere", 50);
}

#[test]
fn a_replacing_publish_can_be_killed_anywhere() {
    let mut stage = Stage::new();
    stage.scene.set("SEGURA_OUTPUT", "files,json");
    stage.publish_first();
    stage.wait_until_due();
    stage.scene.vault.set_data(SEED, r#"{"hostname": "other", "pin": "1"}"#);
    stage.kill_at_each("a_replacing_publish_can_be_killed_anywhere", 50);
    assert_eq!(stage.scene.vault.provision_count(), 1, "renewal only reads");
}

#[test]
fn a_publish_that_adds_and_removes_names_can_be_killed_anywhere() {
    let mut stage = Stage::new();
    stage.scene.set("SEGURA_RENEW_INTERVAL", "off").set("SEGURA_OUTPUT", "files,json");
    stage.publish_first();
    stage.scene.set("SEGURA_OUTPUT", "files,env");
    stage.kill_at_each("a_publish_that_adds_and_removes_names_can_be_killed_anywhere", 30);
}

#[test]
fn a_start_that_keeps_its_set_can_be_killed_anywhere() {
    let mut stage = Stage::new();
    stage.failing = Failing::Killed;
    stage.kill_at_each("a_start_that_keeps_its_set_can_be_killed_anywhere", 15);
}

#[test]
fn the_publish_of_a_kept_set_can_be_killed_anywhere() {
    let mut stage = Stage::new();
    stage.failing = Failing::Before;
    // A kept set that is due is read for.
    stage.scene.set("SEGURA_RENEW_INTERVAL", "1h");
    stage.kill_at_each("the_publish_of_a_kept_set_can_be_killed_anywhere", 50);
    let pods = stage.scene.vault.provision_count();
    assert_eq!(stage.scene.count(PROVISION), pods, "no account is posted for twice");
}
