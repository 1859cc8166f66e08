//! A kubelet as thin as it can be, around `podman kube play`: containers in their order, startup
//! probes, restarts. [`adapt`] lists all in which a pod differs from its manifest.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that can't go on fails the test that called it"
)]

pub mod adapt;
pub mod manifest;
pub mod process;
pub mod volumes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use self::adapt::{Around, adapted};
use self::manifest::Manifest;
use self::process::Process;
use self::volumes::Volumes;
use super::host::with_own_mounts;
use super::kubernetes::named;
use super::podman::{Podman, static_agent_and_shell};
use super::sidecar::free_port;
use super::{Scene, until};
use crate::dev_vault::Options;

/// The agent's image, as the last stage of the Dockerfile makes it.
const AGENT: &str = "\
FROM scratch
COPY segura-agent /segura-agent
USER 65532:65532
ENTRYPOINT [\"/segura-agent\"]
";
const APP: &str = "\
FROM scratch
COPY busybox /bin/sh
COPY server reload /app/
ENTRYPOINT [\"/app/server\"]
";
/// Answers one request, and shows it with the password that is published.
const RELOAD: &str = r#"#!/bin/sh
read -r method path version
while read -r line && [ "${#line}" -gt 1 ]; do :; done
printf 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'
echo "notified by $method $path: <$(cat /run/secrets/segura/my-secret/password)>" >&2
"#;
/// The namespace of all pods.
pub const NAMESPACE: &str = "shop";

/// A machine with a vault beside it, and the images that the manifests name.
pub struct Node {
    podman: Podman,
    pub scene: Scene,
}

/// A pod on a node.
pub struct Pod<'a> {
    node: &'a Node,
    template: Value,
    played: Value,
    name: String,
    volumes: Volumes,
}

/// When a container's turn comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Init,
    Sidecar,
    Main,
}

/// Runs a test with a node whose app is this script; skips aloud where this machine can't be one.
pub fn on_a_node(test: &str, server: &str, run: impl FnOnce(&Node) + Send) {
    let Some((agent, shell)) = static_agent_and_shell(test) else {
        return;
    };
    with_own_mounts(test, || run(&Node::new(&agent, &shell, server)));
}

impl Node {
    fn new(agent: &Path, shell: &Path, server: &str) -> Self {
        let podman = Podman::new();
        let scripts = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let script = |name: &str, text: &str| {
            let path = scripts.path().join(name);
            fs::write(&path, text).expect("it is new");
            super::host::set_mode(&path, 0o755);
            path
        };
        let (server, reload) = (script("server", server), script("reload", RELOAD));
        podman.build("segura-agent:0.1.0", AGENT, &[(agent, "segura-agent")]);
        let files = [(shell, "busybox"), (&*server, "server"), (&*reload, "reload")];
        podman.build("app:1.0.0", APP, &files);
        let scene = Scene::with(Options { demo_secrets: false, ..Options::default() });
        scene.vault.put_secret(json!({
            "identity": "my-secret", "rotates": true,
            "data": {"username": "shop", "password": "first"},
        }));
        Self { podman, scene }
    }

    /// A variable by which the vault says how it is reached.
    fn variable(&self, name: &str) -> String {
        let variable = self.scene.vault.env().into_iter().find(|(known, _)| known == name);
        variable.unwrap_or_else(|| panic!("the vault tells {name}")).1
    }

    /// The client secret, which no container but the agent's may have.
    pub fn client_secret(&self) -> String {
        self.variable("SEGURA_CLIENT_SECRET")
    }

    /// A new pod of a workload, by the name that its controller would give it, which does not run yet.
    pub fn pod(&self, manifest: &Manifest, name: &str) -> Pod<'_> {
        let template = manifest.workload().1.clone();
        let [url, id, secret, ca] = ["URL", "CLIENT_ID", "CLIENT_SECRET", "CA_FILE"]
            .map(|n| self.variable(&format!("SEGURA_{n}")));
        let ca = fs::read_to_string(ca).expect("the vault's authority");
        let pair = [("client-id", id.as_str()), ("client-secret", secret.as_str())];
        let mut files = pair.map(|(file, text)| ("segura-authorization", file, text)).to_vec();
        files.push(("segura-ca", "ca.crt", &ca));
        // A pod by a controller has another UID each time.
        let uid = format!("00000000-0000-4000-8000-{:012x}", fastrand::u64(..1 << 48));
        let mut around = Around {
            name,
            uid: &uid,
            namespace: NAMESPACE,
            url: &url,
            client: pair,
            volumes: Path::new(""),
            port: free_port(),
        };
        let mut whole = template.clone();
        adapt::authority(&mut whole);
        let volumes = Volumes::of(&whole, &files);
        around.volumes = volumes.path();
        let played = adapted(&template, &around);
        Pod { node: self, template, played, name: name.to_owned(), volumes }
    }
}

impl Pod<'_> {
    /// Starts all containers as the kubelet does, each when its turn has come; a native sidecar's turn
    /// is over when its startup probe succeeds.
    #[track_caller]
    pub fn start(&self) {
        self.create(|container| !reads_files(container));
        for (container, turn) in self.order() {
            if reads_files(self.container(&container)) {
                self.remove();
                self.create(reads_files);
            }
            self.run(&container);
            match turn {
                Turn::Init => assert_eq!(self.code(&container), "0", "{}", self.logs(&container)),
                Turn::Sidecar => self.until_started(&container),
                Turn::Main => {}
            }
        }
    }

    /// Starts a container that has ended, as the kubelet does: again, as long as podman still cleans
    /// up after the end.
    #[track_caller]
    pub fn run(&self, container: &str) {
        let full = self.full(container);
        let start = || self.node.podman.command("start").arg(&full).output();
        let started = || start().is_ok_and(|output| output.status.success());
        until(&format!("{container} starts"), started);
    }

    /// Waits until a container's startup probe succeeds, asking more often than the kubelet would.
    #[track_caller]
    pub fn until_started(&self, container: &str) {
        let probe = &self.container(container)["startupProbe"];
        let command = probe["exec"]["command"].as_array().expect("a probe that is a command");
        let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
        until("the startup probe succeeds", || self.exec(container, &words).status.success());
    }

    /// Kills a container, as the kernel does when memory is short.
    #[track_caller]
    pub fn kill(&self, container: &str) {
        self.podman(&["kill", "--signal=KILL"], &[container]);
        self.code(container);
    }

    /// Ends the containers as the kubelet does: those of the pod first, then native sidecars from the
    /// last to the first. Nothing here needs SIGKILL, so none is sent.
    #[track_caller]
    pub fn stop(&self) {
        let order = self.order();
        let of = |turn| order.iter().filter(move |(_, own)| *own == turn);
        let mains: Vec<&str> = of(Turn::Main).map(|(name, _)| name.as_str()).collect();
        self.end(&mains);
        for (sidecar, _) in of(Turn::Sidecar).rev() {
            self.end(&[sidecar]);
        }
    }

    /// Sends SIGTERM to the first processes of those that run, and waits for their end.
    #[track_caller]
    fn end(&self, containers: &[&str]) {
        let running = containers.iter().copied().filter(|container| self.is_running(container));
        let running: Vec<&str> = running.collect();
        if !running.is_empty() {
            self.podman(&["kill", "--signal=TERM"], &running);
        }
        for container in running {
            until(&format!("{container} ends"), || !self.is_running(container));
        }
    }

    /// Ends the pod for good, as it is deleted.
    #[track_caller]
    pub fn delete(self) {
        self.stop();
        self.remove();
    }

    /// Makes a new sandbox and runs all containers in it, the init containers too: what the kubelet does
    /// after a reboot, or when the sandbox was lost. Volumes stay.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        self.remove();
        self.start();
    }

    #[track_caller]
    fn remove(&self) {
        self.node.podman.run_to_success(
            self.node.podman.command("pod").args(["rm", "--force", "--time=0", &self.name]),
        );
    }

    /// The log of a container so far in this sandbox.
    pub fn logs(&self, container: &str) -> String {
        self.node.podman.logs(&self.full(container))
    }

    /// Waits until the log of a container holds this.
    #[track_caller]
    pub fn until_logged(&self, container: &str, part: &str) {
        until(&format!("{container} logs {part:?}"), || self.logs(container).contains(part));
    }

    /// Waits for a container's end, and gives its code.
    #[track_caller]
    pub fn code(&self, container: &str) -> String {
        self.node.podman.code(&self.full(container))
    }

    /// Whether a container is running.
    pub fn is_running(&self, container: &str) -> bool {
        self.inspect(container, "{{.State.Running}}") == "true"
    }

    /// Runs a command in a container.
    pub fn exec(&self, container: &str, words: &[&str]) -> Output {
        let mut exec = self.node.podman.command("exec");
        exec.arg(self.full(container)).args(words).output().expect("podman was found before")
    }

    /// The folder of a volume, as the node sees it.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes.volume(name)
    }

    /// A container's first process.
    #[track_caller]
    pub fn process(&self, container: &str) -> Process {
        Process::new(&self.inspect(container, "{{.State.Pid}}"))
    }

    /// What podman knows of a container.
    pub fn inspect(&self, container: &str, format: &str) -> String {
        let mut inspect = self.node.podman.command("inspect");
        inspect.args(["--format", format, &self.full(container)]);
        self.node.podman.run_to_success(&mut inspect).trim().to_owned()
    }

    /// A container as the manifest has it.
    #[track_caller]
    pub fn container(&self, name: &str) -> &Value {
        let mut lists = ["initContainers", "containers"].iter();
        let found = lists.find_map(|list| named(&self.template["spec"][list], name));
        found.unwrap_or_else(|| panic!("{} has no container {name}", self.name))
    }

    /// All containers in the order of their start.
    fn order(&self) -> Vec<(String, Turn)> {
        let list = |list: &str| self.template["spec"][list].as_array().cloned().unwrap_or_default();
        let name = |container: &Value| container["name"].as_str().unwrap_or_default().to_owned();
        let inits = list("initContainers").into_iter().map(|container| {
            let goes_on = container["restartPolicy"] == "Always";
            (name(&container), if goes_on { Turn::Sidecar } else { Turn::Init })
        });
        inits.chain(list("containers").iter().map(|main| (name(main), Turn::Main))).collect()
    }

    /// Has podman make those containers, none of which runs yet.
    #[track_caller]
    fn create(&self, wanted: impl Fn(&Value) -> bool) {
        let mut pod = self.played.clone();
        let containers = pod["spec"]["containers"].as_array_mut().expect("a pod has containers");
        containers.retain(wanted);
        for entry in containers.iter_mut().flat_map(|own| own["env"].as_array_mut()).flatten() {
            if entry["valueFrom"]["fileKeyRef"].is_object() {
                *entry = json!({"name": entry["name"], "value": self.entry(&entry["valueFrom"])});
            }
        }
        let file = self.volumes.path().join("pod.yaml");
        fs::write(&file, pod.to_string()).expect("the folder is ours");
        let mut play = self.node.podman.command("kube");
        self.node.podman.run_to_success(play.args(["play", "--start=false"]).arg(&file));
    }

    /// The entry of a file that `fileKeyRef` names, by the kubelet's rules for a value of one line.
    #[track_caller]
    fn entry(&self, from: &Value) -> String {
        let word = |name: &str| from["fileKeyRef"][name].as_str().unwrap_or_default();
        let file = self.volume(word("volumeName")).join(word("path"));
        let text = fs::read_to_string(&file).expect("the init container has written it");
        let start = format!("{}='", word("key"));
        let mut values =
            text.lines().filter_map(|line| line.strip_prefix(&start)?.strip_suffix('\''));
        values.next().unwrap_or_else(|| panic!("{} has no {start}", file.display())).to_owned()
    }

    #[track_caller]
    fn podman(&self, words: &[&str], containers: &[&str]) {
        let [verb, options @ ..] = words else { return };
        let mut command = self.node.podman.command(verb);
        command.args(options).args(containers.iter().map(|container| self.full(container)));
        self.node.podman.run_to_success(&mut command);
    }

    fn full(&self, container: &str) -> String {
        format!("{}-{container}", self.name)
    }
}

/// Whether a container has entries of files in its environment.
fn reads_files(container: &Value) -> bool {
    container["env"].to_string().contains("fileKeyRef")
}
