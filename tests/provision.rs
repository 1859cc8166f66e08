//! Provisioning is not harmless to repeat: what becomes of a POST whose fate is unknown, and of
//! accounts that can't be published.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Child,
    time::Duration,
};

use rustix::process::Signal;

use crate::dev_vault::requests::{APPLICATION, DEPROVISION, LOGIN, PROVISION, READ, path};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault, GetProvision, Options},
    harness::{Run, SEED, Scene, send, side_by_side, until},
};

/// Something that is done to a scene before its start.
type Prepare = fn(&mut Scene);

/// A pod that waits for two seconds for the answer to a POST.
fn with_short_timeout() -> Scene {
    let mut scene = Scene::new();
    scene.set("SEGURA_PROVISION_TIMEOUT", "2s").set("SEGURA_STARTUP_TIMEOUT", "30s");
    scene
}

/// Something that goes wrong with POSTs alone.
fn on_post(effect: Effect) -> Fault {
    Fault::new(path::PROVISION, effect).method("POST")
}

fn answer(status: u16, body: &str) -> Effect {
    Effect::Answer { status, headers: Vec::new(), body: body.to_owned() }
}

/// Starts `init`, and waits until one more POST has reached the vault.
fn spawn_until_posted(scene: &Scene) -> Child {
    let posts = scene.count(PROVISION);
    let child = scene.spawn_init();
    until("the POST reaches the vault", || scene.count(PROVISION) > posts);
    child
}

/// Asserts that the published account is the one that the vault has for the pod.
#[track_caller]
fn assert_published(scene: &Scene, label: &str) {
    let own = scene.vault.provisioned(SEED).pop().expect("the pod holds an account");
    assert_eq!(scene.read("secret-postman/username"), own.username, "{label}");
    assert_eq!(scene.read("secret-postman/password"), own.password, "{label}");
}

/// Reads the log until a line holds `words`.
fn read_until(log: &mut impl BufRead, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        let read = log.read_line(&mut line).expect("the log is text");
        assert!(read > 0, "the agent ended without saying {words:?}");
    }
}

#[test]
fn a_hanging_post_that_did_not_provision_is_repeated_after_a_read() {
    let scene = with_short_timeout();
    scene.vault.fault(on_post(Effect::Hang).once());
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION, READ, PROVISION]);
    assert_eq!(scene.vault.provision_count(), 1);
    assert_published(&scene, "");
}

#[test]
fn a_hanging_post_that_provisioned_is_found_and_not_repeated() {
    let scene = with_short_timeout();
    scene.vault.fault(on_post(Effect::Hang).once().after());
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION, READ]);
    assert_eq!(scene.vault.provision_count(), 1);
    assert_published(&scene, "");
}

#[test]
fn an_account_whose_answer_is_too_slow_is_found_by_a_read() {
    for effect in [Effect::Drip { ms: 50 }, Effect::Delay { ms: 60_000 }] {
        let scene = with_short_timeout();
        scene.vault.fault(on_post(effect).once().after());
        scene.init().exits(0);
        assert_eq!(scene.request_lines(), [LOGIN, PROVISION, READ]);
        assert_eq!(scene.vault.provision_count(), 1);
        assert_published(&scene, "");
    }
}

#[test]
fn a_token_is_used_for_four_fifths_of_its_lifetime() {
    let options = Options { token_ttl: Duration::from_secs(5), ..Options::default() };
    let mut scene = Scene::with(options);
    scene.set("SEGURA_PROVISION_TIMEOUT", "4500ms").set("SEGURA_STARTUP_TIMEOUT", "30s");
    scene.vault.fault(on_post(Effect::Hang).once().after());
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION, LOGIN, READ]);
}

#[test]
fn a_post_of_unknown_fate_is_followed_by_a_read_before_it_is_repeated() {
    let html = "<html>log in</html>";
    let denied = r#"{"response": {"status": 200, "error": true, "message": "no"}}"#;
    let bare = r#"{"response": {"status": 200, "error": false}}"#;
    let timed_out =
        r#"{"response": {"status": 400, "error": true, "message": "Request timed out."}}"#;
    let effects = [
        ("reset", Effect::Reset),
        ("cut", Effect::Cut),
        ("502", answer(502, "<html>502 Bad Gateway</html>")),
        ("504", answer(504, r#"{"message":"The upstream server is timing out"}"#)),
        ("500", answer(500, r#"{"response":{"status":500,"message":"Unexpected error."}}"#)),
        ("nested", Effect::Nest { depth: 1_000 }),
        ("flood", Effect::Flood { mib: 64 }),
        ("empty", answer(200, "")),
        ("html", answer(200, html)),
        ("denied", answer(200, denied)),
        ("without container", answer(200, bare)),
        ("a filter's page", answer(403, "<html>blocked</html>")),
        ("a filter's missing page", answer(404, "<html>not found</html>")),
        ("a filter's JSON", answer(401, r#"{"message":"Unauthorized"}"#)),
        ("another gateway's JSON", answer(404, r#"{"status":404,"error":"Not Found"}"#)),
        ("a client that is refused", answer(401, r#"{"error":"invalid_client"}"#)),
        ("an unknown method", answer(405, "")),
        ("a redirect", Effect::Redirect { location: "/elsewhere".to_owned() }),
        ("see other", answer(303, "")),
        ("a timeout in words", answer(400, timed_out)),
    ];
    let cases = effects
        .into_iter()
        .flat_map(|(name, effect)| [(name, effect.clone(), false), (name, effect, true)]);
    side_by_side(cases, |(name, effect, acted)| {
        let scene = with_short_timeout();
        let fault = on_post(effect).once();
        scene.vault.fault(if acted { fault.after() } else { fault });
        scene.init().exits(0);
        let label = format!("{name}, acted on: {acted}");
        let posts = if acted { 1 } else { 2 };
        assert_eq!(scene.count(PROVISION), posts, "{label}: {:?}", scene.request_lines());
        assert_eq!(scene.count(READ), 1, "{label}: {:?}", scene.request_lines());
        assert_eq!(scene.vault.provision_count(), 1, "{label}");
        assert_published(&scene, &label);
    });
}

#[test]
fn a_failed_login_is_no_post() {
    let login = |effect| Fault::new(path::LOGIN, effect);
    let cases = [
        ("502", Fault::bad_gateway(path::LOGIN)),
        ("hang", login(Effect::Hang)),
        ("reset", login(Effect::Reset)),
        ("cut", login(Effect::Cut)),
        ("html", Fault::body(path::LOGIN, "<html>log in</html>")),
    ];
    side_by_side(cases, |(name, fault)| {
        let mut scene = with_short_timeout();
        // It has a password of its own, so a read would be taken for what a POST has brought.
        scene.set("SEGURA_IDENTITY", "payments/database").set("SEGURA_TIMEOUT", "2s");
        scene.vault.fault(fault.once());
        scene.init().exits(0);
        assert_eq!(scene.request_lines(), [LOGIN, LOGIN, PROVISION], "{name}");
        let own = scene.vault.provisioned("payments/database").remove(0);
        assert_eq!(scene.read("payments/database/password"), own.password, "{name}");
    });
}

#[test]
fn a_refused_post_is_repeated_without_a_read() {
    let cases = [
        ("429", Fault::rate_limit(path::PROVISION, "0").once()),
        ("expired", Fault::expired(path::PROVISION).once()),
        // Twice, since the first could be an old token's fault.
        ("no route", Fault::no_route(path::PROVISION).times(2)),
    ];
    side_by_side(cases, |(name, fault)| {
        let scene = with_short_timeout();
        scene.vault.fault(fault.method("POST"));
        scene.init().exits(0);
        assert_eq!(scene.count(READ), 0, "{name}: {:?}", scene.request_lines());
        assert_eq!(scene.vault.provision_count(), 1, "{name}");
        assert_published(&scene, name);
    });
}

#[test]
fn at_most_three_posts_of_unknown_fate_are_sent_in_a_start() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "8s");
    scene.vault.fault(on_post(answer(502, "")));
    let run = scene.init();
    assert!(run.exits(69).error().contains(SEED), "{}", run.error());
    assert_eq!(scene.count(PROVISION), 3, "{:?}", scene.request_lines());
    assert!(scene.count(READ) >= 2, "{:?}", scene.request_lines());
    assert!(scene.published().is_empty());
}

#[test]
fn sigterm_ends_a_hanging_post_at_once_and_the_next_start_reads_before_it_provisions() {
    let cases = [(false, Signal::TERM, 143), (true, Signal::TERM, 143), (true, Signal::INT, 130)];
    side_by_side(cases, |(acted, signal, code)| {
        let scene = Scene::new();
        let fault = on_post(Effect::Hang).once();
        scene.vault.fault(if acted { fault.after() } else { fault });
        let child = spawn_until_posted(&scene);
        let sent = scene.vault.elapsed();
        send(&child, signal);
        let run = Run::wait(child);
        run.exits(code);
        let took = scene.vault.elapsed() - sent;
        assert!(took.as_secs() < 4, "it waited for {took:?}");
        assert!(scene.published().is_empty());

        scene.vault.clear_requests();
        scene.init().exits(0);
        let asked: &[&str] = if acted { &[LOGIN, READ] } else { &[LOGIN, READ, PROVISION] };
        assert_eq!(scene.request_lines(), asked);
        assert_eq!(scene.vault.provision_count(), 1);
        assert_published(&scene, "");
    });
}

#[test]
fn a_post_that_outlasts_the_start_is_found_by_the_next_one() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "2s").set("SEGURA_PROVISION_TIMEOUT", "3s");
    scene.vault.fault(on_post(Effect::Hang).once().after());
    scene.init().exits(69);
    assert_eq!(
        scene.request_lines(),
        [LOGIN, PROVISION],
        "no request is sent once the time is over"
    );

    scene.vault.clear_requests();
    scene.set("SEGURA_STARTUP_TIMEOUT", "30s");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, READ]);
    assert_eq!(scene.vault.provision_count(), 1);
    assert_published(&scene, "");
}

#[test]
fn a_post_of_another_pod_without_an_answer_is_not_read_for() {
    let mut scene = Scene::new();
    scene.vault.fault(on_post(Effect::Hang).once().after());
    let mut child = spawn_until_posted(&scene);
    child.kill().unwrap();
    child.wait().unwrap();
    scene.vault.clear_requests();
    scene.set("SEGURA_POD_NAME", "web-7d4b9c6f5-bcdfg");
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    assert_published(&scene, "");
}

#[test]
fn an_expired_token_costs_one_login_and_the_post_is_made_once() {
    let scene = Scene::new();
    scene.vault.fault(Fault::expired(path::PROVISION).once());
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION, LOGIN, PROVISION]);
    assert_eq!(scene.vault.connections(), 1);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_provisioned_identity_is_kept_while_another_is_retried() {
    let mut scene = with_short_timeout();
    scene.set("SEGURA_IDENTITY", "secret-postman,payments/database");
    scene.vault.fault(on_post(answer(502, "")).skip(1).once());
    // What is read of a secret that has a password already can't tell whether it is a new one.
    scene.vault.set_data("payments/database", r#"{"hostname": "h", "username": "u"}"#);
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION, PROVISION, READ, PROVISION]);
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
    assert_eq!(scene.vault.provisioned("payments/database").len(), 1);
}

#[test]
fn sigterm_deprovisions_accounts_that_would_never_be_published() {
    let mut scene = Scene::new();
    scene.set("SEGURA_IDENTITY", "secret-postman,payments/database");
    scene.vault.fault(on_post(Effect::Hang).skip(1).once());
    let child = scene.spawn_init();
    until("the second POST hangs", || scene.count(PROVISION) == 2);
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);
    send(&child, Signal::TERM);
    Run::wait(child).exits(143);
    assert_eq!(scene.count(DEPROVISION), 1);
    assert!(scene.vault.provisioned(SEED).is_empty());
}

#[test]
fn an_account_that_could_not_be_deprovisioned_is_found_by_the_next_start() {
    let mut scene = Scene::new();
    scene.set("SEGURA_IDENTITY", "secret-postman,not-there");
    scene.vault.fault(Fault::bad_gateway(path::DEPROVISION));
    scene.init().exits(78);
    assert_eq!(scene.vault.provisioned(SEED).len(), 1);

    scene.vault.put_secret(r#"{"identity": "not-there", "data": {"hostname": "h"}}"#);
    scene.vault.clear_requests();
    scene.init().exits(0);
    assert_eq!(scene.count(PROVISION), 1, "{:?}", scene.request_lines());
    assert_eq!(scene.vault.provisioned("not-there").len(), 1);
    assert_published(&scene, "");
}

#[test]
fn a_post_that_was_certainly_refused_is_repeated_by_the_next_start() {
    let mut scene = Scene::new();
    // It has a password of its own, so a read can't tell that the pod was never provisioned.
    scene.set("SEGURA_IDENTITY", "payments/database");
    scene.vault.fault(Fault::rate_limit(path::PROVISION, "3600").once());
    let mut child = scene.spawn_init();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    read_until(&mut log, lines::RETRIES);
    child.kill().unwrap();
    child.wait().unwrap();
    scene.init().exits(0);
    assert_eq!(
        scene.vault.provisioned("payments/database").len(),
        1,
        "{:?}",
        scene.request_lines()
    );
}

#[test]
fn deprovision_requests_name_the_secret_and_the_pod() {
    let mut scene = Scene::new();
    scene.set("SEGURA_IDENTITY", "secret-postman,payments/database");
    scene.vault.fault(on_post(Effect::Hang).skip(1).once());
    let child = scene.spawn_init();
    until("the second POST hangs", || scene.count(PROVISION) == 2);
    send(&child, Signal::TERM);
    Run::wait(child).exits(143);
    let requests = scene.vault.requests();
    let given = requests.iter().find(|request| request.is("POST", "/deprovision")).unwrap();
    assert_eq!(given.status, Some(200));
    let body: serde_json::Value = serde_json::from_str(&given.body).unwrap();
    assert_eq!(body["secret_id"], "213");
    assert_eq!(body["deploy"], "web");
    assert_eq!(body["namespace"], "shop");
}

#[test]
fn a_set_that_cannot_be_rendered_is_kept() {
    let clash = |scene: &mut Scene| {
        scene.vault.put_secret(r#"{"identity": "a", "data": {"b": "1"}}"#);
        scene.vault.put_secret(r#"{"identity": "a/b", "data": {"c": "2"}}"#);
        scene.set("SEGURA_IDENTITY", "a,a/b");
    };
    let variables = |scene: &mut Scene| {
        scene.set("SEGURA_IDENTITY", "secret-postman,payments/database");
        scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_NAME", "{key}");
    };
    let disagreement = |scene: &mut Scene| {
        scene.set("SEGURA_IDENTITY", "payments/database,secret-postman");
        scene.set("SEGURA_COLLISION", "error");
    };
    let nul = |scene: &mut Scene| {
        scene.vault.put_secret(r#"{"identity": "a", "data": {"k": "canary\u0000"}}"#);
        scene.set("SEGURA_IDENTITY", "secret-postman,a").set("SEGURA_OUTPUT", "env");
    };
    let cases: [(&str, Prepare, i32); 4] = [
        ("a key that is another's folder", clash, 76),
        ("two keys for one variable", variables, 78),
        ("entries that disagree", disagreement, 78),
        ("a value that no environment holds", nul, 76),
    ];
    for (name, prepare, code) in cases {
        let mut scene = Scene::new();
        prepare(&mut scene);
        let run = scene.init();
        assert!(run.exits(code).hint().is_some(), "{name}: {}", run.stderr);
        assert!(!run.stderr.contains("canary"), "{name}");
        assert_eq!(scene.request_lines(), [LOGIN, PROVISION, PROVISION], "{name}");
        assert!(scene.published().is_empty() && scene.generations().is_empty(), "{name}");
    }
}

#[test]
fn a_set_that_cannot_be_written_is_kept_in_memory_and_published_later() {
    let scene = Scene::new();
    scene.vault.fault(on_post(Effect::Delay { ms: 300 }));
    let mut child = spawn_until_posted(&scene);
    // After the proof, and before the answer: only publishing meets it.
    fs::write(scene.path(SEED), "in the way").unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    read_until(&mut log, lines::RETRIES);
    fs::remove_file(scene.path(SEED)).unwrap();
    Run::wait(child).exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    assert_published(&scene, "");
}

#[test]
fn a_set_that_can_never_be_written_is_kept() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1s");
    scene.vault.fault(on_post(Effect::Delay { ms: 300 }));
    let child = spawn_until_posted(&scene);
    fs::write(scene.path(SEED), "in the way").unwrap();
    let run = Run::wait(child);
    assert!(run.exits(73).error().contains(SEED), "{}", run.error());
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    assert_eq!(scene.read(SEED), "in the way", "it is not ours to remove");
    assert!(scene.generations().is_empty(), "{:?}", scene.entries());

    fs::remove_file(scene.path(SEED)).unwrap();
    scene.init().exits(0);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION], "nothing is requested again");
    assert_published(&scene, "");
}

#[test]
fn local_settings_and_directories_are_checked_before_any_request() {
    let in_the_way = |scene: &mut Scene| fs::write(scene.path(SEED), "mine").unwrap();
    let missing = |scene: &mut Scene| {
        scene.set("SEGURA_OUTPUT_DIR", "/dev/shm/segura-not-there/at-all");
    };
    let a_file = |scene: &mut Scene| {
        scene.set_file("SEGURA_OUTPUT_DIR", "");
    };
    let cases: [(&str, Prepare); 3] =
        [("in the way", in_the_way), ("missing", missing), ("a file", a_file)];
    for (name, prepare) in cases {
        let mut scene = Scene::new();
        prepare(&mut scene);
        scene.init().exits(73);
        assert_eq!(scene.vault.connections(), 0, "{name}");
    }
}

#[test]
fn without_a_route_to_read_by_the_list_is_read_before_the_post_is_repeated() {
    let options = Options { get_provision: GetProvision::None, ..Options::default() };
    let mut scene = Scene::with(options);
    scene.set("SEGURA_STARTUP_TIMEOUT", "30s");
    scene.vault.fault(on_post(Effect::Reset).once());
    scene.init().exits(0);
    // Two reads, each again with a fresh token: a gateway's bad minute is told from no route.
    let asked = scene.request_lines();
    assert_eq!(scene.count(READ), 4, "{asked:?}");
    assert_eq!(asked.last().map(String::as_str), Some(PROVISION));
    assert_eq!(scene.count(APPLICATION), 1, "{asked:?}");
    assert_eq!(scene.count(PROVISION), 2, "{asked:?}");
    assert_eq!(scene.vault.provision_count(), 1);
    assert_published(&scene, "");
}

#[test]
fn a_renewal_by_the_list_keeps_the_account() {
    let options = Options { get_provision: GetProvision::None, ..Options::default() };
    let mut scene = Scene::with(options);
    scene.set("SEGURA_STARTUP_TIMEOUT", "30s").set("SEGURA_RENEW_INTERVAL", "1s");
    scene.vault.fault(on_post(Effect::Reset).once());
    scene.init().exits(0);
    assert_published(&scene, "");
    scene.wait_until_due();
    // The list names the identity, but holds nothing that was made for single pods.
    scene.init().exits(0);
    assert_published(&scene, "");
}
