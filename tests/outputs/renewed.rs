//! What can't be rendered on renewal: the identity at fault keeps its last good version in every
//! output, the others go on, and a repaired value is published.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::templates::give;
use super::values::{IDENTITY, scene};
use crate::dev_vault::requests::PROVISION;
use crate::harness::lines;
use crate::{
    dev_vault::Options,
    harness::{Scene, for_a_while, side_by_side, sidecar::Sidecar, until},
};

const ALL: &str = "files,env,json,yaml,properties";
const OTHER: &str = "cart/db";
const THIRD: &str = "zoo";
/// Prints what three secrets hold.
const TEMPLATE: &str = "{{ secrets|tojson }}\n{{ entries|toyaml }}\n";

type Change = fn(&mut Scene);

/// One thing that can't be rendered.
struct Case {
    what: &'static str,
    settings: Change,
    good: fn() -> Value,
    bad: fn() -> Value,
    repaired: fn() -> Value,
}

fn cases() -> Vec<Case> {
    fn b64(text: &str) -> String {
        STANDARD.encode(text)
    }
    fn template(scene: &mut Scene, text: &str) {
        give(scene, &[("all.j2", TEMPLATE), ("one.conf.j2", text)]);
    }
    vec![
        Case {
            what: "a key that a template names is gone",
            settings: |scene| template(scene, "a\n{{ secrets[\"cart/db\"].user }}"),
            good: || json!({ "user": "ann", "n": "1" }),
            bad: || json!({ "n": "cAnArY" }),
            repaired: || json!({ "user": "bob", "n": "3" }),
        },
        Case {
            what: "an entry that a template names is gone",
            settings: |scene| template(scene, "{{ entries[\"cart/db\"][1].user }}"),
            good: || json!([{ "user": "ann" }, { "user": "eve", "x": "y" }]),
            bad: || json!([{ "user": "cAnArY" }]),
            repaired: || json!([{ "user": "bob" }, { "user": "joe" }, { "k": "v" }]),
        },
        Case {
            what: "a value that .pgpass can't hold",
            settings: |scene| template(scene, "{{ secrets[\"cart/db\"].user|pgpass }}"),
            good: || json!({ "user": "a:b" }),
            bad: || json!({ "user": "cAnArY\nb" }),
            repaired: || json!({ "user": "b\\c" }),
        },
        Case {
            what: "a value that a template takes for base64 is none",
            settings: |scene| template(scene, "{{ secrets[\"cart/db\"].user|b64decode }}"),
            good: || json!({ "user": b64("ann") }),
            bad: || json!({ "user": "cAnArY!" }),
            repaired: || json!({ "user": b64("bob") }),
        },
        Case {
            what: "an output that is too long",
            settings: |scene| {
                template(
                    scene,
                    "{% for i in range(50000) %}{{ secrets[\"cart/db\"].user }}{% endfor %}",
                );
            },
            good: || json!({ "user": "ann" }),
            bad: || json!({ "user": "cAnArY".repeat(20) }),
            repaired: || json!({ "user": "bob" }),
        },
        Case {
            what: "base64 that is none any more",
            settings: |scene| {
                scene.set("SEGURA_DECODE", "cart/*/cert");
            },
            good: || json!({ "cert": b64("good\n") }),
            bad: || json!({ "cert": "cAnArY!", "more": "x" }),
            repaired: || json!({ "cert": b64("repaired") }),
        },
        Case {
            what: "a value that the dialect refuses",
            settings: |scene| {
                scene.set("SEGURA_ENV_DIALECT", "dotenv");
            },
            good: || json!({ "user": "it's" }),
            bad: || json!({ "user": "cAnArY ${x}" }),
            repaired: || json!({ "user": "b", "more": "x" }),
        },
        Case {
            what: "entries that disagree",
            settings: |scene| {
                scene.set("SEGURA_COLLISION", "error");
            },
            good: || json!([{ "user": "a" }, { "user": "a" }]),
            bad: || json!([{ "user": "a" }, { "user": "cAnArY" }]),
            repaired: || json!([{ "user": "b" }, { "user": "b", "k": "v" }]),
        },
        Case {
            what: "two keys of one property",
            settings: |scene| {
                scene.vault.set_data("cart/db.x", json!({ "y": "z" }));
                scene.set("SEGURA_IDENTITY", "outputs,cart/db,cart/db.x,zoo");
                scene.set("SEGURA_ENV_NAME", "{identity}__{key}");
            },
            good: || json!({ "user": "a" }),
            bad: || json!({ "user": "b", "x.y": "cAnArY" }),
            repaired: || json!({ "user": "c", "x_y": "d" }),
        },
    ]
}

/// A pod with every output and three secrets, of which the second is the case's.
fn pod(case: &Case, first: &str, second: Value, third: &str) -> Scene {
    let mut scene = scene(&[("k".to_owned(), first.to_owned())].into());
    scene.vault.set_data(OTHER, second);
    scene.vault.set_data(THIRD, json!({ "k": third }));
    scene.set("SEGURA_IDENTITY", "outputs,cart/db,zoo").set("SEGURA_OUTPUT", ALL);
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    give(&mut scene, &[("all.j2", TEMPLATE)]);
    (case.settings)(&mut scene);
    scene
}

/// What a start publishes of these.
#[track_caller]
fn published_by_init(
    case: &Case,
    first: &str,
    second: Value,
    third: &str,
) -> BTreeMap<String, Vec<u8>> {
    let scene = pod(case, first, second, third);
    scene.init().exits(0);
    scene.published()
}

/// Waits until all that is published is this; one file shows every secret, so it is the last to be so.
#[track_caller]
fn until_published(what: &str, scene: &Scene, expected: &BTreeMap<String, Vec<u8>>) {
    let all = expected.get("all").expect("it is always made");
    until(&format!("{what}: it is published"), || scene.read("all").as_bytes() == all);
    assert!(scene.published() == *expected, "{what}");
}

/// Changes the first and the third secret.
fn change_others(scene: &Scene, value: &str) {
    scene.vault.set_data(IDENTITY, json!({ "k": value }));
    scene.vault.set_data(THIRD, json!({ "k": value }));
}

#[track_caller]
fn stop(sidecar: Sidecar, what: &str) {
    let run = sidecar.stop();
    assert!(!run.stderr.contains("cAnArY"), "{what}: {}", run.stderr);
}

#[test]
fn a_secret_that_cannot_be_rendered_keeps_its_last_good_version_in_every_output() {
    side_by_side(cases(), |case| {
        let what = case.what;
        let scene = pod(&case, "1", (case.good)(), "1");
        let sidecar = scene.renewing_sidecar();
        assert!(scene.published() == published_by_init(&case, "1", (case.good)(), "1"), "{what}");
        scene.vault.set_data(OTHER, (case.bad)());
        change_others(&scene, "2");
        until_published(what, &scene, &published_by_init(&case, "2", (case.good)(), "2"));
        until("it is held back", || scene.held_back(OTHER).is_some());
        assert_eq!(scene.held_back(OTHER).as_deref(), Some("render"), "{what}");
        assert_eq!((scene.held_back(IDENTITY), scene.held_back(THIRD)), (None, None), "{what}");
        // The others change on, while it is at fault.
        change_others(&scene, "3");
        until_published(what, &scene, &published_by_init(&case, "3", (case.good)(), "3"));
        assert_eq!(scene.state()["last_error"], "render", "{what}");
        sidecar.assert_logged(lines::HELD_BACK, 1, what);
        assert!(sidecar.until_logged(lines::HELD_BACK).contains(OTHER), "{what}");

        scene.vault.set_data(OTHER, (case.repaired)());
        until_published(
            "what is repaired",
            &scene,
            &published_by_init(&case, "3", (case.repaired)(), "3"),
        );
        until("nothing is held back", || scene.held_back(OTHER).is_none());
        until("it is logged", || sidecar.times_logged(lines::FRESH) == 1);
        stop(sidecar, what);
    });
}

#[test]
fn a_held_back_secret_is_held_back_after_a_restart_too() {
    side_by_side(cases(), |case| {
        let what = case.what;
        let scene = pod(&case, "1", (case.good)(), "1");
        let sidecar = scene.renewing_sidecar();
        scene.vault.set_data(OTHER, (case.bad)());
        until("it is held back", || scene.held_back(OTHER).is_some());
        sidecar.kill();
        change_others(&scene, "2");
        let sidecar = scene.renewing_sidecar();
        until_published(what, &scene, &published_by_init(&case, "2", (case.good)(), "2"));
        until("it is held back again", || scene.held_back(OTHER).is_some());
        scene.vault.set_data(OTHER, (case.repaired)());
        until_published(
            "what is repaired",
            &scene,
            &published_by_init(&case, "2", (case.repaired)(), "2"),
        );
        until("nothing is held back", || scene.held_back(OTHER).is_none());
        stop(sidecar, what);
    });
}

#[test]
fn an_init_that_renews_holds_back_only_secrets_that_cannot_be_rendered() {
    side_by_side(cases(), |case| {
        let what = case.what;
        let scene = pod(&case, "1", (case.good)(), "1");
        scene.init().exits(0);
        scene.vault.set_data(OTHER, (case.bad)());
        change_others(&scene, "2");
        scene.wait_until_due();
        let run = scene.init();
        run.exits(0);
        assert!(!run.stderr.contains("cAnArY"), "{what}: {}", run.stderr);
        let sound = published_by_init(&case, "2", (case.good)(), "2");
        assert!(scene.published() == sound, "{what}: {}", run.stderr);
        assert_eq!(scene.held_back(OTHER).as_deref(), Some("render"), "{what}");
    });
}

#[test]
fn a_start_that_cannot_render_publishes_nothing() {
    side_by_side(cases(), |case| {
        let scene = pod(&case, "1", (case.bad)(), "1");
        let run = Sidecar::spawn(scene.agent(&["sidecar"])).wait();
        assert!(matches!(run.code, Some(76 | 78)), "{}: {}", case.what, run.stderr);
        assert!(!run.stderr.contains("cAnArY"), "{}: {}", case.what, run.stderr);
        assert!(scene.published().is_empty() && scene.generations().is_empty(), "{}", case.what);
    });
}

#[test]
fn a_new_secret_that_cannot_be_rendered_is_left_out_and_the_others_are_renewed() {
    let mut scene = Scene::with(Options { demo_secrets: false, ..Options::default() });
    scene.vault.set_data(IDENTITY, json!({ "k": "1" }));
    scene.set("SEGURA_SOURCE", "application").unset("SEGURA_IDENTITY").set("SEGURA_OUTPUT", ALL);
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    give(&mut scene, &[("app.conf.j2", "{% for s in secrets %}{{ s }};{% endfor %}")]);
    let sidecar = scene.renewing_sidecar();
    scene.vault.set_data("app.conf", json!({ "k": "cAnArY" }));
    let line = sidecar.until_logged(lines::HELD_BACK);
    assert!(line.contains("app.conf.j2") && line.contains("\"app.conf\""), "{line}");
    scene.vault.set_data("new", json!({ "k": "new" }));
    scene.vault.set_data(IDENTITY, json!({ "k": "2" }));
    until("the others go on", || scene.path("new/k").exists());
    until("all of them", || scene.read("outputs/k") == "2");
    assert_eq!(scene.read("app.conf"), "new;outputs;");
    assert!(!scene.read("secrets.json").contains("cAnArY"));
    assert_eq!(scene.state()["last_error"], "render");
    stop(sidecar, "a new secret");
}

/// A set that a sidecar has left whose next due is far away, and the settings that a restart adds.
fn left_by_sidecar() -> Scene {
    let mut scene = scene(&[("k".to_owned(), "aGk=".to_owned())].into());
    scene.set("SEGURA_RENEW_INTERVAL", "10m");
    give(&mut scene, &[("app.conf.j2", "one")]);
    scene.renewing_sidecar().stop();
    scene.vault.clear_requests();
    scene
}

/// Settings that change between two starts: what one file is then.
const CHANGES: [(Change, &str, &str); 7] = [
    (
        |scene| {
            give(scene, &[("app.conf.j2", "two {{ secrets.outputs.k }}")]);
        },
        "app.conf",
        "two aGk=",
    ),
    (
        |scene| {
            give(scene, &[("new.conf.j2", "{{ meta.outputs.name }}")]);
        },
        "new.conf",
        "outputs",
    ),
    (
        |scene| {
            scene.set("SEGURA_DECODE", "*/k");
        },
        "outputs/k",
        "hi",
    ),
    (
        |scene| {
            scene.set("SEGURA_OUTPUT", "json");
        },
        "secrets.json",
        "{\"outputs\":{\"k\":\"aGk=\"}}\n",
    ),
    (
        |scene| {
            scene.set("SEGURA_OUTPUT", "env");
        },
        "secrets.env",
        "k='aGk='\n",
    ),
    (
        |scene| {
            scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_DIALECT", "docker");
        },
        "secrets.env",
        "k=aGk=\n",
    ),
    (
        |scene| {
            scene.set("SEGURA_OUTPUT", "env,files").set("SEGURA_ENV_NAME", "APP_{key}");
        },
        "secrets.env",
        "APP_k='aGk='\n",
    ),
];

#[test]
fn an_adopted_set_is_rendered_again_after_a_change_of_settings() {
    side_by_side(CHANGES, |(change, path, content)| {
        let mut scene = left_by_sidecar();
        assert_eq!(scene.state()["generation"], 1);
        change(&mut scene);
        let sidecar = scene.renewing_sidecar();
        assert_eq!(scene.read(path), content);
        assert_eq!(scene.state()["generation"], 2, "{path}");
        for_a_while("it asks for nothing", || scene.request_lines().is_empty());
        stop(sidecar, path);
        // What is as it was before is left alone.
        scene.renewing_sidecar().stop();
        assert_eq!(scene.state()["generation"], 2, "{path}");
    });
}

#[test]
fn an_adopted_set_that_new_settings_cannot_render_ends_the_start_and_stays() {
    let changes: [(Change, &str); 3] = [
        (
            |scene| {
                give(scene, &[("app.conf.j2", "\n{{ secrets.outputs.gone }}")]);
            },
            "app.conf.j2, line 2",
        ),
        (
            |scene| {
                give(scene, &[("app.conf.j2", "\n{{ secrets.outputs")]);
            },
            "app.conf.j2, line 2",
        ),
        (
            |scene| {
                give(scene, &[("outputs.j2", "x")]);
            },
            "outputs",
        ),
    ];
    side_by_side(changes, |(change, part)| {
        let mut scene = left_by_sidecar();
        let files = scene.published();
        change(&mut scene);
        let run = Sidecar::spawn(scene.agent(&["sidecar"])).wait();
        assert!(matches!(run.code, Some(76 | 78)), "{}", run.stderr);
        assert!(run.stderr.contains(part), "{}", run.stderr);
        assert_eq!((scene.published(), &scene.state()["generation"]), (files, &1.into()));
        assert_eq!(scene.count(PROVISION), 0, "{:?}", scene.request_lines());
    });
}

#[test]
fn an_adopted_set_that_lacks_a_secret_of_new_settings_is_fetched_again() {
    for mode in ["init", "sidecar"] {
        let mut scene = left_by_sidecar();
        scene.vault.set_data("outputs", json!({ "k": "v", "host": "db.example.com" }));
        give(&mut scene, &[("app.conf.j2", "{{ secrets.outputs.host }}")]);
        let agent = Sidecar::spawn(scene.agent(&[mode]));
        until("the new key is published", || scene.read("app.conf") == "db.example.com");
        assert_eq!(scene.count(PROVISION), 0, "nothing is provisioned for it");
        if mode == "init" {
            agent.wait().exits(0);
        } else {
            agent.stop().exits(0);
        }
    }
}

#[test]
fn a_change_that_only_a_template_shows_restarts_the_command() {
    let mut scene = scene(&[("k".to_owned(), "v".to_owned())].into());
    give(&mut scene, &[("version", ""), ("app.conf.j2", "{{ meta.outputs.version }}")]);
    scene.set("SEGURA_RENEW_INTERVAL", "1s").set("SEGURA_RESTART_SPLAY", "0s");
    let file = scene.path("app.conf").display().to_string();
    let app = scene.exec(&["sh", "-c", "echo \"saw $(cat \"$0\")\"; exec sleep 60", &file]);
    let version = || scene.vault.version(IDENTITY).unwrap_or_default();
    app.until_printed(&format!("saw {}", version()));
    // Equal values, and a version of their own.
    scene.vault.set_data(IDENTITY, json!({ "k": "v" }));
    app.until_printed(&format!("saw {}", version()));
    app.send(Signal::TERM);
    assert_eq!(app.wait().code, Some(143));
}
