//! The static binary alone in an image, as the most restricted of pods runs it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

use crate::dev_vault::requests::{LOGIN, PROVISION};
use crate::harness::{
    SEED, Scene,
    host::set_mode,
    podman::{FS_GROUP, Podman, USER, static_agent},
};

const IMAGE: &str = "localhost/segura-agent-alone";
const RECIPE: &str = "\
FROM scratch
COPY segura-agent /segura-agent
USER 65532:65532
ENTRYPOINT [\"/segura-agent\"]
";

/// Runs `init` as the pod of a scene.
fn init(podman: &Podman, scene: &Scene, termination_log: &Path) -> Output {
    let mut run = podman.restricted_run(&[
        (scene.dir.path(), "/run/secrets/segura"),
        (scene.vault.dir(), "/vault:ro"),
        (termination_log, "/dev/termination-log"),
    ]);
    run.args(scene.env_options());
    run.args(["--rm", IMAGE, "init"]).output().expect("podman was found before")
}

#[test]
fn the_seed_secret_is_published_from_an_empty_image_without_capabilities() {
    let Some(binary) =
        static_agent("the_seed_secret_is_published_from_an_empty_image_without_capabilities")
    else {
        return;
    };
    let podman = Podman::new();
    podman.build(IMAGE, RECIPE, &[(&binary, "segura-agent")]);
    let mut scene = Scene::new();
    scene.settle_in_pod();
    // As the kubelet prepares its termination log, for anyone.
    let log = scene.vault.dir().join("termination-log");
    fs::write(&log, "").unwrap();
    set_mode(&log, 0o666);
    scene.set("SEGURA_OUTPUT", "files,env,json");

    let run = init(&podman, &scene, &log);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.stdout.is_empty());
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    let provisioned = scene.vault.provisioned(SEED);
    assert_eq!(provisioned.len(), 1);
    for (path, bytes) in [
        ("secret-postman/username", provisioned[0].username.as_str()),
        ("secret-postman/password", provisioned[0].password.as_str()),
        ("secret-postman/1/username", "usera2a"),
        ("secret-postman/ip", "10.66.32.13"),
        ("secret-postman/additional_information", ""),
    ] {
        assert_eq!(scene.read(path), bytes, "{path}");
    }
    for (path, mode) in [
        ("secret-postman/ip", 0o440),
        ("secrets.env", 0o440),
        ("secrets.json", 0o440),
        (".segura.json", 0o440),
        ("secret-postman", 0o2750),
        ("..data", 0o2750),
    ] {
        let found = fs::metadata(scene.path(path)).unwrap();
        let seen = (found.uid(), found.gid(), found.mode() & 0o7777);
        assert_eq!(seen, (USER, FS_GROUP, mode), "{path}");
    }
    assert_eq!(fs::read(&log).unwrap(), b"");

    // The container starts again: no request is sent. And as another authorization: it is told why.
    let again = init(&podman, &scene, &log);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(scene.vault.provision_count(), 1);
    scene.set("SEGURA_POD_NAME", "another-0").set("SEGURA_CLIENT_SECRET", "another");
    let refused = init(&podman, &scene, &log);
    assert_eq!(refused.status.code(), Some(77), "{}", String::from_utf8_lossy(&refused.stderr));
    let reported = fs::read_to_string(&log).unwrap();
    assert!(reported.starts_with("segura-agent: "), "{reported}");
    assert_eq!(scene.read("secret-postman/password"), provisioned[0].password);
}
