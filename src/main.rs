//! The binary: reads environment and arguments, runs a command, returns its exit code.

use std::alloc::System;
use std::process::ExitCode;

use segura_agent::commands::args::{self, Command, Typed};
use segura_agent::commands::runtime::{TerminationLog, by_hand, end, print};
use segura_agent::commands::{
    check, credential, deprovision, doctor, dry_run, exec, historic, init, install, secret, sidecar,
};
use segura_agent::config::TERMINATION_LOG;
use segura_agent::config::raw::Raw;
use segura_agent::exit::{Exit, Failure};
use segura_agent::os::harden;
use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory that is freed, since libraries hold values, tokens and keys.
#[global_allocator]
static WIPED: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    harden::hide();
    harden::quiet_panics();
    let exit = match args::read(std::env::args_os()) {
        Ok(Typed::Print(text)) => print(&text),
        Ok(Typed::Run(args)) => run(args.command),
        Err(failure) => end(&failure, None),
    };
    ExitCode::from(exit.code())
}

fn run(command: Command) -> Exit {
    let raw = Raw::from_environment(std::env::vars_os());
    let log = TerminationLog::at(raw.segura_termination_log.as_deref().unwrap_or(TERMINATION_LOG));
    let ended = |failure: Failure| end(&failure, Some(&log));
    let variable =
        |name: &str| std::env::vars_os().find(|(found, _)| found == name).map(|(_, value)| value);
    match command {
        Command::Init { dry_run: false } => init::run(raw).unwrap_or_else(ended),
        // The termination message belongs to the agent that publishes.
        Command::Init { dry_run: true } => dry_run::run(raw).unwrap_or_else(by_hand),
        Command::Sidecar => sidecar::run(raw, &log).unwrap_or_else(ended),
        Command::Exec { words } => exec::run(raw, words).unwrap_or_else(ended),
        Command::Install { dir } => install::run(&dir).unwrap_or_else(ended),
        Command::Secret { command } => secret::run(raw, command, &variable).unwrap_or_else(by_hand),
        Command::Credential { command } => {
            credential::run(raw, &command, &variable).unwrap_or_else(by_hand)
        }
        Command::Kubernetes { command, config, .. } => {
            historic::run(raw, &command, config.as_deref(), &log).unwrap_or_else(ended)
        }
        Command::Doctor => doctor::run(raw).unwrap_or_else(by_hand),
        Command::Deprovision { secret_id } => {
            deprovision::run(raw, secret_id.as_deref()).unwrap_or_else(by_hand)
        }
        // The termination message belongs to the agent, not to its probes.
        Command::Check { question } => check::run(&raw, question).unwrap_or_else(by_hand),
    }
}
