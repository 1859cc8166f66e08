//! `sidecar`: the first set as `init` has it, then kept fresh until a signal ends it.

use std::cell::RefCell;
use std::rc::Rc;

use crate::clock;
use crate::config::Config;
use crate::deliver::Deliver;
use crate::events::Terminations;
use crate::exit::{Exit, Failure};
use crate::pass::origin;
use crate::renew::{Renewer, Set, keep};
use crate::serve;
use crate::settings::Keeping;
use crate::start::{After, Start, adoptable};
use crate::state::Agent;
use crate::status::{Board, Facts};
use crate::store::Store;
use crate::watch::Watch;

/// Runs until a signal ends it.
pub async fn run(
    config: &Config,
    keeping: &Keeping,
    terminations: Terminations,
) -> Result<(), Failure> {
    let board = Rc::new(RefCell::new(Board::default()));
    let running = run_unserved(config, keeping, terminations, Rc::clone(&board));
    let Some(address) = keeping.listen else {
        return running.await;
    };
    let listener = serve::bind(address).await.map_err(|error| {
        Failure::said(Exit::Settings, format!("cannot listen on {address}: {error}"))
            .hint(Some("SEGURA_LISTEN must be an address of the pod and a port that nobody has"))
    })?;
    let place = config.output.dir.display().to_string();
    let answer = |path: &str| {
        let board = board.borrow();
        let agent = if board.state.is_some() { Agent::Running } else { Agent::Starting };
        let facts = Facts {
            place: &place,
            state: board.state.as_ref(),
            whole: board.state.is_some(),
            agent,
            boot: clock::boot(),
            max_stale: keeping.max_stale,
        };
        serve::answer(path, &facts, &board.counters)
    };
    tokio::select! {
        ended = running => ended,
        never = serve::serve(listener, answer) => match never {},
    }
}

async fn run_unserved(
    config: &Config,
    keeping: &Keeping,
    mut terminations: Terminations,
    board: Rc<RefCell<Board>>,
) -> Result<(), Failure> {
    let origin = origin(config).map_err(|error| error.failure())?;
    let mut store = Store::hold(&config.output, "sidecar").map_err(|error| error.failure())?;
    let adopted = adoptable(&store, &origin);
    let mut start = Start::new(config, &mut store, &origin, After::Renewal);
    let (state, token) = match adopted {
        Some(mut adopted) => {
            start.adopt(&mut adopted)?;
            (adopted.state, None)
        }
        None => {
            let obtained = start.obtain_unless(&mut terminations).await?;
            (obtained.state, obtained.token)
        }
    };
    let mut deliver = Deliver::new(keeping.tell.clone());
    deliver.look();
    let watch = Watch::new(config.vault.files(), &config.output.dir);
    let standing = Set { state, token, remarked: start.remarked() };
    let mut renewer = Renewer::new(config, keeping.on_absent, &mut store, standing, watch, board);
    let signal = keep(&mut renewer, &mut deliver, &mut terminations).await;
    tracing::info!(%signal, "ending");
    if keeping.give_back {
        renewer.give_back().await;
    }
    renewer.end();
    Ok(())
}
