//! Starts that a signal ends in the middle.

use rustix::process::Signal;

use super::{assert_published, on_post, posts_of};
use crate::dev_vault::Effect;
use crate::dev_vault::requests::{DEPROVISION, PROVISION};
use crate::harness::{Run, SEED, Scene, lines, send, side_by_side, sidecar::Sidecar, until};

const OTHER: &str = "payments/database";

/// A pod of two identities, of which the vault fails to provision the second.
fn whose_second_fails() -> Scene {
    let mut scene = Scene::new();
    scene.vault.set_data(OTHER, r#"{"hostname": "h"}"#);
    scene.set("SEGURA_IDENTITY", "secret-postman,payments/database");
    scene.set("SEGURA_STARTUP_TIMEOUT", "off");
    let answer = |status| Effect::Answer { status, headers: Vec::new(), body: String::new() };
    scene.vault.fault(on_post(answer(429)).skip(1));
    scene
}

#[test]
fn a_startup_probe_that_ends_each_start_makes_one_account() {
    let modes: [&[&str]; 3] = [&["init"], &["sidecar"], &["exec", "--", "/bin/true"]];
    side_by_side([Signal::TERM, Signal::KILL], |signal| {
        let mut scene = whose_second_fails();
        for n in 0..6 {
            let agent = Sidecar::spawn(scene.agent(modes[n % 3]));
            agent.until_logged(lines::RETRIES);
            agent.send(signal);
            let run = agent.wait();
            assert_ne!(run.code, Some(0), "{}", run.stderr);
        }
        assert_eq!((posts_of(&scene, SEED), scene.count(DEPROVISION)), (1, 0), "{signal:?}");
        scene.vault.clear_faults();
        scene.set("SEGURA_STARTUP_TIMEOUT", "30s").init().exits(0);
        for identity in [SEED, OTHER] {
            assert_published(&scene, identity, &format!("{signal:?}"));
        }
    });
}

#[test]
fn a_kill_before_anything_failed_loses_no_account() {
    let mut scene = whose_second_fails();
    scene.vault.clear_faults();
    scene.vault.fault(on_post(Effect::Hang).skip(1).times(3));
    for n in 1..=3 {
        let mut child = scene.spawn_init();
        until("the POST for the second hangs", || posts_of(&scene, OTHER) == n);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(posts_of(&scene, SEED), 1, "{:?}", scene.request_lines());
    // Three POSTs of unknown fate were sent: no fourth for an hour.
    scene.set("SEGURA_STARTUP_TIMEOUT", "1s").init().exits(69);
    assert_eq!((posts_of(&scene, SEED), posts_of(&scene, OTHER)), (1, 3));
}

#[test]
fn a_signal_deprovisions_what_its_own_start_has_posted_alone() {
    let scene = whose_second_fails();
    scene.vault.clear_faults();
    scene.vault.fault(on_post(Effect::Hang).skip(1).times(2));
    let mut killed = scene.spawn_init();
    until("the second POST hangs", || scene.count(PROVISION) == 2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let first = scene.vault.provisioned(SEED);
    let child = scene.spawn_init();
    until("the second POST hangs again", || scene.count(PROVISION) == 3);
    send(&child, Signal::TERM);
    Run::wait(child).exits(143);
    assert_eq!(scene.vault.provisioned(SEED), first, "an earlier start has posted for it");
    scene.init().exits(0);
    for identity in [SEED, OTHER] {
        assert_published_after_deprovisioning(&scene, identity);
    }
}

#[track_caller]
fn assert_published_after_deprovisioning(scene: &Scene, identity: &str) {
    let account = scene.vault.provisioned(identity).pop().expect("an account");
    assert_eq!(scene.read(&format!("{identity}/password")), account.password);
    assert_eq!(posts_of(scene, SEED), 1);
}
