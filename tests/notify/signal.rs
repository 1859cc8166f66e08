//! Processes that are notified by name.

use super::app::App;
use crate::harness::lines;
use crate::harness::secret::{
    after_passes, change, change_with_ttl, generations, scene, until_notified, until_published,
};
use crate::harness::side_by_side;

#[test]
fn the_head_of_a_process_tree_is_signalled_once_for_each_change_of_bytes() {
    side_by_side(["HUP", "USR1", "RTMIN+3"], |signal| {
        let mut scene = scene();
        let app = App::new(&scene);
        let mut running = app.start();
        scene.set("SEGURA_SIGNAL_PROCESS", app.name()).set("SEGURA_SIGNAL", signal);
        let sidecar = scene.sidecar();
        let one = format!("head {signal} one");
        app.until_notified(&[&one]);
        until_notified(&scene);
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
        app.until_notified(&[&one, &two]);
        after_passes(&scene, 2);
        assert_eq!(app.notified(), [one, two]);
        assert_eq!(generations(&scene), (3, 3));
        assert!(running.is_running());
        assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
        sidecar.stop();
    });
}

#[test]
fn a_process_younger_than_the_publish_or_without_a_handler_is_not_signalled() {
    let cases: [fn(); 4] = [
        a_notified_process_gets_no_second_signal_while_others_wait,
        a_process_that_starts_after_the_publish_is_not_signalled,
        a_process_without_a_handler_is_notified_once_it_has_one,
        a_process_that_restarts_instead_is_not_notified,
    ];
    side_by_side(cases, |case| case());
}

fn a_process_that_starts_after_the_publish_is_not_signalled() {
    let mut scene = scene();
    let app = App::new(&scene);
    scene.set("SEGURA_SIGNAL_PROCESS", app.name());
    let sidecar = scene.sidecar();
    until_published(&scene, "one");
    until_notified(&scene);
    let running = app.start();
    after_passes(&scene, 2);
    assert_eq!(app.notified(), [""; 0]);
    change(&scene, "two");
    app.until_notified(&["head HUP two"]);

    // It restarts, as another process, while nothing changes.
    let before = running.pid();
    drop(running);
    let running = app.start();
    assert_ne!(running.pid(), before);
    after_passes(&scene, 1);
    change(&scene, "three");
    app.until_notified(&["head HUP two", "head HUP three"]);
    until_notified(&scene);
    sidecar.stop();
}

fn a_process_without_a_handler_is_notified_once_it_has_one() {
    let mut scene = scene();
    let (app, mut running) = App::without_handlers(&mut scene);
    let sidecar = scene.sidecar();
    let line = sidecar.until_logged(lines::WITHHELD);
    assert!(line.contains(" INFO ") && line.contains("SEGURA_SIGNAL"), "{line}");
    after_passes(&scene, 2);
    assert_eq!(generations(&scene), (1, 0));
    // A missed notification of the first set becomes one of the second.
    change(&scene, "two");
    until_published(&scene, "two");
    after_passes(&scene, 1);
    assert_eq!(generations(&scene), (2, 0));
    assert!(running.is_running() && app.notified().is_empty());
    app.add_handlers();
    app.until_notified(&["head HUP two"]);
    until_notified(&scene);
    after_passes(&scene, 2);
    assert_eq!(app.notified(), ["head HUP two"]);
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    sidecar.stop();
}

fn a_notified_process_gets_no_second_signal_while_others_wait() {
    let mut scene = scene();
    let app = App::new(&scene);
    let _running = app.start();
    let pid_file = app.dir().join("pid").display().to_string();
    scene.set("SEGURA_SIGNAL_PROCESS", app.name()).set("SEGURA_SIGNAL_PID_FILE", &pid_file);
    scene.set("SEGURA_NOTIFY_COMMAND", r#"["/bin/false"]"#);
    let sidecar = scene.sidecar();
    app.until_notified(&["head HUP one"]);
    after_passes(&scene, 3);
    assert_eq!(app.notified(), ["head HUP one"]);
    assert_eq!(generations(&scene), (1, 0));
    let said = sidecar.text_warnings();
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said.iter().all(|line| line.contains(" false ")), "{said:#?}");
    sidecar.stop();
}

fn a_process_that_restarts_instead_is_not_notified() {
    let mut scene = scene();
    let app = App::new(&scene);
    app.delay_handlers();
    let running = app.start();
    scene.set("SEGURA_SIGNAL_PROCESS", app.name());
    let sidecar = scene.sidecar();
    after_passes(&scene, 1);
    assert_eq!(generations(&scene), (1, 0));
    drop(running);
    app.add_handlers();
    let _running = app.start();
    until_notified(&scene);
    after_passes(&scene, 1);
    assert_eq!(app.notified(), [""; 0]);
    sidecar.stop();
}
