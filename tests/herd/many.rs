//! Two hundred sidecars of one secret: they ask evenly, all learn of a change, all end well.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use tempfile::TempDir;

use super::report;
use crate::dev_vault::Request;
use crate::harness::host::{User, can_switch_user, skip};
use crate::harness::podman::static_binary;
use crate::harness::{SEED, Scene, memory_dir, send, until};

const INTERVAL: Duration = Duration::from_secs(10);
/// A user may have 128 inotify instances, and each agent takes one.
const OF_ONE_USER: usize = 60;
/// Descriptors that an agent has between passes and in one, those that it inherits here included.
const MOST_DESCRIPTORS: usize = 32;
/// Memory that an agent at rest takes for itself, on average.
const MOST_KIB: u64 = 1024;

/// Agents that are killed when this is dropped.
struct Herd {
    agents: Vec<Agent>,
    /// Their logs.
    logs: TempDir,
}

struct Agent {
    child: Child,
    dir: TempDir,
    pod: String,
}

/// What a herd takes, in KiB.
#[derive(Debug, Default)]
struct Memory {
    anonymous: u64,
    proportional: u64,
}

impl Herd {
    /// Starts `size` sidecars, of as many users as it takes.
    fn start(scene: &Scene, size: usize, binary: Option<&Path>, users: bool) -> Self {
        let logs = tempfile::tempdir().expect("a directory");
        let other = binary
            .map(|path| rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).expect("the binary"));
        let agents = (0..size).map(|number| {
            let dir = memory_dir();
            let pod = format!("herd-{number}");
            let user = users.then(|| {
                let uid = 20_000 + u32::try_from(number / OF_ONE_USER).expect("a few");
                User { uid, gid: uid, groups: &[] }
            });
            if let Some(user) = user {
                chown(dir.path(), Some(user.uid), Some(user.gid)).expect("root may");
            }
            let mut command = command(scene, user, other.as_ref());
            command.env("SEGURA_POD_NAME", &pod).env("SEGURA_OUTPUT_DIR", dir.path());
            let log = File::create(logs.path().join(&pod)).expect("it is new");
            command.stdout(Stdio::null()).stderr(log);
            Agent { child: command.spawn().expect("the agent starts"), dir, pod }
        });
        Self { agents: agents.collect(), logs }
    }

    /// Lines that no agent should have written, the first of them.
    fn unexpected_lines(&self) -> Vec<String> {
        let mut bad = Vec::new();
        for agent in &self.agents {
            let log = fs::read_to_string(self.logs.path().join(&agent.pod)).expect("a log");
            let lines = log.lines().filter(|line| !line.contains(" INFO "));
            bad.extend(lines.map(|line| format!("{}: {line}", agent.pod)));
        }
        bad.truncate(10);
        bad
    }

    fn memory(&self) -> Memory {
        let mut all = Memory::default();
        for agent in &self.agents {
            let proc = format!("/proc/{}", agent.child.id());
            all.anonymous += kib(&format!("{proc}/status"), "RssAnon:");
            all.proportional += kib(&format!("{proc}/smaps_rollup"), "Pss:");
        }
        all
    }

    /// Waits until every agent has its account, and has published it.
    fn until_started(&self, scene: &Scene) {
        until("each pod has an account", || {
            scene.vault.provisioned(SEED).len() >= self.agents.len()
        });
        self.until_published(scene);
    }

    /// Waits until every agent has published what the vault holds for its pod.
    fn until_published(&self, scene: &Scene) {
        let accounts = scene.vault.provisioned(SEED).into_iter();
        let passwords: BTreeMap<String, String> =
            accounts.map(|account| (account.pod_name, account.password)).collect();
        assert_eq!(passwords.len(), self.agents.len(), "one account for each pod");
        for agent in &self.agents {
            let file = agent.dir.path().join("secret-postman/password");
            until("each agent publishes its own", || {
                fs::read_to_string(&file).ok().as_ref() == passwords.get(&agent.pod)
            });
        }
    }

    /// Ends them all; each must end with 0.
    fn stop(&mut self) {
        for agent in &self.agents {
            send(&agent.child, Signal::TERM);
        }
        for agent in &mut self.agents {
            until("the agent ends", || !matches!(agent.child.try_wait(), Ok(None)));
            let status = agent.child.wait().expect("it has ended");
            assert_eq!(status.code(), Some(0), "{}", agent.pod);
        }
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            agent.child.kill().ok();
        }
        for agent in &mut self.agents {
            agent.child.wait().ok();
        }
    }
}

/// The sidecar as this user, from the binary behind a descriptor that it inherits, if one is given.
fn command(scene: &Scene, user: Option<User>, other: Option<&OwnedFd>) -> Command {
    let own = match user {
        Some(user) => scene.agent_as(user, &["sidecar"]),
        None => scene.agent(&["sidecar"]),
    };
    let Some(other) = other else { return own };
    let program = format!("/proc/self/fd/{}", other.as_raw_fd());
    let mut command = match user {
        Some(user) => user.runs(&program),
        None => Command::new(&program),
    };
    let environment = own.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.arg("sidecar").env_clear().envs(environment);
    command.stdin(Stdio::null());
    command
}

/// A line of a file below `/proc`.
fn kib(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn scene(interval: &str) -> Scene {
    let mut scene = Scene::new();
    // Nothing that an account's own entry has, too.
    scene.vault.set_data(SEED, r#"{"note": "herd"}"#);
    scene.set("SEGURA_RENEW_INTERVAL", interval).set("SEGURA_STARTUP_TIMEOUT", "1m");
    // On a busy machine, so many handshakes at a time take theirs.
    scene.set("SEGURA_LOG_FORMAT", "text").set("SEGURA_CONNECT_TIMEOUT", "1m");
    scene.set("SEGURA_TIMEOUT", "2m");
    scene
}

/// The reads of so long from `from` on, by second.
fn by_second(requests: &[Request], from: Duration, seconds: usize) -> Vec<usize> {
    let mut counts = vec![0; seconds];
    for request in requests.iter().filter(|request| request.method == "GET") {
        let second = request.at.checked_sub(from).map(|since| since.as_secs());
        let count = second.and_then(|second| counts.get_mut(usize::try_from(second).ok()?));
        if let Some(count) = count {
            *count += 1;
        }
    }
    counts
}

/// Runs a herd for so long after its first interval.
fn run(test: &str, seconds: usize, binary: Option<&Path>) {
    let users = can_switch_user(test);
    let size = if users { 200 } else { 100 };
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, most, most).ok();
    }
    let scene = scene("10s");
    let mut herd = Herd::start(&scene, size, binary, users);
    herd.until_started(&scene);
    let from = scene.vault.elapsed() + INTERVAL;
    let middle = from + Duration::from_secs(seconds as u64 / 2);
    let end = from + Duration::from_secs(seconds as u64);
    wait_until(&scene, middle);
    scene.vault.rotate();
    herd.until_published(&scene);
    wait_until(&scene, end);

    let counts = by_second(&scene.vault.requests(), from, seconds);
    let (total, most) = (counts.iter().sum::<usize>(), counts.iter().max().copied());
    let most = most.unwrap_or(0);
    let memory = herd.memory();
    report(&format!(
        "{size} sidecars, {seconds} s: {total} reads, at most {most} in a second; {} KiB of their \
         own, {} KiB with what they share",
        memory.anonymous, memory.proportional
    ));
    for agent in &herd.agents {
        let open =
            fs::read_dir(format!("/proc/{}/fd", agent.child.id())).expect("it lives").count();
        assert!(open <= MOST_DESCRIPTORS, "{} has {open} descriptors open", agent.pod);
    }
    // Had they kept step from the start, most seconds would see nobody.
    let busy = counts.iter().filter(|count| **count * seconds * 4 >= total).count();
    assert!(most * seconds <= 4 * total && busy * 4 >= seconds * 3, "{counts:?}");
    for agent in &herd.agents {
        let reads = scene.vault.requests().iter().filter(|r| reads_for(r, &agent.pod)).count();
        assert!(reads >= seconds / 20, "{} has read {reads} times", agent.pod);
    }
    assert_eq!(herd.unexpected_lines(), Vec::<String>::new());
    herd.stop();
    assert_eq!(herd.unexpected_lines(), Vec::<String>::new());
    assert_eq!(scene.vault.provision_count(), size);
}

fn reads_for(request: &Request, pod: &str) -> bool {
    request.method == "GET"
        && request.target.split(['?', '&']).any(|part| part == format!("pod_name={pod}"))
}

fn wait_until(scene: &Scene, at: Duration) {
    until("the time has come", || scene.vault.elapsed() >= at);
}

#[test]
fn two_hundred_sidecars_spread_their_requests_and_all_publish_a_change() {
    run("two_hundred_sidecars_spread_their_requests_and_all_publish_a_change", 24, None);
}

#[test]
#[ignore = "takes two minutes"]
fn two_hundred_sidecars_spread_their_requests_for_two_minutes() {
    let test = "two_hundred_sidecars_spread_their_requests_for_two_minutes";
    run(test, 120, static_binary().as_deref());
}

#[test]
fn a_sidecar_of_the_static_binary_uses_at_most_one_megabyte_of_private_memory() {
    let Some(binary) = static_binary() else {
        skip(
            "a_sidecar_of_the_static_binary_uses_at_most_one_megabyte_of_private_memory",
            "SEGURA_STATIC_BINARY does not name the static binary",
        );
        return;
    };
    let scene = scene("1s");
    let mut herd = Herd::start(&scene, 8, Some(&binary), false);
    herd.until_started(&scene);
    until("they have renewed a few times", || scene.vault.requests().len() > 8 * 6);
    scene.vault.rotate();
    herd.until_published(&scene);
    let each = herd.memory().anonymous / 8;
    report(&format!("a sidecar takes {each} KiB of its own"));
    assert!(each <= MOST_KIB, "{each} KiB");
    herd.stop();
}
