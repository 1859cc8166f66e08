//! The binary: environment, arguments, runtime, and the one place that prints.

use std::alloc::System;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::ExitCode;

use segura_agent::commands;
use segura_agent::commands::args::{
    self, Command, CredentialCommand, Documents, Historic, SecretCommand, Shown, Typed,
};
use segura_agent::commands::exec::Ended;
use segura_agent::commands::install;
use segura_agent::commands::secret::documents::Given;
use segura_agent::commands::secret::put::Line;
use segura_agent::commands::secret::table::Style;
use segura_agent::config::check::Checked;
use segura_agent::config::exec::{Reading, Running, Whereabouts};
use segura_agent::config::raw::Raw;
use segura_agent::config::settings::{Keeping, Vault};
use segura_agent::config::{self, Config, Mounts, Reach, TERMINATION_LOG};
use segura_agent::exit::{Exit, Failure};
use segura_agent::inputs::pod::{Mounted, SERVICE_ACCOUNT};
use segura_agent::inputs::templates::Found;
use segura_agent::logging;
use segura_agent::model::SecretName;
use segura_agent::os::harden;
use segura_agent::os::process::Program;
use segura_agent::os::signal::incoming::{Blocked, Signals, Terminations};
use segura_agent::probes::Question;
use segura_agent::store::{Place, Store};
use segura_agent::vault::documents::About;
use zeroizing_alloc::ZeroAlloc;

/// Libraries that free what held a value, a token or a key leave nothing of it behind.
#[global_allocator]
static WIPED: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    harden::hide();
    harden::quiet_panics();
    let exit = match args::read(std::env::args_os()) {
        Ok(Typed::Print(text)) => print(&text),
        Ok(Typed::Run(args)) => {
            let raw = Raw::from_environment(std::env::vars_os());
            let log = raw.segura_termination_log.clone();
            let ended =
                |failure: Failure| end(&failure, Some(log.as_deref().unwrap_or(TERMINATION_LOG)));
            match args.command {
                Command::Init { dry_run: false } => init(raw).unwrap_or_else(ended),
                // The container's termination message is the agent's that publishes.
                Command::Init { dry_run: true } => plan(raw).unwrap_or_else(by_hand),
                Command::Sidecar => sidecar(raw).unwrap_or_else(ended),
                Command::Exec { words } => exec(raw, words).unwrap_or_else(ended),
                Command::Install { dir } => {
                    install::install(&dir).map_or_else(ended, |()| Exit::Done)
                }
                Command::Secret { command } => secret(raw, command).unwrap_or_else(by_hand),
                Command::Credential { command: CredentialCommand::Put(documents) } => {
                    put(raw, About::Credentials, &documents).unwrap_or_else(by_hand)
                }
                Command::Kubernetes { command, config, .. } => {
                    historic(raw, &command, config.is_some()).unwrap_or_else(ended)
                }
                Command::Doctor => doctor(raw).unwrap_or_else(by_hand),
                Command::Deprovision { secret_id } => {
                    deprovision(raw, secret_id.as_deref()).unwrap_or_else(by_hand)
                }
                // The container's termination message is the agent's, not that of its probes.
                Command::Check { question } => check(&raw, question).unwrap_or_else(by_hand),
            }
        }
        Err(failure) => end(&failure, None),
    };
    ExitCode::from(exit.code())
}

/// Ends what somebody runs beside the container's own process, whose termination message it is not.
fn by_hand(failure: Failure) -> Exit {
    end(&failure, None)
}

fn check(raw: &Raw, question: Question) -> Result<Exit, Failure> {
    let checked = Checked::from_raw(raw).map_err(|problems| invalid(&problems))?;
    let verdict = commands::check::run(question, &checked);
    show(verdict.line);
    Ok(if verdict.holds { Exit::Done } else { Exit::No })
}

/// Prints a line; whether anyone reads it changes nothing.
fn show(line: String) {
    print(&format!("{line}\n"));
}

fn init(raw: Raw) -> Result<Exit, Failure> {
    harden::limit();
    begin(&raw);
    let mounts = mounts(&raw);
    let config = Config::for_init(raw, mounts).map_err(|problems| invalid(&problems))?;
    warn(&config.warnings);
    run(async || commands::init::run(&config, listen()?).await.map(|()| Exit::Done))
}

#[cold]
fn plan(raw: Raw) -> Result<Exit, Failure> {
    harden::limit();
    begin(&raw);
    let mounts = mounts(&raw);
    let config = Config::for_plan(raw, mounts).map_err(|problems| invalid(&problems))?;
    warn(&config.warnings);
    let plan = run(async || commands::init::dry_run(&config, listen()?).await)?;
    tracing::info!("{}", plan.summary());
    Ok(print(&plan.to_string()))
}

/// A manifest that was written for the vendor's historic sidecar.
#[cold]
fn historic(raw: Raw, command: &Historic, has_config: bool) -> Result<Exit, Failure> {
    let (registered, name) = match command {
        Historic::Sidecar(registered) => (registered, "sidecar"),
        Historic::InitContainer { registered, kind } if kind == "inject-template" => {
            (registered, "init")
        }
        Historic::InitContainer { kind, .. } => {
            let message = format!(
                "cannot do what `kubernetes init-container --type {kind}` did: register an application and hand out its credentials"
            );
            let hint = "say `init`, with SEGURA_CLIENT_ID and SEGURA_CLIENT_SECRET of the application's authorization";
            return Err(Failure::said(Exit::Usage, message).hint(Some(hint)));
        }
    };
    let given = registered.app_name.is_some()
        || registered.system.is_some()
        || registered.environment.is_some();
    begin(&raw);
    if has_config {
        tracing::warn!(
            "the file of --config is not read: put its SENHASEGURA_ settings into the environment"
        );
    }
    if given {
        tracing::warn!(
            "the options of the historic sidecar have no effect: which application it is, the authorization says; say `{name}` alone"
        );
    }
    if name == "init" { init(raw) } else { sidecar(raw) }
}

#[cold]
fn secret(raw: Raw, command: SecretCommand) -> Result<Exit, Failure> {
    let style = |shown: &Shown| Style { json: shown.output == "json", values: shown.show_values };
    let text = match command {
        SecretCommand::Put(documents) => return put(raw, About::Secrets, &documents),
        SecretCommand::List { shown } => {
            let vault = reach(raw)?;
            run(async || commands::manage::list(&vault, style(&shown)).await)?
        }
        SecretCommand::Get { identity, shown } => {
            let name = SecretName::new(identity).map_err(|problem| {
                let message = format!("cannot understand the command line: IDENTITY {problem}");
                Failure::said(Exit::Usage, message)
            })?;
            let vault = reach(raw)?;
            run(async || commands::manage::get(&vault, &name, style(&shown)).await)?
        }
    };
    Ok(print(&text))
}

#[cold]
fn put(raw: Raw, about: About, documents: &Documents) -> Result<Exit, Failure> {
    let vault = if documents.dry_run {
        harden::limit();
        begin(&raw);
        None
    } else {
        Some(reach(raw)?)
    };
    let found = Given::read(&documents.file)?;
    let lookup =
        |name: &str| std::env::vars_os().find(|(found, _)| found == name).map(|(_, value)| value);
    let requests = found.requests(about, &lookup)?;
    let mut broken = false;
    let show = |line| match line {
        Line::Told(line) => broken |= print(&format!("{line}\n")) != Exit::Done,
        // All of it, however long it takes: nobody's work waits for this.
        Line::Failed(failure) => {
            std::io::stderr().write_all(format!("{failure}\n").as_bytes()).ok();
        }
    };
    let exit = run(async || commands::manage::write(vault.as_ref(), about, requests, show).await)?;
    Ok(if broken && exit == Exit::Done { Exit::CannotWrite } else { exit })
}

#[cold]
fn deprovision(raw: Raw, secret_id: Option<&str>) -> Result<Exit, Failure> {
    harden::limit();
    begin(&raw);
    let Some(id) = secret_id else {
        let mounts = mounts(&raw);
        let config = Config::for_deprovision(raw, mounts).map_err(|problems| invalid(&problems))?;
        warn(&config.warnings);
        return run(async || commands::manage::give_all_back(&config, show).await)
            .map(|()| Exit::Done);
    };
    let account = Mounted::read(Path::new(SERVICE_ACCOUNT));
    let (reach, pod) = Reach::of_pod(raw, account).map_err(|problems| invalid(&problems))?;
    warn(&reach.warnings);
    run(async || commands::manage::give_back(&reach.vault, pod, id).await).map(|text| print(&text))
}

#[cold]
fn doctor(raw: Raw) -> Result<Exit, Failure> {
    harden::limit();
    begin(&raw);
    let mounts = mounts(&raw);
    let (config, keeping) = match Config::for_doctor(raw, mounts) {
        Ok(proven) => proven,
        Err(problems) => {
            for problem in &problems.0 {
                show(format!("FAIL  settings    {problem}"));
            }
            return Err(invalid(&problems));
        }
    };
    run(async || commands::manage::doctor(&config, keeping.tell.clone(), show).await)
}

/// The vault, for a command that only asks it.
fn reach(raw: Raw) -> Result<Vault, Failure> {
    harden::limit();
    begin(&raw);
    let Reach { vault, warnings } = Reach::from_raw(raw).map_err(|problems| invalid(&problems))?;
    warn(&warnings);
    Ok(vault)
}

fn sidecar(raw: Raw) -> Result<Exit, Failure> {
    harden::limit();
    begin(&raw);
    let mounts = mounts(&raw);
    let (config, keeping) =
        Config::for_sidecar(raw, mounts).map_err(|problems| invalid(&problems))?;
    warn(&config.warnings);
    run(async || commands::sidecar::run(&config, &keeping, listen()?).await.map(|()| Exit::Done))
}

fn exec(raw: Raw, words: Vec<OsString>) -> Result<Exit, Failure> {
    // Before anything else, so that no signal meets its action from here on.
    let blocked = Blocked::block().map_err(|error| bug("block signals", &error))?;
    let mask = blocked.mask();
    let program = Program::new(words)
        .ok_or_else(|| Failure::said(Exit::Usage, "cannot understand the command"))?;
    begin(&raw);
    let ended = match role(raw)? {
        Role::Reader(reading) => {
            warn(&reading.warnings);
            run(async || {
                let signals = take(blocked)?;
                let command =
                    commands::exec::Command { program, running: &reading.running, signals };
                commands::exec::read(&reading, command).await
            })
        }
        Role::Agent(config, keeping, running, store) => {
            warn(&config.warnings);
            run(async || {
                let signals = take(blocked)?;
                let command = commands::exec::Command { program, running: &running, signals };
                commands::exec::run(&config, &keeping, store, command).await
            })
        }
    }?;
    match ended {
        Ended::With(exit) => Ok(exit),
        Ended::Becomes(launch) => Err(launch.become_it(mask)),
    }
}

/// What `exec` is to the output directory.
enum Role {
    Reader(Box<Reading>),
    Agent(Box<Config>, Box<Keeping>, Box<Running>, Store),
}

fn role(raw: Raw) -> Result<Role, Failure> {
    let read = Reading::from_raw(&raw).map(Box::new).map(Role::Reader);
    let read = || read.map_err(|problems| invalid(&problems));
    let Whereabouts { dir, has_vault } = Whereabouts::from_raw(&raw);
    if let Some(why) = dir.and_then(|dir| Place::of(&dir).is_to_be_read(has_vault)) {
        tracing::info!(why, "reading what another agent publishes in the output directory");
        return read();
    }
    let mounts = mounts(&raw);
    let (config, keeping, running) = Config::for_exec(raw, mounts).map_err(|problems| {
        let hint = "to read what another agent publishes, mount its directory readOnly: then exec waits for a set, and needs no vault";
        invalid(&problems).hint((!has_vault).then_some(hint))
    })?;
    match Store::hold(config.output.as_ref(), "exec") {
        Ok(store) => Ok(Role::Agent(config.into(), keeping.into(), running.into(), store)),
        // Another agent came first, in this very moment.
        Err(error) if error.is_held() => read(),
        Err(error) => Err(error.failure()),
    }
}

fn begin(raw: &Raw) {
    let (log, _) = config::log_settings(raw, std::io::stderr().is_terminal());
    logging::start(log);
}

/// What settings lead to, and Kubernetes mounts.
fn mounts(raw: &Raw) -> Mounts {
    let templates = raw.segura_template_dir.as_deref().map(|dir| Found::read(Path::new(dir)));
    Mounts {
        account: Mounted::read(Path::new(SERVICE_ACCOUNT)),
        templates: templates.unwrap_or_default(),
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

fn run<T>(mode: impl AsyncFnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut outcome = None;
    drive(pin!(async { outcome = Some(mode().await) }))?;
    outcome.unwrap_or_else(|| Err(Failure::said(Exit::Bug, "cannot end: nothing came of it")))
}

/// Runs a mode to its end; one runtime's code serves them all.
fn drive(mode: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A few connections and two signals: room for more events is memory that is never used.
        .max_io_events_per_tick(16)
        .build()
        .map_err(|error| bug("start the runtime", &error))?;
    runtime.block_on(mode);
    Ok(())
}

fn listen() -> Result<Terminations, Failure> {
    Terminations::listen().map_err(|error| bug("listen to signals", &error))
}

fn take(blocked: Blocked) -> Result<Signals, Failure> {
    blocked.listen().map_err(|error| bug("listen to signals", &error))
}

fn invalid(problems: &config::Problems) -> Failure {
    Failure::new(Exit::Settings, problems)
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
