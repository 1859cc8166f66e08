//! Pods as users write them: the binary installed by an init container of our image, and the app of
//! another image wrapped by it, with a vault of its own or beside a sidecar.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{
    Scene, lines,
    podman::{FS_GROUP, Podman, USER, static_agent_and_shell},
    secret::change,
    until,
};

const AGENT: &str = "localhost/segura-agent";
const AGENT_RECIPE: &str = "\
FROM scratch
COPY segura-agent /segura-agent
ENTRYPOINT [\"/segura-agent\"]
";
const APP: &str = "localhost/app";
const APP_RECIPE: &str = "\
FROM scratch
COPY busybox /bin/sh
COPY busybox /bin/sleep
COPY busybox /bin/grep
";
/// Shows whose child it is, what it has and how little it may; has an end of its own.
const SCRIPT: &str = r#"
trap 'exit 42' TERM
echo "child of $PPID has <$password> and <$SEGURA_CLIENT_SECRET$SEGURA_URL>"
grep -E '^(Uid|CapBnd|NoNewPrivs)' /proc/self/status
touch /file 2>/dev/null || echo read-only
sleep 600 & wait
"#;

/// Images of the agent alone and of an app without it, and a secret that is asked for every second.
fn prepared(test: &str) -> Option<(Podman, Scene)> {
    let (agent, shell) = static_agent_and_shell(test)?;
    let podman = Podman::new();
    podman.build(AGENT, AGENT_RECIPE, &[(&agent, "segura-agent")]);
    podman.build(APP, APP_RECIPE, &[(&shell, "busybox")]);
    let mut scene = Scene::new();
    scene.settle_in_pod();
    scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "app");
    scene.set("SEGURA_RENEW_INTERVAL", "1s").set("SEGURA_RESTART_SPLAY", "0s");
    change(&scene, "one");
    Some((podman, scene))
}

/// The pod's own variables.
fn settings(scene: &Scene) -> Value {
    scene.variables().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn mounted(name: &str, path: &str, read_only: bool) -> Value {
    json!({"name": name, "mountPath": path, "readOnly": read_only})
}

/// A container of our image.
fn agent(name: &str, words: &[&str], env: Value, volumes: &[Value]) -> Value {
    json!({
        "name": name, "image": AGENT, "imagePullPolicy": "Never", "args": words, "env": env,
        "volumeMounts": volumes, "securityContext": restricted(),
    })
}

/// The app, run by the binary that was installed beside it.
fn app(env: Value, volumes: &[Value]) -> Value {
    let installed = mounted("opt", "/opt/segura", true);
    let volumes: Vec<&Value> = volumes.iter().chain([&installed]).collect();
    // Podman reads no text that begins with an empty line.
    let script = SCRIPT.trim_start();
    let words = ["/opt/segura/segura-agent", "exec", "--", "/bin/sh", "-c", script];
    json!({
        "name": "app", "image": APP, "imagePullPolicy": "Never", "command": words, "env": env,
        "volumeMounts": volumes, "securityContext": restricted(),
    })
}

fn restricted() -> Value {
    json!({
        "runAsUser": USER, "runAsGroup": USER, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
    })
}

/// Plays a pod whose first container installs the binary for the others.
fn play(podman: &Podman, scene: &Scene, containers: &[Value]) {
    let install = mounted("opt", "/opt/segura", false);
    let install = agent("install", &["install", "/opt/segura"], json!([]), &[install]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"},
        "spec": {
            "hostNetwork": true, "restartPolicy": "Never",
            "securityContext": {"fsGroup": FS_GROUP, "supplementalGroups": [FS_GROUP]},
            "initContainers": [install], "containers": containers,
            "volumes": [
                {"name": "opt", "emptyDir": {}},
                // Podman puts an emptyDir on its disk, whatever its medium.
                {"name": "segura", "hostPath": {"path": scene.dir.path(), "type": "Directory"}},
                {"name": "vault", "hostPath": {"path": scene.vault.dir(), "type": "Directory"}},
            ],
        },
    });
    let file = scene.vault.dir().join("pod.yaml");
    fs::write(&file, pod.to_string()).expect("the vault's directory is ours");
    podman.run_to_success(podman.command("kube").arg("play").arg(&file));
}

/// Waits until the app has what is published, and may nothing.
#[track_caller]
fn assert_has(podman: &Podman, password: &str) {
    let line = format!("child of 1 has <{password}> and <>");
    until("the app has what is published", || podman.logs("shop-app").contains(&line));
    let rights = format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}");
    for part in [rights.as_str(), "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "read-only\n"] {
        until("it shows what it may", || podman.logs("shop-app").contains(part));
    }
}

#[test]
fn an_app_of_another_image_runs_with_its_secrets_and_ends_with_its_own_code() {
    let Some((podman, scene)) =
        prepared("an_app_of_another_image_runs_with_its_secrets_and_ends_with_its_own_code")
    else {
        return;
    };
    let volumes =
        [mounted("segura", "/run/secrets/segura", false), mounted("vault", "/vault", true)];
    play(&podman, &scene, &[app(settings(&scene), &volumes)]);
    assert_has(&podman, "one");
    change(&scene, "two");
    assert_has(&podman, "two");
    podman.run_to_success(podman.command("pod").args(["stop", "--time=60", "shop"]));
    assert_eq!(podman.code("shop-app"), "42", "{}", podman.logs("shop-app"));
    assert_eq!(scene.read("app/password"), "two");
}

#[test]
fn an_app_beside_a_sidecar_needs_neither_a_vault_nor_a_right_to_write() {
    let Some((podman, scene)) =
        prepared("an_app_beside_a_sidecar_needs_neither_a_vault_nor_a_right_to_write")
    else {
        return;
    };
    let volumes =
        [mounted("segura", "/run/secrets/segura", false), mounted("vault", "/vault", true)];
    let sidecar = agent("sidecar", &["sidecar"], settings(&scene), &volumes);
    let splay = json!([{"name": "SEGURA_RESTART_SPLAY", "value": "0s"}]);
    let app = app(splay, &[mounted("segura", "/run/secrets/segura", true)]);
    play(&podman, &scene, &[app, sidecar]);
    assert_has(&podman, "one");
    change(&scene, "two");
    assert_has(&podman, "two");
    let said = podman.logs("shop-app");
    assert!(said.contains(lines::READS), "{said}");
    podman.run_to_success(podman.command("pod").args(["stop", "--time=60", "shop"]));
    assert_eq!(podman.code("shop-app"), "42", "{}", podman.logs("shop-app"));
    assert_eq!(podman.code("shop-sidecar"), "0", "{}", podman.logs("shop-sidecar"));
}
