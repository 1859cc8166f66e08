//! Parses the text of the environment into proven settings. Pure: it reads no file, no clock and no
//! environment. All problems are reported at once, by variable and expected shape, never by value.

pub mod check;
pub mod exec;
mod file_rules;
mod notify;
mod output;
pub mod parse;
pub mod raw;
pub mod settings;
mod source;
pub mod variables;
mod vault;

use std::fmt;

use tracing_subscriber::filter::{LevelFilter, Targets};

pub use crate::config::settings::Config;
use crate::config::settings::{Destination, Renewing, Sandbox, Vault};
use crate::inputs::pod::Mounted;
use crate::inputs::templates::Found;
use crate::logging;
use crate::model::PodIdentity;
use parse::Shape;
use raw::{Raw, RawVariable};

/// A problem of one variable.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    variable: String,
    remedy: String,
}

impl Problem {
    /// Makes a problem; `remedy` follows the name of the variable and must not quote its value.
    pub fn new(variable: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { variable: variable.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.remedy)
    }
}

/// All problems of the settings.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration is invalid")
    }
}

impl std::error::Error for Problems {}

/// Settings that are proven, with the warnings that they deserve.
#[derive(Debug)]
pub struct Proven<T> {
    /// The settings.
    pub settings: T,
    /// Lines for the user, each to be logged once.
    pub warnings: Vec<String>,
}

impl<T> Proven<T> {
    /// Changes the settings, and keeps the warnings.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Proven<U> {
        Proven { settings: change(self.settings), warnings: self.warnings }
    }
}

/// Contents of the files that settings name or Kubernetes mounts.
#[derive(Debug, Default)]
pub struct Mounts {
    /// The pod's service account.
    pub account: Mounted,
    /// The templates in `SEGURA_TEMPLATE_DIR`.
    pub templates: Found,
}

/// Default of `SEGURA_TERMINATION_LOG`: the file that a fatal error is written to, if it exists.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

impl Config {
    /// Proves the settings of `init`.
    pub fn for_init(raw: Raw, mounts: Mounts) -> Result<Proven<Self>, Problems> {
        let mut reader = Reader::of(&raw);
        if reader.renewing(&raw).deprovisions {
            let remedy = "must not be set for init, which ends before the app starts";
            reader.problem(raw.segura_deprovision.name, remedy);
        }
        Self::proven(reader, raw, mounts)
    }

    /// Proves the settings of `init --dry-run`, in a pod of any mode.
    pub fn for_plan(raw: Raw, mounts: Mounts) -> Result<Proven<Self>, Problems> {
        let mut reader = Reader::of(&raw);
        reader.renewing(&raw);
        Self::proven(reader, raw, mounts)
    }

    /// Proves the settings of `doctor`, in a pod of any mode.
    pub fn for_doctor(raw: Raw, mounts: Mounts) -> Result<Proven<(Self, Renewing)>, Problems> {
        // In the container of exec, an unknown name may belong to the app.
        let mut reader = Reader::beside_app(&raw);
        reader.runs_command = reader.writes_nothing(&raw);
        if reader.runs_command {
            reader.running(&raw);
        }
        let renewing = reader.renewing(&raw);
        reader.deprovisions = renewing.deprovisions;
        Ok(Self::proven(reader, raw, mounts)?.map(|config| (config, renewing)))
    }

    /// Proves the settings of `deprovision` for the whole set.
    pub fn for_deprovision(raw: Raw, mounts: Mounts) -> Result<Proven<Self>, Problems> {
        let mut reader = Reader::of(&raw);
        reader.renewing(&raw);
        reader.deprovisions = true;
        Self::proven(reader, raw, mounts)
    }

    /// Proves the settings of `sidecar`.
    pub fn for_sidecar(raw: Raw, mounts: Mounts) -> Result<Proven<(Self, Renewing)>, Problems> {
        let mut reader = Reader::of(&raw);
        let renewing = reader.renewing(&raw);
        reader.deprovisions = renewing.deprovisions;
        if let (Sandbox::Require, Some(variable)) =
            (renewing.sandbox, renewing.notify.unsandboxed())
        {
            let remedy =
                format!("must not be `require` beside {variable}, which rules a sandbox out");
            reader.problem(raw.segura_sandbox.name, remedy);
        }
        Ok(Self::proven(reader, raw, mounts)?.map(|config| (config, renewing)))
    }

    fn proven(mut reader: Reader, raw: Raw, mounts: Mounts) -> Result<Proven<Self>, Problems> {
        let wanted = reader.wanted(&raw);
        let pod = reader.pod(&raw, mounts.account);
        let layout = reader.layout(&raw, wanted.as_ref(), pod.as_ref(), mounts.templates);
        let output = if reader.runs_command && reader.writes_nothing(&raw) {
            Some(Destination::Memory)
        } else {
            reader.output(&raw).map(Destination::Directory)
        };
        let renew = reader.renew(&raw);
        let startup_timeout = reader.startup_timeout(&raw);
        let on_absent = reader.on_absent(&raw);
        if !reader.runs_command {
            // Only `exec` uses these settings; the other modes report their problems.
            reader.running(&raw);
        }
        reader.logging(&raw);
        let vault = reader.vault(raw);
        let config = match (vault, pod, wanted, layout, output) {
            (Some(vault), Some(pod), Some(wanted), Some(layout), Some(output)) => {
                Some(Self { vault, pod, wanted, layout, output, renew, startup_timeout, on_absent })
            }
            _ => None,
        };
        reader.prove(config)
    }
}

impl Vault {
    /// Proves the settings of the vault, for a command that only sends requests. Of the others,
    /// only unknown names are problems.
    pub fn from_raw(raw: Raw) -> Result<Proven<Self>, Problems> {
        let mut reader = Reader::of(&raw);
        reader.logging(&raw);
        let vault = reader.vault(raw);
        reader.prove(vault)
    }

    /// Proves the settings of the vault and of the pod, for a command that deprovisions one secret.
    pub fn of_pod(raw: Raw, mounts: Mounts) -> Result<Proven<(Self, PodIdentity)>, Problems> {
        let mut reader = Reader { deprovisions: true, ..Reader::of(&raw) };
        reader.logging(&raw);
        let pod = reader.pod(&raw, mounts.account);
        let vault = reader.vault(raw);
        reader.prove(vault.zip(pod))
    }
}

/// Reads the settings of the log, in which `auto` stands for a format. Problems are returned beside
/// usable settings, so that they can be logged together with all others.
pub fn log_settings(raw: &Raw, auto: logging::Format) -> (logging::Settings, Vec<Problem>) {
    let mut reader = Reader::default();
    let filter = reader.text(&raw.segura_log, |text| {
        text.parse::<Targets>()
            .map_err(|_| "filter directives such as warn or info,segura_agent=debug")
    });
    let format = match raw.segura_log_format.as_deref() {
        Some("text") => logging::Format::Text,
        Some("json") => logging::Format::Json,
        Some("auto") | None => auto,
        Some(_) => {
            reader.wrong(raw.segura_log_format.name, "`auto`, `text` or `json`");
            logging::Format::Json
        }
    };
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    (logging::Settings { filter, format }, reader.problems)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    warnings: Vec<String>,
    /// The command deprovisions, so the name of the pod must be certain.
    deprovisions: bool,
    /// The settings are those of `exec`.
    runs_command: bool,
}

/// Makes the problem of a value that is not text.
fn not_text(name: &str) -> Problem {
    Problem::new(name, "must be UTF-8")
}

impl Reader {
    /// Makes a reader for a mode that shares its environment with no app: an unknown name is a
    /// problem.
    fn of(raw: &Raw) -> Self {
        let unknown =
            raw.unknown.iter().map(|name| Problem::new(name, "is not a variable of segura-agent"));
        let problems = unknown.chain(raw.broken.iter().map(|name| not_text(name))).collect();
        Self { problems, ..Self::default() }
    }

    /// Makes a reader for a mode that shares its environment with an app: an unknown name is a
    /// warning.
    fn beside_app(raw: &Raw) -> Self {
        let unknown = |name: &String| format!("{name} is not a variable of segura-agent");
        Self {
            problems: raw.broken.iter().map(|name| not_text(name)).collect(),
            warnings: raw.unknown.iter().map(unknown).collect(),
            ..Self::default()
        }
    }

    /// Ends the reading: returns the settings if there is no problem.
    fn prove<T>(self, settings: Option<T>) -> Result<Proven<T>, Problems> {
        match settings {
            Some(settings) if self.problems.is_empty() => {
                Ok(Proven { settings, warnings: self.warnings })
            }
            Some(_) | None => Err(Problems(self.problems)),
        }
    }

    fn problem(&mut self, variable: &str, remedy: impl Into<String>) {
        let problem = Problem::new(variable, remedy);
        // Several readers may find the same problem.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn wrong(&mut self, variable: &str, shape: Shape) {
        self.problem(variable, format!("must be {shape}"));
    }

    /// Parses the value of a variable, if it has one.
    fn text<T>(
        &mut self,
        variable: &RawVariable,
        parse: impl FnOnce(&str) -> Result<T, Shape>,
    ) -> Option<T> {
        self.value(variable.name, variable.as_deref(), parse)
    }

    /// Parses a value that stands for a variable: a secret one, or a default.
    fn value<T>(
        &mut self,
        variable: &str,
        value: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, Shape>,
    ) -> Option<T> {
        match parse(value?) {
            Ok(value) => Some(value),
            Err(shape) => {
                self.wrong(variable, shape);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
