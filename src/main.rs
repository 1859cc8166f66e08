//! The binary: environment, arguments, runtime, and the one place that prints.

use std::alloc::System;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use segura_agent::cli::{self, Command, Typed};
use segura_agent::config::check::Checked;
use segura_agent::config::raw::Raw;
use segura_agent::config::{self, Config, Problem, TERMINATION_LOG};
use segura_agent::events::Terminations;
use segura_agent::exit::{Exit, Failure};
use segura_agent::pod::{Mounted, SERVICE_ACCOUNT};
use segura_agent::status::Question;
use segura_agent::{harden, logging, modes};
use zeroizing_alloc::ZeroAlloc;

/// Libraries that free what held a value, a token or a key leave nothing of it behind.
#[global_allocator]
static WIPED: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    harden::hide();
    harden::quiet_panics();
    let exit = match cli::read(std::env::args_os()) {
        Ok(Typed::Print(text)) => print(&text),
        Ok(Typed::Run(args)) => {
            let (raw, problems) = Raw::from_environment(std::env::vars_os());
            let log = raw.segura_termination_log.clone();
            let ended =
                |failure: Failure| end(&failure, Some(log.as_deref().unwrap_or(TERMINATION_LOG)));
            match args.command {
                Command::Init => init(raw, problems).unwrap_or_else(ended),
                Command::Sidecar => sidecar(raw, problems).unwrap_or_else(ended),
                // The container's termination message is the agent's, not that of its probes.
                Command::Check { question } => {
                    check(&raw, question).unwrap_or_else(|failure| end(&failure, None))
                }
            }
        }
        Err(failure) => end(&failure, None),
    };
    ExitCode::from(exit.code())
}

fn check(raw: &Raw, question: Question) -> Result<Exit, Failure> {
    let checked =
        Checked::from_raw(raw).map_err(|problems| Failure::new(Exit::Settings, &problems))?;
    let verdict = modes::check::run(question, &checked);
    // Whether anyone reads why changes nothing.
    print(&format!("{}\n", verdict.line));
    Ok(if verdict.holds { Exit::Done } else { Exit::No })
}

fn init(raw: Raw, found: Vec<Problem>) -> Result<Exit, Failure> {
    let (mounted, problems) = begin(&raw, found);
    let config = Config::for_init(raw, mounted, problems)
        .map_err(|problems| Failure::new(Exit::Settings, &problems))?;
    run(&config, |terminations| modes::init::run(&config, terminations))
}

fn sidecar(raw: Raw, found: Vec<Problem>) -> Result<Exit, Failure> {
    let (mounted, problems) = begin(&raw, found);
    let (config, keeping) = Config::for_sidecar(raw, mounted, problems)
        .map_err(|problems| Failure::new(Exit::Settings, &problems))?;
    run(&config, |terminations| modes::sidecar::run(&config, &keeping, terminations))
}

/// Starts the log, and reads what Kubernetes mounts.
fn begin(raw: &Raw, mut problems: Vec<Problem>) -> (Mounted, Vec<Problem>) {
    let (log, log_problems) = config::log_settings(raw, std::io::stderr().is_terminal());
    logging::start(log);
    problems.extend(log_problems);
    (Mounted::read(Path::new(SERVICE_ACCOUNT)), problems)
}

fn run<F: Future<Output = Result<(), Failure>>>(
    config: &Config,
    mode: impl FnOnce(Terminations) -> F,
) -> Result<Exit, Failure> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A few connections and two signals: room for more events is memory that is never used.
        .max_io_events_per_tick(16)
        .build()
        .map_err(|error| bug("start the runtime", &error))?;
    runtime.block_on(async {
        let terminations =
            Terminations::listen().map_err(|error| bug("listen to signals", &error))?;
        mode(terminations).await
    })?;
    Ok(Exit::Done)
}

fn bug(what: &str, error: &std::io::Error) -> Failure {
    Failure::said(Exit::Bug, format!("cannot {what}: {error}"))
}

fn print(text: &str) -> Exit {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::CannotWrite,
    }
}

/// Shows a fatal error, on stderr and in the container's termination message.
fn end(failure: &Failure, termination_log: Option<&str>) -> Exit {
    if matches!(failure.exit, Exit::Signalled(_)) {
        return failure.exit;
    }
    let text = failure.to_string();
    logging::say(&text);
    let log = termination_log
        .and_then(|log| OpenOptions::new().write(true).truncate(true).open(log).ok());
    if let Some(mut log) = log {
        // What can't be written there is on stderr.
        writeln!(log, "{text}").ok();
    }
    failure.exit
}
