//! A terminal of a test's own, with a session at it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::{ffi::OsStr, io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
};

use super::super::orphans::processes::{Litter, living, number};
use crate::harness::{Scene, sidecar::Sidecar, until};

/// What ends the input where it stands at the beginning of a line.
pub const END: &str = "\x04";
/// What interrupts.
pub const CTRL_C: &str = "\x03";
/// What stops.
pub const CTRL_Z: &str = "\x1a";

/// A session and its terminal, of which the test has the other end.
pub struct Session {
    _litter: Litter,
    /// Who leads the session.
    pub leader: Sidecar,
    master: Arc<File>,
    screen: Arc<Screen>,
}

/// All that a terminal has shown; a test that fails has it shown once more.
#[derive(Default)]
struct Screen(Mutex<Vec<u8>>);

impl Screen {
    fn text(&self) -> String {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8_lossy(&shown).into_owned()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if thread::panicking() {
            writeln!(io::stderr(), "the terminal has shown {:?}", self.text()).ok();
        }
    }
}

impl Session {
    /// Starts a program as the leader of a session with a terminal. `$AGENT` is the agent's binary.
    pub fn of(scene: &Scene, words: &[&str]) -> Self {
        let (master, slave) = terminal();
        let master = Arc::new(master);
        let agent = scene.agent(&[]);
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words).env_clear();
        command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("AGENT", agent.get_program());
        command.envs([("PATH", "/usr/bin:/bin"), ("PS1", ""), ("PS2", ""), ("TERM", "dumb")]);
        for stream in [Command::stdin, Command::stdout, Command::stderr] {
            stream(&mut command, slave.try_clone().expect("a descriptor"));
        }
        drop(slave);
        let leader = Sidecar::spawn(command);
        let screen = Arc::<Screen>::default();
        let (source, shown) = (Arc::downgrade(&master), Arc::downgrade(&screen));
        // It ends with the session, or once nobody has the terminal open any more.
        thread::spawn(move || {
            while let Some(read) = source.upgrade().and_then(|master| read(&master)) {
                let Some(screen) = shown.upgrade() else { break };
                screen.0.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
            }
        });
        Self { _litter: Litter(number(&leader)), leader, master, screen }
    }

    /// An agent that leads the session, around a shell that runs `script`.
    pub fn of_agent(scene: &Scene, script: &str) -> Self {
        let agent = scene.agent(&[]);
        let agent = agent.get_program().to_str().expect("cargo has built it");
        Self::of(scene, &[agent, "exec", "--", "sh", "-c", script])
    }

    /// An interactive shell, with job control, that leads the session.
    pub fn of_shell(scene: &Scene, shell: &str) -> Self {
        let session = match shell {
            "bash" => Self::of(scene, &["bash", "--norc", "--noprofile", "--noediting", "-i"]),
            shell => Self::of(scene, &[shell, "-i"]),
        };
        session.type_keys("echo here $((40 + 2))\n");
        session.until_shown("here 42\n");
        session
    }

    /// Types, without a key for the end of a line.
    pub fn type_keys(&self, keys: &str) {
        (&*self.master).write_all(keys.as_bytes()).expect("the terminal takes a few keys");
    }

    /// Makes the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&*self.master, size).expect("it is a terminal");
    }

    /// All that the screen has shown.
    pub fn shown(&self) -> String {
        self.screen.text()
    }

    /// Waits until this is shown.
    #[track_caller]
    pub fn until_shown(&self, part: &str) {
        until(&format!("{part:?} is shown"), || self.shown().contains(part));
    }

    /// How often a line begins like this.
    pub fn count(&self, part: &str) -> usize {
        self.shown().lines().filter(|line| line.starts_with(part)).count()
    }

    /// Waits for a command's `pid $$ $PPID`, the last of so many: its number, and its agent's.
    #[track_caller]
    pub fn pids(&self, times: usize) -> (i32, i32) {
        let shown = |text: &str| {
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole).to_owned();
            let lines = whole.lines().filter_map(|line| line.strip_prefix("pid "));
            let pair = |line: &str| {
                let (own, parent) = line.split_once(' ')?;
                Some((own.parse().ok()?, parent.parse().ok()?))
            };
            lines.filter_map(pair).collect::<Vec<_>>()
        };
        until("the command says its number", || shown(&self.shown()).len() >= times);
        shown(&self.shown()).pop().expect("one at least")
    }

    /// The leader's number.
    pub fn leader_pid(&self) -> i32 {
        number(&self.leader)
    }

    /// The group that has the terminal.
    pub fn foreground(&self) -> i32 {
        living(self.leader_pid()).expect("the leader lives").foreground
    }

    /// Takes the terminal away, as a connection that breaks does.
    pub fn hang_up(self) -> (Litter, Sidecar) {
        (self._litter, self.leader)
    }
}

/// What the screen shows next, if it shows anything within moments; none once it never will.
fn read(mut master: &File) -> Option<Vec<u8>> {
    let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    if poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&moment)) == Ok(0) {
        return Some(Vec::new());
    }
    let mut bytes = vec![0; 4096];
    let length = master.read(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// A terminal that shows what is written to it, and nothing that is typed.
fn terminal() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .and_then(|master| grantpt(&master).map(|()| master))
        .and_then(|master| unlockpt(&master).map(|()| master))
        .expect("a terminal");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = open(OsStr::from_bytes(name.to_bytes()), flags, Mode::empty()).expect("its name");
    let mut modes = tcgetattr(&slave).expect("it is a terminal");
    modes.local_modes.remove(LocalModes::ECHO);
    modes.output_modes.remove(OutputModes::OPOST);
    tcsetattr(&slave, OptionalActions::Now, &modes).expect("it is a terminal");
    (master.into(), slave)
}
