//! `sidecar`: publishes the first set as `init` does, then renews it until a signal.

use std::cell::RefCell;
use std::rc::Rc;

use super::runtime::{TerminationLog, listen, prepare, run as block_on};
use super::sandbox;
use super::serving::serving;
use crate::config::Config;
use crate::config::raw::Raw;
use crate::config::settings::Renewing;
use crate::exit::{Exit, Failure};
use crate::lifecycle::publish::origin;
use crate::lifecycle::renew::{Edges, Handover, Renewer, renew};
use crate::lifecycle::start::{After, FirstSet, Start, StartEdges, adoptable};
use crate::notify::Notifier;
use crate::os::clock::Machine;
use crate::os::incoming::Terminations;
use crate::os::process::{PidNamespace, Reaper};
use crate::os::sandbox::kernel;
use crate::os::watch::Watch;
use crate::probes::Board;
use crate::store::Store;
use crate::vault::Dsm;

/// Renews a set until a signal.
pub fn run(raw: Raw, log: &TerminationLog) -> Result<Exit, Failure> {
    let (config, renewing) = prepare(raw, Config::for_sidecar)?;
    block_on(async || run_served(&config, &renewing, log, listen()?).await.map(|()| Exit::Done))
}

async fn run_served(
    config: &Config,
    renewing: &Renewing,
    log: &TerminationLog,
    terminations: Terminations,
) -> Result<(), Failure> {
    let board = Rc::new(RefCell::new(Board::default()));
    let running = run_unserved(config, renewing, log, terminations, Rc::clone(&board));
    serving(renewing, &config.output, board, running).await
}

async fn run_unserved(
    config: &Config,
    renewing: &Renewing,
    log: &TerminationLog,
    mut terminations: Terminations,
    board: Rc<RefCell<Board>>,
) -> Result<(), Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let held = Store::hold(&config.output, "sidecar");
    let mut store = held.map_err(|error| error.failure())?;
    sandbox::enter(config, renewing, &store, log, kernel)?;
    let adopted = adoptable(&store, &origin);
    let mut random = fastrand::Rng::new();
    let vault = Dsm { settings: &config.vault, pod: &config.pod };
    let edges = StartEdges { clock: &Machine, random: random.fork(), vault };
    let mut start = Start::new(config, &mut store, &origin, After::Renewal, edges);
    let FirstSet { state, token, .. } = start.begin(adopted, terminations.recv()).await?;
    let processes = PidNamespace::new(Reaper::listening());
    let mut notifier = Notifier::new(renewing.notify.clone(), &processes, &Machine);
    notifier.look();
    let watch = Watch::new(config.vault.files(), config.output.dir());
    let set = Handover { state, token, remarked: start.remarked() };
    let edges = Edges { clock: &Machine, random, watch: Box::new(watch), vault };
    let mut renewer = Renewer::new(config, &mut store, set, edges, board);
    let signal = tokio::select! {
        never = renew(&mut renewer, &mut notifier) => match never {},
        signal = terminations.recv() => signal,
    };
    tracing::info!(%signal, "ending");
    if renewing.deprovisions {
        renewer.deprovision().await;
    }
    renewer.end();
    Ok(())
}
