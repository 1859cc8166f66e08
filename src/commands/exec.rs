//! `exec`: publishes the first set as `init` does, then runs and supervises the command.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use super::runtime::{accept, begin, bug, invalid, mounts, run as block_on};
use super::serving::serving;
use crate::config::Config;
use crate::config::raw::Raw;
use crate::config::settings::{
    Reading, RenewInterval, Renewing, Running, StartupTimeout, Whereabouts,
};
use crate::exit::{Exit, Failure};
use crate::lifecycle::follow::Follower;
use crate::lifecycle::publish::origin;
use crate::lifecycle::renew::{Edges, Handover, Renewer, renew};
use crate::lifecycle::start::{After, FirstSet, Start, StartEdges, adoptable, ended_by, once};
use crate::notify::{Notifier, Supervised};
use crate::os::clock::{Deadline, Machine};
use crate::os::incoming::{Blocked, Signals};
use crate::os::process::{PidNamespace, Program, Reaper};
use crate::os::watch::Watch;
use crate::probes::Board;
use crate::store::{Place, Store};
use crate::supervise::policy::GroupAtEnd;
use crate::supervise::{Launch, Supervisor, ended_already, ended_before};
use crate::vault::Dsm;

/// Time after which watching starts: a command that ends sooner needs no watch.
const WATCHES_AFTER: Duration = Duration::from_secs(1);

/// Runs a command with a set of its own, or with the set that another agent publishes.
pub fn run(raw: Raw, words: Vec<OsString>) -> Result<Exit, Failure> {
    // Before all else: an earlier signal would have its default action.
    let blocked = Blocked::block().map_err(|error| bug("block signals", &error))?;
    let mask = blocked.mask();
    let program = Program::new(words)
        .ok_or_else(|| Failure::said(Exit::Usage, "cannot understand the command"))?;
    begin(&raw);
    let ended = match role(raw)? {
        Role::Reader(reading) => block_on(async || {
            let signals = take(blocked)?;
            let command = MainCommand { program, running: &reading.running, signals };
            read(&reading, command).await
        }),
        Role::Agent(config, renewing, running, store) => block_on(async || {
            let signals = take(blocked)?;
            let command = MainCommand { program, running: &running, signals };
            wrap(&config, &renewing, store, command).await
        }),
    }?;
    match ended {
        Ended::With(exit) => Ok(exit),
        Ended::Becomes(launch) => Err(launch.become_it(mask)),
    }
}

/// The part that `exec` plays at the output directory.
enum Role {
    Reader(Box<Reading>),
    Agent(Box<Config>, Box<Renewing>, Box<Running>, Store),
}

fn role(raw: Raw) -> Result<Role, Failure> {
    let reading = Reading::from_raw(&raw).map_err(|problems| invalid(&problems));
    let read = || Ok(Role::Reader(Box::new(accept(reading?))));
    let Whereabouts { dir, agent_uid, has_vault } = Whereabouts::from_raw(&raw);
    let place = dir.map(|dir| Place::of(&dir, agent_uid));
    let reason = if has_vault {
        place.and_then(Place::reason_to_read)
    } else {
        place.and_then(Place::reason_to_read_without_vault)
    };
    if let Some(why) = reason {
        tracing::info!(why, "acting as a reader of the output directory");
        return read();
    }
    let mounts = mounts(&raw);
    let proven = Config::for_exec(raw, mounts).map_err(|problems| {
        let hint = "to read the set of another agent, mount its directory readOnly: exec then waits for the set, and needs no vault";
        invalid(&problems).hint((!has_vault).then_some(hint))
    })?;
    match Store::hold(&proven.settings.0.output, "exec") {
        Ok(store) => {
            let (config, renewing, running) = accept(proven);
            Ok(Role::Agent(config.into(), renewing.into(), running.into(), store))
        }
        // Another agent took the lock since `Place::of` looked.
        Err(error) if error.is_held() => read(),
        Err(error) => Err(error.failure()),
    }
}

fn take(blocked: Blocked) -> Result<Signals, Failure> {
    blocked.listen().map_err(|error| bug("listen to signals", &error))
}

/// The continuation of `exec` after its runtime has ended.
enum Ended {
    /// The command has ended, or was ended.
    With(Exit),
    /// The command replaces the agent, which has nothing to supervise.
    Becomes(Box<Launch>),
}

/// The command and its settings.
struct MainCommand<'a> {
    /// The program and its arguments.
    program: Program,
    /// The settings.
    running: &'a Running,
    /// The signals that are forwarded to it.
    signals: Signals,
}

/// Publishes a set to `store`, and runs the command to its end.
async fn wrap(
    config: &Config,
    renewing: &Renewing,
    store: Store,
    command: MainCommand<'_>,
) -> Result<Ended, Failure> {
    let reaper = Reaper::told(command.signals.mask());
    if config.renew == RenewInterval::Off && !renewing.deprovisions {
        let MainCommand { program, running, mut signals } = command;
        let launch = Launch::new(program, store.published(), running);
        launch.prove()?;
        let ended = async || ended_before(&mut signals, &reaper, running.stop_signal).await;
        let vault = Dsm { settings: &config.vault, pod: &config.pod };
        let edges = StartEdges { clock: &Machine, random: fastrand::Rng::new(), vault };
        let signal = once(config, store, edges, ended).await?;
        let signal = signal.or_else(|| ended_already(&mut signals, &reaper, running.stop_signal));
        if let Some(signal) = signal {
            return Err(ended_by(signal));
        }
        return Ok(Ended::Becomes(Box::new(launch)));
    }
    let board = Rc::new(RefCell::new(Board::default()));
    let running = supervise(config, renewing, store, command, reaper, Rc::clone(&board));
    let code = serving(renewing, &config.output, board, running).await?;
    Ok(Ended::With(Exit::Command(code)))
}

async fn supervise(
    config: &Config,
    renewing: &Renewing,
    mut store: Store,
    command: MainCommand<'_>,
    reaper: Reaper,
    board: Rc<RefCell<Board>>,
) -> Result<u8, Failure> {
    let MainCommand { program, running, mut signals } = command;
    let origin = origin(config).map_err(|error| error.failure())?;
    let launch = Launch::new(program, store.published(), running);
    launch.prove()?;
    let adopted = adoptable(&store, &origin);
    let mut random = fastrand::Rng::new();
    let vault = Dsm { settings: &config.vault, pod: &config.pod };
    let edges = StartEdges { clock: &Machine, random: random.fork(), vault };
    let mut start = Start::new(config, &mut store, &origin, After::Renewal, edges);
    let ended = async || ended_before(&mut signals, &reaper, running.stop_signal).await;
    let FirstSet { state, token, .. } = start.first(adopted, ended).await?;
    let supervised = Rc::new(Supervised::default());
    let (on_change, notify) = (running.on_change, renewing.notify.clone());
    let processes = PidNamespace::new(reaper.clone());
    let mut notifier = Notifier::supervising(notify, &supervised, on_change, &processes, &Machine);
    let at_end = if renewing.deprovisions { GroupAtEnd::Killed } else { GroupAtEnd::Left };
    let set = Handover { state, token, remarked: start.remarked() };
    let mut supervisor = Supervisor::new(&mut signals, reaper, launch, supervised, running, at_end);
    notifier.look();
    let watch = Watch::later(config.vault.files(), config.output.dir(), WATCHES_AFTER);
    let edges = Edges { clock: &Machine, random, watch: Box::new(watch), vault };
    let mut renewer = Renewer::new(config, &mut store, set, edges, board);
    let ended = tokio::select! {
        biased;
        ended = supervisor.supervise() => ended,
        never = renew(&mut renewer, &mut notifier) => match never {},
    };
    supervisor.end();
    if renewing.deprovisions {
        renewer.deprovision().await;
    }
    renewer.end();
    ended
}

/// Runs the command with a set that another agent publishes.
async fn read(reading: &Reading, command: MainCommand<'_>) -> Result<Ended, Failure> {
    let MainCommand { program, running, mut signals } = command;
    let reaper = Reaper::told(signals.mask());
    let watch = Watch::later(Vec::new(), Some(&reading.dir), WATCHES_AFTER);
    let mut follower = Follower::new(&reading.dir, reading.agent_uid, watch, &Machine);
    let launch = Launch::new(program, follower.published(), running);
    launch.prove()?;
    let deadline = match reading.startup_timeout {
        StartupTimeout::After(limit) => Deadline::after(limit),
        StartupTimeout::Never => Deadline::Never,
    };
    tokio::select! {
        published = follower.first(deadline) => published?,
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
    let (on_change, notify) = (running.on_change, reading.notify.clone());
    let processes = PidNamespace::new(reaper.clone());
    let mut notifier = Notifier::supervising(notify, &supervised, on_change, &processes, &Machine);
    let mut supervisor =
        Supervisor::new(&mut signals, reaper, launch, supervised, running, GroupAtEnd::Left);
    notifier.look();
    let ended = tokio::select! {
        biased;
        ended = supervisor.supervise() => ended,
        never = follower.follow(&mut notifier) => match never {},
    };
    supervisor.end();
    follower.end();
    ended.map(|code| Ended::With(Exit::Command(code)))
}
