//! The binary: environment, arguments, runtime, and the one place that prints.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use segura_agent::cli::{self, Command, Typed};
use segura_agent::config::raw::Raw;
use segura_agent::config::{self, Config, TERMINATION_LOG};
use segura_agent::events::Terminations;
use segura_agent::exit::{Exit, Failure};
use segura_agent::pod::{Mounted, SERVICE_ACCOUNT};
use segura_agent::{harden, logging, modes};

fn main() -> ExitCode {
    harden::hide();
    harden::quiet_panics();
    let exit = match cli::read(std::env::args_os()) {
        Ok(Typed::Print(text)) => print(&text),
        Ok(Typed::Run(args)) => {
            let (raw, problems) = Raw::from_environment(std::env::vars_os());
            let log = raw.segura_termination_log.clone();
            let Command::Init = args.command;
            init(raw, problems).unwrap_or_else(|failure| {
                end(&failure, Some(log.as_deref().unwrap_or(TERMINATION_LOG)))
            })
        }
        Err(failure) => end(&failure, None),
    };
    ExitCode::from(exit.code())
}

fn init(raw: Raw, mut problems: Vec<config::Problem>) -> Result<Exit, Failure> {
    let (log, log_problems) = config::log_settings(&raw, std::io::stderr().is_terminal());
    logging::start(log);
    problems.extend(log_problems);
    let mounted = Mounted::read(Path::new(SERVICE_ACCOUNT));
    let config = Config::from_raw(raw, mounted, problems)
        .map_err(|problems| Failure::new(Exit::Settings, &problems))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // One connection and two signals: room for more events is memory that is never used.
        .max_io_events_per_tick(16)
        .build()
        .map_err(|error| bug("start the runtime", &error))?;
    runtime.block_on(async {
        let terminations =
            Terminations::listen().map_err(|error| bug("listen to signals", &error))?;
        modes::init::run(&config, terminations).await
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
