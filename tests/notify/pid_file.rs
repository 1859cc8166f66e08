//! The process that a PID file names.

use std::process::Command;

use super::app::App;
use crate::harness::host::replace;
use crate::harness::secret::{
    after_passes, change, generations, scene, until_notified, until_published,
};
use crate::harness::{Scene, lines, side_by_side};

/// Sets the path of the PID file, and the PID in it.
fn set_pid_file(scene: &mut Scene, app: &App, pid: Option<u32>) {
    let path = app.dir().join("pid");
    scene.set("SEGURA_SIGNAL_PID_FILE", &path.display().to_string());
    if let Some(pid) = pid {
        write(app, pid);
    }
}

fn write(app: &App, pid: u32) {
    replace(app.dir().join("pid"), format!("{pid}\n"));
}

/// The number of a process that has ended.
fn ended_pid() -> u32 {
    let mut child = Command::new("true").spawn().expect("true(1) is everywhere");
    child.wait().expect("it was not waited for yet");
    child.id()
}

#[test]
fn a_pid_file_is_read_each_time_and_checked() {
    let cases: [fn(); 4] = [
        another_number_means_another_process,
        a_stale_file_is_noticed_once,
        a_missing_file_is_fine,
        the_agent_itself_and_process_one_are_refused,
    ];
    side_by_side(cases, |case| case());
}

fn another_number_means_another_process() {
    let mut scene = scene();
    let (first, second) = (App::new(&scene), App::new(&scene));
    let (one, two) = (first.start(), second.start());
    set_pid_file(&mut scene, &first, Some(one.pid()));
    let sidecar = scene.sidecar();
    first.until_notified(&["head HUP one"]);
    until_notified(&scene);
    write(&first, two.pid());
    change(&scene, "two");
    second.until_notified(&["head HUP two"]);
    until_notified(&scene);
    assert_eq!(first.notified(), ["head HUP one"]);
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    sidecar.stop();
}

fn a_stale_file_is_noticed_once() {
    let mut scene = scene();
    let app = App::new(&scene);
    let running = app.start();
    set_pid_file(&mut scene, &app, Some(ended_pid()));
    let sidecar = scene.sidecar();
    let line = sidecar.until_logged(lines::STALE_PID_FILE);
    assert!(line.contains("hint="), "{line}");
    after_passes(&scene, 1);
    let said = sidecar.text_warnings();
    after_passes(&scene, 3);
    assert_eq!(sidecar.text_warnings(), said);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert_eq!(generations(&scene), (1, 0));
    write(&app, running.pid());
    app.until_notified(&["head HUP one"]);
    until_notified(&scene);
    sidecar.until_logged(lines::NOTIFIED_AGAIN);
    sidecar.stop();
}

fn a_missing_file_is_fine() {
    let mut scene = scene();
    let app = App::new(&scene);
    let running = app.start();
    set_pid_file(&mut scene, &app, None);
    let sidecar = scene.sidecar();
    let line = sidecar.until_logged(lines::NO_PID_FILE);
    assert!(line.contains(" INFO ") && line.contains("hint="), "{line}");
    after_passes(&scene, 2);
    assert_eq!(generations(&scene), (1, 0));
    write(&app, running.pid());
    app.until_notified(&["head HUP one"]);
    until_notified(&scene);
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    sidecar.stop();
}

fn the_agent_itself_and_process_one_are_refused() {
    let mut scene = scene();
    let app = App::new(&scene);
    set_pid_file(&mut scene, &app, None);
    let sidecar = scene.sidecar();
    until_published(&scene, "one");
    write(&app, sidecar.id());
    let line = sidecar.until_logged(lines::OWN_PID);
    assert!(line.contains(" WARN ") && line.contains("hint="), "{line}");
    write(&app, 1);
    let line = sidecar.until_logged(lines::OTHER_PID);
    assert!(line.contains(" WARN ") && line.contains("shareProcessNamespace: true"), "{line}");
    let said = sidecar.text_warnings();
    after_passes(&scene, 2);
    assert_eq!(sidecar.text_warnings(), said);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert_eq!(generations(&scene), (1, 0));
    sidecar.stop();
}
