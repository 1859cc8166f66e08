//! The main job: log in, fetch, render, publish; and starts with a published set.

use std::{collections::BTreeMap, fs};

use rustix::process::Signal;

use crate::dev_vault::requests::{APPLICATION, LOGIN, PROVISION, READ, SECRETS, path, secret};
use crate::harness::pause;
use crate::{
    dev_vault::{Effect, Fault, Options, Provisioned, Quirks, Slashes},
    harness::{POD, Run, SEED, Scene, send, side_by_side, until},
};

/// Something that happens to a scene.
type Change = fn(&Scene);

/// The one account that the pod holds of the seed's secret.
fn account(scene: &Scene) -> Provisioned {
    let mut accounts = scene.vault.provisioned(SEED);
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    accounts.remove(0)
}

fn texts(scene: &Scene) -> BTreeMap<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("values are text");
    let files = scene.published().into_iter();
    files.map(|(path, bytes)| (path, text(bytes))).collect()
}

fn expected(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pair = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    files.iter().map(pair).collect()
}

/// Puts other bytes where a published file is, as a process with write access to the volume can.
fn tamper(scene: &Scene, path: &str, bytes: &[u8]) {
    fs::remove_file(scene.path(path)).expect("it is published");
    fs::write(scene.path(path), bytes).expect("the folder is ours");
}

#[test]
fn the_seed_secret_is_published_with_one_connection_and_two_requests() {
    let scene = Scene::new();
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    assert_eq!(scene.vault.connections(), 1);
    let provisioned = scene.vault.provisioned(SEED);
    assert_eq!(provisioned.len(), 1);
    assert_eq!(provisioned[0].pod_name, POD);
    assert_eq!(provisioned[0].deploy, "web");
    assert_eq!(provisioned[0].namespace, "shop");
    assert_eq!(scene.read("secret-postman/username"), provisioned[0].username);
    assert_eq!(scene.read("secret-postman/1/username"), "usera2a");
    assert_eq!(scene.read("secret-postman/ip"), "10.66.32.13");
    assert_eq!(scene.read("secret-postman/additional_information"), "");
    assert_eq!(scene.state()["secrets"][0]["version"], "7");
}

#[test]
fn every_value_is_published_exactly_and_nothing_else_is() {
    let scene = Scene::new();
    scene.init().exits(0);
    let own = account(&scene);
    let host = "TEAM-PRODUTOS-Windows-Server-2016-001";
    let files = expected(&[
        ("secret-postman/1/hostname", "WinSUP"),
        ("secret-postman/1/username", "usera2a"),
        ("secret-postman/2/additional_information", ""),
        ("secret-postman/2/hostname", host),
        ("secret-postman/2/ip", "10.66.32.13"),
        ("secret-postman/2/password", &own.password),
        ("secret-postman/2/username", &own.username),
        ("secret-postman/additional_information", ""),
        ("secret-postman/hostname", host),
        ("secret-postman/ip", "10.66.32.13"),
        ("secret-postman/password", &own.password),
        ("secret-postman/username", &own.username),
    ]);
    assert_eq!(texts(&scene), files);
}

#[test]
fn the_post_names_its_pod() {
    let scene = Scene::new();
    scene.init().exits(0);
    let requests = scene.vault.requests();
    let post = requests.iter().find(|request| request.is("POST", "/provision")).unwrap();
    let body: serde_json::Value = serde_json::from_str(&post.body).unwrap();
    let said = serde_json::json!({
        "identity": SEED, "pod_name": POD, "deploy": "web", "namespace": "shop"
    });
    assert_eq!(body, said);
}

#[test]
fn without_an_identity_every_secret_of_the_authorization_is_published() {
    let mut scene = Scene::new();
    scene.unset("SEGURA_IDENTITY").set("SEGURA_OUTPUT", "files,env");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, APPLICATION]);
    assert_eq!(scene.vault.provision_count(), 0);
    assert_eq!(scene.read("application5/1/username"), "ADMIN_V_USR");
    assert_eq!(scene.read("application5/2/TTL"), "");
    assert_eq!(scene.read("application5/my_key_name"), "my_key_value");
    assert_eq!(scene.read("payments/database/username"), "payments");
    assert_eq!(scene.read("secret-postman/hostname"), "WinSUP");
    let env = scene.read("secrets.env");
    assert!(env.contains("\napplication5_secret_access_key='sk/example+1'\n"), "{env}");
    assert!(env.contains("\npayments_database_hostname='payments-db'\n"), "{env}");
}

#[test]
fn with_identities_the_application_gives_those_alone() {
    let mut scene = Scene::new();
    scene.set("SEGURA_SOURCE", "application");
    scene.set("SEGURA_IDENTITY", "application5, payments/database");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, APPLICATION]);
    assert_eq!(scene.read("payments/database/ip"), "10.66.32.20");
    assert_eq!(scene.read("application5/access_key_id"), "AKEXAMPLE");
    let visible = scene.published();
    assert!(visible.keys().all(|path| !path.starts_with(SEED)), "{visible:?}");
}

#[test]
fn a_secret_is_read_by_its_identity() {
    let mut scene = Scene::new();
    scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "application5");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, &secret("application5")]);
    assert_eq!(scene.read("application5/ip"), "app.application.com");
    assert_eq!(scene.state()["secrets"][0]["secret_id"], "106");
}

#[test]
fn an_identity_with_a_slash_is_read_in_either_spelling_of_the_path() {
    side_by_side([Slashes::Both, Slashes::Encoded, Slashes::Raw], |slashes| {
        let options = Options { slashes, ..Options::default() };
        let mut scene = Scene::with(options);
        scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "payments/database");
        scene.init().exits(0);
        assert_eq!(scene.read("payments/database/username"), "payments", "{slashes:?}");
        assert_eq!(scene.state()["secrets"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn without_an_identity_the_list_of_secrets_is_published() {
    let mut scene = Scene::new();
    scene.set("SEGURA_SOURCE", "secret").unset("SEGURA_IDENTITY");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, SECRETS]);
    assert_eq!(scene.state()["secrets"].as_array().unwrap().len(), 3);
    assert_eq!(scene.read("payments/database/hostname"), "payments-db");
}

#[test]
fn the_env_file_alone_is_one_file_with_every_key() {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_FILE", "app.env");
    scene.set("SEGURA_ENV_CASE", "upper");
    scene.init().exits(0);
    let own = account(&scene);
    let env = format!(
        "ADDITIONAL_INFORMATION=''\nHOSTNAME='TEAM-PRODUTOS-Windows-Server-2016-001'\n\
         IP='10.66.32.13'\nPASSWORD='{}'\nUSERNAME='{}'\n",
        own.password, own.username
    );
    assert_eq!(texts(&scene), expected(&[("app.env", &env)]));
}

#[test]
fn the_json_file_alone_is_an_object_by_identity() {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "json");
    scene.init().exits(0);
    let own = account(&scene);
    let json: serde_json::Value = serde_json::from_str(&scene.read("secrets.json")).unwrap();
    let document = serde_json::json!({SEED: {
        "additional_information": "", "hostname": "TEAM-PRODUTOS-Windows-Server-2016-001",
        "ip": "10.66.32.13", "password": own.password, "username": own.username,
    }});
    assert_eq!(json, document);
    assert_eq!(scene.published().len(), 1);
}

#[test]
fn all_outputs_are_published_together_and_agree() {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "files,env,json");
    scene.init().exits(0);
    let own = account(&scene);
    let json: serde_json::Value = serde_json::from_str(&scene.read("secrets.json")).unwrap();
    assert_eq!(json[SEED]["password"], own.password.as_str());
    assert_eq!(scene.read("secret-postman/password"), own.password);
    let line = format!("password='{}'\n", own.password);
    assert!(scene.read("secrets.env").contains(&line));
}

#[test]
fn several_identities_are_one_set() {
    let mut scene = Scene::new();
    scene.set("SEGURA_IDENTITY", "secret-postman,payments/database,application5");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION, PROVISION, PROVISION]);
    assert_eq!(scene.vault.connections(), 1);
    assert_eq!(scene.vault.provision_count(), 3);
    for identity in [SEED, "payments/database", "application5"] {
        let own = scene.vault.provisioned(identity).remove(0);
        assert_eq!(scene.read(&format!("{identity}/password")), own.password);
    }
    assert_eq!(scene.state()["generation"], 1);
}

#[test]
fn a_refused_second_identity_publishes_nothing_and_the_first_is_kept() {
    let mut scene = Scene::new();
    scene.set("SEGURA_IDENTITY", "secret-postman,not-there");
    let run = scene.init();
    assert!(run.exits(78).error().contains("not-there"), "{}", run.error());
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION, PROVISION]);
    assert!(scene.published().is_empty() && scene.generations().is_empty());

    scene.vault.put_secret(r#"{"identity": "not-there", "data": {"k": "v"}}"#);
    scene.vault.clear_requests();
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION], "the second alone");
    assert_eq!(scene.read("not-there/k"), "v");
}

#[test]
fn answers_in_the_shape_of_every_release_are_published() {
    let quirks = [
        ("legacy", Quirks::legacy()),
        ("numbers", Quirks { numbers: true, ..Quirks::default() }),
        ("nulls", Quirks { nulls: true, ..Quirks::default() }),
        ("inner status", Quirks { inner_status: Some(201), ..Quirks::default() }),
        ("all", Quirks { numbers: true, nulls: true, ..Quirks::legacy() }),
    ];
    for (name, quirks) in quirks {
        let scene = Scene::with(Options { quirks, ..Options::default() });
        scene.init().exits(0);
        let own = account(&scene);
        assert_eq!(scene.read("secret-postman/username"), own.username, "{name}");
        assert_eq!(scene.read("secret-postman/password"), own.password, "{name}");
        assert_eq!(scene.state()["secrets"][0]["version"], "7", "{name}");
        assert_eq!(scene.state()["secrets"][0]["secret_id"], "213", "{name}");
        // An object has one entry, which has no number.
        let numbered = scene.path("secret-postman/1").exists();
        assert_eq!(numbered, !quirks.object_data && !quirks.object_provisioned, "{name}");
    }
}

#[test]
fn values_that_are_not_strings_are_published_as_spelled() {
    let scene = Scene::new();
    scene.vault.set_data(
        SEED,
        r#"{"number": 1e3, "flag": true, "nothing": null, "list": [ 1, "a b" ], "text": "é\n"}"#,
    );
    scene.init().exits(0);
    for (key, value) in [
        ("number", "1e3"),
        ("flag", "true"),
        ("nothing", ""),
        ("list", r#"[1,"a b"]"#),
        ("text", "é\n"),
    ] {
        assert_eq!(scene.read(&format!("secret-postman/{key}")), value);
    }
}

#[test]
fn a_path_prefix_in_the_url_is_kept() {
    let options = Options { base_path: "/dsm/prod".to_owned(), ..Options::default() };
    let mut scene = Scene::with(options);
    let with_slash = format!("{}/", scene.vault.url());
    scene.set("SEGURA_URL", &with_slash);
    scene.init().exits(0);
    let asked = ["POST /dsm/prod/iso/oauth2/token", "POST /dsm/prod/iso/coe/dapp/provision"];
    assert_eq!(scene.request_lines(), asked);
}

#[test]
fn credentials_come_from_files_less_one_final_newline() {
    let mut scene = Scene::new();
    let id = format!("{}\n", scene.vault.client_id());
    let secret = format!("{}\n", scene.vault.client_secret());
    scene.unset("SEGURA_CLIENT_ID").set_file("SEGURA_CLIENT_ID_FILE", id);
    scene.unset("SEGURA_CLIENT_SECRET").set_file("SEGURA_CLIENT_SECRET_FILE", secret);
    scene.init().exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_client_secret_in_a_file_is_read_again_at_every_login() {
    let mut scene = Scene::new();
    scene.unset("SEGURA_CLIENT_SECRET").set_file("SEGURA_CLIENT_SECRET_FILE", "not-yet");
    scene.vault.fault(Fault::bad_gateway(path::LOGIN));
    let child = scene.spawn_init();
    until("the first login has failed", || scene.count(LOGIN) >= 1);
    let secret = scene.vault.client_secret().to_owned();
    scene.set_file("SEGURA_CLIENT_SECRET_FILE", secret);
    scene.vault.clear_faults();
    Run::wait(child).exits(0);
}

#[test]
fn an_identity_that_the_vault_does_not_have_is_named_and_nothing_is_published() {
    for (source, identity, code) in [
        ("provision", "not-there", 78),
        ("secret", "not-there", 78),
        ("secret", "not/there", 77),
        ("application", "not-there", 77),
    ] {
        let mut scene = Scene::new();
        scene.set("SEGURA_SOURCE", source).set("SEGURA_IDENTITY", identity);
        let run = scene.init();
        assert!(run.exits(code).error().contains(identity), "{source}: {}", run.error());
        assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_IDENTITY")), "{source}");
        assert!(scene.published().is_empty() && scene.generations().is_empty(), "{source}");
        assert!(!scene.path(".segura.json").exists(), "{source}");
    }
}

#[test]
fn an_answer_about_another_secret_is_refused() {
    let scene = Scene::new();
    let other = r#"{"response": {"status": 200, "error": false},
        "secret": {"identity": "other", "data": {"password": "x"}}}"#;
    scene.vault.fault(Fault::body(path::PROVISION, other));
    let run = scene.init();
    assert!(run.exits(77).error().contains(SEED), "{}", run.error());
    assert!(scene.published().is_empty());
}

#[test]
fn an_authorization_without_secrets_is_refused() {
    let options = Options { demo_secrets: false, ..Options::default() };
    let mut scene = Scene::with(options);
    scene.unset("SEGURA_IDENTITY");
    for source in ["application", "secret"] {
        scene.set("SEGURA_SOURCE", source);
        assert!(scene.init().exits(77).hint().is_some(), "{source}");
        assert!(scene.published().is_empty(), "{source}");
    }
}

#[test]
fn a_second_start_adopts_the_published_set_without_a_request() {
    let scene = Scene::new();
    scene.init().exits(0);
    let (files, state) = (scene.published(), scene.state());
    scene.vault.clear_requests();
    scene.init().exits(0);
    assert!(scene.request_lines().is_empty(), "{:?}", scene.request_lines());
    assert_eq!(scene.vault.connections(), 1);
    assert_eq!(scene.published(), files);
    assert_eq!(scene.state(), state);
}

#[test]
fn a_set_is_adopted_while_the_vault_is_down() {
    let scene = Scene::new();
    scene.init().exits(0);
    scene.vault.go_down();
    scene.init().exits(0);
    assert_eq!(scene.state()["failures"], 0);
}

#[test]
fn a_set_without_a_state_file_is_adopted_by_the_copy_in_its_generation() {
    let scene = Scene::new();
    scene.init().exits(0);
    let state = scene.path("..segura/state.json");
    for damage in [Some("not JSON"), Some(""), None] {
        scene.vault.clear_requests();
        fs::remove_file(&state).unwrap();
        if let Some(text) = damage {
            fs::write(&state, text).unwrap();
        }
        scene.init().exits(0);
        assert!(scene.request_lines().is_empty(), "{damage:?}: {:?}", scene.request_lines());
        assert_eq!(scene.state()["generation"], 1, "{damage:?}");
    }
}

#[test]
fn a_due_set_is_read_and_never_provisioned_again() {
    let scene = Scene::with_due_set();
    let before = scene.state();
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, READ]);
    assert_eq!(scene.vault.provision_count(), 1);
    let after = scene.state();
    assert_eq!(after["generation"], 1, "equal bytes are no new generation");
    assert!(after["boot_ms"]["fetched"].as_u64() > before["boot_ms"]["fetched"].as_u64());
    let requests = scene.vault.requests();
    let target = &requests[1].target;
    for part in ["identity=secret-postman", "pod_name=web-7d4b9c6f5-x2k4z", "namespace=shop"] {
        assert!(target.contains(part), "{target}");
    }
}

#[test]
fn a_due_set_is_fetched_by_the_method_of_renewal() {
    let cases = [
        ("auto", Some(READ)),
        ("get", Some(READ)),
        ("application", Some(APPLICATION)),
        ("secret", Some(&secret("secret-postman"))),
        // By POST alone: a start that has a set doesn't provision again.
        ("post", None),
    ];
    side_by_side(cases, |(refresh, read)| {
        let mut scene = Scene::with_due_set();
        scene.set("SEGURA_REFRESH", refresh);
        scene.init().exits(0);
        let expected: Vec<&str> = read.into_iter().flat_map(|read| [LOGIN, read]).collect();
        assert_eq!(scene.request_lines(), expected, "{refresh}");
        assert_eq!(scene.vault.provision_count(), 1, "{refresh}");
    });
}

#[test]
fn a_set_is_never_due_where_renewal_is_off() {
    let mut scene = Scene::new();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    scene.init().exits(0);
    assert!(scene.state()["next_due"].is_null());
    scene.vault.go_down();
    scene.init().exits(0);
    assert_eq!(scene.state()["failures"], 0);
}

#[test]
fn a_changed_secret_is_the_next_generation_and_the_old_one_is_swept() {
    let scene = Scene::with_due_set();
    let old = account(&scene).password;
    scene.vault.rotate();
    scene.init().exits(0);
    let own = account(&scene);
    assert_ne!(own.password, old);
    assert_eq!(scene.read("secret-postman/password"), own.password);
    assert_eq!(scene.state()["generation"], 2);
    assert_eq!(scene.state()["secrets"][0]["version"], "8");
    assert_eq!(scene.generations().len(), 1, "{:?}", scene.entries());
    assert_eq!(scene.request_lines(), [LOGIN, READ]);
}

#[test]
fn a_passing_failure_does_not_stop_a_start_with_a_published_set() {
    let empty = r#"{"response": {"status": 200, "error": false}, "secret": {}}"#;
    let cases = [
        (Fault::bad_gateway(""), "unreachable"),
        (Fault::new("", Effect::Hang), "unreachable"),
        (Fault::new("", Effect::Reset), "unreachable"),
        (Fault::new("", Effect::Cut), "unreachable"),
        (Fault::rate_limit("", "3600"), "unreachable"),
        (Fault::no_route(""), "refused"),
        (Fault::expired("provision"), "refused"),
        (Fault::body("", "<html>log in</html>"), "nonsense"),
        (Fault::body("provision", empty), "refused"),
    ];
    side_by_side(cases, |(fault, class)| {
        let label = format!("{fault:?}");
        let mut scene = Scene::with_due_set();
        let files = scene.published();
        scene.set("SEGURA_TIMEOUT", "2s");
        scene.vault.fault(fault);
        let run = scene.init();
        run.exits(0);
        assert_eq!(scene.failures(), 1, "{label}: {}", run.stderr);
        assert_eq!(scene.published(), files, "{label}");
        assert_eq!(scene.state()["failures"], 1, "{label}");
        assert_eq!(scene.state()["last_error"], class, "{label}");
        assert_eq!(scene.count(PROVISION), 0, "{label}");
    });
}

#[test]
fn failures_are_counted_until_the_vault_is_back() {
    let scene = Scene::with_due_set();
    let files = scene.published();
    scene.vault.go_down();
    for failures in 1..=3 {
        scene.init().exits(0);
        assert_eq!(scene.state()["failures"], failures);
    }
    assert_eq!(scene.state()["last_error"], "unreachable");
    assert_eq!(scene.published(), files);
    scene.vault.come_back();
    scene.init().exits(0);
    assert_eq!(scene.state()["failures"], 0);
    assert!(scene.state()["last_error"].is_null());
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_due_set_does_not_hide_that_the_client_is_refused_where_sets_are_removed() {
    let refusals: [(&str, Change); 2] = [
        ("secret", |scene| scene.vault.set_client_secret("another")),
        ("inactive", |scene| scene.vault.set_enabled(false)),
    ];
    side_by_side(refusals, |(name, refuse)| {
        let mut scene = Scene::with_due_set();
        scene.set("SEGURA_ON_ABSENT", "remove");
        let files = scene.published();
        refuse(&scene);
        assert!(scene.init().exits(77).hint().is_some(), "{name}");
        assert_eq!(scene.published(), files, "{name}");
        assert_eq!(scene.vault.provision_count(), 1, "{name}");
    });
}

#[test]
fn a_secret_that_vanished_from_the_vault_stays_published() {
    let scene = Scene::with_due_set();
    let files = scene.published();
    scene.vault.remove_secret(SEED);
    scene.init().exits(0);
    assert_eq!(scene.published(), files);
    assert_eq!(scene.state()["failures"], 1);
}

#[test]
fn a_set_of_another_pod_or_of_other_settings_is_not_adopted() {
    let changes = [
        ("SEGURA_POD_NAME", "web-7d4b9c6f5-bcdfg", SEED),
        ("SEGURA_POD_UID", "0e1c4a0e-0000-4000-8000-000000000001", SEED),
        ("SEGURA_NAMESPACE", "elsewhere", SEED),
        ("SEGURA_IDENTITY", "payments/database", "payments/database"),
    ];
    side_by_side(changes, |(variable, value, identity)| {
        let mut scene = Scene::new();
        scene.init().exits(0);
        scene.vault.clear_requests();
        scene.set(variable, value);
        scene.init().exits(0);
        assert_eq!(scene.request_lines(), [LOGIN, PROVISION], "{variable}");
        let own = scene.vault.provisioned(identity).pop().unwrap();
        assert_eq!(scene.read(&format!("{identity}/password")), own.password, "{variable}");
        let files = scene.published();
        assert!(files.keys().all(|path| path.starts_with(identity)), "{variable}: {files:?}");
        assert_eq!(scene.generations().len(), 1, "{variable}");
    });
}

#[test]
fn another_source_is_fetched_again() {
    let mut scene = Scene::new();
    scene.init().exits(0);
    scene.vault.clear_requests();
    scene.set("SEGURA_SOURCE", "application");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, APPLICATION]);
    assert!(!scene.path("secret-postman/password").exists());
}

#[test]
fn a_damaged_published_file_is_restored_without_the_vault() {
    let harms: [(&str, Change); 5] = [
        ("other bytes", |scene| tamper(scene, "secret-postman/password", b"evil")),
        ("deleted", |scene| fs::remove_file(scene.path("secret-postman/password")).unwrap()),
        ("one more", |scene| fs::write(scene.path("secret-postman/more"), "x").unwrap()),
        ("a whole folder", |scene| fs::remove_dir_all(scene.path("secret-postman/2")).unwrap()),
        ("its link", |scene| fs::remove_file(scene.path(SEED)).unwrap()),
    ];
    side_by_side(harms, |(name, harm)| {
        let scene = Scene::new();
        scene.init().exits(0);
        let files = scene.published();
        scene.vault.clear_requests();
        harm(&scene);
        assert_ne!(scene.published(), files, "{name}");
        scene.init().exits(0);
        assert_eq!(scene.published(), files, "{name}");
        assert!(scene.request_lines().is_empty(), "{name}: {:?}", scene.request_lines());
        assert_eq!(scene.generations().len(), 1, "{name}");
    });
}

#[test]
fn another_output_is_rendered_from_the_published_set_without_the_vault() {
    let mut scene = Scene::new();
    scene.init().exits(0);
    let own = account(&scene);
    scene.vault.go_down();
    scene.set("SEGURA_OUTPUT", "json,env");
    scene.init().exits(0);
    let json: serde_json::Value = serde_json::from_str(&scene.read("secrets.json")).unwrap();
    assert_eq!(json[SEED]["password"], own.password.as_str());
    assert!(scene.read("secrets.env").contains(&own.username));
    assert_eq!(scene.published().len(), 2, "the files are gone: {:?}", scene.entries());
    assert_eq!(scene.state()["generation"], 2);
}

#[test]
fn a_pod_that_crash_loops_provisions_once() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "30s");
    let hang = || Fault::new(path::PROVISION, Effect::Hang).method("POST").once();
    // Killed while the POST hangs: twice before the vault has acted on it, once after.
    for hang in [hang(), hang(), hang().after()] {
        scene.vault.fault(hang);
        let posts = scene.count(PROVISION);
        let mut child = scene.spawn_init();
        until("the POST hangs", || scene.count(PROVISION) > posts);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(scene.published().is_empty());
    }
    assert_eq!(scene.vault.provision_count(), 1);
    // Killed wherever it happens to be; every third comes to its end.
    for n in 0..27_u64 {
        let mut child = scene.spawn_init();
        if n % 3 == 2 {
            Run::wait(child).exits(0);
        } else {
            pause(n * 11 % 61);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    assert_eq!(scene.vault.provision_count(), 1);
    assert_eq!(scene.count(PROVISION), 3);
    assert_eq!(scene.read("secret-postman/password"), account(&scene).password);
    assert_eq!(scene.generations().len(), 1, "{:?}", scene.entries());
}

#[test]
fn a_pod_killed_anywhere_in_its_first_start_is_provisioned_once() {
    let scene = Scene::new();
    // Closer and closer to the end of a start, each of which goes on where the last one died.
    for n in 0..30_u64 {
        let mut child = scene.spawn_init();
        pause(5 + n * 2);
        send(&child, Signal::KILL);
        child.wait().unwrap();
    }
    scene.init().exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
    assert_eq!(scene.read("secret-postman/username"), account(&scene).username);
}
