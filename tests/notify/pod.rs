//! A pod whose containers share their processes: the sidecar signals the app in the other one.

use std::fs;

use crate::harness::host::set_mode;
use crate::harness::podman::{Podman, static_agent_and_shell};
use crate::harness::secret::{change, scene, until_notified};
use crate::harness::until;

const IMAGE: &str = "localhost/segura-agent-and-shell";
const RECIPE: &str = "\
FROM scratch
COPY segura-agent /segura-agent
COPY busybox /bin/sh
COPY busybox /bin/sleep
";
/// Writes down each signal and the value that is published at it.
const APP: &str = r#"
signalled() { read -r value </run/secrets/segura/app/password; echo "$1 $value" >>/app/log; }
trap 'signalled HUP' HUP
echo ready >>/app/log
while :; do sleep 1; done
"#;

#[test]
fn a_sidecar_signals_the_app_in_another_container_of_its_pod() {
    let test = "a_sidecar_signals_the_app_in_another_container_of_its_pod";
    let Some((binary, shell)) = static_agent_and_shell(test) else {
        return;
    };
    let podman = Podman::new();
    podman.build(IMAGE, RECIPE, &[(&binary, "segura-agent"), (&shell, "busybox")]);
    let mut scene = scene();
    scene.settle_in_pod();
    let app = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(app.path().join("shop.sh"), APP).unwrap();
    set_mode(app.path(), 0o777);
    scene.set("SEGURA_SIGNAL_PROCESS", "shop.sh");

    let mut pod = podman.command("pod");
    podman.run_to_success(pod.args(["create", "--name=shop", "--share=pid"]));
    let secrets = (scene.dir.path(), "/run/secrets/segura");
    let mut main = podman.restricted_run(&[secrets, (app.path(), "/app")]);
    main.args(["--detach", "--pod=shop", "--name=main"]);
    podman.run_to_success(main.args([IMAGE, "/bin/sh", "/app/shop.sh"]));
    let log = || fs::read_to_string(app.path().join("log")).unwrap_or_default();
    until("the app is ready", || log() == "ready\n");

    let mut sidecar = podman.restricted_run(&[secrets, (scene.vault.dir(), "/vault:ro")]);
    sidecar.args(["--detach", "--pod=shop", "--name=sidecar"]);
    sidecar.args(scene.env_options());
    podman.run_to_success(sidecar.args([IMAGE, "/segura-agent", "sidecar"]));
    until("the app is notified of the first set", || log() == "ready\nHUP one\n");
    until_notified(&scene);
    change(&scene, "two");
    until("the app is notified of a change", || log() == "ready\nHUP one\nHUP two\n");
    until_notified(&scene);
    podman.run_to_success(podman.command("stop").args(["--time=60", "sidecar"]));
    let said = podman.logs("sidecar");
    assert!(!said.contains(" WARN "), "{said}");
    assert!(said.contains("shop.sh (pid "), "{said}");
    assert_eq!(podman.code("sidecar"), "0", "{said}");
}
