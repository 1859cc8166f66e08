//! Processes that are told by name.

use super::agent::{
    after_passes, change, change_with_ttl, generations, scene, until_published, until_told,
};
use super::app::App;
use crate::harness::lines;
use crate::harness::side_by_side;

#[test]
fn the_head_of_a_family_is_told_once_for_each_change_of_bytes() {
    side_by_side(["HUP", "USR1", "RTMIN+3"], |signal| {
        let mut scene = scene();
        let app = App::new(&scene);
        let mut running = app.runs();
        scene.set("SEGURA_SIGNAL_PROCESS", app.name()).set("SEGURA_SIGNAL", signal);
        let sidecar = scene.sidecar();
        let one = format!("head {signal} one");
        app.until_told(&[&one]);
        until_told(&scene);
        assert_eq!(generations(&scene), (1, 1));

        // The same bytes with a newer version, then with another lifetime.
        change(&scene, "one");
        after_passes(&scene, 2);
        assert_eq!(generations(&scene), (1, 1));
        change_with_ttl(&scene, "one", "1800");
        after_passes(&scene, 1);
        assert_eq!(scene.read("app/TTL"), "1800");
        assert_eq!(generations(&scene), (2, 2));

        change(&scene, "two");
        let two = format!("head {signal} two");
        app.until_told(&[&one, &two]);
        after_passes(&scene, 2);
        assert_eq!(app.told(), [one, two]);
        assert_eq!(generations(&scene), (3, 3));
        assert!(running.lives());
        assert_eq!(sidecar.complaints(), Vec::<String>::new());
        sidecar.stop();
    });
}

#[test]
fn who_is_younger_than_the_publish_or_has_no_handler_yet_is_not_disturbed() {
    let cases: [fn(); 4] = [
        who_was_told_is_left_alone_while_others_are_not_yet,
        a_process_that_starts_after_the_publish_is_left_alone,
        a_process_without_a_handler_is_told_once_it_has_one,
        a_process_that_restarts_instead_is_not_told,
    ];
    side_by_side(cases, |case| case());
}

fn a_process_that_starts_after_the_publish_is_left_alone() {
    let mut scene = scene();
    let app = App::new(&scene);
    scene.set("SEGURA_SIGNAL_PROCESS", app.name());
    let sidecar = scene.sidecar();
    until_published(&scene, "one");
    until_told(&scene);
    let running = app.runs();
    after_passes(&scene, 2);
    assert_eq!(app.told(), [""; 0]);
    change(&scene, "two");
    app.until_told(&["head HUP two"]);

    // It starts anew, as another process, while nothing changes.
    let before = running.pid();
    drop(running);
    let running = app.runs();
    assert_ne!(running.pid(), before);
    after_passes(&scene, 1);
    change(&scene, "three");
    app.until_told(&["head HUP two", "head HUP three"]);
    until_told(&scene);
    sidecar.stop();
}

fn a_process_without_a_handler_is_told_once_it_has_one() {
    let mut scene = scene();
    let app = App::new(&scene);
    app.waits();
    let mut running = app.runs();
    scene.set("SEGURA_SIGNAL_PROCESS", app.name());
    let sidecar = scene.sidecar();
    let line = sidecar.says(lines::WITHHELD);
    assert!(line.contains(" INFO ") && line.contains("SEGURA_SIGNAL"), "{line}");
    after_passes(&scene, 2);
    assert_eq!(generations(&scene), (1, 0));
    // What was still to be told of the first set is told of the second.
    change(&scene, "two");
    until_published(&scene, "two");
    after_passes(&scene, 1);
    assert_eq!(generations(&scene), (2, 0));
    assert!(running.lives() && app.told().is_empty());
    app.goes();
    app.until_told(&["head HUP two"]);
    until_told(&scene);
    after_passes(&scene, 2);
    assert_eq!(app.told(), ["head HUP two"]);
    assert_eq!(sidecar.complaints(), Vec::<String>::new());
    sidecar.stop();
}

fn who_was_told_is_left_alone_while_others_are_not_yet() {
    let mut scene = scene();
    let app = App::new(&scene);
    let _running = app.runs();
    let pid_file = app.dir().join("pid").display().to_string();
    scene.set("SEGURA_SIGNAL_PROCESS", app.name()).set("SEGURA_SIGNAL_PID_FILE", &pid_file);
    scene.set("SEGURA_NOTIFY_COMMAND", r#"["/bin/false"]"#);
    let sidecar = scene.sidecar();
    app.until_told(&["head HUP one"]);
    after_passes(&scene, 3);
    assert_eq!(app.told(), ["head HUP one"]);
    assert_eq!(generations(&scene), (1, 0));
    let said = sidecar.complaints();
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said.iter().all(|line| line.contains(" false ")), "{said:#?}");
    sidecar.stop();
}

fn a_process_that_restarts_instead_is_not_told() {
    let mut scene = scene();
    let app = App::new(&scene);
    app.waits();
    let running = app.runs();
    scene.set("SEGURA_SIGNAL_PROCESS", app.name());
    let sidecar = scene.sidecar();
    after_passes(&scene, 1);
    assert_eq!(generations(&scene), (1, 0));
    drop(running);
    app.goes();
    let _running = app.runs();
    until_told(&scene);
    after_passes(&scene, 1);
    assert_eq!(app.told(), [""; 0]);
    sidecar.stop();
}
