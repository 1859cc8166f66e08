//! The manifests of `deploy/`, read as they are written: no cluster and no kubectl is needed for it.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::kubernetes::{copy, documents, kustomize, named};

/// Where in each kind of workload its pod's template stands.
const TEMPLATES: [(&str, &str); 5] = [
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

/// What one folder of `deploy/` describes.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The folder's name.
    pub name: String,
    /// All files as they are written, comments included.
    pub text: String,
    pub documents: Vec<Value>,
}

impl Manifest {
    /// Reads the resources that a folder's kustomization names.
    pub fn read(name: &str) -> Self {
        let folder = deploy().join(name);
        let kustomization = documents(&text(&folder.join("kustomization.yaml")));
        let resources =
            kustomization.iter().filter_map(|document| document["resources"].as_array());
        let files = resources.flatten().filter_map(Value::as_str);
        let texts: Vec<String> = files.map(|file| text(&folder.join(file))).collect();
        Self::of(name, &texts.join("\n---\n"))
    }

    pub fn of(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), documents: documents(text) }
    }

    /// Every folder that holds workloads, by name.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir(deploy()).expect("deploy/ is there");
        let folders = entries.map(|entry| entry.expect("an entry").path());
        let mut names: Vec<String> = folders
            .filter(|folder| folder.join("kustomization.yaml").is_file())
            .map(|folder| folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let all = names.iter().map(|name| Self::read(name));
        all.filter(|manifest| !manifest.templates().is_empty()).collect()
    }

    /// A folder as `kubectl kustomize` builds it; nothing if there is no kubectl.
    pub fn built(name: &str) -> Option<Self> {
        Some(Self::of(name, &kustomize(&deploy().join(name))?))
    }

    /// A folder with components, as a user's own kustomization composes them.
    pub fn composed(name: &str, components: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        copy(&deploy(), &folder.path().join("deploy"));
        let list = |names: &[&str], below: &str| {
            let items = names.iter().map(|name| format!("  - ../deploy/{below}{name}\n"));
            items.collect::<String>()
        };
        let kustomization = format!(
            "resources:\n{}components:\n{}",
            list(&[name], ""),
            list(components, "components/")
        );
        let own = own(&folder);
        fs::write(own.join("kustomization.yaml"), kustomization).expect("it is new");
        Some(Self::of(name, &kustomize(&own)?))
    }

    /// The workloads, each with its kind and its pod's template.
    pub fn templates(&self) -> Vec<(&Value, &Value)> {
        let template = |document| Some((document, template(document)?));
        self.documents.iter().filter_map(template).collect()
    }

    /// The one workload.
    #[track_caller]
    pub fn workload(&self) -> (&Value, &Value) {
        let templates = self.templates();
        let [(workload, template)] = templates.as_slice() else {
            panic!("{} holds {} workloads", self.name, templates.len());
        };
        (workload, template)
    }
}

/// The template of a workload's pods.
fn template(document: &Value) -> Option<&Value> {
    let kind = document["kind"].as_str()?;
    let (_, path) = TEMPLATES.into_iter().find(|(known, _)| *known == kind)?;
    document.pointer(path)
}

/// Whether a container has a vault's URL: it publishes, and may write to the volume.
pub fn publishes(container: &Value) -> bool {
    let urls = ["SEGURA_URL", "SENHASEGURA_URL"];
    urls.iter().any(|name| named(&container["env"], name).is_some())
}

/// All containers of a pod, in the order of their start.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    lists.into_iter().flatten().flatten()
}

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn own(folder: &TempDir) -> PathBuf {
    let own = folder.path().join("own");
    fs::create_dir(&own).expect("it is new");
    own
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
