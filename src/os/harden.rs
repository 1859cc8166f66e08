//! Keeps other processes, core files and panics from showing what this process holds.

use std::panic;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use crate::exit::Exit;
use crate::logging;

/// Makes the process unreadable to its peers, before anything secret is read, and keeps the kernel
/// from writing it to a file. A program that is started or taken on is none of this.
///
/// Not dumpable also hands `/proc/self` to root, so `environ` and `mem` are closed to processes of
/// the same user (`prctl(2)`, `PR_SET_DUMPABLE`). A kernel or sandbox that does not know it is no
/// reason not to start.
pub fn hide() {
    prctl::set_dumpable(false).ok();
}

/// The same against core files once more, for a process that runs no one else's program: limits are
/// inherited.
pub fn limit() {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).ok();
}

/// Has orphans of this process come to it, to be waited for, as they come to process 1; says whether
/// they will. A program that takes our place would inherit that; children don't.
pub fn adopt_orphans() -> bool {
    std::process::id() == 1 || prctl::set_child_subreaper(true).is_ok()
}

/// Has a panic print its place, never its payload, which may hold a value; then ends with 70.
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
