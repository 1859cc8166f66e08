//! `exec`: the first set as `init` has it, then the command, for as long as it runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::serving::serving;
use crate::config::Config;
use crate::config::exec::{Reading, Running};
use crate::config::settings::Keeping;
use crate::exit::{Exit, Failure};
use crate::lifecycle::follow::Follower;
use crate::lifecycle::publish::origin;
use crate::lifecycle::renew::{Edges, Renewer, Set, keep};
use crate::lifecycle::schedule::RenewInterval;
use crate::lifecycle::start::{After, Obtained, Start, adoptable, ended_by, once};
use crate::notify::{Deliver, Supervised};
use crate::os::clock::Machine;
use crate::os::process::{Program, Reaper};
use crate::os::signal::incoming::Signals;
use crate::os::watch::Watch;
use crate::probes::Board;
use crate::store::Store;
use crate::supervise::{Launch, Supervisor, ended_already, ended_before};
use crate::vault::Dsm;

/// A command that ends sooner than this needs nothing watched.
const WATCHES_AFTER: Duration = Duration::from_secs(1);

/// How `exec` goes on once its runtime has ended.
pub enum Ended {
    /// The command has ended, or was ended.
    With(Exit),
    /// There is nothing to supervise: the command takes our place.
    Becomes(Box<Launch>),
}

/// The command, and how it is run.
pub struct Command<'a> {
    /// Its words.
    pub program: Program,
    /// How.
    pub running: &'a Running,
    /// The signals that are forwarded to it.
    pub signals: Signals,
}

/// Obtains a set for `store`, and runs the command for as long as it runs.
pub async fn run(
    config: &Config,
    keeping: &Keeping,
    store: Store,
    command: Command<'_>,
) -> Result<Ended, Failure> {
    let reaper = Reaper::told(command.signals.mask());
    if config.renew == RenewInterval::Off && !keeping.give_back {
        let Command { program, running, mut signals } = command;
        let launch = Launch::new(program, store.published(), running);
        launch.prove()?;
        let ended = async || ended_before(&mut signals, &reaper, running.stop_signal).await;
        let signal = once(config, store, &Machine, fastrand::Rng::new(), ended).await?;
        let signal = signal.or_else(|| ended_already(&mut signals, &reaper, running.stop_signal));
        if let Some(signal) = signal {
            return Err(ended_by(signal));
        }
        return Ok(Ended::Becomes(Box::new(launch)));
    }
    let board = Rc::new(RefCell::new(Board::default()));
    let running = supervise(config, keeping, store, command, reaper, Rc::clone(&board));
    let code = serving(keeping, config.output.as_ref(), board, running).await?;
    Ok(Ended::With(Exit::Command(code)))
}

async fn supervise(
    config: &Config,
    keeping: &Keeping,
    mut store: Store,
    command: Command<'_>,
    reaper: Reaper,
    board: Rc<RefCell<Board>>,
) -> Result<u8, Failure> {
    let Command { program, running, mut signals } = command;
    let origin = origin(config).map_err(|error| error.failure())?;
    let launch = Launch::new(program, store.published(), running);
    launch.prove()?;
    let adopted = adoptable(&store, &origin);
    let mut random = fastrand::Rng::new();
    let mut start =
        Start::new(config, &mut store, &origin, After::Renewal, &Machine, random.fork());
    let ended = async || ended_before(&mut signals, &reaper, running.stop_signal).await;
    let Obtained { state, token, .. } = start.first(adopted, ended).await?;
    let supervised = Rc::new(Supervised::default());
    let (on_change, tell) = (running.on_change, keeping.tell.clone());
    let mut deliver = Deliver::supervising(tell, &supervised, on_change, reaper.clone());
    let clears = keeping.give_back;
    let set = Set { state, token, remarked: start.remarked() };
    let mut supervisor = Supervisor::new(&mut signals, reaper, launch, supervised, running, clears);
    deliver.look();
    let watch = Watch::later(config.vault.files(), config.output_dir(), WATCHES_AFTER);
    let vault = Dsm { settings: &config.vault, pod: &config.pod };
    let edges = Edges { clock: &Machine, random, watch: Box::new(watch), vault };
    let mut renewer = Renewer::new(config, keeping.on_absent, &mut store, set, edges, board);
    let ended = tokio::select! {
        biased;
        ended = supervisor.supervise() => ended,
        never = keep(&mut renewer, &mut deliver) => match never {},
    };
    supervisor.end();
    if keeping.give_back {
        renewer.give_back().await;
    }
    renewer.end();
    ended
}

/// Runs the command on a set that another agent publishes.
pub async fn read(reading: &Reading, command: Command<'_>) -> Result<Ended, Failure> {
    let Command { program, running, mut signals } = command;
    let reaper = Reaper::told(signals.mask());
    let mut follower = Follower::new(&reading.dir, WATCHES_AFTER);
    let launch = Launch::new(program, follower.published(), running);
    launch.prove()?;
    tokio::select! {
        stands = follower.first(reading.give_up_after) => stands?,
        signal = ended_before(&mut signals, &reaper, running.stop_signal) => {
            return Err(ended_by(signal));
        }
    }
    if !reading.follows {
        follower.end();
        if let Some(signal) = ended_already(&mut signals, &reaper, running.stop_signal) {
            return Err(ended_by(signal));
        }
        return Ok(Ended::Becomes(Box::new(launch)));
    }
    let supervised = Rc::new(Supervised::default());
    let (on_change, tell) = (running.on_change, reading.tell.clone());
    let mut deliver = Deliver::supervising(tell, &supervised, on_change, reaper.clone());
    let mut supervisor = Supervisor::new(&mut signals, reaper, launch, supervised, running, false);
    deliver.look();
    let ended = tokio::select! {
        biased;
        ended = supervisor.supervise() => ended,
        never = follower.follow(&mut deliver) => match never {},
    };
    supervisor.end();
    follower.end();
    ended.map(|code| Ended::With(Exit::Command(code)))
}
