//! How much memory one `init` takes.
//!
//! The kernel shows it for a running process only (`/proc/PID/status`, readable to anyone though the
//! agent is not dumpable), and an `init` that is done is gone. But one that has replaced a generation
//! stays two seconds for those who read the old one, with all of its work behind it: so the agent is
//! started over the set of another pod, provisions and publishes again, and is measured as it waits.
//! `VmHWM` is the peak by the kernel's own account. Of the anonymous part it keeps no peak; the
//! largest of many readings from the start on stands for it. A folder with a set in it costs a little
//! more than an empty one, so the numbers err on the safe side.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Outcome;
use crate::report::{Goal, Report};
use crate::scene::{Program, Scene, memory_dir};

const RUNS: usize = 5;
const READINGS: u32 = 20_000;
const PAUSE: Duration = Duration::from_micros(100);
const PEAK: u64 = 5 * 1024;
const ANONYMOUS: u64 = 768;

/// In KiB.
#[derive(Clone, Copy, Default)]
struct Usage {
    peak: u64,
    anonymous: u64,
}

impl Usage {
    fn most(self, other: Self) -> Self {
        Self { peak: self.peak.max(other.peak), anonymous: self.anonymous.max(other.anonymous) }
    }
}

/// Adds the most that any of a few runs took to the report.
pub fn measure(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let mut most = Usage::default();
    for _ in 0..RUNS {
        most = most.most(one(scene)?);
    }
    let Usage { peak, anonymous } = most;
    let goal = Goal::at_most(peak, PEAK, " KiB");
    report.judged("`init`, peak RSS", format!("{peak} KiB"), goal);
    let goal = Goal::at_most(anonymous, ANONYMOUS, " KiB");
    report.judged("`init`, anonymous memory", format!("{anonymous} KiB"), goal);
    Ok(())
}

fn one(scene: &Scene) -> Outcome<Usage> {
    let dir = memory_dir()?;
    scene.run(Program::Agent, dir.path(), &scene.pod())?;
    let before = generation(dir.path()).ok_or("the first start left no state")?;
    let mut child = scene.command(Program::Agent, dir.path(), &scene.pod()).spawn()?;
    let watched = watch(&child, dir.path(), before);
    // It would go by itself; there is nothing more to see.
    kill_process(Pid::from_child(&child), Signal::TERM).ok();
    child.wait()?;
    watched
}

fn watch(child: &Child, dir: &Path, before: u64) -> Outcome<Usage> {
    let status = format!("/proc/{}/status", child.id());
    let mut most = Usage::default();
    for _ in 0..READINGS {
        most = most.most(usage(&status).ok_or("the agent did not wait to be looked at")?);
        if generation(dir).is_some_and(|now| now > before) {
            std::thread::sleep(Duration::from_millis(50));
            let last = usage(&status).ok_or("the agent did not wait to be looked at")?;
            return Ok(most.most(last));
        }
        std::thread::sleep(PAUSE);
    }
    Err("the agent published nothing".into())
}

fn generation(dir: &Path) -> Option<u64> {
    let state: Value = serde_json::from_slice(&fs::read(dir.join(".segura.json")).ok()?).ok()?;
    state.get("generation")?.as_u64()
}

fn usage(status: &str) -> Option<Usage> {
    let status = fs::read_to_string(status).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Usage { peak: field("VmHWM:")?, anonymous: field("RssAnon:")? })
}
