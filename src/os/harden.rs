//! Keeps other processes, core files and panics from showing the memory of this process.

use std::panic;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use crate::exit::Exit;
use crate::logging;

/// Makes the process unreadable to its peers, before it reads anything secret, and keeps the kernel
/// from dumping its memory. `execve(2)` makes a process dumpable again, so commands are not
/// affected.
///
/// A process that is not dumpable also has its `/proc/self` owned by root, so `environ` and `mem`
/// are closed to processes of the same user (`prctl(2)`, `PR_SET_DUMPABLE`). A kernel or sandbox
/// without this call does not keep the agent from starting.
pub fn hide() {
    prctl::set_dumpable(false).ok();
}

/// Forbids core files by limit, too. For a process that starts no other program: children and
/// `execve(2)` inherit limits (`getrlimit(2)`). Only [`hide`] stops a core that the kernel pipes to
/// a program, to which the limit does not apply (`core(5)`).
pub fn limit() {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).ok();
}

/// Makes this process the parent of its orphaned descendants, which it can then wait for; true if
/// it is. Process 1 is so by itself (`pid_namespaces(7)`). Children don't inherit the attribute,
/// but `execve(2)` keeps it (`prctl(2)`, `PR_SET_CHILD_SUBREAPER`).
pub fn adopt_orphans() -> bool {
    std::process::id() == 1 || prctl::set_child_subreaper(true).is_ok()
}

/// Makes a panic print its place, never its payload, which may hold a value, and exit with 70.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|panic| {
        let (file, line) = panic.location().map_or(("unknown", 0), |at| (at.file(), at.line()));
        logging::say(&format!(
            "segura-agent: bug in the agent: panic at {file}:{line}\nhint: report this line; restarting is safe"
        ));
        #[expect(clippy::exit, reason = "a panic can't return an exit code through main")]
        std::process::exit(Exit::Bug.code().into());
    }));
}
