//! What probes and scrapers hear of a sidecar.

use rustix::process::Signal;

use super::{READ, left_by_init};
use crate::harness::lines;
use crate::harness::pause;
use crate::{
    dev_vault::Options,
    harness::{Scene, for_a_while, until},
};

fn listening(change: impl FnOnce(&mut Scene)) -> Scene {
    Scene::after_init(Options::default(), |scene| {
        scene.listen();
        change(scene);
    })
}

#[track_caller]
fn assert_all(scene: &Scene, expected: [bool; 3]) {
    for (question, yes) in ["started", "ready", "live"].into_iter().zip(expected) {
        let (holds, line) = scene.check(question);
        assert_eq!(holds, yes, "{line}");
    }
}

#[test]
fn with_renewal_off_a_sidecar_is_live_and_sends_no_request() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    let sidecar = scene.renewing_sidecar();
    let asked = scene.request_lines();
    for_a_while("no request is sent", || scene.request_lines() == asked);
    assert_all(&scene, [true; 3]);
    assert!(scene.state()["next_due"].is_null());
    super::poke(&scene);
    until("a changed file is a reason to ask", || scene.count(READ) == 1);
    sidecar.stop();
}

#[test]
fn a_sidecar_is_started_ready_and_live_while_it_lives() {
    let scene = left_by_init();
    assert_all(&scene, [true, false, false]);
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 1);
    assert_all(&scene, [true; 3]);
    sidecar.send(Signal::STOP);
    pause(1_500);
    // It is judged by its silence, which is not long enough yet.
    assert_all(&scene, [true; 3]);
    sidecar.send(Signal::CONT);
    let reads = scene.count(READ);
    until("it goes on", || scene.count(READ) > reads);
    sidecar.kill();
    assert_all(&scene, [true, false, false]);
}

#[test]
fn the_endpoints_answer_like_check() {
    let scene = listening(|_| {});
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 2);
    for (path, word) in [("/livez", "live: generation 1"), ("/readyz", "ready: generation 1")] {
        let (status, body) = scene.get(path);
        assert!(status == 200 && body.starts_with(word), "{body}");
    }
    assert_eq!(scene.get("/").0, 404);
    scene.vault.rotate();
    scene.wait_until_fresh();
    until("the numbers follow", || {
        scene.get("/metrics").1.contains("segura_agent_publishes_total 1\n")
    });
    let (status, metrics) = scene.get("/metrics");
    assert_eq!(status, 200);
    for line in [
        "segura_agent_generation 2\n",
        "segura_agent_failures_in_row 0\n",
        "segura_agent_provisions_total 0\n",
        "segura_agent_secrets 1\n",
        "segura_agent_ready 1\n",
        "segura_agent_live 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let reads = metrics.lines().find(|line| line.starts_with("segura_agent_reads_total "));
    let reads: usize = reads.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((3..=scene.count(READ)).contains(&reads), "{metrics}");
    sidecar.stop();
}

#[test]
fn a_stale_set_is_not_ready_and_its_agent_is_live() {
    let scene = listening(|scene| {
        scene.set("SEGURA_MAX_STALE", "2s");
    });
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 1);
    assert_eq!(scene.get("/readyz").0, 200);
    scene.vault.go_down();
    until("the set is stale", || scene.get("/readyz").0 == 503);
    assert!(scene.get("/readyz").1.contains("SEGURA_MAX_STALE=2s"));
    assert_eq!(scene.get("/livez").0, 200);
    assert_all(&scene, [true, false, true]);
    let metrics = scene.get("/metrics").1;
    assert!(metrics.contains("segura_agent_ready 0\n"), "{metrics}");
    assert!(metrics.contains("segura_agent_max_stale_seconds 2\n"), "{metrics}");
    let failed = "segura_agent_passes_total{outcome=\"unreachable\"} ";
    let failed = metrics.lines().find_map(|line| line.strip_prefix(failed)).unwrap();
    assert_ne!(failed, "0", "{metrics}");
    scene.vault.come_back();
    until("it is ready again", || scene.get("/readyz").0 == 200);
    sidecar.stop();
}

#[test]
fn a_sidecar_is_live_and_not_ready_before_the_first_set() {
    let mut scene = Scene::new();
    scene.listen();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
    scene.vault.go_down();
    let sidecar = scene.sidecar();
    until("it tries", || sidecar.times_logged(lines::RETRIES) > 0);
    assert_eq!((scene.get("/livez").0, scene.get("/readyz").0), (200, 503));
    assert_all(&scene, [false, false, true]);
    scene.vault.come_back();
    until("it is ready", || scene.get("/readyz").0 == 200);
    sidecar.stop();
}

#[test]
fn an_address_in_use_is_reported_before_any_request() {
    let mut scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    scene.set("SEGURA_LISTEN", &taken.local_addr().unwrap().to_string());
    let run = scene.sidecar().wait();
    assert!(
        run.exits(78).hint().is_some_and(|hint| hint.contains("SEGURA_LISTEN")),
        "{}",
        run.stderr
    );
    assert!(scene.request_lines().is_empty());
}

#[test]
fn a_failed_notification_is_counted() {
    let scene = listening(|scene| {
        scene.set("SEGURA_NOTIFY_COMMAND", r#"["/bin/false"]"#);
    });
    let sidecar = scene.renewing_sidecar();
    let failures = || {
        let metrics = scene.get("/metrics").1;
        let line = "segura_agent_delivery_failures_total ";
        let count = metrics.lines().find_map(|found| found.strip_prefix(line));
        count.unwrap_or_else(|| panic!("{metrics}")).parse::<u64>().unwrap()
    };
    scene.vault.rotate();
    until("a notification has failed", || failures() >= 1);
    let reported = scene.get("/metrics").1;
    assert!(reported.contains("segura_agent_deliveries_total 0\n"), "{reported}");
    assert!(reported.contains("segura_agent_notified_generation 0\n"), "{reported}");
    sidecar.stop();
}

#[test]
fn a_notification_is_counted() {
    let scene = listening(|scene| {
        scene.set("SEGURA_NOTIFY_COMMAND", r#"["/bin/true"]"#);
    });
    let sidecar = scene.renewing_sidecar();
    scene.vault.rotate();
    until("a notification is counted", || {
        let metrics = scene.get("/metrics").1;
        let has = |line: &str| metrics.lines().any(|found| found == line);
        has("segura_agent_notified_generation 2") && !has("segura_agent_deliveries_total 0")
    });
    assert_eq!(scene.state()["notified"], 2);
    sidecar.stop();
}
