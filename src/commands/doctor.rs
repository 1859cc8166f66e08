//! `doctor`: examines the whole path from the settings to the main process, step by step, each with
//! its remedy. It provisions nothing, writes nothing and notifies no process.

use super::dry_run::readable;
use super::runtime::{invalid, prove, run as block_on, show as print_line};
use super::sandbox::{Intended, listed, ports, required};
use crate::config::raw::Raw;
use crate::config::settings::{AgentUid, Destination, Notify, Output, Renewing, Sandbox};
use crate::config::{Config, Proven};
use crate::exit::{Exit, Failure};
use crate::lifecycle::publish::{PublishError, origin};
use crate::model::Bundle;
use crate::notify::{Notifier, Outlook};
use crate::os::clock::Machine;
use crate::os::process::{PidNamespace, Reaper};
use crate::os::{sandbox, swap};
use crate::render::render;
use crate::store::state::State;
use crate::store::{Place, inspect, plan};
use crate::vault::Client;
use crate::vault::error::{Attempt, Cause, FetchError};

/// Examines the whole path, and prints a line for each step.
#[cold]
pub fn run(raw: Raw) -> Result<Exit, Failure> {
    let Proven { settings: (config, renewing), warnings } = match prove(raw, Config::for_doctor) {
        Ok(proven) => proven,
        Err(problems) => {
            for problem in &problems.0 {
                print_line(format!("FAIL  settings    {problem}"));
            }
            return Err(invalid(&problems));
        }
    };
    let show = |step: Step| print_line(step.line());
    block_on(async || Ok(examine(&config, &renewing, &warnings, show).await))
}

/// The result of one step.
#[derive(Debug)]
struct Step {
    verdict: StepVerdict,
    /// Its subject.
    name: &'static str,
    /// The finding, or the reason of a failure.
    text: String,
    remedy: Option<String>,
}

/// The verdict on a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepVerdict {
    Good,
    /// It may work, and the user should look at it.
    Doubtful,
    /// A start would fail here.
    Bad(Exit),
}

impl Step {
    fn good(name: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: StepVerdict::Good, name, text: text.into(), remedy: None }
    }

    fn doubt(name: &'static str, text: impl Into<String>, remedy: Option<String>) -> Self {
        Self { verdict: StepVerdict::Doubtful, name, text: text.into(), remedy }
    }

    fn bad(name: &'static str, failure: Failure) -> Self {
        let Failure { exit, message, hint, .. } = failure;
        Self { verdict: StepVerdict::Bad(exit), name, text: message, remedy: hint }
    }

    /// Returns the exit code that it asks for.
    pub fn exit(&self) -> Exit {
        match self.verdict {
            StepVerdict::Good | StepVerdict::Doubtful => Exit::Done,
            StepVerdict::Bad(exit) => exit,
        }
    }

    /// Formats it as one line.
    pub fn line(&self) -> String {
        let verdict = match self.verdict {
            StepVerdict::Good => "ok",
            StepVerdict::Doubtful => "warn",
            StepVerdict::Bad(_) => "FAIL",
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!(" -> {remedy}"));
        format!("{verdict:<4}  {:<10}  {}{}", self.name, self.text, remedy.unwrap_or_default())
    }
}

/// Examines the whole path; `show` gets each step as soon as it is known. Returns the exit code of
/// the first step at which a start would fail.
async fn examine(
    config: &Config,
    renewing: &Renewing,
    warnings: &[String],
    mut show: impl FnMut(Step),
) -> Exit {
    let mut exit = Exit::Done;
    let mut step = |step: Step| {
        if exit == Exit::Done {
            exit = step.exit();
        }
        show(step);
    };
    settings(config, warnings).into_iter().for_each(&mut step);
    let bundle = vault(config, &mut step).await;
    match &config.output {
        Destination::Memory => step(Step::good("output", "SEGURA_OUTPUT=none: nothing is written")),
        Destination::Directory(output) => {
            directory(config, output, bundle.as_ref(), &mut step);
            published(config, output, &mut step);
        }
    }
    receivers(renewing.notify.clone(), &mut step);
    sandboxed(config, renewing).into_iter().for_each(&mut step);
    exit
}

fn settings(config: &Config, warnings: &[String]) -> Vec<Step> {
    let wanted = &config.wanted;
    let identities: Vec<&str> = wanted.identities.iter().map(|name| name.as_str()).collect();
    let identities =
        if identities.is_empty() { "all secrets".to_owned() } else { identities.join(", ") };
    let source = wanted.source.as_str();
    let mut steps =
        vec![Step::good("settings", format!("{identities}, by SEGURA_SOURCE={source}"))];
    let pod = &config.pod;
    let namespace = pod.namespace.as_deref().unwrap_or("no namespace");
    let text = format!("pod {} of {}, {namespace}", pod.name, pod.deploy);
    steps.push(Step::good("identity", text));
    steps.extend(warnings.iter().map(|warning| Step::doubt("settings", warning.clone(), None)));
    steps
}

/// Examines the vault: connection, login and reading. Provisions nothing.
async fn vault(config: &Config, step: &mut impl FnMut(Step)) -> Option<Bundle> {
    let host = config.vault.url.host_str().unwrap_or_default().to_owned();
    let prepared = origin(config)
        .and_then(|origin| Ok((origin, Client::new(&config.vault, config.pod.clone())?)));
    let (origin, mut client) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            step(Step::bad("files", error.failure()));
            return None;
        }
    };
    if let Err(error) = client.reach().await {
        let failed = stage(&error);
        connection(config, &host, succeeded(&error), step);
        step(Step::bad(failed, error.failure()));
        return None;
    }
    connection(config, &host, 2, step);
    let trust = match (&config.vault.ca_file, config.vault.url.scheme()) {
        (_, "http") => "plain http, which is not encrypted".to_owned(),
        (Some(file), _) => format!("trusted by {}", file.display()),
        (None, _) => "trusted by the built-in roots".to_owned(),
    };
    step(Step::good("tls", trust));
    step(Step::good("login", "the vault accepts the client id and secret"));
    match readable(config, &origin, &mut client).await {
        Ok(bundle) => {
            for (name, set) in &bundle.secrets {
                let keys = set.items().count();
                let version = if set.version.is_empty() { "no version" } else { &set.version };
                step(Step::good("secret", format!("{name}: {keys} values, version {version}")));
            }
            for remark in &bundle.remarks {
                step(Step::doubt("secret", remark.clone(), None));
            }
            Some(bundle)
        }
        Err(failure) => {
            step(Step::bad("secret", failure));
            None
        }
    }
}

/// Reports the first `count` steps of the connection to the vault, which have succeeded.
fn connection(config: &Config, host: &str, count: usize, step: &mut impl FnMut(Step)) {
    let steps = if config.vault.proxy.is_some() {
        [
            ("name", "the host of HTTPS_PROXY resolves to an address".to_owned()),
            ("connection", format!("{host} answers through HTTPS_PROXY, or NO_PROXY names it")),
        ]
    } else {
        [("name", format!("{host} has an address")), ("connection", format!("{host} answers"))]
    };
    for (name, text) in steps.into_iter().take(count) {
        step(Step::good(name, text));
    }
}

/// Counts the steps of the connection that succeeded before a failure. A timeout proves none of
/// them.
fn succeeded(error: &FetchError) -> usize {
    match (&error.attempt, &error.cause) {
        (Attempt::Prepare, _) => 0,
        (
            _,
            Cause::Unresolved(_) | Cause::ConnectTimedOut(_) | Cause::TimedOut(_) | Cause::Broken,
        ) => 0,
        (_, Cause::Unconnected(_)) => 1,
        (_, _) => 2,
    }
}

/// Names the step at which a login fails.
fn stage(error: &FetchError) -> &'static str {
    match (&error.attempt, &error.cause) {
        (Attempt::Prepare, _) => "files",
        (_, Cause::Unresolved(_)) => "name",
        (_, Cause::Unconnected(_) | Cause::ConnectTimedOut(_) | Cause::TimedOut(_)) => "connection",
        (_, Cause::Certificate(_) | Cause::Tls(_)) => "tls",
        _ => "login",
    }
}

/// Examines the directory, and the files that would be written there.
fn directory(
    config: &Config,
    output: &Output,
    bundle: Option<&Bundle>,
    step: &mut impl FnMut(Step),
) {
    let dir = output.dir.display();
    let rendering = bundle.map(|bundle| render(bundle, &config.layout)).transpose();
    let rendering = rendering.unwrap_or_else(|error| {
        step(Step::bad("render", PublishError::Render(error).failure()));
        None
    });
    for remark in rendering.iter().flat_map(|rendering| &rendering.remarks) {
        step(Step::doubt("render", remark.clone(), None));
    }
    let is_rendered = rendering.is_some();
    let files = rendering.map(|rendering| rendering.files).unwrap_or_default();
    match plan(output, &files) {
        Ok(plan) => {
            let free = if is_rendered { ", and no other file is in the way" } else { "" };
            step(Step::good("directory", format!("{dir} exists{free}")));
            if swap::may_take(&output.dir) {
                step(Step::doubt(
                    "directory",
                    "the machine has swap, and this tmpfs may be written to it",
                    Some("switch swap off, or mount the volume with noswap (Linux 6.4; the kubelet does so where the kernel can)".to_owned()),
                ));
            }
            step(Step::good("readers", format!("files will be readable by {}", plan.readers)));
            for remark in plan.remarks.iter().filter(|_| is_rendered) {
                step(Step::doubt("readers", remark.clone(), None));
            }
            if is_rendered {
                step(Step::good("files", plan.summary()));
            }
        }
        Err(error) => step(Step::bad("directory", error.failure())),
    }
}

/// Examines the holder of the directory, and the published set.
fn published(config: &Config, output: &Output, step: &mut impl FnMut(Step)) {
    let reader = "another agent publishes there: only exec can start, as a reader";
    match Place::of(&output.dir, AgentUid::FirstSeen) {
        Place::ReadOnly => step(Step::doubt(
            "directory",
            "this container can't write to it",
            Some(reader.to_owned()),
        )),
        Place::Hidden => {
            step(Step::doubt("directory", "it holds files of another user's agent", None))
        }
        Place::Held => step(Step::good("directory", "a running agent uses it")),
        Place::Left | Place::Free => step(Step::good("directory", "no running agent uses it")),
    }
    let mut seen = inspect::look(&output.dir).ok();
    if let Some(error) = seen.as_mut().and_then(|seen| seen.unfit.take()) {
        let hint = error.hint().map(ToOwned::to_owned);
        step(Step::doubt("set", crate::exit::chain(&error), hint));
    }
    let state = seen.filter(|seen| seen.whole).and_then(|seen| seen.state);
    let differs = origin(config).ok().and_then(|origin| state.as_ref()?.origin.difference(&origin));
    let Some(State {
        generation,
        given_back: false,
        failures,
        last_error,
        secrets,
        fetched_at,
        ..
    }) = state
    else {
        step(Step::good("set", "no set is published"));
        return;
    };
    let count = secrets.len();
    step(Step::good(
        "set",
        format!("generation {generation} is published: {count} secrets, confirmed at {fetched_at}"),
    ));
    if let Some(differs) = differs {
        let text = format!("its {differs} differs: the next start fetches a new set");
        step(Step::doubt("set", text, None));
    }
    if let Some(class) = last_error {
        let text = format!("{failures} passes have failed since, the last one with {class}");
        step(Step::doubt("set", text, Some("see the agent's log".to_owned())));
    }
    for secret in secrets {
        if let Some(class) = secret.error {
            let text = format!("a newer version of {} is held back with {class}", secret.identity);
            step(Step::doubt("set", text, Some("see the agent's log".to_owned())));
        }
    }
}

/// Examines the receivers of a notification.
fn receivers(notify: Notify, step: &mut impl FnMut(Step)) {
    let processes = PidNamespace::new(Reaper::listening());
    let mut notifier = Notifier::new(notify, &processes, &Machine);
    if !notifier.has_targets() {
        let text = "sidecar notifies no process of a change; exec notifies its own command";
        step(Step::good("tell", text));
    }
    for outlook in notifier.outlook() {
        step(match outlook {
            Outlook::Would(text) => Step::good("tell", text),
            Outlook::MayNot { text, hint } => Step::doubt("tell", text, Some(hint.to_owned())),
        });
    }
}

/// Examines the sandbox that `sidecar` would enter. Enters none.
fn sandboxed(config: &Config, renewing: &Renewing) -> Option<Step> {
    const NAME: &str = "sandbox";
    let is_required = renewing.sandbox == Sandbox::Require;
    Some(match Intended::of(config, renewing, sandbox::kernel) {
        Intended::Off => return None,
        Intended::RuledOut(variable) => {
            let text = format!("off: {variable} rules it out");
            let invalid = Failure::said(Exit::Settings, text.clone())
                .hint(Some("set SEGURA_SANDBOX=auto, or notify the app by SEGURA_NOTIFY_URL"));
            if is_required { Step::bad(NAME, invalid) } else { Step::good(NAME, text) }
        }
        Intended::Rules(rules) => match &rules.folders {
            Ok(folders) => {
                let folders = listed(folders.iter().map(|folder| folder.display()));
                let ports = ports(&rules.ports);
                let text = format!(
                    "sidecar can write to the directory alone, read in {folders}, connect to TCP ports {ports}"
                );
                Step::good(NAME, text)
            }
            Err(reason) if is_required => Step::bad(NAME, required(reason)),
            Err(reason) => Step::doubt(NAME, format!("no rules on files: {reason}"), None),
        },
    })
}
