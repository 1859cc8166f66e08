//! How renewal asks, and that what changed reaches the files.

use std::fs;

use super::{APPLICATION, LOGIN, PROVISION, READ, left_by_init};
use crate::dev_vault::requests::{SECRETS, path, secret};
use crate::harness::lines;
use crate::{
    dev_vault::{Fault, GetProvision, Options},
    harness::{POD, SEED, Scene, side_by_side, until},
};

#[test]
fn a_rotation_reaches_the_files_by_reads_alone() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    scene.wait_until_trusted();
    for _ in 0..2 {
        scene.vault.rotate();
        scene.wait_until_fresh();
    }
    assert_eq!((scene.count(PROVISION), scene.count(LOGIN)), (0, 1), "the token is kept");
    assert_eq!(scene.request_lines().len(), 1 + scene.count(READ));
    assert_eq!(scene.vault.provision_count(), 1);
    until("what was replaced is swept", || scene.generations().len() == 1);
    assert_eq!(
        scene.state()["notified"],
        scene.state()["generation"],
        "there is nothing to notify"
    );
    assert!(sidecar.warnings().is_empty(), "{:?}", sidecar.warnings());
    sidecar.stop();
}

#[test]
fn every_pass_is_one_request() {
    let scene = left_by_init();
    let sidecar = scene.renewing_sidecar();
    until("it has renewed four times", || scene.count(READ) >= 4);
    sidecar.stop();
    let requests = scene.vault.requests();
    let reads: Vec<_> = requests.iter().filter(|request| request.method == "GET").collect();
    let span = (reads[3].at - reads[0].at).as_secs_f64();
    assert!(span > 2.5, "three intervals of a second took {span}");
    for request in reads {
        assert!(request.target.contains(&format!("pod_name={POD}")), "{}", request.target);
    }
    assert_eq!(scene.state()["generation"], 1);
}

#[test]
fn renewal_uses_the_method_of_the_settings() {
    let cases = [
        ("auto", READ),
        ("get", READ),
        ("application", APPLICATION),
        ("secret", &secret("secret-postman")),
        ("post", PROVISION),
    ];
    side_by_side(cases, |(refresh, request)| {
        let scene = Scene::after_init(Options::default(), |scene| {
            // What opens something is in the list, too.
            scene.vault.set_data(SEED, r#"{"token": "of all"}"#);
            scene.set("SEGURA_REFRESH", refresh);
        });
        let sidecar = scene.renewing_sidecar();
        until("it has sent three requests", || scene.count(request) >= 3);
        sidecar.stop();
        let asked = scene.request_lines();
        assert_eq!(scene.count(LOGIN), 1, "{refresh}: {asked:?}");
        assert_eq!(asked.len(), 1 + scene.count(request), "{refresh}: {asked:?}");
        let posts = if request == PROVISION { scene.count(PROVISION) } else { 0 };
        assert_eq!(scene.vault.provision_count(), 1 + posts, "{refresh}");
    });
}

#[test]
fn renewal_by_post_publishes_the_new_account() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_REFRESH", "post");
    });
    let first = scene.read("secret-postman/username");
    let sidecar = scene.renewing_sidecar();
    until("another account is published", || scene.read("secret-postman/username") != first);
    sidecar.stop();
    let account = scene.account_of(SEED, POD);
    assert_eq!(scene.read("secret-postman/username"), account.username);
    assert_eq!(scene.read("secret-postman/password"), account.password);
}

#[test]
fn a_post_of_unknown_fate_is_followed_by_reads_and_not_repeated() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_REFRESH", "post").set("SEGURA_PROVISION_TIMEOUT", "2s");
    });
    let first = scene.read("secret-postman/username");
    let hang = Fault::new(path::PROVISION, crate::dev_vault::Effect::Hang);
    scene.vault.fault(hang.method("POST").once().after());
    let sidecar = scene.renewing_sidecar();
    until("what it brought is published", || scene.read("secret-postman/username") != first);
    sidecar.stop();
    let asked: Vec<String> =
        scene.request_lines().into_iter().filter(|line| line != LOGIN).collect();
    assert_eq!(asked.first().map(String::as_str), Some(PROVISION), "{asked:?}");
    assert_eq!(asked.get(1).map(String::as_str), Some(READ), "{asked:?}");
}

#[test]
fn the_list_of_the_authorization_is_renewed() {
    side_by_side([("application", APPLICATION), ("secret", SECRETS)], |(source, request)| {
        let scene = Scene::after_init(Options::default(), |scene| {
            scene.unset("SEGURA_IDENTITY").set("SEGURA_SOURCE", source);
            scene.set("SEGURA_OUTPUT", "files,env,json");
        });
        let sidecar = scene.renewing_sidecar();
        scene.vault.put_secret(r#"{"identity": "new/one", "data": {"key": "first"}}"#);
        until("a new secret appears", || scene.path("new/one/key").exists());
        assert_eq!(scene.read("new/one/key"), "first", "{source}");
        assert!(scene.read("secrets.env").contains("new_one_key='first'"), "{source}");
        scene.vault.set_data("new/one", r#"[{"a": "1", "b": "2"}]"#);
        until("other keys appear", || scene.path("new/one/b").exists());
        assert!(!scene.path("new/one/key").exists(), "{source}: what is gone went with the switch");
        assert!(!scene.read("secrets.json").contains("first"), "{source}");
        sidecar.stop();
        assert_eq!(scene.count(LOGIN), 1, "{source}");
        assert_eq!(
            scene.request_lines().len(),
            1 + scene.count(request),
            "{source}: {:?}",
            scene.request_lines()
        );
        assert_eq!(scene.vault.provision_count(), 0, "{source}");
    });
}

#[test]
fn a_secret_with_source_secret_is_renewed() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "application5");
    });
    let sidecar = scene.renewing_sidecar();
    scene.vault.set_data("application5", r#"{"token": "one"}"#);
    until("new data are there", || scene.path("application5/token").exists());
    assert!(!scene.path("application5/my_key_name").exists());
    assert!(!scene.path("application5/1").exists(), "one entry has no number");
    sidecar.stop();
}

#[test]
fn a_route_that_is_missing_for_a_while_is_not_given_up() {
    let scene = left_by_init();
    let files = scene.published();
    // Each pass asks twice, the second time with a token of its own.
    scene.vault.fault(Fault::no_route(path::PROVISION).method("GET").times(6));
    let sidecar = scene.renewing_sidecar();
    until("it has failed", || scene.failures() > 0);
    assert_eq!(scene.published(), files);
    until("it has recovered", || scene.failures() == 0);
    assert_eq!(scene.count(APPLICATION), 0);
    assert_eq!(scene.state()["refresh"], "get");
    scene.vault.rotate();
    scene.wait_until_fresh();
    sidecar.stop();
}

#[test]
fn a_missing_route_is_not_given_up_within_seconds() {
    let scene = Scene::after_init(
        Options { get_provision: GetProvision::None, ..Options::default() },
        |_| {},
    );
    let files = scene.published();
    let sidecar = scene.renewing_sidecar();
    until("it has failed some times", || scene.failures() >= 3);
    assert_eq!(scene.state()["refresh"], "get");
    assert_eq!((scene.count(APPLICATION), scene.count(PROVISION)), (0, 0));
    assert_eq!(scene.published(), files);
    sidecar.assert_warned(1, "");
    sidecar.stop();
}

#[test]
fn a_vault_where_reads_provision_is_read_twice_at_most() {
    let scene = Scene::after_init(Options { get_provisions: true, ..Options::default() }, |_| {});
    let sidecar = scene.renewing_sidecar();
    until("it has settled", || scene.state()["refresh"] == "application");
    let applications = scene.count(APPLICATION);
    until("it reads the application", || scene.count(APPLICATION) >= applications + 3);
    assert_eq!((scene.count(READ), scene.count(PROVISION)), (2, 0));
    assert_eq!(scene.vault.provision_count(), 3);
    sidecar.assert_logged(lines::READING_PROVISIONS, 1, "");
    sidecar.stop();
    // The next one goes on as it was settled.
    let sidecar = scene.renewing_sidecar();
    let applications = scene.count(APPLICATION);
    until("it reads the application", || scene.count(APPLICATION) > applications);
    assert_eq!(scene.vault.provision_count(), 3);
    sidecar.stop();
}

#[test]
fn a_list_without_the_pods_account_does_not_remove_it() {
    let scene = left_by_init();
    let (path, mut state) = (scene.path("..segura/state.json"), scene.state());
    state["refresh"] = "application".into();
    fs::remove_file(&path).unwrap();
    fs::write(&path, state.to_string()).unwrap();
    let sidecar = scene.renewing_sidecar();
    until("it reads the application", || scene.count(APPLICATION) >= 2);
    let password = fs::read_to_string(scene.path("secret-postman/password")).ok();
    let accounts = scene.vault.provisioned(SEED);
    let is_one = |password| accounts.iter().any(|account| account.password == password);
    assert!(password.is_some_and(is_one), "{:?}", scene.published().keys());
    sidecar.stop();
}

#[test]
fn a_list_with_a_shared_password_does_not_replace_the_pods_account() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.vault.set_data(SEED, r#"{"username": "shared", "password": "shared"}"#);
        scene.set("SEGURA_REFRESH", "application");
    });
    let account = scene.account_of(SEED, POD);
    let sidecar = scene.renewing_sidecar();
    until("it reads the application", || scene.count(APPLICATION) >= 3);
    assert_eq!(scene.read("secret-postman/password"), account.password);
    let said = "the application's list holds fewer entries of secret-postman than the vault provisioned for this pod";
    sidecar.assert_logged(said, 1, "");
    sidecar.stop();
}

#[test]
fn a_secret_with_a_short_lifetime_is_provisioned_again_in_time() {
    let options = Options { ttl: Some("3".to_owned()), ..Options::default() };
    let scene = Scene::after_init(options, |_| {});
    let first = scene.read("secret-postman/username");
    let sidecar = scene.renewing_sidecar();
    until("another account is published", || scene.read("secret-postman/username") != first);
    sidecar.assert_logged(lines::PROVISIONED_AGAIN, 1, "");
    sidecar.stop();
    let account = scene.account_of(SEED, POD);
    assert_eq!(scene.read("secret-postman/password"), account.password);
}

#[test]
fn two_provisionings_are_five_minutes_apart_at_any_lifetime() {
    let options = Options { ttl: Some("3".to_owned()), ..Options::default() };
    let scene = Scene::after_init(options, |_| {});
    let sidecar = scene.renewing_sidecar();
    until("it is provisioned again", || scene.count(PROVISION) == 1);
    let reads = scene.count(READ);
    until("it renews on", || scene.count(READ) >= reads + 4);
    assert_eq!(scene.count(PROVISION), 1);
    sidecar.stop();
}

#[test]
fn a_ttl_without_a_credential_beside_it_causes_no_provisioning() {
    let scene = Scene::after_init(Options::default(), |scene| {
        scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "application5");
    });
    let sidecar = scene.renewing_sidecar();
    until("it renews", || scene.count(&secret("application5")) >= 3);
    assert_eq!(scene.vault.provision_count(), 0);
    sidecar.stop();
}

#[test]
fn pods_of_one_identity_keep_their_own_credentials() {
    let mut first = Scene::new();
    first.set("SEGURA_RENEW_INTERVAL", "1s");
    let names = [POD, "web-7d4b9c6f5-bcdfg", "web-7d4b9c6f5-hjklm"];
    let mut second = first.another_pod(names[1]);
    let third = first.another_pod(names[2]);
    second.set("SEGURA_DEPROVISION", "true");
    let assert_own = |scene: &Scene, pod: &str| {
        let own = || scene.account_of(SEED, pod);
        until("its own account is published", || {
            let (own, read) = (own(), |key: &str| scene.read(&format!("secret-postman/{key}")));
            read("username") == own.username && read("password") == own.password
        });
    };
    let one = first.renewing_sidecar();
    let two = second.renewing_sidecar();
    for (scene, pod) in [(&first, names[0]), (&second, names[1])] {
        assert_own(scene, pod);
    }
    let user = first.read("secret-postman/username");
    let three = third.renewing_sidecar();
    let reads = first.count(READ);
    until("each has read twice", || first.count(READ) >= reads + 9);
    first.vault.rotate();
    for (scene, pod) in [(&first, names[0]), (&second, names[1]), (&third, names[2])] {
        assert_own(scene, pod);
    }
    // One ends and deprovisions, one crashes and restarts.
    two.stop();
    one.kill();
    let one = first.renewing_sidecar();
    first.vault.rotate();
    assert_own(&first, names[0]);
    assert_own(&third, names[2]);
    assert_eq!(first.read("secret-postman/username"), user, "its account is what it was");
    assert!(second.published().is_empty());
    let pods: Vec<String> =
        first.vault.provisioned(SEED).into_iter().map(|account| account.pod_name).collect();
    assert_eq!(pods, [names[0], names[2]]);
    assert_eq!(first.vault.provision_count(), 3);
    one.stop();
    three.stop();
}
