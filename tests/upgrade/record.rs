//! Records the sets of a released version: `cargo run --example record-sets -- BINARY`, as root.
//!
//! BINARY runs beside a vault for development, is ended, and what it left is written below
//! `tests/upgrade`, in a folder named after its version. See the README there.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

#[path = "../dev-vault/mod.rs"]
mod dev_vault;
mod list;
mod sets;
#[path = "../harness/wait.rs"]
#[expect(dead_code, reason = "the tests wait in more ways")]
mod wait;

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, Signal, getegid, geteuid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use dev_vault::requests::path;
use dev_vault::{DevVault, Effect, Fault, Options};
use list::{Entry, Kind, Owner};
use sets::{CLIENT_ID, Fate, LeftBy, NAME, PENDING, RECORDED, Set, TEMPLATE};
use wait::{LIMIT, within};

/// Port of the vault. No test's vault has it: the kernel gives out ports from 32768 up, and a set of
/// this vault is another origin's to them unless they rewrite it.
const PORT: u16 = 18_443;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(binary), None) = (arguments.next(), arguments.next()) else {
        eprintln!("record-sets: say the path of the binary whose sets are to be recorded");
        return ExitCode::FAILURE;
    };
    match record_all(Path::new(&binary)) {
        Ok(folder) => {
            println!("recorded in {}", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("record-sets: {error}");
            ExitCode::FAILURE
        }
    }
}

fn record_all(binary: &Path) -> Outcome<PathBuf> {
    // The agent notes the name of its host in `holder`; in a pod, that is the pod's name.
    unshare(CloneFlags::CLONE_NEWUTS).map_err(|error| format!("root is needed: {error}"))?;
    rustix::system::sethostname(NAME.as_bytes())?;
    let version = version(binary)?;
    let (_, sets) = RECORDED
        .iter()
        .find(|(known, _)| *known == version)
        .ok_or_else(|| format!("add {version} to RECORDED in tests/upgrade/sets.rs"))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade").join(version);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for set in *sets {
        for fate in [Fate::Live, Fate::Deprovisioned] {
            let stage = Stage::new(binary, set)?;
            stage.leave(set.left_by, fate)?;
            record(stage.dir.path(), &folder, &set.recording(fate))?;
        }
    }
    let stage = Stage::new(binary, sets.first().ok_or("no rows")?)?;
    stage.leave_pending()?;
    record(stage.dir.path(), &folder, PENDING)?;
    Ok(folder)
}

/// The version that a binary says it is.
fn version(binary: &Path) -> Outcome<String> {
    let output = Command::new(binary).arg("--version").env_clear().output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_ascii_whitespace().last().ok_or("it says no version")?.to_owned())
}

/// A vault, an output directory, and the agent that is to leave a set in it.
struct Stage {
    vault: DevVault,
    dir: TempDir,
    binary: PathBuf,
    env: Vec<(String, String)>,
}

impl Stage {
    fn new(binary: &Path, set: &Set) -> Outcome<Self> {
        let vault = DevVault::try_start(Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            client_id: Some(CLIENT_ID.to_owned()),
            ..Options::default()
        })?;
        let templates = vault.dir().join("templates");
        fs::create_dir(&templates)?;
        fs::write(templates.join(TEMPLATE.0), TEMPLATE.1)?;
        let dir = tempfile::tempdir_in("/dev/shm")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let mut env = vault.env();
        let templates = templates.display().to_string();
        let settings = set.settings(&templates);
        env.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env.push(("SEGURA_OUTPUT_DIR".to_owned(), dir.path().display().to_string()));
        Ok(Self { vault, dir, binary: binary.to_owned(), env })
    }

    fn agent(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Has the agent publish its set, and end.
    fn leave(&self, by: LeftBy, fate: Fate) -> Outcome<()> {
        let words: &[&str] = match by {
            LeftBy::Init => {
                wait_for_success(self.agent(&["init"]).spawn()?)?;
                if fate == Fate::Deprovisioned {
                    wait_for_success(self.agent(&["deprovision"]).spawn()?)?;
                }
                return self.check(fate);
            }
            LeftBy::Sidecar => &["sidecar"],
            LeftBy::Exec => &["exec", "--", "/bin/sh", "-c", "read -r _"],
        };
        let deprovisions = if fate == Fate::Deprovisioned { "true" } else { "false" };
        let mut agent = self.agent(words).env("SEGURA_DEPROVISION", deprovisions).spawn()?;
        // The last thing that a start writes.
        let notified =
            || self.state().is_some_and(|state| state.get("notified") == Some(&1.into()));
        let published = within(LIMIT, notified);
        kill_process(Pid::from_child(&agent), Signal::TERM)?;
        agent.wait()?;
        if published { self.check(fate) } else { Err("it published nothing".into()) }
    }

    /// Kills an agent whose POST is under way.
    fn leave_pending(&self) -> Outcome<()> {
        self.vault.fault(Fault::new(path::PROVISION, Effect::Hang).method("POST"));
        let mut agent = self.agent(&["init"]).spawn()?;
        let asked =
            within(LIMIT, || self.vault.requests().iter().any(|r| r.is("POST", "/provision")));
        agent.kill()?;
        agent.wait()?;
        if asked { Ok(()) } else { Err("it provisioned nothing".into()) }
    }

    fn state(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.dir.path().join("..segura/state.json")).ok()?).ok()
    }

    /// Makes sure that the set was left as it is to be recorded.
    fn check(&self, fate: Fate) -> Outcome<()> {
        let state = self.state().ok_or("it left no state")?;
        let expected = Value::Bool(fate == Fate::Deprovisioned);
        if state.get("given_back") == Some(&expected) {
            Ok(())
        } else {
            Err(format!("the set is not {fate:?}").into())
        }
    }
}

fn wait_for_success(mut child: Child) -> Outcome<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the agent ended with {status}").into()) }
}

/// Writes the list of a directory, and the bytes of its files beside it.
fn record(dir: &Path, folder: &Path, name: &str) -> Outcome<()> {
    let mut entries = Vec::new();
    collect(dir, "", &mut entries)?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut list = String::new();
    for entry in &entries {
        let line = entry.to_string();
        if Entry::parse(&line).as_ref() != Some(entry) {
            return Err(format!("no list can hold this name: {line}").into());
        }
        list += &line;
        list.push('\n');
        if entry.kind == Kind::File {
            let stored = folder.join(name).join(entry.stored());
            if stored.exists() {
                return Err(format!("two files want the name {}", stored.display()).into());
            }
            fs::create_dir_all(stored.parent().unwrap_or(folder))?;
            fs::write(stored, fs::read(dir.join(&entry.path))?)?;
        }
    }
    Ok(fs::write(folder.join(format!("{name}.txt")), list)?)
}

fn collect(dir: &Path, below: &str, entries: &mut Vec<Entry>) -> Outcome<()> {
    for found in fs::read_dir(dir.join(below))? {
        let name = found?.file_name().into_string().map_err(|_| "a name is not UTF-8")?;
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let full = dir.join(&path);
        let found = fs::symlink_metadata(&full)?;
        let kind = if found.is_symlink() {
            let target = fs::read_link(&full)?.into_os_string().into_string();
            Kind::Link(target.map_err(|_| "a target is not UTF-8")?)
        } else if found.is_dir() {
            collect(dir, &path, entries)?;
            Kind::Folder
        } else {
            Kind::File
        };
        let owner = |id, own| if id == own { Owner::Own } else { Owner::Other(id) };
        entries.push(Entry {
            kind,
            mode: found.mode() & 0o7777,
            uid: owner(found.uid(), geteuid().as_raw()),
            gid: owner(found.gid(), getegid().as_raw()),
            path,
        });
    }
    Ok(())
}
