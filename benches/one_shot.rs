//! One `init`: its time against the program that does the least, its requests, its second start.

use std::time::Duration;

use crate::Outcome;
use crate::clock::{median, millis, share};
use crate::dev_vault::Fault;
use crate::report::{Goal, Report};
use crate::scene::{Program, Scene, memory_dir};

const WARM_UP: usize = 10;
const PAIRS: usize = 200;
const SLOW_PAIRS: usize = 20;
const RATIO: f64 = 1.5;
const DREAM: f64 = 1.25;

/// Times of the agent and of the bare program, run by turns.
struct Pairs(Vec<(Duration, Duration)>);

impl Pairs {
    fn run(scene: &Scene, pairs: usize) -> Outcome<Self> {
        let pair =
            |_| Ok((scene.run_in_new_dir(Program::Agent)?, scene.run_in_new_dir(Program::Bare)?));
        Ok(Self((0..pairs).map(pair).collect::<Outcome<_>>()?))
    }

    fn ratios(&self) -> Vec<f64> {
        self.0.iter().map(|(agent, bare)| agent.as_secs_f64() / bare.as_secs_f64()).collect()
    }

    fn medians(&self) -> (Duration, Duration) {
        let (agent, bare): (Vec<_>, Vec<_>) = self.0.iter().copied().unzip();
        (median(&agent).unwrap_or_default(), median(&bare).unwrap_or_default())
    }
}

/// Adds what one start costs to the report.
pub fn measure(scene: &Scene, report: &mut Report) -> Outcome<()> {
    requests(scene, report)?;
    Pairs::run(scene, WARM_UP)?;
    against_bare(scene, report)?;
    adopting(scene, report)?;
    slow_vault(scene, report)
}

fn requests(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let (connections, requests) = (scene.vault.connections(), scene.vault.requests().len());
    scene.run_in_new_dir(Program::Agent)?;
    let connections = scene.vault.connections() - connections;
    let requests = scene.vault.requests().len() - requests;
    let (goal, number) = (Goal::exactly(connections, 1), connections.to_string());
    report.judged("first fetch, connections", number, goal);
    let (goal, number) = (Goal::exactly(requests, 2), requests.to_string());
    report.judged("first fetch, requests", number, goal);
    Ok(())
}

fn against_bare(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let pairs = Pairs::run(scene, PAIRS)?;
    let (agent, bare) = pairs.medians();
    let ratios = pairs.ratios();
    let quarter = |parts| share(&ratios, parts, 4).unwrap_or_default();
    let (low, ratio, high) = (quarter(1), quarter(2), quarter(3));
    let text = format!("{ratio:.3} ({low:.2} to {high:.2}): {} to {}", millis(agent), millis(bare));
    let what =
        format!("one shot, wall, ratio to bare rustls; median and quartiles of {PAIRS} pairs");
    let goal = Goal::at_most(ratio, RATIO, &format!(", dream {DREAM}"));
    report.judged(what, text, goal);
    Ok(())
}

fn adopting(scene: &Scene, report: &mut Report) -> Outcome<()> {
    let (dir, pod) = (memory_dir()?, scene.pod());
    scene.run(Program::Agent, dir.path(), &pod)?;
    let asked = scene.vault.requests().len();
    let again = |_| scene.run(Program::Agent, dir.path(), &pod);
    let times = (0..PAIRS).map(again).collect::<Outcome<Vec<_>>>()?;
    if scene.vault.requests().len() != asked {
        return Err("a start that should have adopted the published set has sent a request".into());
    }
    report.without_goal(
        "second start, which adopts, wall",
        millis(median(&times).unwrap_or_default()),
    );
    Ok(())
}

fn slow_vault(scene: &Scene, report: &mut Report) -> Outcome<()> {
    scene.vault.fault(Fault::delay("", 20));
    let pairs = Pairs::run(scene, SLOW_PAIRS);
    scene.vault.clear_faults();
    let pairs = pairs?;
    let (agent, bare) = pairs.medians();
    let text = format!("{} (bare rustls: {})", millis(agent), millis(bare));
    report.without_goal("one shot, wall, with a vault that answers in 20 ms", text);
    Ok(())
}
