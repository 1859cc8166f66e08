//! A vault and a gateway that misbehave, and how a start takes it.

use std::{fs, net::TcpListener, time::Duration};

use rustix::process::Signal;

use crate::dev_vault::requests::{LOGIN, PROVISION, path};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault},
    harness::{Run, SEED, Scene, send, side_by_side, until},
};

/// A pod that gives up soon.
fn with_short_timeout() -> Scene {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "6s");
    scene.set("SEGURA_TIMEOUT", "2s").set("SEGURA_PROVISION_TIMEOUT", "2s");
    scene
}

#[track_caller]
fn assert_nothing_published(scene: &Scene, label: &str) {
    assert!(scene.published().is_empty(), "{label}: {:?}", scene.entries());
    assert!(scene.generations().is_empty(), "{label}: {:?}", scene.entries());
}

#[test]
fn a_wrong_client_secret_is_refused_at_once() {
    let mut scene = Scene::new();
    scene.set("SEGURA_CLIENT_SECRET", "canary-that-is-wrong");
    let run = scene.init();
    assert_eq!(scene.request_lines(), [LOGIN]);
    assert!(run.exits(77).hint().is_some_and(|hint| hint.contains("SEGURA_CLIENT_SECRET")));
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    assert_nothing_published(&scene, "");
}

#[test]
fn an_inactive_authorization_is_refused_at_once() {
    let scene = Scene::new();
    scene.vault.set_enabled(false);
    let run = scene.init();
    assert!(run.exits(77).hint().is_some(), "{}", run.stderr);
    assert_eq!(scene.request_lines(), [LOGIN, PROVISION]);
    assert_nothing_published(&scene, "");
}

#[test]
fn a_possibly_passing_refusal_is_retried_and_then_reported_with_its_causes() {
    let denied = r#"{"response": {"status": 500, "error": true,
        "message": "You are not authorized to access this resource."}}"#;
    let cases = [
        ("no route to log in", Fault::no_route(path::LOGIN)),
        ("no route", Fault::no_route(path::PROVISION)),
        ("expired", Fault::expired(path::PROVISION)),
        ("signature", Fault::answer("dapp", 403, r#"{"message":"Invalid signature"}"#)),
        ("not authorized", Fault::answer(path::PROVISION, 500, denied)),
    ];
    side_by_side(cases, |(name, fault)| {
        let scene = with_short_timeout();
        scene.vault.fault(fault);
        let run = scene.init();
        let hint = run.exits(77).hint().unwrap();
        for cause in ["SEGURA_URL", "SEGURA_REFERER", "SEGURA_CLIENT_CERT_FILE", "IPs"] {
            assert!(hint.contains(cause), "{name}: {hint}");
        }
        assert!(scene.count(LOGIN) >= 2, "{name}: {:?}", scene.request_lines());
        assert_eq!(scene.vault.provision_count(), 0, "{name}");
        assert_nothing_published(&scene, name);
    });
}

#[test]
fn a_required_referer_is_sent() {
    let mut scene = Scene::new();
    scene.vault.configure(|options| options.referer = Some("https://shop.example".to_owned()));
    scene.set("SEGURA_REFERER", "https://shop.example");
    scene.init().exits(0);
    let requests = scene.vault.requests();
    assert!(requests.iter().all(|r| r.header("referer") == Some("https://shop.example")));
}

#[test]
fn a_last_try_cut_by_the_deadline_does_not_hide_the_refusal() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "6s");
    scene.vault.fault(Fault::no_route(path::LOGIN).once());
    scene.vault.fault(Fault::new(path::LOGIN, Effect::Hang));
    let run = scene.init();
    assert!(run.exits(77).hint().is_some(), "{}", run.stderr);
}

#[test]
fn five_failures_and_then_a_success_is_a_success() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
    scene.vault.fault(Fault::bad_gateway("").times(5));
    let run = scene.init();
    run.exits(0);
    assert_eq!(scene.count(LOGIN), 6);
    assert_eq!(scene.vault.provision_count(), 1);
    let label = run.stderr.matches(lines::RETRIES).count();
    assert_eq!(label, 1, "one line a kind of failure: {}", run.stderr);
    assert_eq!(scene.read("secret-postman/ip"), "10.66.32.13");
}

#[test]
fn retry_after_is_honoured() {
    let limit = r#"{"message":"API rate limit exceeded"}"#;
    let cases = [
        ("login", Fault::rate_limit(path::LOGIN, "1")),
        ("post", Fault::rate_limit(path::PROVISION, "1")),
        ("reset", Fault::answer(path::LOGIN, 429, limit).header("X-RateLimit-Reset", "1")),
        ("503", Fault::answer(path::LOGIN, 503, "").header("Retry-After", "1")),
    ];
    side_by_side(cases, |(name, fault)| {
        let scene = Scene::new();
        let part = fault.path.clone();
        scene.vault.fault(fault.once());
        scene.init().exits(0);
        let requests = scene.vault.requests();
        let at: Vec<Duration> =
            requests.iter().filter(|request| request.is("POST", &part)).map(|r| r.at).collect();
        assert_eq!(at.len(), 2, "{name}");
        // A little less, since the answer leaves after the request was stamped.
        assert!(at[1] - at[0] >= Duration::from_millis(1_000), "{name}: {at:?}");
        assert_eq!(scene.vault.provision_count(), 1, "{name}");
    });
}

#[test]
fn a_retry_after_beyond_the_deadline_ends_the_start_without_another_request() {
    let scene = with_short_timeout();
    scene.vault.fault(Fault::rate_limit(path::LOGIN, "3600"));
    let run = scene.init();
    assert!(run.exits(69).error().contains("429"), "{}", run.error());
    assert_eq!(scene.request_lines(), [LOGIN]);
    assert!(run.hint().is_some());
}

#[test]
fn malformed_answers_are_76_and_failed_exchanges_are_69() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!("https://{}/", elsewhere.local_addr().unwrap());
    let bad = r#"{"response":{"status":200,"mensagem":"Falha interna","erro":true}}"#;
    let new = Fault::new;
    let cases = [
        ("HTML", Fault::body("", "<html>log in</html>"), 76, "not JSON"),
        ("nested", new("", Effect::Nest { depth: 100_000 }), 76, "nested deeper"),
        ("redirect", new("", Effect::Redirect { location }), 76, "redirect"),
        ("no token", Fault::body("", r#"{"token_type":"Bearer"}"#), 76, "no usable access token"),
        ("array", Fault::body("", "[]"), 76, "not a JSON object"),
        ("empty", Fault::body("", ""), 76, "not JSON"),
        ("hang", new("", Effect::Hang), 69, "no complete answer within"),
        ("drip", new("", Effect::Drip { ms: 100 }), 69, "no complete answer within"),
        ("reset", new("", Effect::Reset), 69, "broke"),
        ("cut", new("", Effect::Cut), 69, "broke"),
        ("502", Fault::bad_gateway(""), 69, "502"),
        ("429", Fault::rate_limit("", "0"), 69, "429"),
        ("a failed 200", Fault::body("", bad), 69, "Falha interna"),
    ];
    side_by_side(cases, |(name, fault, code, words)| {
        let scene = with_short_timeout();
        scene.vault.fault(fault);
        let run = scene.init();
        assert!(run.exits(code).error().contains(words), "{name}: {}", run.error());
        assert!(run.hint().is_some(), "{name}");
        assert!(scene.count(LOGIN) >= 2, "{name} is retried: {:?}", scene.request_lines());
        assert_nothing_published(&scene, name);
    });
    let followed = elsewhere.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(followed, Err(std::io::ErrorKind::WouldBlock), "a redirect was followed");
}

#[test]
fn a_secret_whose_name_leaves_the_directory_is_malformed() {
    for (data, key) in [
        (r#"{"../evil": "canary"}"#, "../evil"),
        (r#"{"..data": "canary"}"#, "..data"),
        (r#"{"": "canary"}"#, "\"\""),
    ] {
        let scene = Scene::new();
        scene.vault.set_data(SEED, data);
        let run = scene.init();
        assert!(run.exits(76).error().contains(key), "{}", run.error());
        assert!(!run.stderr.contains("canary"), "{}", run.stderr);
        assert_nothing_published(&scene, key);
    }
}

#[test]
fn a_flood_is_neither_read_to_its_end_nor_kept_in_memory() {
    let mut scene = with_short_timeout();
    scene.set("SEGURA_STARTUP_TIMEOUT", "4s").set("SEGURA_TIMEOUT", "4s");
    scene.vault.fault(Fault::new(path::LOGIN, Effect::Flood { mib: 4_096 }));
    let child = scene.spawn_init();
    until("one flood is over", || scene.count(LOGIN) >= 2);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 100 * 1024, "{peak} KiB");
    let run = Run::wait(child);
    assert!(run.exits(76).error().contains("8 MiB"), "{}", run.error());
    assert!(scene.vault.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_unreachable_vault_is_69_at_the_deadline() {
    let scene = with_short_timeout();
    scene.vault.go_down();
    let run = scene.init();
    assert!(run.exits(69).error().contains("os error 111"), "{}", run.error());
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_URL")));
    assert_nothing_published(&scene, "");
}

#[test]
fn a_vault_that_comes_back_is_found() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
    scene.vault.go_down();
    let child = scene.spawn_init();
    until("the agent has begun", || scene.path("..segura").exists());
    scene.vault.come_back();
    Run::wait(child).exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn a_connection_closed_between_two_requests_is_opened_again() {
    let scene = Scene::new();
    scene.vault.fault(Fault::new(path::LOGIN, Effect::Close));
    scene.init().exits(0);
    assert_eq!(scene.vault.provision_count(), 1);
}

#[test]
fn sigterm_during_a_wait_ends_init_at_once() {
    let cases = [
        ("between tries", Fault::rate_limit("", "3600"), Signal::TERM, 143),
        ("between tries", Fault::rate_limit("", "3600"), Signal::INT, 130),
        ("in a login", Fault::new("", Effect::Hang), Signal::TERM, 143),
        ("in a login", Fault::new("", Effect::Hang), Signal::INT, 130),
    ];
    side_by_side(cases, |(name, fault, signal, code)| {
        let mut scene = Scene::new();
        scene.set("SEGURA_STARTUP_TIMEOUT", "off").set("SEGURA_TIMEOUT", "1h");
        scene.vault.fault(fault);
        let child = scene.spawn_init();
        until("it has sent a request", || scene.count(LOGIN) == 1);
        let sent = scene.vault.elapsed();
        send(&child, signal);
        Run::wait(child).exits(code);
        let took = scene.vault.elapsed() - sent;
        assert!(took < Duration::from_secs(4), "{name}: {took:?}");
        assert_eq!(scene.count(PROVISION), 0, "{name}");
        assert_nothing_published(&scene, name);
    });
}

#[test]
fn sigterm_while_the_vault_is_down_ends_init_at_once() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "off");
    scene.vault.go_down();
    let child = scene.spawn_init();
    until("the agent has begun", || scene.path("..segura/holder").exists());
    send(&child, Signal::TERM);
    Run::wait(child).exits(143);
    assert_nothing_published(&scene, "");
}
