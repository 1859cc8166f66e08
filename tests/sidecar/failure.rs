//! A failure leaves the published set, is logged once, and its end is logged too.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

mod single;

use std::fs;
use std::time::Duration;

use super::{Change, LOGIN, PROVISION, READ, left_by_init, poke};
use crate::dev_vault::requests::path;
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault, Options},
    harness::{SEED, Scene, for_a_while, pause, side_by_side, until, wait::throughout},
};

/// One way of failing for a while, and how it is called in the state.
type Case = (&'static str, &'static str, Change, Change);

/// Asserts that the set stays through a failure, which is logged once, and renewal works after it.
fn assert_survived((what, class, begin, end): Case) {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_TIMEOUT", "2s").set("SEGURA_OUTPUT", "files,env,json");
    });
    let files = scene.published();
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(READ) >= 1);
    begin(&scene);
    until(&format!("{what}: it fails on"), || scene.failures() >= 2);
    let state = scene.state();
    assert_eq!(state["last_error"], class, "{what}");
    assert_eq!((&state["generation"], &state["given_back"]), (&1.into(), &false.into()), "{what}");
    assert_eq!(scene.published(), files, "{what}");
    sidecar.assert_warned(1, what);
    assert_eq!(
        sidecar.times_logged(lines::FRESH) + sidecar.times_logged(lines::WORKS),
        0,
        "{what}"
    );
    let asked = scene.request_lines().len();
    end(&scene);
    until(&format!("{what}: it is over"), || scene.failures() == 0);
    assert!(asked < 60, "{what}: {asked} requests while it failed");
    assert!(scene.state()["last_error"].is_null(), "{what}");
    until("its end is logged", || {
        sidecar.times_logged(lines::FRESH) + sidecar.times_logged(lines::WORKS) == 1
    });
    assert_eq!(scene.state()["generation"], 1, "{what}");
    scene.vault.rotate();
    scene.wait_until_fresh();
    sidecar.assert_warned(1, what);
    sidecar.stop();
    assert_eq!((scene.count(PROVISION), scene.vault.provision_count()), (0, 1), "{what}");
}

fn cleared(scene: &Scene) {
    scene.vault.clear_faults();
}

#[test]
fn the_set_stays_through_every_passing_failure() {
    let cases =
        unreachable_or_refusing().into_iter().chain(empty_answers()).chain(broken_exchanges());
    side_by_side(cases, assert_survived);
}

/// The vault is unreachable, or refuses.
fn unreachable_or_refusing() -> Vec<Case> {
    vec![
        ("down", "unreachable", |scene| scene.vault.go_down(), |scene| scene.vault.come_back()),
        ("a gateway", "unreachable", |scene| scene.vault.fault(Fault::bad_gateway("")), cleared),
        (
            "a reset",
            "unreachable",
            |scene| scene.vault.fault(Fault::new("", Effect::Reset)),
            cleared,
        ),
        (
            "a login that hangs",
            "unreachable",
            |scene| {
                scene.vault.revoke_tokens();
                scene.vault.fault(Fault::new(path::LOGIN, Effect::Hang));
            },
            cleared,
        ),
        (
            "a token that is refused",
            "refused",
            |scene| scene.vault.fault(Fault::expired(path::PROVISION)),
            cleared,
        ),
    ]
}

/// An answer that brings nothing.
fn empty_answers() -> Vec<Case> {
    fn answers(scene: &Scene, body: &str) {
        scene.vault.fault(Fault::body(path::PROVISION, body));
    }
    const BAD: &str = r#"{"response":{"status":200,"mensagem":"Falha interna","erro":true}}"#;
    vec![
        ("nothing", "nonsense", |scene| answers(scene, ""), cleared),
        (
            "an empty object",
            "refused",
            |scene| answers(scene, r#"{"response": {"status": 200}, "secret": {}}"#),
            cleared,
        ),
        (
            "an empty list",
            "refused",
            |scene| {
                answers(scene, r#"{"response": {"status": 200}, "application": {"secrets": []}}"#);
            },
            cleared,
        ),
        ("an error in Portuguese", "unreachable", |scene| answers(scene, BAD), cleared),
        ("HTML", "nonsense", |scene| answers(scene, "<html>log in</html>"), cleared),
        (
            "no data",
            "refused",
            |scene| {
                let secret = r#"{"identity": "secret-postman", "data": []}"#;
                answers(
                    scene,
                    &format!(r#"{{"response": {{"status": 200}}, "secret": {secret}}}"#),
                );
            },
            cleared,
        ),
    ]
}

/// An exchange that breaks, or is none.
fn broken_exchanges() -> Vec<Case> {
    vec![
        (
            "half a body",
            "unreachable",
            |scene| scene.vault.fault(Fault::new("dapp", Effect::Cut).after()),
            cleared,
        ),
        (
            "a redirect",
            "nonsense",
            |scene| {
                let location = "https://elsewhere.invalid/".to_owned();
                scene.vault.fault(Fault::new("dapp", Effect::Redirect { location }));
            },
            cleared,
        ),
        (
            "a failure",
            "unreachable",
            |scene| scene.vault.fault(Fault::answer("dapp", 500, r#"{"message": "no"}"#)),
            cleared,
        ),
        (
            "a hanging read",
            "unreachable",
            |scene| scene.vault.fault(Fault::new("dapp", Effect::Hang)),
            cleared,
        ),
        (
            "a secret that is gone for a while",
            "settings",
            |scene| {
                let gone = r#"{"response":{"status":404,"error":true,"error_code":4}}"#;
                scene.vault.fault(Fault::answer(path::PROVISION, 404, gone));
            },
            cleared,
        ),
    ]
}

#[test]
fn an_empty_list_removes_nothing() {
    let answers = [
        r#"{"response": {"status": 200}, "application": {"secrets": []}}"#,
        r#"{"response": {"status": 200}, "secrets": []}"#,
        r#"{"response": {"status": 200}}"#,
        r#"{"response": {"status": 200}, "application": {"secrets": null}}"#,
        "",
        "[]",
    ];
    let sources = [("application", path::APPLICATION), ("secret", path::SECRETS)];
    let cases = sources.into_iter().flat_map(|source| answers.map(|answer| (source, answer)));
    side_by_side(cases, |((source, path), answer)| {
        let scene = Scene::after_init(Options::default(), |scene| {
            scene.unset("SEGURA_IDENTITY").set("SEGURA_SOURCE", source);
            scene.set("SEGURA_ON_ABSENT", "remove");
        });
        let files = scene.published();
        scene.vault.fault(Fault::body(path, answer));
        let sidecar = scene.renewing_sidecar();
        until(&format!("{source} {answer}: it fails"), || scene.failures() >= 2);
        assert_eq!(scene.published(), files, "{source} {answer}");
        assert_eq!(scene.state()["generation"], 1, "{source} {answer}");
        scene.vault.clear_faults();
        until("it is over", || scene.failures() == 0);
        assert_eq!(scene.published(), files, "{source} {answer}");
        sidecar.stop();
    });
}

#[test]
fn a_refused_client_keeps_its_set() {
    let cases: [(&str, Change); 2] = [
        ("the secret", |scene| scene.vault.set_client_secret("another")),
        ("the authorization", |scene| scene.vault.set_enabled(false)),
    ];
    side_by_side(cases, |(what, refuse)| {
        let scene = left_by_init();
        let files = scene.published();
        let sidecar = scene.renewing_sidecar();
        refuse(&scene);
        scene.vault.revoke_tokens();
        until("it is refused", || scene.failures() >= 1);
        let asked = scene.request_lines().len();
        for_a_while("it does not ask on and on", || scene.request_lines().len() <= asked + 3);
        assert_eq!(scene.state()["last_error"], "refused", "{what}");
        assert_eq!(scene.published(), files, "{what}");
        sidecar.assert_warned(1, what);
        sidecar.stop();
    });
}

#[test]
fn closed_idle_connections_are_no_failure() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    for reads in 1..4 {
        until("it has read", || scene.count(READ) >= reads);
        scene.vault.disconnect();
    }
    scene.vault.rotate();
    scene.wait_until_fresh();
    assert!(sidecar.warnings().is_empty(), "{:?}", sidecar.warnings());
    sidecar.stop();
}

#[test]
fn retry_after_is_honoured() {
    let cases = [
        ("a read", Fault::rate_limit("dapp", "3")),
        ("a login", Fault::rate_limit(path::LOGIN, "3")),
    ];
    side_by_side(cases, |(what, fault)| {
        let scene = left_by_init();
        let files = scene.published();
        scene.vault.fault(fault.once());
        let sidecar = scene.renewing_sidecar();
        assert_waits(&scene, what);
        assert_eq!(scene.published(), files, "{what}");
        until("it is over", || scene.failures() == 0);
        sidecar.stop();
    });
}

#[test]
fn retry_after_of_a_server_error_is_honoured() {
    let scene = left_by_init();
    scene.vault.fault(Fault::answer("dapp", 503, "").header("Retry-After", "3").once());
    let sidecar = scene.renewing_sidecar();
    assert_waits(&scene, "a failure");
    sidecar.stop();
}

/// Asserts that nothing was asked for three seconds after an answer that wished so.
#[track_caller]
fn assert_waits(scene: &Scene, what: &str) {
    let wish = |status| matches!(status, Some(429 | 503));
    let asked_again = || {
        let requests = scene.vault.requests();
        let wished = requests.iter().position(|request| wish(request.status))?;
        let at = requests[wished].at;
        Some(requests.get(wished + 1)?.at - at)
    };
    until(&format!("{what}: it asks again"), || asked_again().is_some());
    let waited = asked_again().unwrap().as_secs_f64();
    assert!(waited >= 3.0, "{what}: {waited} s: {:?}", scene.request_lines());
}

#[test]
fn a_retry_after_in_the_middle_of_a_pass_is_honoured() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_IDENTITY", "application5,secret-postman");
    });
    scene.vault.fault(Fault::rate_limit("secret-postman", "3").method("GET").once());
    let sidecar = scene.renewing_sidecar();
    assert_waits(&scene, "the second of two");
    sidecar.stop();
}

#[test]
fn a_changed_file_ends_the_backoff() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    scene.vault.go_down();
    until("it fails on", || scene.failures() >= 4);
    scene.vault.come_back();
    scene.vault.rotate();
    poke(&scene);
    scene.wait_until_fresh();
    sidecar.stop();
    assert!(scene.count(LOGIN) <= 2, "{:?}", scene.request_lines());
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
}

#[test]
fn a_few_absences_remove_nothing() {
    side_by_side(["remove", "keep"], |on_absent| {
        let scene = Scene::after_init(Options::default(), |scene| {
            scene.set("SEGURA_ON_ABSENT", on_absent).set("SEGURA_SOURCE", "application");
            scene.set("SEGURA_IDENTITY", "application5,payments/database");
        });
        let files = scene.published();
        let sidecar = scene.renewing_sidecar();
        scene.vault.remove_secret("application5");
        until("it was absent five times", || scene.failures() >= 5);
        assert_eq!(scene.published(), files, "{on_absent}");
        assert!(scene.held_back("application5").is_some(), "{on_absent}");
        assert!(scene.count(LOGIN) >= 5, "{on_absent}: each with a login of its own");
        sidecar.assert_warned(1, on_absent);
        sidecar.stop();
    });
}

/// A template that names what will be gone, and one that does not.
const TEMPLATES: [(&str, &str); 2] = [
    ("both.j2", "{{ secrets.application5|tojson }}{{ secrets[\"payments/database\"]|tojson }}"),
    ("one.j2", "{{ secrets[\"payments/database\"].password }}"),
];

#[test]
#[ignore = "takes eleven minutes"]
fn a_secret_absent_for_ten_minutes_is_removed_if_the_settings_say_so() {
    side_by_side(["remove", "keep"], |on_absent| {
        let templates = tempfile::tempdir().unwrap();
        for (file, text) in TEMPLATES {
            fs::write(templates.path().join(file), text).unwrap();
        }
        let mut scene = Scene::after_init(Options::default(), |scene| {
            scene.set("SEGURA_ON_ABSENT", on_absent).set("SEGURA_SOURCE", "application");
            scene.set("SEGURA_IDENTITY", "application5,payments/database");
            scene.set("SEGURA_OUTPUT", "files,json");
            scene.set("SEGURA_TEMPLATE_DIR", &templates.path().display().to_string());
        });
        scene.set("SEGURA_RENEW_INTERVAL", "30s");
        let sidecar = scene.renewing_sidecar();
        scene.vault.remove_secret("application5");
        throughout(Duration::from_secs(595), "nothing is removed", || {
            scene.path("application5/my_key_name").exists() && scene.path("both").exists()
        });
        pause(100_000);
        let stays = on_absent == "keep";
        for path in ["application5/my_key_name", "both"] {
            assert_eq!(scene.path(path).exists(), stays, "{path}, {on_absent}");
        }
        assert_eq!(scene.read("secrets.json").contains("my_key_name"), stays, "{on_absent}");
        let removed = sidecar.times_logged(lines::REMOVED);
        assert_eq!(removed, usize::from(!stays), "{on_absent}");
        // The others are renewed, and the rest stays published through a restart.
        sidecar.stop();
        scene.vault.set_data("payments/database", serde_json::json!({ "password": "newer" }));
        scene.set("SEGURA_RENEW_INTERVAL", "1s");
        let sidecar = scene.renewing_sidecar();
        until("a later change is published", || scene.read("one") == "newer");
        assert_eq!(scene.path("both").exists(), stays, "{on_absent}");
        until("what was replaced is swept", || scene.generations().len() == 1);
        sidecar.stop();
    });
}
