//! `init --dry-run`: shows the files that a start would write. It provisions nothing, writes
//! nothing.

use std::time::Duration;

use super::runtime::{listen, prepare, print, run as block_on};
use crate::config::Config;
use crate::config::raw::Raw;
use crate::config::settings::{Destination, FetchMode};
use crate::exit::{Exit, Failure};
use crate::lifecycle::fetch::{ReadRoute, Renewed, reread, unprovisioned};
use crate::lifecycle::publish::{PublishError, Remarked, origin};
use crate::lifecycle::start::ended_by;
use crate::model::Bundle;
use crate::render::render;
use crate::store::state::Origin;
use crate::store::{Plan, inspect, plan};
use crate::vault::error::FetchError;
use crate::vault::{Client, Source};

/// Shows each file that a start would write; provisions, locks and writes nothing.
#[cold]
pub fn run(raw: Raw) -> Result<Exit, Failure> {
    let config = prepare(raw, Config::for_plan)?;
    let plan = block_on(async || {
        let mut terminations = listen()?;
        tokio::select! {
            plan = planned(&config) => plan,
            signal = terminations.recv() => Err(ended_by(signal)),
        }
    })?;
    tracing::info!("{}", plan.summary());
    Ok(print(&plan.to_string()))
}

/// Plans the files that a start with `config` would write to its output directory, which another
/// agent may hold. The plan is empty where secrets stay in memory.
///
/// Reads secrets as a renewal would if a set of this agent is published, else those that can be
/// read before they are provisioned. Sends each request once.
async fn planned(config: &Config) -> Result<Plan, Failure> {
    let Destination::Directory(output) = &config.output else {
        return Ok(Plan::default());
    };
    let origin = origin(config).map_err(|error| error.failure())?;
    let pod = config.pod.clone();
    let mut client = Client::new(&config.vault, pod).map_err(|error| error.failure())?;
    let bundle = readable(config, &origin, &mut client).await?;
    let rendering =
        render(&bundle, &config.layout).map_err(|error| PublishError::Render(error).failure())?;
    let plan = plan(output, &rendering.files).map_err(|error| error.failure())?;
    let remarks = bundle.remarks.iter().chain(&rendering.remarks).chain(&plan.remarks);
    Remarked::default().report(remarks);
    Ok(plan)
}

/// Reads the secrets without provisioning any. A secret that can't be read fails the whole.
pub(super) async fn readable(
    config: &Config,
    origin: &Origin,
    source: &mut impl Source,
) -> Result<Bundle, Failure> {
    read(config, origin, source).await.map_err(|error| {
        let provisions = config.wanted.source == FetchMode::Provision && error.is_missing();
        let hint = "the vault may list a secret only after it is provisioned: start the pod once, or check SEGURA_IDENTITY";
        let failure = error.failure();
        if provisions { failure.hint(Some(hint)) } else { failure }
    })
}

async fn read(
    config: &Config,
    origin: &Origin,
    source: &mut impl Source,
) -> Result<Bundle, FetchError> {
    let seen = config.output.dir().and_then(|dir| inspect::look(dir).ok());
    if let Some(error) = seen.as_ref().and_then(|seen| seen.unfit.as_ref()) {
        error.log_unused();
    }
    let state = seen.filter(|seen| seen.whole).and_then(|seen| seen.state);
    let own = state.filter(|state| !state.given_back && state.origin.difference(origin).is_none());
    let Some(state) = own else {
        return unprovisioned(source, &config.wanted).await;
    };
    let mut route = ReadRoute::new(state.refresh, Duration::ZERO);
    let names = &config.wanted.identities;
    let Renewed { fresh, mut failed, cut } =
        reread(source, &config.wanted, names, &mut route).await;
    match cut.or_else(|| failed.pop_first().map(|(_, error)| error)) {
        Some(error) => Err(error),
        None => Ok(fresh),
    }
}
