//! What the process itself leaves behind or hands on, by the kernel's word: no core, no memory that
//! another one reads, no descriptor.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test that called it")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::hold;
use crate::harness::dispositions;
use crate::harness::host::{NOBODY, can_switch_user, is_root, skip};
use crate::harness::sidecar::free_port;
use crate::harness::{Scene, send, until};

/// The modes that live on, each with its words.
const MODES: [&[&str]; 2] = [&["sidecar"], &["exec", "--", "sleep", "60"]];

/// Waits until an agent lives and its set stands.
fn until_published(scene: &Scene) {
    until("its set stands", || scene.path(".segura.json").exists());
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Starts a program where it may leave a core of any size.
fn unlimited(command: &Command, folder: &TempDir) -> Child {
    dispositions::default_for_children();
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -c unlimited && exec "$@""#, "sh"]);
    shell.arg(command.get_program()).args(command.get_args()).env_clear();
    shell.env("PATH", "/usr/bin:/bin").current_dir(folder.path());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().unwrap()
}

/// How a process ends by a signal at which the kernel dumps the core of others.
fn aborted(mut child: Child) -> ExitStatus {
    send(&child, Signal::ABORT);
    child.wait().unwrap()
}

#[test]
fn the_kernel_dumps_no_core_of_the_agent() {
    const TEST: &str = "the_kernel_dumps_no_core_of_the_agent";
    let folder = tempfile::tempdir().unwrap();
    let mut sleep = Command::new("sleep");
    let sleeping = unlimited(sleep.arg("600"), &folder);
    let name = format!("/proc/{}/comm", sleeping.id());
    until("the shell is another program", || fs::read(&name).is_ok_and(|name| name == b"sleep\n"));
    if !aborted(sleeping).core_dumped() {
        return skip(TEST, "the kernel dumps no core of any process");
    }
    for mode in MODES {
        let mut scene = Scene::new();
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
        let folder = tempfile::tempdir().unwrap();
        let agent = unlimited(&scene.agent(mode), &folder);
        until_published(&scene);
        let status = aborted(agent);
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{mode:?}: {status}");
        assert!(!status.core_dumped(), "{mode:?}: {status}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{mode:?}");
    }
}

#[test]
fn the_kernel_gives_the_agents_memory_to_root_alone() {
    const TEST: &str = "the_kernel_gives_the_agents_memory_to_root_alone";
    if !can_switch_user(TEST) {
        return;
    }
    // What a process that can be dumped owns belongs to root where it can't (`proc(5)`).
    let owner = |child: &Child, part: &str| {
        fs::metadata(format!("/proc/{}/{part}", child.id())).unwrap().uid()
    };
    let sleeping = NOBODY.runs("sleep").arg("600").spawn().unwrap();
    let is_shown = || owner(&sleeping, "mem") == NOBODY.uid;
    until("another process of this user owns its memory", is_shown);
    for mode in MODES {
        let mut scene = Scene::new();
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
        chown(scene.dir.path(), Some(NOBODY.uid), Some(NOBODY.gid)).unwrap();
        let mut agent = scene.agent_as(NOBODY, mode);
        let agent = agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until_published(&scene);
        let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
        assert!(status.contains("Uid:\t1000\t1000\t1000\t1000\n"), "{status}");
        for part in ["mem", "environ", "maps", "fd", "auxv"] {
            assert_eq!(owner(&agent, part), 0, "{mode:?}: {part}");
        }
        kill(agent);
    }
    kill(sleeping);
}

/// Descriptors of a process that a program started by it would inherit, with what they lead to, and
/// the number of all that it has.
fn kept_by_exec(pid: &str) -> (BTreeSet<(u32, PathBuf)>, usize) {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    // Those that are closed since they were listed are left out.
    let infos = infos.filter_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(entry.path()).ok()?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let leads = fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?;
        Some((number, leads, u32::from_str_radix(flags.trim(), 8).ok()?))
    });
    let infos: Vec<(u32, PathBuf, u32)> = infos.collect();
    let count = infos.len();
    let kept = infos.into_iter().filter(|(n, _, flags)| *n > 2 && flags & CLOSE_ON_EXEC == 0);
    (kept.map(|(number, leads, _)| (number, leads)).collect(), count)
}

#[test]
fn no_descriptor_of_the_agent_outlives_an_exec() {
    if !is_root() {
        return skip(
            "no_descriptor_of_the_agent_outlives_an_exec",
            "only root reads another's list",
        );
    }
    for mode in MODES {
        let mut scene = Scene::new();
        hold(&mut scene);
        scene.set("SEGURA_SANDBOX", "auto");
        scene.set("SEGURA_LISTEN", &format!("127.0.0.1:{}", free_port()));
        let log = scene.vault.dir().join("termination-log");
        fs::write(&log, "").unwrap();
        scene.set("SEGURA_TERMINATION_LOG", &log.display().to_string());
        let mut agent = scene.agent(mode);
        let agent = agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until_published(&scene);
        let fetched = |scene: &Scene| scene.state()["fetched_at"].clone();
        let before = fetched(&scene);
        let pid = agent.id().to_string();
        until("it renews, and watches", || fetched(&scene) != before && kept_by_exec(&pid).1 > 10);
        // It got some from this process, which got them from the runner of the tests.
        let (ours, _) = kept_by_exec("self");
        let (kept, _) = kept_by_exec(&pid);
        assert_eq!(
            kept.difference(&ours).collect::<Vec<_>>(),
            Vec::<&(u32, PathBuf)>::new(),
            "{mode:?}"
        );
        kill(agent);
    }
}
