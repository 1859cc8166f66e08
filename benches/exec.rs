//! What wrapping a command costs: at its start, beside other programs that do such work, and while it
//! waits.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::clock::{median, timed};
use crate::report::{Goal, Report};
use crate::scene::{Program, Scene, memory_dir};
use crate::sidecar;

const PAIRS: usize = 200;
const MOST: f64 = 1.5;
/// The least that a command can be.
const NOTHING: &str = "/bin/true";
/// Programs that do for a command what process 1 has to, and nothing else.
const INITS: [&str; 2] = ["/usr/bin/tini", "/usr/bin/dumb-init"];

/// Adds what the wrapper costs.
pub fn measure(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let exec = differences(|| wrapped(scene, None), || scene.run_in_new_dir(Program::Agent))?;
    let goal = Goal::at_most(exec, MOST, " ms");
    report.judged(
        format!("`exec -- {NOTHING}` less `init`, wall; median of {PAIRS} pairs"),
        format!("{exec:.2} ms"),
        goal,
    );
    let replaced =
        differences(|| wrapped(scene, Some("off")), || scene.run_in_new_dir(Program::Agent))?;
    report.without_goal(
        "the same with SEGURA_RENEW_INTERVAL=off, which supervises nothing",
        format!("{replaced:.2} ms"),
    );
    for init in INITS.into_iter().filter(|init| Path::new(init).exists()) {
        let more = differences(|| run(&[init, "--", NOTHING]), || run(&[NOTHING]))?;
        let name = init.rsplit('/').next().unwrap_or(init);
        report.without_goal(
            format!("`{name} -- {NOTHING}` less `{NOTHING}`"),
            format!("{more:.2} ms"),
        );
    }
    idle(scene, report)
}

/// How much longer the one takes than the other, run by turns: the median, in milliseconds.
fn differences(
    one: impl Fn() -> Outcome<Duration>,
    other: impl Fn() -> Outcome<Duration>,
) -> Outcome<f64> {
    let pair = |_| Ok(one()?.as_secs_f64() - other()?.as_secs_f64());
    let pairs = (0..PAIRS).map(pair).collect::<Outcome<Vec<_>>>()?;
    Ok(median(&pairs).unwrap_or_default() * 1e3)
}

/// A new pod whose wrapped command does nothing.
fn wrapped(scene: &Scene, interval: Option<&str>) -> Outcome<Duration> {
    let dir = memory_dir()?;
    let mut command = scene.command_of("exec", Program::Agent, dir.path(), &scene.pod());
    command.args(["--", NOTHING]);
    if let Some(interval) = interval {
        command.env("SEGURA_RENEW_INTERVAL", interval);
    }
    ended(command)
}

fn run(words: &[&str]) -> Outcome<Duration> {
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    ended(command)
}

fn ended(mut command: Command) -> Outcome<Duration> {
    let (took, output) = timed(|| command.output());
    let output = output?;
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {said}", output.status).into())
}

fn idle(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let dir = memory_dir()?;
    let mut command = scene.command_of("exec", Program::Agent, dir.path(), &scene.pod());
    command.args(["--", "/bin/sleep", "600"]);
    command.env("SEGURA_RENEW_INTERVAL", "10m").stderr(Stdio::null());
    let mut child = command.spawn()?;
    let measured = sidecar::idle("idle wrapper", &child, report);
    // Its command ends of it, and so does it.
    sidecar::terminate(&child)?;
    child.wait()?;
    measured
}
