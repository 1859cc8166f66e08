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

use self::fixture::{Laid, first_of_each, pending_of_each, recorded};
use self::recording::Age;
use self::sets::{CLIENT_ID, Fate};
use crate::dev_vault::requests::{DEPROVISION, PROVISION, READ};
use crate::{
    dev_vault::{Effect, Fault},
    harness::{Run, SEED, side_by_side, sidecar::Sidecar, until},
    notify::app::App,
};

// Answers to `check started`, `check ready` and `check live`.
const LEFT: [bool; 3] = [true, false, false];
const KEPT: [bool; 3] = [true, true, true];
const NO_SET: [bool; 3] = [false, false, false];

/// Starts a command of the agent, and goes on.
type Start = fn(&Laid) -> Sidecar;

/// The commands that publish.
const STARTS: [(&str, Start); 3] = [
    ("init", |laid| Sidecar::spawn(laid.scene.agent(&["init"]))),
    ("sidecar", |laid| laid.scene.sidecar()),
    ("exec", Laid::exec),
];

/// Settings that make another origin, each by itself, and the POSTs that its set takes.
const OTHERS: [(&str, &str, usize); 5] = [
    ("SEGURA_SOURCE", "secret", 0),
    ("SEGURA_IDENTITY", "payments/database", 1),
    ("SEGURA_POD_NAME", "web-7d4b9c6f5-bcdfg", 1),
    ("SEGURA_POD_UID", "another", 1),
    ("SEGURA_NAMESPACE", "another", 1),
];

/// Runs a command of the agent to its end.
fn run(laid: &Laid, args: &[&str]) -> Run {
    Run::of(laid.scene.agent(args).output().expect("the agent runs"))
}

/// Starts the agent on a live set, and asserts what holds for every such set.
type Way = fn(&mut Laid);

/// Goes one way with every live set, in a vault that has the same values.
fn with_each_live_set(test: &str, way: Way) {
    side_by_side(recorded(test, Fate::Live), |mut laid| {
        laid.teach_the_vault();
        way(&mut laid);
    });
}

#[test]
fn init_adopts_every_live_set() {
    with_each_live_set("init_adopts_every_live_set", |laid| {
        laid.lay_out(Age::Fresh);
        let before = laid.shown();
        assert!(!before.files.is_empty(), "{}", laid.name);
        laid.assert_checks(LEFT);
        laid.scene.init().ended(0);
        laid.assert_adopted(&before);
        laid.assert_checks(LEFT);
    });
}

#[test]
fn init_reads_every_live_set_that_is_due_and_leaves_it_as_it_is() {
    with_each_live_set("init_reads_every_live_set_that_is_due", |laid| {
        laid.lay_out(Age::Due);
        let before = laid.shown();
        laid.scene.init().ended(0);
        laid.assert_adopted(&before);
        assert!(laid.scene.count(READ) >= laid.identities(), "{}", laid.name);
    });
}

#[test]
fn sidecar_adopts_every_live_set_and_notifies_nobody_before_it_changes() {
    with_each_live_set("sidecar_adopts_every_live_set", |laid| {
        // The app is older than the publish, so a signal for it would be sent.
        let app = App::new(&laid.scene);
        let _running = app.runs();
        let notified = notified_by_command(laid);
        laid.scene.set("SEGURA_SIGNAL_PROCESS", app.name()).set("SEGURA_RENEW_INTERVAL", "1s");
        laid.lay_out(Age::Fresh);
        let before = laid.shown();
        let until_notified = |laid: &Laid, generation, times| {
            laid.until_notified(generation);
            // A signal that was sent may still be on its way through the app.
            until(&format!("{}: the app is notified", laid.name), || app.told().len() >= times);
            assert_eq!((app.told().len(), notified()), (times, times), "{}", laid.name);
        };
        let agent = laid.scene.sidecar();
        until_notified(laid, 1, laid.owed());
        laid.until_renewed();
        laid.assert_adopted(&before);
        laid.assert_checks(KEPT);
        change(laid);
        until_notified(laid, 2, laid.owed() + 1);
        laid.assert_posts(0);
        assert_ends("sidecar", agent);
    });
}

#[test]
fn exec_adopts_every_live_set_and_restarts_nothing_before_it_changes() {
    with_each_live_set("exec_adopts_every_live_set", |laid| {
        let notified = notified_by_command(laid);
        laid.scene.set("SEGURA_RENEW_INTERVAL", "1s");
        laid.lay_out(Age::Fresh);
        let (before, password) = (laid.shown(), laid.password());
        let agent = laid.exec();
        laid.until_given(&agent, &[&password]);
        laid.until_notified(1);
        laid.until_renewed();
        laid.assert_adopted(&before);
        laid.assert_checks(KEPT);
        laid.until_given(&agent, &[&password]);
        assert_eq!(notified(), laid.owed(), "{}", laid.name);
        change(laid);
        laid.until_notified(2);
        laid.until_given(&agent, &[&password, "changed"]);
        assert_eq!(notified(), laid.owed() + 1, "{}", laid.name);
        laid.assert_posts(0);
        assert_ends("exec", agent);
    });
}

#[test]
fn exec_that_renews_nothing_hands_every_live_set_to_its_command() {
    with_each_live_set("exec_that_renews_nothing", |laid| {
        laid.scene.set("SEGURA_RENEW_INTERVAL", "off");
        laid.lay_out(Age::Fresh);
        let before = laid.shown();
        assert_ends_with_the_password(laid, laid.agent_of_exec());
        laid.assert_adopted(&before);
    });
}

#[test]
fn exec_without_a_vault_reads_every_live_set() {
    with_each_live_set("exec_without_a_vault", |laid| {
        laid.lay_out(Age::Fresh);
        let before = laid.shown();
        let mut reader = laid.agent_of_exec();
        reader.env_clear().env("SEGURA_OUTPUT_DIR", laid.scene.dir.path());
        reader.env("SEGURA_RENEW_INTERVAL", "off");
        assert_ends_with_the_password(laid, reader);
        laid.assert_adopted(&before);
        assert!(laid.scene.asked().is_empty(), "{}", laid.name);
    });
}

#[test]
fn every_live_set_is_deprovisioned_by_hand() {
    with_each_live_set("every_live_set_is_deprovisioned_by_hand", |laid| {
        laid.lay_out(Age::Fresh);
        let run = run(laid, &["deprovision"]);
        assert_eq!(run.code, Some(0), "{}: {}", laid.name, run.stderr);
        assert_eq!(laid.deprovisioned_ids(), laid.ids(), "{}", laid.name);
        assert!(laid.shown().files.is_empty(), "{}", laid.name);
        laid.assert_checks(NO_SET);

        laid.strip_the_vault();
        laid.scene.init().ended(0);
        laid.assert_posts(laid.identities());
        laid.assert_checks(LEFT);
    });
}

#[test]
fn a_deprovisioned_set_is_provisioned_again() {
    for (name, start) in STARTS {
        side_by_side(
            recorded("a_deprovisioned_set_is_provisioned_again", Fate::Deprovisioned),
            |laid| {
                laid.lay_out(Age::Fresh);
                assert!(laid.shown().files.is_empty(), "{}", laid.name);
                laid.assert_checks(NO_SET);
                let agent = start(&laid);
                let published = || laid.scene.state()["given_back"] == false;
                until(&format!("{name} publishes {}", laid.name), published);
                assert!(laid.checks()[0], "{name}: {}", laid.name);
                if name == "exec" {
                    let account = laid.scene.vault.provisioned(SEED).pop().expect("an account");
                    laid.until_given(&agent, &[&account.password]);
                }
                laid.assert_posts(laid.identities());
                assert!(!laid.shown().files.is_empty(), "{name}: {}", laid.name);
                assert_ends(name, agent);
            },
        );
    }
}

#[test]
fn a_deprovisioned_set_is_not_current_to_a_reader() {
    side_by_side(
        recorded("a_deprovisioned_set_is_not_current", Fate::Deprovisioned),
        |mut laid| {
            laid.lay_out(Age::Fresh);
            let reads = |laid: &Laid| {
                let mut reader = laid.agent_of_exec();
                reader.env_clear().env("SEGURA_OUTPUT_DIR", laid.scene.dir.path());
                reader.env("SEGURA_STARTUP_TIMEOUT", "1s");
                let run = Sidecar::spawn(reader).ends();
                (run.code, run.stdout)
            };
            // There is nothing to read, and no vault to fetch from.
            assert_eq!(reads(&laid), (Some(78), String::new()), "{}", laid.name);
            // A living agent might publish, so it is waited for.
            laid.scene.set("SEGURA_TIMEOUT", "300ms");
            laid.scene.vault.fault(Fault::new("", Effect::Hang));
            let agent = laid.scene.sidecar();
            until("the agent asks", || !laid.scene.asked().is_empty());
            assert_eq!(reads(&laid), (Some(69), String::new()), "{}", laid.name);
            agent.kill();
        },
    );
}

#[test]
fn a_set_of_another_origin_is_replaced() {
    for (name, start) in STARTS {
        side_by_side(of_other_origins(), |(what, posts, laid)| {
            let (before, what) = (laid.shown(), format!("{name}, {what}: {}", laid.name));
            let agent = start(&laid);
            until(&format!("{what} is replaced"), || laid.scene.state()["generation"] == 2);
            if name == "exec" {
                until(&format!("{what}: the command runs"), || !agent.stdout().is_empty());
                assert!(!agent.stdout().contains(&laid.password()), "{what}");
            }
            let after = laid.shown();
            assert_ne!(after.data, before.data, "{what}");
            let password = laid.password().into_bytes();
            assert!(after.files.values().all(|(bytes, ..)| *bytes != password), "{what}");
            laid.assert_posts(posts);
            assert_eq!(laid.scene.count(DEPROVISION), 0, "{what}");
            assert_ends(name, agent);
        });
    }
}

#[test]
fn a_set_of_another_origin_is_not_deprovisioned() {
    side_by_side(of_other_origins(), |(what, _, laid)| {
        let before = laid.shown();
        run(&laid, &["deprovision"]).ended(78);
        assert_eq!(laid.shown(), before, "{what}: {}", laid.name);
        laid.assert_checks(LEFT);
        assert!(laid.scene.asked().is_empty(), "{what}: {}", laid.name);
    });
}

#[test]
fn a_provisioning_of_unknown_fate_is_read_for_before_it_is_repeated() {
    for (name, start) in STARTS {
        for found in [true, false] {
            side_by_side(pending_of_each(), |laid| {
                if found {
                    laid.scene.vault.set_data(SEED, json!({"username": "u", "password": "found"}));
                }
                laid.lay_out(Age::Fresh);
                laid.assert_checks(NO_SET);
                let agent = start(&laid);
                until(&format!("{name} publishes {}", laid.name), || laid.checks()[0]);
                laid.assert_posts(usize::from(!found));
                let asked = laid.scene.asked();
                let first = asked.iter().find(|asked| [READ, PROVISION].contains(&asked.as_str()));
                assert_eq!(first.map(String::as_str), Some(READ), "{name}: {asked:?}");
                let password = if found {
                    "found".to_owned()
                } else {
                    laid.scene.vault.provisioned(SEED).pop().expect("an account").password
                };
                assert_eq!(laid.scene.read("secret-postman/password"), password, "{name}");
                assert_ends(name, agent);
            });
        }
    }
}

/// The first set of each version, laid out once for each way in which its origin is another: by
/// what, and with how many POSTs it is replaced.
fn of_other_origins() -> Vec<(&'static str, usize, Laid)> {
    let mut all = Vec::new();
    for (variable, value, posts) in OTHERS {
        for mut laid in first_of_each(CLIENT_ID) {
            laid.scene.set(variable, value);
            laid.lay_out(Age::Fresh);
            all.push((variable, posts, laid));
        }
    }
    for laid in first_of_each("another") {
        laid.lay_out(Age::Fresh);
        all.push(("the client id", 1, laid));
    }
    for laid in first_of_each(CLIENT_ID) {
        laid.lay_out_as_recorded();
        all.push(("SEGURA_URL", 1, laid));
    }
    all
}

/// Ends one of [`STARTS`] as the kubelet does; `init` ends by itself.
#[track_caller]
fn assert_ends(name: &str, agent: Sidecar) {
    if name != "init" {
        agent.send(Signal::TERM);
    }
    let run = agent.ends();
    let code = if name == "exec" { 143 } else { 0 };
    assert_eq!(run.code, Some(code), "{name}: {}", run.stderr);
}

/// Has each notification run a command; counts its runs.
fn notified_by_command(laid: &mut Laid) -> impl Fn() -> usize + use<> {
    let log = laid.scene.vault.dir().join("notified");
    let words = json!(["/bin/sh", "-c", "echo notified >>\"$0\"", log]);
    laid.scene.set("SEGURA_NOTIFY_COMMAND", &words.to_string());
    move || fs::read_to_string(&log).unwrap_or_default().lines().count()
}

/// Gives the secret another password.
fn change(laid: &Laid) {
    laid.scene.vault.set_data(SEED, json!({"username": "another", "password": "changed"}));
}

/// Runs a wrapper to the end of its command, which is given the recorded password.
#[track_caller]
fn assert_ends_with_the_password(laid: &Laid, mut wrapper: Command) {
    wrapper.stdin(Stdio::null());
    let run = Sidecar::spawn(wrapper).ends();
    assert_eq!(run.code, Some(5), "{}: {}", laid.name, run.stderr);
    assert_eq!(run.stdout, format!("<{}>\n", laid.password()), "{}", laid.name);
}
