//! A wall clock that is set back and forth by hours: nothing but stamps for people follows it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::harness::host::{replace, skip};
use crate::harness::secret::{after_passes, change, passes, scene, until_published};
use crate::harness::{Run, Scene, memory_dir, until};
use crate::notify::app::App;

/// Where distributions keep the library that shows a process another time (`faketime(1)`).
const LIBRARIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
];

const HOUR: u64 = 3600;

/// Has a scene's agents see the time that a file tells.
fn fake(scene: &mut Scene, library: &str, file: &Path) {
    scene.set("LD_PRELOAD", library);
    scene.set("FAKETIME_TIMESTAMP_FILE", &file.display().to_string());
    for name in
        ["FAKETIME_NO_CACHE", "DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"]
    {
        scene.set(name, "1");
    }
}

fn library(test: &str) -> Option<&'static str> {
    let found = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        skip(test, "there is no libfaketime");
    }
    found
}

/// How far a stamp of the state is ahead of a file that was written just now, in seconds.
fn ahead(scene: &Scene, stamp: &str, now: &Path) -> i64 {
    let state = scene.state();
    let text = state.get(stamp).and_then(serde_json::Value::as_str).expect("a stamp");
    let stamp = humantime::parse_rfc3339(text).expect("RFC 3339");
    let now = fs::metadata(now).and_then(|now| now.modified()).expect("a time");
    let seconds = |time: Duration| i64::try_from(time.as_secs()).expect("not that far");
    match stamp.duration_since(now) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}

fn ready(scene: &Scene) -> Run {
    scene.run(&["check", "ready"])
}

#[test]
fn a_jump_of_the_wall_clock_changes_no_interval() {
    let Some(library) = library("a_jump_of_the_wall_clock_changes_no_interval") else { return };
    let dir = memory_dir();
    let file = dir.path().join("time");
    let mut scene = scene();
    scene.set("SEGURA_MAX_STALE", "1m");
    fake(&mut scene, library, &file);
    replace(&file, "+0");
    let sidecar = scene.sidecar();
    after_passes(&scene, 1);
    for hours in [-5, 7] {
        let (sign, seconds) = (if hours < 0 { "-" } else { "+" }, i64::unsigned_abs(hours) * HOUR);
        replace(&file, format!("{sign}{seconds}"));
        let from = (scene.vault.elapsed(), passes(&scene));
        after_passes(&scene, 2);
        let (took, made) = (scene.vault.elapsed() - from.0, passes(&scene) - from.1);
        // Never sooner than 0.99 s after another.
        assert!(made as f64 <= took.as_secs_f64() / 0.99 + 1.0, "{made} in {took:?}");
        let off = ahead(&scene, "fetched_at", &file) - hours * 3600;
        assert!(off.abs() < 120, "the clock was not set to {hours} hours: off by {off} s");
        for _ in 0..2 {
            let ready = ready(&scene);
            assert_eq!(ready.code, Some(0), "{ready:?}");
            assert!(ready.stdout.contains(" s ago"), "{ready:?}");
        }
        change(&scene, &format!("at {hours}"));
        until_published(&scene, &format!("at {hours}"));
    }
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    sidecar.stop();
}

#[test]
fn a_pid_file_stays_valid_when_the_clock_is_set_forward() {
    let test = "a_pid_file_stays_valid_when_the_clock_is_set_forward";
    let Some(library) = library(test) else { return };
    let mut scene = scene();
    let app = App::new(&scene);
    let running = app.start();
    let (pid, file) = (app.dir().join("pid"), app.dir().join("time"));
    fs::write(&pid, running.pid().to_string()).expect("the directory is ours");
    scene.set("SEGURA_SIGNAL_PID_FILE", &pid.display().to_string());
    fake(&mut scene, library, &file);
    replace(&file, "+0");
    let sidecar = scene.sidecar();
    app.until_notified(&["head HUP one"]);
    replace(&file, "+18000");
    change(&scene, "two");
    until("the app is notified, or a warning says why not", || {
        app.notified().len() > 1 || !sidecar.text_warnings().is_empty()
    });
    assert_eq!(sidecar.text_warnings(), Vec::<String>::new());
    app.until_notified(&["head HUP one", "head HUP two"]);
    sidecar.stop();
}
