//! Starts a program, or becomes one, without a trace of the agent's own signal mask and handlers.
//!
//! `posix_spawn(3)` sets the new process up before it runs anything, so that no signal arrives
//! between the agent's mask and the program's.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, getrlimit};

use super::program::Program;
use crate::os::environment::Environment;

/// The interpreter of a script without a `#!` line (`execvp(3)`, `ENOEXEC`).
const SHELL: &CStr = c"/bin/sh";

/// The signals that a process blocks at its start.
#[derive(Clone, Copy, Debug)]
pub struct Mask(SigSet);

impl Mask {
    /// The signals that this thread blocks now.
    pub fn now() -> Self {
        // Only a wrong argument could fail (`sigprocmask(2)`), and there is none.
        Self(SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty()))
    }

    /// Blocks these signals and no others in this thread.
    pub fn set(self) -> io::Result<()> {
        Ok(self.0.thread_set_mask()?)
    }
}

/// The standard streams of a new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// The agent's own.
    Ours,
    /// An empty input, and the agent's standard error for both outputs: its standard output
    /// belongs to results.
    Aside,
}

/// Starts `program` in a process group of its own, with this environment. It blocks the signals of
/// `mask` and ignores those that the agent was started to ignore, except for `SIGPIPE`: Rust's
/// runtime ignores that one, and `execve(2)` would pass it on.
pub(super) fn start(
    program: &Program,
    environment: &Environment,
    streams: Streams,
    mask: Mask,
) -> io::Result<i32> {
    let file = program.find(environment.get("PATH"))?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&mask.0)?;
    let mut back_to_default = SigSet::empty();
    back_to_default.add(Signal::SIGPIPE);
    attributes.set_sigdefault(&back_to_default)?;
    let mut streamed = PosixSpawnFileActions::init()?;
    let nothing = match streams {
        Streams::Ours => None,
        Streams::Aside => {
            let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
            let errors = if rustix::io::fcntl_getfd(rustix::stdio::stderr()).is_ok() {
                2
            } else {
                nothing.as_raw_fd()
            };
            for (from, to) in [(nothing.as_raw_fd(), 0), (errors, 1), (errors, 2)] {
                streamed.add_dup2(from, to)?;
            }
            Some(nothing)
        }
    };
    let run = |file: &CStr, words: &[&CStr]| {
        posix_spawn(file, &streamed, &attributes, words, environment.as_slice()).map(Pid::as_raw)
    };
    let file = CString::new(file.as_os_str().as_bytes())?;
    let words: Vec<&CStr> = program.words().iter().map(CString::as_c_str).collect();
    let started = match run(&file, &words) {
        Err(Errno::ENOEXEC) => {
            let arguments = words.iter().skip(1).copied();
            let words: Vec<&CStr> = [SHELL, &file].into_iter().chain(arguments).collect();
            run(SHELL, &words)
        }
        started => started,
    };
    drop(nothing);
    Ok(started?)
}

/// Becomes `program`, which blocks the signals of `mask`; returns only the error of a failure.
pub fn become_it(program: &Program, environment: &Environment, mask: Mask) -> io::Error {
    let file = match program.find(environment.get("PATH")) {
        Ok(file) => file,
        Err(error) => return error,
    };
    let os = |text: &CStr| OsStr::from_bytes(text.to_bytes()).to_owned();
    // With a slash in the name, `execvp(3)` does not search `PATH` again.
    let file =
        if file.as_os_str().as_bytes().contains(&b'/') { file } else { Path::new(".").join(file) };
    let mut command = Command::new(file);
    command.arg0(program.asked()).args(program.words().iter().skip(1).map(|word| os(word)));
    command.env_clear();
    for variable in environment.as_slice() {
        let bytes = variable.to_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
        let (name, value) = bytes.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    match mask.set() {
        Ok(()) => command.exec(),
        Err(error) => error,
    }
}

/// The most bytes that the kernel takes for the arguments and the environment of a program, the
/// pointers to them included: a quarter of the stack's limit, within bounds (`execve(2)`, "Limits
/// on size of arguments and environment").
pub fn room() -> usize {
    const LEAST: u64 = 128 * 1024;
    const MOST: u64 = 6 * 1024 * 1024;
    /// The program's path and, for a script, its interpreter's, are counted too.
    const PATHS: u64 = 3 * 4096;
    let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    usize::try_from((stack / 4).clamp(LEAST, MOST) - PATHS).unwrap_or(usize::MAX)
}
