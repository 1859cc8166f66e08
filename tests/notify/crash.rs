//! A sidecar that dies between publishing and telling.

use super::app::App;
use super::command::Script;
use crate::harness::secret::{
    after_passes, change, generations, scene, until_notified, until_published,
};
use crate::harness::side_by_side;
use crate::harness::until;

#[test]
fn a_notification_missed_by_a_crash_is_sent_by_the_next_agent() {
    let cases: [fn(); 3] = [
        a_command_that_hung_is_run_again,
        the_next_agent_notifies_the_process,
        no_change_is_notified_twice,
    ];
    side_by_side(cases, |case| case());
}

fn a_command_that_hung_is_run_again() {
    let mut scene = scene();
    let script = Script::of(&mut scene, &[]);
    let sidecar = scene.sidecar();
    until_notified(&scene);
    assert_eq!(generations(&scene), (1, 1));
    script.then("sleep 600");
    change(&scene, "two");
    script.until_runs(2);
    until("the state names what is published", || generations(&scene) == (2, 1));
    sidecar.kill();
    assert_eq!(generations(&scene), (2, 1));
    script.then("exit 0");
    let sidecar = scene.sidecar();
    until_notified(&scene);
    assert_eq!(generations(&scene), (2, 2));
    assert_eq!(script.values(), ["one", "two", "two"]);
    sidecar.stop();
}

fn the_next_agent_notifies_the_process() {
    let mut scene = scene();
    let (app, mut running) = App::without_handlers(&mut scene);
    let sidecar = scene.sidecar();
    until_published(&scene, "one");
    until("the state names what is published", || generations(&scene) == (1, 0));
    sidecar.kill();
    let sidecar = scene.sidecar();
    change(&scene, "two");
    until_published(&scene, "two");
    sidecar.kill();
    // The state may be a moment behind the published set, and is never ahead of it.
    assert_eq!(generations(&scene).1, 0);
    let sidecar = scene.sidecar();
    after_passes(&scene, 1);
    assert_eq!(generations(&scene), (2, 0));
    app.add_handlers();
    app.until_notified(&["head HUP two"]);
    until_notified(&scene);
    after_passes(&scene, 1);
    assert_eq!(app.notified(), ["head HUP two"]);
    assert!(running.is_running());
    sidecar.stop();
}

fn no_change_is_notified_twice() {
    let mut scene = scene();
    let app = App::new(&scene);
    let _running = app.start();
    scene.set("SEGURA_SIGNAL_PROCESS", app.name());
    let sidecar = scene.sidecar();
    app.until_notified(&["head HUP one"]);
    until_notified(&scene);
    sidecar.kill();
    let sidecar = scene.sidecar();
    after_passes(&scene, 2);
    assert_eq!(app.notified(), ["head HUP one"]);
    sidecar.stop();
}
