//! What has come is kept for the next start, which tries it first.

use std::fs;

use nix::mount::{MsFlags, mount};

use super::{STARTS, assert_published, crash_loop, on_post, page, posts_of, start};
use crate::dev_vault::requests::{DEPROVISION, LOGIN, PROVISION, READ, path};
use crate::dev_vault::{Effect, Fault};
use crate::harness::host::{Memory, mode, with_own_mounts};
use crate::harness::{Run, SEED, Scene, side_by_side, sidecar::Sidecar, until};

const OTHER: &str = "payments/database";
const BOTH: &str = "secret-postman,payments/database";

/// A cause of a crash loop, and its correction.
struct Wrong {
    what: &'static str,
    identities: &'static [&'static str],
    code: i32,
    breaks: fn(&mut Scene),
    corrects: fn(&mut Scene),
}

fn template(scene: &mut Scene, text: &str) {
    let dir = scene.vault.dir().join("templates");
    fs::create_dir_all(&dir).expect("the vault's directory is ours");
    fs::write(dir.join("app.conf.j2"), text).expect("the folder is there");
    scene.set("SEGURA_TEMPLATE_DIR", &dir.display().to_string());
}

/// Has a secret hold no key that differs between its entries.
fn without_a_password(scene: &Scene, identity: &str) {
    scene.vault.set_data(identity, r#"{"hostname": "h"}"#);
}

const WRONG: [Wrong; 7] = [
    Wrong {
        what: "a bad template",
        identities: &[SEED],
        code: 78,
        breaks: |scene| template(scene, r#"{{ secrets["secret-postman"].no_such_key }}"#),
        corrects: |scene| template(scene, r#"{{ secrets["secret-postman"].password }}"#),
    },
    Wrong {
        what: "a collision under error",
        identities: &[SEED],
        code: 78,
        breaks: |scene| {
            scene.set("SEGURA_COLLISION", "error");
        },
        corrects: |scene| {
            scene.set("SEGURA_COLLISION", "last");
        },
    },
    Wrong {
        what: "a collision under error, corrected in the vault",
        identities: &[SEED],
        code: 78,
        breaks: |scene| {
            scene.set("SEGURA_COLLISION", "error");
        },
        corrects: |scene| scene.vault.set_data(SEED, r#"{"note": "n"}"#),
    },
    Wrong {
        what: "a refused dialect",
        identities: &["pem"],
        code: 78,
        breaks: |scene| {
            let data = r#"{"identity": "pem", "data": {"certificate": "one\ntwo"}}"#;
            scene.vault.put_secret(data);
            scene.set("SEGURA_IDENTITY", "pem").set("SEGURA_OUTPUT", "files,env");
            scene.set("SEGURA_ENV_DIALECT", "docker");
        },
        corrects: |scene| {
            scene.set("SEGURA_ENV_DIALECT", "shell");
        },
    },
    Wrong {
        what: "a value that no environment holds, corrected in the vault",
        identities: &[SEED, "a"],
        code: 76,
        breaks: |scene| {
            scene.vault.put_secret(r#"{"identity": "a", "data": {"k": "nu\u0000l"}}"#);
            scene.set("SEGURA_IDENTITY", "secret-postman,a").set("SEGURA_OUTPUT", "files,env");
        },
        corrects: |scene| scene.vault.set_data("a", r#"{"k": "sound"}"#),
    },
    Wrong {
        what: "a second identity that fails",
        identities: &[SEED, "a"],
        code: 78,
        breaks: |scene| {
            scene.set("SEGURA_IDENTITY", "secret-postman,a");
        },
        corrects: |scene| {
            scene.vault.put_secret(r#"{"identity": "a", "data": {"hostname": "h"}}"#);
        },
    },
    Wrong {
        what: "a second identity that is misspelt",
        identities: &[SEED, OTHER],
        code: 78,
        breaks: |scene| {
            without_a_password(scene, OTHER);
            scene.set("SEGURA_IDENTITY", "secret-postman,payments/databse");
        },
        corrects: |scene| {
            scene.set("SEGURA_IDENTITY", BOTH);
        },
    },
];

#[test]
fn twenty_starts_make_one_account_which_is_published_once_the_cause_is_corrected() {
    side_by_side(WRONG, |wrong| {
        let Wrong { what, identities, code, breaks, corrects } = wrong;
        let mut scene = Scene::new();
        breaks(&mut scene);
        crash_loop(&scene, code);
        assert_eq!(posts_of(&scene, identities[0]), 1, "{what}: {:?}", scene.request_lines());
        assert_eq!(mode(scene.path("..segura/kept.json")), 0o600, "{what}");
        corrects(&mut scene);
        scene.init().exits(0);
        for identity in identities {
            assert_eq!(scene.vault.provisioned(identity).len(), 1, "{what}: {identity}");
            assert_published(&scene, identity, what);
        }
        assert_eq!(scene.vault.provision_count(), identities.len(), "{what}");
        assert!(!scene.path("..segura/kept.json").exists(), "{what}: it is published");
        assert!(!scene.path("..segura/pending.json").exists(), "{what}: it is published");
        // From here on it is a set like any other.
        let posts = scene.count(PROVISION);
        for n in 0..3 {
            start_and_end(&scene, n);
        }
        assert_eq!(scene.count(PROVISION), posts, "{what}");
    });
}

/// Starts on a published set, and ends the sidecar, which would renew it.
fn start_and_end(scene: &Scene, n: usize) {
    if n % 3 == 1 {
        scene.renewing_sidecar().stop();
    } else {
        let run = start(scene, n);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
}

#[test]
fn a_set_that_is_kept_whole_is_published_without_a_request() {
    let mut scene = Scene::new();
    template(&mut scene, r#"{{ secrets["secret-postman"].no_such_key }}"#);
    scene.init().exits(78);
    scene.vault.clear_requests();
    template(&mut scene, r#"{{ secrets["secret-postman"].password }}"#);
    scene.vault.go_down();
    let run = scene.init();
    run.exits(0);
    assert_eq!(scene.read("app.conf"), scene.read("secret-postman/password"));
    assert!(scene.request_lines().is_empty());
    assert_eq!(
        scene.state()["secrets"][0]["version"].as_str(),
        scene.vault.version(SEED).as_deref()
    );
}

#[test]
fn a_kept_set_that_is_due_is_read_once_after_it_is_published() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "1s");
    template(&mut scene, r#"{{ secrets["secret-postman"].no_such_key }}"#);
    scene.init().exits(78);
    scene.wait_until_due();
    scene.vault.rotate();
    scene.vault.clear_requests();
    template(&mut scene, r#"{{ secrets["secret-postman"].password }}"#);
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, READ]);
    assert_published(&scene, SEED, "the present password");
}

#[test]
fn what_is_kept_is_not_fetched_again_and_the_rest_is() {
    let mut scene = Scene::new();
    without_a_password(&scene, OTHER);
    scene.set("SEGURA_IDENTITY", BOTH).set("SEGURA_STARTUP_TIMEOUT", "1s");
    scene.vault.fault(Fault::rate_limit(path::PROVISION, "0").method("POST").skip(1));
    crash_loop(&scene, 69);
    assert_eq!(posts_of(&scene, SEED), 1);
    assert_eq!(scene.count(READ), 0, "a refused POST settles its own fate");
    scene.vault.clear_faults();
    scene.vault.clear_requests();
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    for identity in [SEED, OTHER] {
        assert_published(&scene, identity, "");
    }
}

#[test]
fn a_kept_set_of_another_origin_is_dropped() {
    let mut scene = Scene::new();
    scene.set("SEGURA_COLLISION", "error");
    scene.init().exits(78);
    scene.set("SEGURA_COLLISION", "last").set("SEGURA_POD_NAME", "web-7d4b9c6f5-bcdfg");
    scene.init().exits(0);
    assert_eq!((scene.count(PROVISION), scene.count(READ)), (2, 0));
    let account = scene.vault.provisioned(SEED).pop().unwrap();
    assert_eq!(account.pod_name, "web-7d4b9c6f5-bcdfg");
    assert_eq!(scene.read("secret-postman/password"), account.password);
    assert!(!scene.path("..segura/kept.json").exists());
}

#[test]
fn a_kept_set_that_cannot_be_read_is_read_in_the_vault() {
    for content in ["", "{", "[]"] {
        let mut scene = Scene::new();
        scene.set("SEGURA_COLLISION", "error");
        scene.init().exits(78);
        fs::write(scene.path("..segura/kept.json"), content).unwrap();
        scene.set("SEGURA_COLLISION", "last");
        scene.init().exits(0);
        assert_eq!((scene.count(PROVISION), scene.count(READ)), (1, 1), "{content:?}");
        assert_published(&scene, SEED, content);
        assert!(!scene.path("..segura/kept.json").exists(), "{content:?}");
    }
}

#[test]
fn a_kept_set_is_deprovisioned_by_the_command() {
    let mut scene = Scene::new();
    scene.set("SEGURA_COLLISION", "error");
    scene.init().exits(78);
    let deprovision = || Run::of(scene.agent(&["deprovision"]).output().unwrap());
    scene.vault.fault(Fault::answer(path::DEPROVISION, 500, "{}").once());
    let failed = deprovision();
    assert_eq!(failed.stdout, "failed      secret-postman  id=213\n", "{}", failed.stderr);
    let given = deprovision();
    assert_eq!((given.code, &*given.stdout), (Some(0), "given back  secret-postman\n"));
    assert!(scene.vault.provisioned(SEED).is_empty());
    assert!(!scene.path("..segura/kept.json").exists());
    let again = deprovision();
    assert_eq!(again.stdout, "nothing stands that could be given back\n", "{}", again.stderr);
    scene.vault.clear_requests();
    scene.set("SEGURA_COLLISION", "last").init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
}

#[test]
fn a_kept_set_that_may_be_deprovisioned_is_not_published() {
    let mut scene = Scene::new();
    scene.set("SEGURA_COLLISION", "error");
    scene.init().exits(78);
    let lost = scene.vault.provisioned(SEED).pop().unwrap();
    scene.vault.fault(Fault::bad_gateway(path::DEPROVISION).once().after());
    let failed = Run::of(scene.agent(&["deprovision"]).output().unwrap());
    assert_eq!(failed.code, Some(69), "{}", failed.stderr);
    scene.set("SEGURA_COLLISION", "last").init().exits(0);
    assert_ne!(scene.read("secret-postman/password"), lost.password);
}

#[test]
fn without_a_directory_a_failed_start_deprovisions() {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "none").set("SEGURA_IDENTITY", "secret-postman,not-there");
    let run = Sidecar::spawn(scene.agent(&["exec", "--", "/bin/true"])).wait();
    assert_eq!(run.code, Some(78), "{}", run.stderr);
    assert_eq!((scene.count(PROVISION), scene.count(DEPROVISION)), (2, 1));
    assert!(scene.vault.provisioned(SEED).is_empty());
}

#[test]
fn a_directory_that_cannot_be_written_makes_no_account() {
    with_own_mounts("a_directory_that_cannot_be_written_makes_no_account", || {
        let scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 64, MsFlags::empty());
        remount(&scene, "size=256k", MsFlags::MS_RDONLY);
        for _ in 0..STARTS {
            scene.init().exits(73);
        }
        remount(&scene, "size=256k", MsFlags::empty());
        fs::write(scene.path("ballast"), vec![0; 64 * 4096]).unwrap();
        for n in 0..STARTS {
            let run = start(&scene, n);
            assert_eq!(run.code, Some(73), "start {n}: {}", run.stderr);
        }
        assert_eq!(scene.vault.connections(), 0);
        fs::remove_file(scene.path("ballast")).unwrap();
        scene.init().exits(0);
        assert_published(&scene, SEED, "");
    });
}

#[test]
fn a_volume_that_a_set_does_not_fit_into_makes_one_account() {
    with_own_mounts("a_volume_that_a_set_does_not_fit_into_makes_one_account", || {
        let mut scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 5, MsFlags::empty());
        scene.set("SEGURA_STARTUP_TIMEOUT", "1s");
        // Each start tries to publish for 5 s.
        for n in 0..4 {
            let run = start(&scene, n);
            assert_eq!(run.code, Some(73), "{}", run.stderr);
        }
        assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
        remount(&scene, "size=256k", MsFlags::empty());
        scene.init().exits(0);
        assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
        assert_published(&scene, SEED, "");
    });
}

fn remount(scene: &Scene, options: &str, flags: MsFlags) {
    let remount = MsFlags::MS_REMOUNT | flags;
    mount(None::<&str>, scene.dir.path(), None::<&str>, remount, Some(options)).expect("root may");
}

#[test]
fn what_cannot_be_recorded_is_not_posted_and_what_cannot_be_kept_is_deprovisioned() {
    with_own_mounts("what_cannot_be_recorded_is_not_posted", || {
        let mut scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 64, MsFlags::empty());
        scene.set("SEGURA_IDENTITY", BOTH).set("SEGURA_STARTUP_TIMEOUT", "1s");
        scene.vault.fault(on_post(Effect::Delay { ms: 400 }).once());
        let agent = scene.spawn_init();
        until("the POST reaches the vault", || scene.count(PROVISION) == 1);
        fs::write(scene.path("ballast"), vec![0; 64 * 4096]).unwrap_err();
        let run = Run::wait(agent);
        let error = run.exits(73).error();
        assert!(error.contains("it can't be recorded before it is sent"), "{error}");
        assert!(run.hint().is_some_and(|hint| hint.contains("sizeLimit")), "{}", run.stderr);
        assert_eq!(scene.request_lines(), [LOGIN, PROVISION, DEPROVISION]);
        assert!(scene.vault.provisioned(SEED).is_empty());
    });
}

#[test]
fn a_set_that_a_crash_has_left_kept_is_adopted_and_no_longer_kept() {
    let mut scene = Scene::new();
    scene.set("SEGURA_COLLISION", "error");
    scene.init().exits(78);
    let kept = fs::read(scene.path("..segura/kept.json")).unwrap();
    scene.set("SEGURA_COLLISION", "last").init().exits(0);
    fs::write(scene.path("..segura/kept.json"), kept).unwrap();
    scene.vault.clear_requests();
    scene.init().exits(0);
    assert!(!scene.path("..segura/kept.json").exists());
    assert!(scene.request_lines().is_empty());
}

#[test]
fn an_account_behind_a_filter_is_found_once_reads_answer() {
    for status in [403, 404, 406, 200, 302] {
        let mut scene = Scene::new();
        scene.set("SEGURA_STARTUP_TIMEOUT", "1s");
        scene.vault.fault(on_post(page(status)).after());
        scene.vault.fault(Fault::bad_gateway(path::PROVISION).method("GET"));
        for n in 0..STARTS / 4 {
            assert_ne!(start(&scene, n).code, Some(0), "{status}");
        }
        assert_eq!(scene.count(PROVISION), 1, "{status}: {:?}", scene.request_lines());
        scene.vault.clear_faults();
        scene.set("SEGURA_STARTUP_TIMEOUT", "30s").init().exits(0);
        assert_published(&scene, SEED, &status.to_string());
    }
}
