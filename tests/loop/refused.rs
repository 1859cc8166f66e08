//! A final refusal ends no start that has a set, where sets are kept.

use crate::harness::{Scene, side_by_side, sidecar::Sidecar, until};

/// A way to be refused for good.
type Refusal = (&'static str, fn(&Scene));

const REFUSALS: [Refusal; 2] = [
    ("another client secret", |scene| scene.vault.set_client_secret("another")),
    ("an inactive authorization", |scene| scene.vault.set_enabled(false)),
];

/// A set that is due; a vault that refuses the agent for good.
fn refused(refuse: fn(&Scene)) -> Scene {
    let mut scene = Scene::with_due_set();
    scene.set("SEGURA_RESTART_SPLAY", "0s");
    refuse(&scene);
    scene
}

#[test]
fn a_set_is_served_with_a_warning_and_check_says_why() {
    side_by_side(REFUSALS, |(what, refuse)| {
        let scene = refused(refuse);
        let files = scene.published();
        let run = scene.init();
        run.exits(0);
        let warned =
            run.stderr.lines().find(|line| line.contains("could not be renewed and stays"));
        assert!(warned.is_some_and(|line| line.contains("\"WARN\"")), "{what}: {}", run.stderr);
        assert!(warned.is_some_and(|line| line.contains("hint")), "{what}: {}", run.stderr);
        assert_eq!(scene.published(), files, "{what}");
        let (started, line) = scene.check("started");
        assert!(started && line.contains("last failure: refused"), "{what}: {line}");

        let command = Sidecar::spawn(scene.agent(&["exec", "--", "/bin/sh", "-c", "exit 5"]));
        assert_eq!(command.wait().code, Some(5), "{what}");

        let sidecar = scene.renewing_sidecar();
        until("the failure is counted", || scene.failures() > 1);
        let (ready, line) = scene.check("ready");
        assert!(ready && line.contains("last failure: refused"), "{what}: {line}");
        sidecar.stop();
        assert_eq!(scene.published(), files, "{what}");
    });
}

#[test]
fn a_refusal_ends_a_start_where_sets_are_removed_or_there_is_none() {
    side_by_side(REFUSALS, |(what, refuse)| {
        let mut scene = refused(refuse);
        let files = scene.published();
        scene.set("SEGURA_ON_ABSENT", "remove");
        let run = scene.init();
        assert!(run.exits(77).hint().is_some(), "{what}: {}", run.stderr);
        assert_eq!(scene.published(), files, "{what}");

        let scene = Scene::new();
        refuse(&scene);
        let run = scene.init();
        assert!(run.exits(77).hint().is_some(), "{what}: {}", run.stderr);
        assert_eq!(scene.vault.provision_count(), 0, "{what}");
    });
}
