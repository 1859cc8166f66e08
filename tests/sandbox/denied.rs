//! A program in the agent's place: it enters the sandbox by the agent's own call, after the same
//! steps, and tries what the agent never does.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test that called it")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::prctl;
use nix::sys::ptrace::{Options, seize};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Pid, mkfifo, truncate};
use segura_agent::commands::runtime::{TerminationLog, end};
use segura_agent::commands::sandbox;
use segura_agent::config::raw::Raw;
use segura_agent::config::{Config, Mounts};
use segura_agent::exit::{Exit, Failure};
use segura_agent::os::sandbox::{ABI, kernel};
use segura_agent::store::Store;
use tempfile::TempDir;

use super::{is_held, scene};
use crate::harness::{Scene, dispositions, host::is_root, memory_dir};

/// The variable that has this program be the other one, at an ABI.
const ABI_OF_PLACE: &str = "ABI_OF_PLACE";
/// What begins a line about one try.
const TRIED: &str = "TRIED ";

/// What a line says of a sandbox that could not be entered.
const REFUSED: &str = "refused";

/// A try: what it is, the ABI from which on it is denied, and the deed.
type Try<'a> = (&'static str, i32, Box<dyn Fn() -> io::Result<()> + 'a>);

fn variable(name: &str) -> Option<String> {
    let (_, value) = std::env::vars_os().find(|(found, _)| found == name)?;
    value.into_string().ok()
}

/// Where the program finds what it tries.
struct Around {
    /// A folder that the agent has nothing to do with, in memory too.
    outside: PathBuf,
    /// A program that is not of the sandbox.
    stranger: i32,
    /// A port of loopback that somebody listens at, and that no setting names.
    port: u16,
    /// The output directory.
    output: PathBuf,
    /// The vault's folder, which the file of the authority lies in.
    inputs: PathBuf,
    /// Where the vault listens.
    vault: String,
}

impl Around {
    fn read() -> Self {
        let text = |name: &str| variable(name).unwrap_or_default();
        let authority = PathBuf::from(text("SEGURA_CA_FILE"));
        Self {
            outside: text("OUTSIDE").into(),
            stranger: text("STRANGER").parse().unwrap(),
            port: text("PORT").parse().unwrap(),
            output: text("SEGURA_OUTPUT_DIR").into(),
            inputs: authority.parent().unwrap().to_owned(),
            vault: text("SEGURA_URL").trim_start_matches("https://").to_owned(),
        }
    }

    /// What the agent never does.
    fn denied(&self) -> Vec<Try<'_>> {
        let outside = |name: &str| self.outside.join(name);
        let inside = |name: &str| self.output.join(name);
        let made = move |path: PathBuf| move || File::create(&path).map(drop);
        let open = |path: PathBuf| move || OpenOptions::new().append(true).open(&path).map(drop);
        vec![
            ("read a file", 2, Box::new(move || fs::read(outside("file")).map(drop))),
            ("list a folder", 2, Box::new(|| fs::read_dir(&self.outside).map(drop))),
            ("write a file", 2, Box::new(open(outside("file")))),
            ("write an input", 2, Box::new(open(self.inputs.join("ca.pem")))),
            ("make a file", 2, Box::new(made(outside("new")))),
            ("make an input", 2, Box::new(made(self.inputs.join("new")))),
            ("make a folder", 2, Box::new(move || fs::create_dir(outside("made")))),
            ("make a link", 2, Box::new(move || symlink("file", outside("link")))),
            ("link a file in", 2, Box::new(move || fs::hard_link(outside("file"), inside("hard")))),
            ("move a file out", 2, Box::new(move || fs::rename(inside("a/own"), outside("own")))),
            ("move a file in", 2, Box::new(move || fs::rename(outside("file"), inside("moved")))),
            ("remove a file", 2, Box::new(move || fs::remove_file(outside("other")))),
            ("remove a folder", 2, Box::new(move || fs::remove_dir(outside("folder")))),
            ("cut a file short", 3, Box::new(move || Ok(truncate(&outside("long"), 1)?))),
            (
                "move between folders",
                2,
                Box::new(move || fs::rename(inside("a/two"), inside("b/two"))),
            ),
            ("make a socket", 2, Box::new(move || UnixListener::bind(inside("socket")).map(drop))),
            ("make a FIFO", 2, Box::new(move || Ok(mkfifo(&inside("fifo"), Mode::S_IRWXU)?))),
            ("run a program", 2, Box::new(|| Command::new("/bin/true").status().map(drop))),
            (
                "trace a process",
                2,
                Box::new(|| Ok(seize(Pid::from_raw(self.stranger), Options::empty())?)),
            ),
            (
                "read an environment",
                2,
                Box::new(|| fs::read(format!("/proc/{}/environ", self.stranger)).map(drop)),
            ),
            (
                "connect elsewhere",
                4,
                Box::new(|| TcpStream::connect(("127.0.0.1", self.port)).map(drop)),
            ),
            ("listen", 4, Box::new(|| TcpListener::bind("127.0.0.1:0").map(drop))),
        ]
    }

    /// What only root may do at all.
    fn denied_to_root(&self) -> Vec<Try<'_>> {
        let device = self.output.join("device");
        vec![
            (
                "make a device",
                2,
                Box::new(move || Ok(mknod(&device, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3))?)),
            ),
            (
                "mount",
                2,
                Box::new(|| {
                    let at = self.outside.as_path();
                    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
                    Ok(umount(at)?)
                }),
            ),
        ]
    }

    /// What the agent does, and what is not governed.
    fn allowed(&self) -> Vec<Try<'_>> {
        let inside = |name: &str| self.output.join(name);
        let input = |name: &str| self.inputs.join(name);
        vec![
            (
                "make and fill",
                0,
                Box::new(move || {
                    fs::create_dir(inside("own"))?;
                    fs::write(inside("own/next"), "x")?;
                    fs::rename(inside("own/next"), inside("own/file"))
                }),
            ),
            (
                "turn a link",
                0,
                Box::new(move || {
                    symlink("own", inside("turned"))?;
                    symlink("other", inside("turned-next"))?;
                    fs::rename(inside("turned-next"), inside("turned"))
                }),
            ),
            (
                "sweep",
                0,
                Box::new(move || {
                    fs::read_dir(inside("own"))?
                        .try_for_each(|entry| fs::remove_file(entry?.path()))?;
                    fs::remove_dir(inside("own"))
                }),
            ),
            ("read an input", 0, Box::new(move || fs::read(input("ca.pem")).map(drop))),
            ("list the inputs", 0, Box::new(|| fs::read_dir(&self.inputs).map(drop))),
            (
                "read the hosts",
                0,
                Box::new(|| match fs::read("/etc/hosts") {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    read => read.map(drop),
                }),
            ),
            ("connect to the vault", 0, Box::new(|| TcpStream::connect(&self.vault).map(drop))),
            (
                "send by UDP",
                0,
                Box::new(|| UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", "127.0.0.1:9").map(drop)),
            ),
            ("talk through a pair", 0, Box::new(|| UnixStream::pair().map(drop))),
        ]
    }
}

/// Says what became of a try, past the capture of what tests print.
fn said(name: &str, became: &str) {
    let line = format!("{TRIED}{name}:{became}\n");
    io::stdout().write_all(line.as_bytes()).unwrap();
}

/// The program: enters the sandbox as `sidecar` does, and says what became of each try.
fn be_in_place(abi: i32) {
    let raw = Raw::from_environment(std::env::vars_os());
    let around = Around::read();
    let (config, renewing) = Config::for_sidecar(raw, Mounts::default()).unwrap().settings;
    let store = Store::hold(&config.output, "sidecar").unwrap();
    for (name, content) in [("a/own", "x"), ("a/two", "x"), ("b/one", "x")] {
        let path = around.output.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let log = TerminationLog::at(around.outside.join("termination-log"));
    let entered = sandbox::enter(&config, &renewing, &store, &log, || ABI::from(abi));
    if let Err(failure) = entered {
        return said(REFUSED, &format!("{} {}", failure.exit.code(), failure.message));
    }
    let mut tries = around.allowed();
    tries.extend(around.denied());
    if is_root() {
        tries.extend(around.denied_to_root());
    }
    for (name, since, deed) in tries {
        // Not at an ABI that lets it: it would be done on this machine.
        if name == "mount" && abi < since {
            continue;
        }
        let became = match deed() {
            Ok(()) => "done".to_owned(),
            Err(error) => error.raw_os_error().unwrap_or(-1).to_string(),
        };
        said(name, &became);
    }
    said("no new privileges", &prctl::get_no_new_privs().unwrap().to_string());
    end(&Failure::said(Exit::Refused, "told at the end"), Some(&log));
}

/// Runs the program at an ABI: what became of each try, and what its termination log holds.
fn tried(scene: &Scene, abi: i32) -> (BTreeMap<String, String>, String) {
    let outside: TempDir = memory_dir();
    for name in ["file", "other", "long", "termination-log"] {
        fs::write(outside.path().join(name), "before").unwrap();
    }
    fs::create_dir(outside.path().join("folder")).unwrap();
    let mut stranger: Child =
        Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = scene.agent(&["sidecar"]);
    dispositions::default_for_children();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::denied::a_program_in_the_agents_place_is_denied_all_else"])
        .args(["--nocapture", "--test-threads=1"])
        .env_clear()
        .envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("OUTSIDE", outside.path())
        .env("STRANGER", stranger.id().to_string())
        .env("PORT", listener.local_addr().unwrap().port().to_string())
        .env(ABI_OF_PLACE, abi.to_string())
        .output()
        .unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    // The harness may leave the name of the test before the first line.
    let lines = printed.lines().filter_map(|line| line.split_once(TRIED)?.1.split_once(':'));
    let tries = lines.map(|(name, became)| (name.to_owned(), became.to_owned())).collect();
    (tries, fs::read_to_string(outside.path().join("termination-log")).unwrap())
}

/// The errors of a denial: EACCES; EPERM of mounts and of tracing; EXDEV of a rename to another folder.
const DENIALS: [&str; 3] = ["13", "1", "18"];

#[test]
fn a_program_in_the_agents_place_is_denied_all_else() {
    if let Some(abi) = variable(ABI_OF_PLACE) {
        return be_in_place(abi.parse().unwrap());
    }
    if !is_held("a_program_in_the_agents_place_is_denied_all_else") {
        return;
    }
    let root = is_root();
    let since = |around: &Around| {
        let mut tries = around.denied();
        if root {
            tries.extend(around.denied_to_root());
        }
        tries.into_iter().map(|(name, since, _)| (name.to_owned(), since)).collect::<Vec<_>>()
    };
    for abi in 0..=7 {
        // What the kernel has no rights for can't be asked of it.
        if ABI::from(abi) > kernel() {
            break;
        }
        let mut scene = scene();
        scene.set("SEGURA_SANDBOX", "auto");
        let (became, log) = tried(&scene, abi);
        let nothing = Around {
            outside: PathBuf::new(),
            stranger: 0,
            port: 0,
            output: PathBuf::new(),
            inputs: PathBuf::new(),
            vault: String::new(),
        };
        for (name, since) in since(&nothing) {
            match became.get(&name) {
                Some(error) if abi >= since => {
                    assert!(DENIALS.contains(&error.as_str()), "{name} at ABI {abi}: {error}");
                }
                Some(done) => {
                    assert_eq!(done, "done", "{name} at ABI {abi}: the try is a good one")
                }
                None => assert!(name == "mount" && abi < since, "{name} is tried at ABI {abi}"),
            }
        }
        for (name, ..) in nothing.allowed() {
            assert_eq!(became[name], "done", "{name} at ABI {abi}");
        }
        assert_eq!(became["no new privileges"], "true", "at ABI {abi}");
        assert_eq!(log, "segura-agent: told at the end\n", "at ABI {abi}");
    }
}

#[test]
fn a_required_sandbox_ends_the_start_where_files_can_not_be_governed() {
    for (abi, why) in [(0, "has no Landlock"), (1, "older than ABI 2")] {
        let mut scene = scene();
        let (became, log) = tried(&scene, abi);
        let refused = &became[REFUSED];
        assert!(
            refused.starts_with("78 cannot enter the sandbox: ") && refused.contains(why),
            "{refused}"
        );
        assert_eq!((became.len(), log.as_str()), (1, "before"), "ABI {abi}");
        scene.set("SEGURA_SANDBOX", "auto");
        assert!(!tried(&scene, abi).0.contains_key(REFUSED), "ABI {abi}");
    }
}
