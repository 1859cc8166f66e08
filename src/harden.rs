//! Keeps other processes, core files and panics from showing what this process holds.

use std::panic;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use crate::exit::Exit;
use crate::logging;

/// Makes the process unreadable to its peers, before anything secret is read.
///
/// Not dumpable also hands `/proc/self` to root, so `environ` and `mem` are closed to processes of
/// the same user (`prctl(2)`, `PR_SET_DUMPABLE`). A kernel or sandbox that knows neither is no
/// reason not to start.
pub fn hide() {
    prctl::set_dumpable(false).ok();
    setrlimit(Resource::RLIMIT_CORE, 0, 0).ok();
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
