//! Settings of the output: formats, directory, modes and owners.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Reader;
use super::file_rules;
use super::parse::{self, Shape};
use super::raw::{Raw, RawVariable};
use crate::config::settings::{
    Access, AgentUid, Disk, FileGid, FileRule, FileUid, Output, OutputFormat, Wanted,
};
use crate::inputs::templates::{Found, SUFFIX};
use crate::model::{PodIdentity, STATE_LINK, SecretName, check_part};
use crate::render::decode::Decode;
use crate::render::name::{Case, Variables};
use crate::render::template::Templates;
use crate::render::{Collision, Layout};

/// The word of `SEGURA_OUTPUT` for a set that is kept in memory.
const NO_OUTPUT: &str = "none";
const OUTPUTS: Shape = "a comma list of `files`, `env`, `json`, `yaml` and `properties`";

impl Reader {
    pub(super) fn layout(
        &mut self,
        raw: &Raw,
        wanted: Option<&Wanted>,
        pod: Option<&PodIdentity>,
        found: Found,
    ) -> Option<Layout> {
        let env_file = self.name(&raw.segura_env_file);
        let json_file = self.name(&raw.segura_json_file);
        let yaml_file = self.name(&raw.segura_yaml_file);
        let properties_file = self.name(&raw.segura_properties_file);
        let named = |file: &Option<String>, default: &str| {
            Some(file.clone().unwrap_or_else(|| default.to_owned()))
        };
        let mut files = false;
        let (mut env, mut json, mut yaml, mut properties) = (None, None, None, None);
        for output in raw.segura_output.as_deref().unwrap_or("files").split(',').map(str::trim) {
            match OutputFormat::parse(output) {
                Some(OutputFormat::Files) => files = true,
                Some(OutputFormat::Env) => env = named(&env_file, "secrets.env"),
                Some(OutputFormat::Json) => json = named(&json_file, "secrets.json"),
                Some(OutputFormat::Yaml) => yaml = named(&yaml_file, "secrets.yaml"),
                Some(OutputFormat::Properties) => {
                    properties = named(&properties_file, "secrets.properties");
                }
                None if output != NO_OUTPUT => self.wrong(raw.segura_output.name, OUTPUTS),
                None if !self.runs_command => {
                    self.problem(raw.segura_output.name, "`none` is for exec alone");
                }
                None if self.writes_nothing(raw) => {}
                None => self.problem(raw.segura_output.name, "`none` must be the only output"),
            }
        }
        let templates = self.templates(raw, found);
        let documents = [
            (&raw.segura_env_file, env.as_deref()),
            (&raw.segura_json_file, json.as_deref()),
            (&raw.segura_yaml_file, yaml.as_deref()),
            (&raw.segura_properties_file, properties.as_deref()),
        ];
        let documents =
            documents.into_iter().filter_map(|(variable, file)| Some((variable.name, file?)));
        let outputs = templates.outputs().map(|output| (raw.segura_template_dir.name, output));
        let identities = wanted.iter().flat_map(|wanted| &wanted.identities).filter(|_| files);
        let folders: BTreeSet<&str> = identities.map(SecretName::top).collect();
        let folders = folders.into_iter().map(|folder| (raw.segura_identity.name, folder));
        self.names_apart(raw, folders.chain(documents).chain(outputs));
        let dialect = self.text(&raw.segura_env_dialect, parse::dialect).unwrap_or_default();
        let variables = self.variables(raw, wanted);
        let collision = self.collision(raw);
        // `running` reports a value that is not a boolean.
        let environment = self.runs_command && raw.segura_exec_env.as_deref() != Some("false");
        let decode = self.text(&raw.segura_decode, parse::globs);
        let variables = variables?;
        Some(Layout {
            files,
            env,
            dialect,
            json,
            yaml,
            properties,
            templates,
            pod: pod?.clone(),
            environment,
            variables,
            collision,
            decode: Decode::new(decode.unwrap_or_default()),
        })
    }

    fn collision(&mut self, raw: &Raw) -> Collision {
        let read = self.text(&raw.segura_collision, |text| match text {
            "last" => Ok(Collision::Last),
            "error" => Ok(Collision::Refuse),
            _ => Err("`last` or `error`"),
        });
        read.unwrap_or(Collision::Last)
    }

    /// Reports two outputs of one name in the directory.
    fn names_apart<'a>(
        &mut self,
        raw: &Raw,
        outputs: impl Iterator<Item = (&'static str, &'a str)>,
    ) {
        let mut taken: Vec<(&str, &str)> = Vec::new();
        for (variable, name) in outputs {
            let Some((other, _)) = taken.iter().find(|(_, other)| *other == name) else {
                taken.push((variable, name));
                continue;
            };
            let taken_by = if *other == raw.segura_identity.name {
                "a folder of SEGURA_IDENTITY"
            } else {
                *other
            };
            let problem = if variable == raw.segura_template_dir.name {
                format!("the name of the template {name}{SUFFIX} must differ from {taken_by}")
            } else {
                format!("must differ from {taken_by}")
            };
            self.problem(variable, problem);
        }
    }

    fn templates(&mut self, raw: &Raw, found: Found) -> Templates {
        let dir = &raw.segura_template_dir;
        if dir.is_set() && self.text(dir, parse::path).is_none() {
            return Templates::default();
        }
        if dir.is_set() && self.runs_command && self.writes_nothing(raw) {
            self.problem(raw.segura_template_dir.name, "must not be set with SEGURA_OUTPUT=none");
        }
        for problem in found.problems {
            self.problem(raw.segura_template_dir.name, problem);
        }
        let mut sources = found.sources;
        sources.retain(|(file, _)| {
            let output = file.strip_suffix(SUFFIX).unwrap_or(file);
            let problem = match check_part(output) {
                Err(problem) => format!("the template {file:?} makes a file whose name {problem}"),
                Ok(()) if output == STATE_LINK => {
                    format!("the agent uses the file name {output} itself")
                }
                Ok(()) => return true,
            };
            self.problem(raw.segura_template_dir.name, problem);
            false
        });
        Templates::new(sources).unwrap_or_else(|flaws| {
            for flaw in flaws {
                self.problem(raw.segura_template_dir.name, format!("the template {flaw}"));
            }
            Templates::default()
        })
    }

    fn name(&mut self, variable: &RawVariable) -> Option<String> {
        self.text(variable, |text| {
            let sound = check_part(text).is_ok() && text != STATE_LINK;
            sound.then(|| text.to_owned()).ok_or("a file name without slashes or leading `..`")
        })
    }

    fn variables(&mut self, raw: &Raw, wanted: Option<&Wanted>) -> Option<Variables> {
        let one = wanted.is_some_and(|wanted| wanted.identities.len() == 1);
        let default = if one { "{key}" } else { "{identity}_{key}" };
        let pattern = raw.segura_env_name.as_deref().unwrap_or(default);
        let case = self.text(&raw.segura_env_case, parse::case);
        self.value(raw.segura_env_name.name, Some(pattern), |pattern| {
            parse::pattern(pattern, case.unwrap_or(Case::Keep))
        })
    }

    pub(super) fn writes_nothing(&self, raw: &Raw) -> bool {
        raw.segura_output.as_deref().map(str::trim) == Some(NO_OUTPUT)
    }

    /// Reads the output directory.
    pub(super) fn output_dir(&mut self, raw: &Raw) -> Option<PathBuf> {
        if raw.segura_output_dir.is_set() {
            self.text(&raw.segura_output_dir, parse::path)
        } else if Preset::of(raw) == Preset::HistoricSidecar {
            let RawVariable { name, value } = &raw.senhasegura_secrets_folder;
            let folder = value.as_deref().unwrap_or("/var/run/secrets");
            let folder = self.value(name, Some(folder), parse::path);
            folder.map(|folder| folder.join("senhasegura"))
        } else {
            Some("/run/secrets/segura".into())
        }
    }

    pub(super) fn agent_uid(&mut self, raw: &Raw) -> AgentUid {
        self.text(&raw.segura_agent_uid, parse::id).map_or(AgentUid::FirstSeen, AgentUid::Id)
    }

    pub(super) fn output(&mut self, raw: &Raw) -> Option<Output> {
        let dir = self.output_dir(raw);
        // A setting of readers; its mistakes are reported in every mode.
        self.agent_uid(raw);
        let preset = Preset::of(raw);
        let (default_file_mode, default_dir_mode, default_disk) = match preset {
            Preset::Agent => (0o440, 0o750, Disk::Refuse),
            Preset::HistoricSidecar => (0o444, 0o755, Disk::Warn),
        };
        let file_mode = self.text(&raw.segura_file_mode, parse::mode);
        let dir_mode = self.text(&raw.segura_dir_mode, parse::mode);
        let uid = self.text(&raw.segura_file_uid, parse::id);
        let gid = self.text(&raw.segura_file_gid, parse::id);
        let access = Access {
            file_mode: file_mode.unwrap_or(default_file_mode),
            dir_mode: dir_mode.unwrap_or(default_dir_mode),
            uid: uid.map_or(FileUid::Agent, FileUid::Id),
            gid: gid.map_or(FileGid::Inherited, FileGid::Id),
            rules: self.rules(raw),
        };
        let disk = match self.text(&raw.segura_allow_disk, parse::boolean) {
            Some(true) => Disk::Allow,
            Some(false) => Disk::Refuse,
            None => default_disk,
        };
        let create_last = preset == Preset::HistoricSidecar;
        Some(Output { dir: dir?, create_last, access, disk })
    }

    fn rules(&mut self, raw: &Raw) -> Vec<FileRule> {
        let read = raw.segura_file_rules.as_deref().map(file_rules::rules);
        read.unwrap_or(Ok(Vec::new())).unwrap_or_else(|problems| {
            for problem in problems {
                self.problem(raw.segura_file_rules.name, problem);
            }
            Vec::new()
        })
    }
}

/// The defaults of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Preset {
    /// Those of the agent.
    Agent,
    /// Those of the vendor's historic sidecar, which the agent replaces where only the vendor's
    /// names are set.
    HistoricSidecar,
}

impl Preset {
    fn of(raw: &Raw) -> Self {
        let is_historic = !raw.segura_output_dir.is_set() && uses_only_old_names(raw);
        if is_historic { Self::HistoricSidecar } else { Self::Agent }
    }
}

/// Tests whether only the vendor's names lead to the vault.
fn uses_only_old_names(raw: &Raw) -> bool {
    let new = raw.segura_url.is_set()
        || raw.segura_client_id.is_set()
        || raw.segura_client_id_file.is_set()
        || raw.segura_client_secret.is_set()
        || raw.segura_client_secret_file.is_set();
    raw.senhasegura_url.is_set() && !new
}
