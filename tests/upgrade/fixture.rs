//! A recorded set in the directory of its pod, and what is seen of it.

#![expect(
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::recording::{Age, Recording};
use super::sets::{CLIENT_ID, Fate, LeftBy, NAME, PENDING, RECORDED, Set, TEMPLATE};
use crate::dev_vault::requests::{DEPROVISION, PROVISION, READ};
use crate::{
    dev_vault::Options,
    harness::{
        SEED, Scene,
        host::{can_switch_user, mode, owner},
        sidecar::Sidecar,
        until,
    },
};

/// Prints the password, and ends with 5 once its standard input ends.
const SHOWS: &str = r#"echo "<${password-$secret_postman_password}>"; read -r _; exit 5"#;

/// One recording in the directory of its pod, beside a vault.
pub struct Fixture {
    /// Version and name, for messages.
    pub name: String,
    pub scene: Scene,
    set: &'static Set,
    recording: Recording,
}

/// View of a reader: bytes, mode and owner by path, and the generation they are in.
#[derive(Debug, PartialEq)]
pub struct Shown {
    pub files: BTreeMap<String, File>,
    pub data: Option<PathBuf>,
}

/// Bytes, mode, and owner and group of a file.
type File = (Vec<u8>, u32, Option<(u32, u32)>);

/// Every recording of a fate that this host can lay out.
pub fn recorded(test: &str, fate: Fate) -> Vec<Fixture> {
    let rows =
        RECORDED.iter().flat_map(|(version, sets)| sets.iter().map(move |set| (version, set)));
    let fixture =
        rows.map(|(version, set)| Fixture::new(version, set, &set.recording(fate), CLIENT_ID));
    let (foreign, mut fixture): (Vec<_>, Vec<_>) =
        fixture.partition(|fixture| fixture.recording.needs_root());
    if can_switch_user(&format!("{test}, files of another uid")) {
        fixture.extend(foreign);
    }
    fixture
}

/// The first set of each version, live, for a client of the vault.
pub fn first_of_each(client_id: &str) -> Vec<Fixture> {
    first(|set| set.recording(Fate::Live), client_id)
}

/// The directory of each version in which nothing but a POST was under way.
pub fn pending_of_each() -> Vec<Fixture> {
    first(|_| PENDING.to_owned(), CLIENT_ID)
}

fn first(name: impl Fn(&Set) -> String, client_id: &str) -> Vec<Fixture> {
    let rows = RECORDED.iter().map(|(version, sets)| (version, &sets[0]));
    rows.map(|(version, set)| Fixture::new(version, set, &name(set), client_id)).collect()
}

impl Fixture {
    /// The pod and the vault of a recording, whose directory is still empty.
    fn new(version: &str, set: &'static Set, name: &str, client_id: &str) -> Self {
        let client_id = Some(client_id.to_owned());
        let mut scene = Scene::with(Options { client_id, ..Options::default() });
        let templates = scene.vault.dir().join("templates");
        fs::create_dir(&templates).expect("the vault's directory is ours");
        fs::write(templates.join(TEMPLATE.0), TEMPLATE.1).expect("it is new");
        for (name, value) in set.settings(&templates.display().to_string()) {
            scene.set(name, value);
        }
        scene.set("SEGURA_STARTUP_TIMEOUT", "1m").set("SEGURA_RESTART_SPLAY", "0s");
        let recording = Recording::read(version, name);
        Self { name: format!("{version}, {name}"), scene, set, recording }
    }

    /// Lays the directory out as one of this vault.
    pub fn lay_out(&self, age: Age) {
        let url = self.scene.vault.url();
        self.recording.lay_out(self.scene.dir.path(), Some(&url), age);
    }

    /// Lays the directory out as one of the vault that it was recorded with.
    pub fn lay_out_as_recorded(&self) {
        self.recording.lay_out(self.scene.dir.path(), None, Age::Fresh);
    }

    /// Has the vault know each secret as the set has it: its version and its entries.
    pub fn store_in_vault(&self) {
        let values = self.recording.values();
        for secret in self.secrets() {
            let identity = secret["identity"].as_str().expect("a text");
            let (version, data) = (&secret["version"], &values[identity]);
            self.scene.vault.put_secret(format!(
                r#"{{"identity": "{identity}", "version": {version}, "data": {data}}}"#
            ));
        }
    }

    /// Has the vault know no password of any secret, as before a provisioning.
    pub fn clear_vault_passwords(&self) {
        for secret in self.secrets() {
            let identity = secret["identity"].as_str().expect("a text");
            self.scene.vault.set_data(identity, json!({ "hostname": "stripped" }));
        }
    }

    /// The secrets that the recorded state names.
    pub fn secrets(&self) -> Vec<Value> {
        let state = self.recording.state().expect("a set was published");
        state["secrets"].as_array().expect("a list").clone()
    }

    /// The `secret_id` of each of them, sorted.
    pub fn ids(&self) -> Vec<String> {
        sorted_ids(&self.secrets())
    }

    /// The same of each request to deprovision; asserts that it names the pod.
    #[track_caller]
    pub fn deprovisioned_ids(&self) -> Vec<String> {
        let requests = self.scene.vault.requests().into_iter();
        let bodies = requests.filter(|request| request.is("POST", "/deprovision")).map(|request| {
            let body: Value = serde_json::from_str(&request.body).expect("JSON");
            assert_eq!(body["pod_name"], NAME, "{}", self.name);
            body
        });
        sorted_ids(&bodies.collect::<Vec<_>>())
    }

    /// How many identities the pod asks for.
    pub fn identities(&self) -> usize {
        let identities = self.set.settings("").filter(|(name, _)| *name == "SEGURA_IDENTITY");
        identities.last().expect("the pod's").1.split(',').count()
    }

    /// How many notifications the agent that left the set still owed.
    pub fn pending_notifications(&self) -> usize {
        usize::from(self.set.left_by == LeftBy::Init)
    }

    /// The password that the set has.
    pub fn password(&self) -> String {
        let values = self.recording.values();
        let entries: Vec<BTreeMap<String, String>> =
            serde_json::from_str(values[SEED].get()).expect("entries of strings");
        entries.iter().rev().find_map(|entry| entry.get("password")).expect("it has one").clone()
    }

    /// The command line of `exec` around a command that shows the password.
    pub fn agent_of_exec(&self) -> Command {
        let mut command = self.scene.agent(&["exec", "--", "/bin/sh", "-c", SHOWS]);
        command.stdin(Stdio::piped());
        command
    }

    /// Starts `exec` around that command.
    pub fn exec(&self) -> Sidecar {
        Sidecar::spawn(self.agent_of_exec())
    }

    pub fn shown(&self) -> Shown {
        let files = self.scene.published().into_iter().map(|(path, bytes)| {
            let full = self.scene.path(&path);
            (path, (bytes, mode(&full), owner(&full)))
        });
        Shown { files: files.collect(), data: fs::read_link(self.scene.path("..data")).ok() }
    }

    /// The answers to `check started`, `check ready` and `check live`.
    pub fn checks(&self) -> [bool; 3] {
        ["started", "ready", "live"].map(|question| self.scene.check(question).0)
    }

    #[track_caller]
    pub fn assert_checks(&self, expected: [bool; 3]) {
        assert_eq!(self.checks(), expected, "{}: started, ready, live", self.name);
    }

    /// Asserts how often the vault was asked to provision.
    #[track_caller]
    pub fn assert_posts(&self, expected: usize) {
        assert_eq!(
            self.scene.count(PROVISION),
            expected,
            "{}: {:?}",
            self.name,
            self.scene.request_lines()
        );
    }

    /// Asserts that the set is published as before, and that nothing was provisioned for that or
    /// deprovisioned.
    #[track_caller]
    pub fn assert_adopted(&self, before: &Shown) {
        assert_eq!(self.shown(), *before, "{}", self.name);
        assert_eq!(self.scene.state()["generation"], 1, "{}", self.name);
        self.assert_posts(0);
        assert_eq!(self.scene.count(DEPROVISION), 0, "{}", self.name);
    }

    /// Waits until the set was read twice, which brings nothing new.
    #[track_caller]
    pub fn until_renewed(&self) {
        let reads = self.scene.count(READ) + 2 * self.identities();
        until(&format!("{} is renewed", self.name), || self.scene.count(READ) >= reads);
    }

    /// Waits until a generation is published, and nobody is left to be notified of it.
    #[track_caller]
    pub fn until_notified(&self, generation: u64) {
        until(&format!("{}: {generation} is notified", self.name), || {
            let state = fs::read(self.scene.path(".segura.json")).unwrap_or_default();
            let state: Value = serde_json::from_slice(&state).unwrap_or_default();
            state["generation"] == generation && state["notified"] == generation
        });
    }

    /// Waits until the command has run so often, and asserts what each run was given.
    #[track_caller]
    pub fn until_given(&self, agent: &Sidecar, expected: &[&str]) {
        let runs = || agent.stdout().lines().count();
        until(&format!("{}: the command runs", self.name), || runs() >= expected.len());
        let expected: Vec<String> = expected.iter().map(|value| format!("<{value}>")).collect();
        assert_eq!(agent.stdout().lines().collect::<Vec<_>>(), expected, "{}", self.name);
    }
}

fn sorted_ids(objects: &[Value]) -> Vec<String> {
    let id = |object: &Value| object["secret_id"].as_str().expect("a text").to_owned();
    let mut ids: Vec<String> = objects.iter().map(id).collect();
    ids.sort();
    ids
}
