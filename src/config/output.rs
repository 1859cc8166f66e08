//! What is written, where, and whose it is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Reader;
use super::file_rules;
use super::parse::{self, Shape};
use super::raw::Raw;
use crate::config::settings::{Access, Disk, FileRule, Output, Wanted};
use crate::inputs::templates::{Found, SUFFIX};
use crate::model::{PodIdentity, STATE_LINK, SecretName, check_part};
use crate::render::decode::Decode;
use crate::render::name::{Case, Variables};
use crate::render::template::Templates;
use crate::render::{Collision, Layout};

const OUTPUTS: Shape = "a comma list of `files`, `env`, `json`, `yaml` and `properties`";

impl Reader {
    pub(super) fn layout(
        &mut self,
        raw: &Raw,
        wanted: Option<&Wanted>,
        pod: Option<&PodIdentity>,
        found: Found,
    ) -> Option<Layout> {
        let env_file = self.name("SEGURA_ENV_FILE", raw.segura_env_file.as_deref());
        let json_file = self.name("SEGURA_JSON_FILE", raw.segura_json_file.as_deref());
        let yaml_file = self.name("SEGURA_YAML_FILE", raw.segura_yaml_file.as_deref());
        let properties_file =
            self.name("SEGURA_PROPERTIES_FILE", raw.segura_properties_file.as_deref());
        let named = |file: &Option<String>, default: &str| {
            Some(file.clone().unwrap_or_else(|| default.to_owned()))
        };
        let mut files = false;
        let (mut env, mut json, mut yaml, mut properties) = (None, None, None, None);
        for output in raw.segura_output.as_deref().unwrap_or("files").split(',').map(str::trim) {
            match output {
                "files" => files = true,
                "env" => env = named(&env_file, "secrets.env"),
                "json" => json = named(&json_file, "secrets.json"),
                "yaml" => yaml = named(&yaml_file, "secrets.yaml"),
                "properties" => properties = named(&properties_file, "secrets.properties"),
                "none" if self.runs_command && self.writes_nothing(raw) => {}
                "none" if self.runs_command => {
                    self.problem("SEGURA_OUTPUT", "`none` must stand alone");
                }
                "none" => self.problem("SEGURA_OUTPUT", "`none` is for exec alone"),
                _ => self.wrong("SEGURA_OUTPUT", OUTPUTS),
            }
        }
        let templates = self.templates(raw, found);
        let documents = [
            ("SEGURA_ENV_FILE", env.as_deref()),
            ("SEGURA_JSON_FILE", json.as_deref()),
            ("SEGURA_YAML_FILE", yaml.as_deref()),
            ("SEGURA_PROPERTIES_FILE", properties.as_deref()),
        ];
        let documents =
            documents.into_iter().filter_map(|(variable, file)| Some((variable, file?)));
        let outputs = templates.outputs().map(|output| ("SEGURA_TEMPLATE_DIR", output));
        let identities = wanted.iter().flat_map(|wanted| &wanted.identities).filter(|_| files);
        let folders: BTreeSet<&str> = identities.map(SecretName::top).collect();
        let folders = folders.into_iter().map(|folder| ("SEGURA_IDENTITY", folder));
        self.names_apart(folders.chain(documents).chain(outputs));
        let dialect = raw.segura_env_dialect.as_deref();
        let dialect = self.text("SEGURA_ENV_DIALECT", dialect, parse::dialect).unwrap_or_default();
        let variables = self.variables(raw, wanted);
        let collision = self.collision(raw);
        // A typo in it is told where it is read.
        let environment = self.runs_command && raw.segura_exec_env.as_deref() != Some("false");
        let decode = self.text("SEGURA_DECODE", raw.segura_decode.as_deref(), parse::globs);
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
        let read =
            self.text("SEGURA_COLLISION", raw.segura_collision.as_deref(), |text| match text {
                "last" => Ok(Collision::Last),
                "error" => Ok(Collision::Refuse),
                _ => Err("`last` or `error`"),
            });
        read.unwrap_or(Collision::Last)
    }

    /// Two outputs must not want one name in the directory.
    fn names_apart<'a>(&mut self, outputs: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut taken: Vec<(&str, &str)> = Vec::new();
        for (variable, name) in outputs {
            let Some((other, _)) = taken.iter().find(|(_, other)| *other == name) else {
                taken.push((variable, name));
                continue;
            };
            let wants = match variable {
                "SEGURA_TEMPLATE_DIR" => format!("the template {name}{SUFFIX} wants"),
                _ => "wants".to_owned(),
            };
            let has = match *other {
                "SEGURA_IDENTITY" => "a folder of SEGURA_IDENTITY",
                other => other,
            };
            self.problem(variable, format!("{wants} the name in the directory that {has} has"));
        }
    }

    fn templates(&mut self, raw: &Raw, found: Found) -> Templates {
        let dir = raw.segura_template_dir.as_deref();
        if dir.is_some() && self.text("SEGURA_TEMPLATE_DIR", dir, parse::path).is_none() {
            return Templates::default();
        }
        if dir.is_some() && self.runs_command && self.writes_nothing(raw) {
            self.problem("SEGURA_TEMPLATE_DIR", "must not be set with SEGURA_OUTPUT=none");
        }
        for problem in found.problems {
            self.problem("SEGURA_TEMPLATE_DIR", problem);
        }
        let mut sources = found.sources;
        sources.retain(|(file, _)| {
            let output = file.strip_suffix(SUFFIX).unwrap_or(file);
            let problem = match check_part(output) {
                Err(problem) => format!("the template {file:?} makes a file whose name {problem}"),
                Ok(()) if output == STATE_LINK => format!("the agent keeps {output} for itself"),
                Ok(()) => return true,
            };
            self.problem("SEGURA_TEMPLATE_DIR", problem);
            false
        });
        Templates::new(sources).unwrap_or_else(|flaws| {
            for flaw in flaws {
                self.problem("SEGURA_TEMPLATE_DIR", format!("the template {flaw}"));
            }
            Templates::default()
        })
    }

    fn name(&mut self, variable: &str, value: Option<&str>) -> Option<String> {
        self.text(variable, value, |text| {
            let sound = check_part(text).is_ok() && text != STATE_LINK;
            sound.then(|| text.to_owned()).ok_or("a file name without slashes or leading `..`")
        })
    }

    fn variables(&mut self, raw: &Raw, wanted: Option<&Wanted>) -> Option<Variables> {
        let one = wanted.is_some_and(|wanted| wanted.identities.len() == 1);
        let default = if one { "{key}" } else { "{identity}_{key}" };
        let pattern = raw.segura_env_name.as_deref().unwrap_or(default);
        let case = self.text("SEGURA_ENV_CASE", raw.segura_env_case.as_deref(), parse::case);
        self.text("SEGURA_ENV_NAME", Some(pattern), |pattern| {
            parse::pattern(pattern, case.unwrap_or(Case::Keep))
        })
    }

    pub(super) fn writes_nothing(&self, raw: &Raw) -> bool {
        raw.segura_output.as_deref().map(str::trim) == Some("none")
    }

    /// The directory, and whether it is where the historic sidecar has it.
    pub(super) fn output_dir(&mut self, raw: &Raw) -> (Option<PathBuf>, bool) {
        let drop_in = raw.segura_output_dir.is_none() && uses_only_old_names(raw);
        let folder = raw.senhasegura_secrets_folder.as_deref().unwrap_or("/var/run/secrets");
        let dir = match &raw.segura_output_dir {
            Some(dir) => self.text("SEGURA_OUTPUT_DIR", Some(dir), parse::path),
            None if drop_in => {
                let folder = self.text("SENHASEGURA_SECRETS_FOLDER", Some(folder), parse::path);
                folder.map(|folder| folder.join("senhasegura"))
            }
            None => Some("/run/secrets/segura".into()),
        };
        (dir, drop_in)
    }

    pub(super) fn output(&mut self, raw: &Raw) -> Option<Output> {
        let (dir, drop_in) = self.output_dir(raw);
        let modes = if drop_in { (0o444, 0o755) } else { (0o440, 0o750) };
        let file_mode = self.text("SEGURA_FILE_MODE", raw.segura_file_mode.as_deref(), parse::mode);
        let dir_mode = self.text("SEGURA_DIR_MODE", raw.segura_dir_mode.as_deref(), parse::mode);
        let access = Access {
            file_mode: file_mode.unwrap_or(modes.0),
            dir_mode: dir_mode.unwrap_or(modes.1),
            uid: self.text("SEGURA_FILE_UID", raw.segura_file_uid.as_deref(), parse::id),
            gid: self.text("SEGURA_FILE_GID", raw.segura_file_gid.as_deref(), parse::id),
            rules: self.rules(raw),
        };
        let allow = raw.segura_allow_disk.as_deref();
        let disk = match self.text("SEGURA_ALLOW_DISK", allow, parse::boolean) {
            Some(true) => Disk::Allow,
            Some(false) => Disk::Refuse,
            None if drop_in => Disk::Warn,
            None => Disk::Refuse,
        };
        Some(Output { dir: dir?, create_last: drop_in, access, disk })
    }

    fn rules(&mut self, raw: &Raw) -> Vec<FileRule> {
        let read = raw.segura_file_rules.as_deref().map(file_rules::rules);
        read.unwrap_or(Ok(Vec::new())).unwrap_or_else(|problems| {
            for problem in problems {
                self.problem("SEGURA_FILE_RULES", problem);
            }
            Vec::new()
        })
    }
}

/// Only the vendor's names reach the vault: the agent stands in for the historic sidecar.
fn uses_only_old_names(raw: &Raw) -> bool {
    let new = raw.segura_url.is_some()
        || raw.segura_client_id.is_some()
        || raw.segura_client_id_file.is_some()
        || raw.segura_client_secret.is_some()
        || raw.segura_client_secret_file.is_some();
    raw.senhasegura_url.is_some() && !new
}
