//! What a sidecar costs while it waits, and how soon it ends.
//!
//! It has adopted, renewed, published and swept by then, so that all it will ever hold it holds.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;
use crate::clock::timed;
use crate::report::{Goal, Report};
use crate::scene::{Program, Scene, memory_dir};

const RESIDENT: u64 = 6 * 1024;
const ANONYMOUS: u64 = 768;
const THREADS: u64 = 2;
/// Long enough for two renewals, the second ten seconds after one that brought something new, and
/// for what was replaced to be swept.
const SETTLED: Duration = Duration::from_secs(16);
const IDLE: Duration = Duration::from_secs(30);
const SWITCHES: u64 = 1;
const ENDINGS: usize = 20;
const SOON: f64 = 10.0;

/// What the kernel says of a process, all of its threads together; memory in KiB.
struct Usage {
    resident: u64,
    anonymous: u64,
    threads: u64,
    ticks: u64,
    switches: u64,
}

/// Adds what waiting costs, and the time from SIGTERM to the end.
pub fn measure(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let dir = memory_dir()?;
    let pod = scene.pod();
    // It finds a set that is due, so that it has renewed and published before it waits.
    let mut first = scene.command(Program::Agent, dir.path(), &pod);
    first.env("SEGURA_RENEW_INTERVAL", "1s").output()?;
    std::thread::sleep(Duration::from_secs(1));
    scene.vault.rotate();
    let mut child = sidecar(scene, dir.path(), &pod)?;
    let measured = idle("idle sidecar", &child, report);
    end(&mut child)?;
    measured?;
    endings(scene, report)
}

/// Adds what a process costs that waits, by this name.
pub fn idle(what: &str, child: &Child, report: &mut Report) -> Outcome<()> {
    std::thread::sleep(SETTLED);
    let before = usage(child)?;
    std::thread::sleep(IDLE);
    let after = usage(child)?;
    let kib = |kib: u64| format!("{kib} KiB");
    let goal = Goal::at_most(after.resident, RESIDENT, " KiB");
    report.judged(format!("{what}, RSS"), kib(after.resident), goal);
    let goal = Goal::at_most(after.anonymous, ANONYMOUS, " KiB");
    report.judged(format!("{what}, anonymous memory"), kib(after.anonymous), goal);
    let goal = Goal::at_most(after.threads, THREADS, "");
    report.judged(format!("{what}, threads"), after.threads.to_string(), goal);
    let ticks = after.ticks - before.ticks;
    let goal = Goal::exactly(ticks, 0);
    report.judged(format!("{what}, CPU ticks in 30 s"), ticks.to_string(), goal);
    let switches = after.switches - before.switches;
    let goal = Goal::at_most(switches, SWITCHES, "");
    report.judged(format!("{what}, switches in 30 s"), switches.to_string(), goal);
    Ok(())
}

/// Sends SIGTERM.
pub fn terminate(child: &Child) -> Outcome<()> {
    Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
}

fn endings(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let dir = memory_dir()?;
    let pod = scene.pod();
    scene.run(Program::Agent, dir.path(), &pod)?;
    let mut times = Vec::new();
    for _ in 0..ENDINGS {
        let mut child = sidecar(scene, dir.path(), &pod)?;
        std::thread::sleep(Duration::from_millis(100));
        let (took, ended) = timed(|| end(&mut child));
        ended?;
        times.push(took.as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let most = times.last().copied().unwrap_or_default();
    let goal = Goal::at_most(median, SOON, " ms");
    let measured = format!("{median:.2} ms; the longest of {ENDINGS} {most:.2} ms");
    report.judged("SIGTERM to exit", measured, goal);
    Ok(())
}

/// A sidecar that waits for ten minutes between renewals.
fn sidecar(scene: &Scene, dir: &Path, pod: &str) -> Outcome<Child> {
    let mut command = scene.command_of("sidecar", Program::Agent, dir, pod);
    command.env("SEGURA_RENEW_INTERVAL", "10m").stderr(Stdio::null());
    Ok(command.spawn()?)
}

fn end(child: &mut Child) -> Outcome<()> {
    terminate(child)?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the sidecar ended with {status}").into()) }
}

fn usage(child: &Child) -> Outcome<Usage> {
    let process = format!("/proc/{}", child.id());
    let status = fs::read_to_string(format!("{process}/status"))?;
    let mut switches = 0;
    for thread in fs::read_dir(format!("{process}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        switches += field(&status, "voluntary_ctxt_switches:")?;
        switches += field(&status, "nonvoluntary_ctxt_switches:")?;
    }
    let stat = fs::read_to_string(format!("{process}/stat"))?;
    // User and system time, the 14th and 15th field; the 2nd may hold spaces (`proc_pid_stat(5)`).
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times: Vec<u64> =
        rest.split_whitespace().skip(11).take(2).filter_map(|time| time.parse().ok()).collect();
    Ok(Usage {
        resident: field(&status, "VmRSS:")?,
        anonymous: field(&status, "RssAnon:")?,
        threads: field(&status, "Threads:")?,
        ticks: times.iter().sum(),
        switches,
    })
}

fn field(status: &str, name: &str) -> Outcome<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(value.ok_or_else(|| format!("no {name} in the status"))?)
}
