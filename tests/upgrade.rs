//! Output directories as released versions left them, and what this version makes of them.
//!
//! A table of sets (`upgrade/sets.rs`) meets a table of ways to start. Each set stands in the
//! directory of the pod that it was recorded in, beside a vault that answers.
//! `upgrade/README.md` says how the sets of another version are recorded.

mod fixture;
mod list;
mod recording;
mod sets;

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use self::fixture::{Fixture, first_of_each, pending_of_each, recorded};
use self::recording::Age;
use self::sets::{CLIENT_ID, Fate};
use crate::dev_vault::requests::{DEPROVISION, PROVISION, READ};
use crate::{
    dev_vault::{Effect, Fault},
    harness::{SEED, side_by_side, sidecar::Sidecar, until},
    notify::app::App,
};

// Answers to `check started`, `check ready` and `check live`.
const LEFT: [bool; 3] = [true, false, false];
const KEPT: [bool; 3] = [true, true, true];
const NO_SET: [bool; 3] = [false, false, false];

/// Starts a command of the agent, and goes on.
type Start = fn(&Fixture) -> Sidecar;

/// The commands that publish.
const STARTS: [(&str, Start); 3] = [
    ("init", |fixture| Sidecar::spawn(fixture.scene.agent(&["init"]))),
    ("sidecar", |fixture| fixture.scene.sidecar()),
    ("exec", Fixture::exec),
];

/// Settings that make another origin, each by itself, and the POSTs that its set takes.
const OTHERS: [(&str, &str, usize); 5] = [
    ("SEGURA_SOURCE", "secret", 0),
    ("SEGURA_IDENTITY", "payments/database", 1),
    ("SEGURA_POD_NAME", "web-7d4b9c6f5-bcdfg", 1),
    ("SEGURA_POD_UID", "another", 1),
    ("SEGURA_NAMESPACE", "another", 1),
];

/// Starts the agent on a live set, and asserts what holds for every such set.
type Way = fn(&mut Fixture);

/// Goes one way with every live set, in a vault that has the same values.
fn with_each_live_set(test: &str, way: Way) {
    side_by_side(recorded(test, Fate::Live), |mut fixture| {
        fixture.store_in_vault();
        way(&mut fixture);
    });
}

#[test]
fn init_adopts_every_live_set() {
    with_each_live_set("init_adopts_every_live_set", |fixture| {
        fixture.lay_out(Age::Fresh);
        let before = fixture.shown();
        assert!(!before.files.is_empty(), "{}", fixture.name);
        fixture.assert_checks(LEFT);
        fixture.scene.init().exits(0);
        fixture.assert_adopted(&before);
        fixture.assert_checks(LEFT);
    });
}

#[test]
fn init_reads_every_live_set_that_is_due_and_leaves_it_as_it_is() {
    with_each_live_set("init_reads_every_live_set_that_is_due_and_leaves_it_as_it_is", |fixture| {
        fixture.lay_out(Age::Due);
        let before = fixture.shown();
        fixture.scene.init().exits(0);
        fixture.assert_adopted(&before);
        assert!(fixture.scene.count(READ) >= fixture.identities(), "{}", fixture.name);
    });
}

#[test]
fn sidecar_adopts_every_live_set_and_notifies_only_of_changes() {
    with_each_live_set("sidecar_adopts_every_live_set_and_notifies_only_of_changes", |fixture| {
        // The app is older than the publish, so a signal for it would be sent.
        let app = App::new(&fixture.scene);
        let _running = app.start();
        let notified = notified_by_command(fixture);
        fixture.scene.set("SEGURA_SIGNAL_PROCESS", app.name()).set("SEGURA_RENEW_INTERVAL", "1s");
        fixture.lay_out(Age::Fresh);
        let before = fixture.shown();
        let until_notified = |fixture: &Fixture, generation, times| {
            fixture.until_notified(generation);
            // A signal that was sent may still be on its way through the app.
            until(&format!("{}: the app is notified", fixture.name), || {
                app.notified().len() >= times
            });
            assert_eq!((app.notified().len(), notified()), (times, times), "{}", fixture.name);
        };
        let agent = fixture.scene.sidecar();
        until_notified(fixture, 1, fixture.pending_notifications());
        fixture.until_renewed();
        fixture.assert_adopted(&before);
        fixture.assert_checks(KEPT);
        change(fixture);
        until_notified(fixture, 2, fixture.pending_notifications() + 1);
        fixture.assert_posts(0);
        assert_ends("sidecar", agent);
    });
}

#[test]
fn exec_adopts_every_live_set_and_restarts_nothing_before_it_changes() {
    with_each_live_set(
        "exec_adopts_every_live_set_and_restarts_nothing_before_it_changes",
        |fixture| {
            let notified = notified_by_command(fixture);
            fixture.scene.set("SEGURA_RENEW_INTERVAL", "1s");
            fixture.lay_out(Age::Fresh);
            let (before, password) = (fixture.shown(), fixture.password());
            let agent = fixture.exec();
            fixture.until_given(&agent, &[&password]);
            fixture.until_notified(1);
            fixture.until_renewed();
            fixture.assert_adopted(&before);
            fixture.assert_checks(KEPT);
            fixture.until_given(&agent, &[&password]);
            assert_eq!(notified(), fixture.pending_notifications(), "{}", fixture.name);
            change(fixture);
            fixture.until_notified(2);
            fixture.until_given(&agent, &[&password, "changed"]);
            assert_eq!(notified(), fixture.pending_notifications() + 1, "{}", fixture.name);
            fixture.assert_posts(0);
            assert_ends("exec", agent);
        },
    );
}

#[test]
fn exec_that_renews_nothing_hands_every_live_set_to_its_command() {
    with_each_live_set("exec_that_renews_nothing_hands_every_live_set_to_its_command", |fixture| {
        fixture.scene.set("SEGURA_RENEW_INTERVAL", "off");
        fixture.lay_out(Age::Fresh);
        let before = fixture.shown();
        assert_ends_with_the_password(fixture, fixture.agent_of_exec());
        fixture.assert_adopted(&before);
    });
}

#[test]
fn exec_without_a_vault_reads_every_live_set() {
    with_each_live_set("exec_without_a_vault_reads_every_live_set", |fixture| {
        fixture.lay_out(Age::Fresh);
        let before = fixture.shown();
        let mut reader = fixture.agent_of_exec();
        reader.env_clear().env("SEGURA_OUTPUT_DIR", fixture.scene.dir.path());
        reader.env("SEGURA_RENEW_INTERVAL", "off");
        assert_ends_with_the_password(fixture, reader);
        fixture.assert_adopted(&before);
        assert!(fixture.scene.request_lines().is_empty(), "{}", fixture.name);
    });
}

#[test]
fn every_live_set_is_deprovisioned_by_hand() {
    with_each_live_set("every_live_set_is_deprovisioned_by_hand", |fixture| {
        fixture.lay_out(Age::Fresh);
        let run = fixture.scene.run(&["deprovision"]);
        assert_eq!(run.code, Some(0), "{}: {}", fixture.name, run.stderr);
        assert_eq!(fixture.deprovisioned_ids(), fixture.ids(), "{}", fixture.name);
        assert!(fixture.shown().files.is_empty(), "{}", fixture.name);
        fixture.assert_checks(NO_SET);

        fixture.clear_vault_passwords();
        fixture.scene.init().exits(0);
        fixture.assert_posts(fixture.identities());
        fixture.assert_checks(LEFT);
    });
}

#[test]
fn a_deprovisioned_set_is_provisioned_again() {
    for (name, start) in STARTS {
        side_by_side(
            recorded("a_deprovisioned_set_is_provisioned_again", Fate::Deprovisioned),
            |fixture| {
                fixture.lay_out(Age::Fresh);
                assert!(fixture.shown().files.is_empty(), "{}", fixture.name);
                fixture.assert_checks(NO_SET);
                let agent = start(&fixture);
                let published = || fixture.scene.state()["given_back"] == false;
                until(&format!("{name} publishes {}", fixture.name), published);
                assert!(fixture.checks()[0], "{name}: {}", fixture.name);
                if name == "exec" {
                    let account = fixture.scene.vault.provisioned(SEED).pop().expect("an account");
                    fixture.until_given(&agent, &[&account.password]);
                }
                fixture.assert_posts(fixture.identities());
                assert!(!fixture.shown().files.is_empty(), "{name}: {}", fixture.name);
                assert_ends(name, agent);
            },
        );
    }
}

#[test]
fn a_deprovisioned_set_is_not_current_to_a_reader() {
    side_by_side(
        recorded("a_deprovisioned_set_is_not_current_to_a_reader", Fate::Deprovisioned),
        |mut fixture| {
            fixture.lay_out(Age::Fresh);
            let reads = |fixture: &Fixture| {
                let mut reader = fixture.agent_of_exec();
                reader.env_clear().env("SEGURA_OUTPUT_DIR", fixture.scene.dir.path());
                reader.env("SEGURA_STARTUP_TIMEOUT", "1s");
                let run = Sidecar::spawn(reader).wait();
                (run.code, run.stdout)
            };
            // There is nothing to read, and no vault to fetch from.
            assert_eq!(reads(&fixture), (Some(78), String::new()), "{}", fixture.name);
            // A running agent might publish, so it is waited for.
            fixture.scene.set("SEGURA_TIMEOUT", "300ms");
            fixture.scene.vault.fault(Fault::new("", Effect::Hang));
            let agent = fixture.scene.sidecar();
            until("the agent asks", || !fixture.scene.request_lines().is_empty());
            assert_eq!(reads(&fixture), (Some(69), String::new()), "{}", fixture.name);
            agent.kill();
        },
    );
}

#[test]
fn a_set_of_another_origin_is_replaced() {
    for (name, start) in STARTS {
        side_by_side(of_other_origins(), |(what, posts, fixture)| {
            let (before, what) = (fixture.shown(), format!("{name}, {what}: {}", fixture.name));
            let agent = start(&fixture);
            until(&format!("{what} is replaced"), || fixture.scene.state()["generation"] == 2);
            if name == "exec" {
                until(&format!("{what}: the command runs"), || !agent.stdout().is_empty());
                assert!(!agent.stdout().contains(&fixture.password()), "{what}");
            }
            let after = fixture.shown();
            assert_ne!(after.data, before.data, "{what}");
            let password = fixture.password().into_bytes();
            assert!(after.files.values().all(|(bytes, ..)| *bytes != password), "{what}");
            fixture.assert_posts(posts);
            assert_eq!(fixture.scene.count(DEPROVISION), 0, "{what}");
            assert_ends(name, agent);
        });
    }
}

#[test]
fn a_set_of_another_origin_is_not_deprovisioned() {
    side_by_side(of_other_origins(), |(what, _, fixture)| {
        let before = fixture.shown();
        fixture.scene.run(&["deprovision"]).exits(78);
        assert_eq!(fixture.shown(), before, "{what}: {}", fixture.name);
        fixture.assert_checks(LEFT);
        assert!(fixture.scene.request_lines().is_empty(), "{what}: {}", fixture.name);
    });
}

#[test]
fn a_provisioning_of_unknown_fate_is_read_for_before_it_is_repeated() {
    for (name, start) in STARTS {
        for found in [true, false] {
            side_by_side(pending_of_each(), |fixture| {
                if found {
                    fixture
                        .scene
                        .vault
                        .set_data(SEED, json!({"username": "u", "password": "found"}));
                }
                fixture.lay_out(Age::Fresh);
                fixture.assert_checks(NO_SET);
                let agent = start(&fixture);
                until(&format!("{name} publishes {}", fixture.name), || fixture.checks()[0]);
                fixture.assert_posts(usize::from(!found));
                let asked = fixture.scene.request_lines();
                let first = asked.iter().find(|asked| [READ, PROVISION].contains(&asked.as_str()));
                assert_eq!(first.map(String::as_str), Some(READ), "{name}: {asked:?}");
                let password = if found {
                    "found".to_owned()
                } else {
                    fixture.scene.vault.provisioned(SEED).pop().expect("an account").password
                };
                assert_eq!(fixture.scene.read("secret-postman/password"), password, "{name}");
                assert_ends(name, agent);
            });
        }
    }
}

/// The first set of each version, laid out once for each way in which its origin is another: by
/// what, and with how many POSTs it is replaced.
fn of_other_origins() -> Vec<(&'static str, usize, Fixture)> {
    let mut all = Vec::new();
    for (variable, value, posts) in OTHERS {
        for mut fixture in first_of_each(CLIENT_ID) {
            fixture.scene.set(variable, value);
            fixture.lay_out(Age::Fresh);
            all.push((variable, posts, fixture));
        }
    }
    for fixture in first_of_each("another") {
        fixture.lay_out(Age::Fresh);
        all.push(("the client id", 1, fixture));
    }
    for fixture in first_of_each(CLIENT_ID) {
        fixture.lay_out_as_recorded();
        all.push(("SEGURA_URL", 1, fixture));
    }
    all
}

/// Ends one of [`STARTS`] as the kubelet does; `init` ends by itself.
#[track_caller]
fn assert_ends(name: &str, agent: Sidecar) {
    if name != "init" {
        agent.send(Signal::TERM);
    }
    let run = agent.wait();
    let code = if name == "exec" { 143 } else { 0 };
    assert_eq!(run.code, Some(code), "{name}: {}", run.stderr);
}

/// Has each notification run a command; counts its runs.
fn notified_by_command(fixture: &mut Fixture) -> impl Fn() -> usize + use<> {
    let log = fixture.scene.vault.dir().join("notified");
    let words = json!(["/bin/sh", "-c", "echo notified >>\"$0\"", log]);
    fixture.scene.set("SEGURA_NOTIFY_COMMAND", &words.to_string());
    move || fs::read_to_string(&log).unwrap_or_default().lines().count()
}

/// Gives the secret another password.
fn change(fixture: &Fixture) {
    fixture.scene.vault.set_data(SEED, json!({"username": "another", "password": "changed"}));
}

/// Runs a wrapper to the end of its command, which is given the recorded password.
#[track_caller]
fn assert_ends_with_the_password(fixture: &Fixture, mut wrapper: Command) {
    wrapper.stdin(Stdio::null());
    let run = Sidecar::spawn(wrapper).wait();
    assert_eq!(run.code, Some(5), "{}: {}", fixture.name, run.stderr);
    assert_eq!(run.stdout, format!("<{}>\n", fixture.password()), "{}", fixture.name);
}
