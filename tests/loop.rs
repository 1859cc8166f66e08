//! Crash loops: whatever is wrong, an account is provisioned once, and published once it can be.

#![expect(
    clippy::indexing_slicing,
    reason = "a helper that can't go on fails the test that called it"
)]

mod ended;
mod kept;
mod lifetime;
mod posts;
mod refused;

use crate::dev_vault::requests::{DEPROVISION, PROVISION, path};
use crate::dev_vault::{Effect, Fault};
use crate::harness::{Run, Scene, sidecar::Sidecar};

/// The number of starts of a crash loop.
const STARTS: usize = 20;
/// The page of a filter in front of the vault.
const PAGE: &str = "<html>Request blocked</html>";

/// A fault of POSTs of the provision route alone.
fn on_post(effect: Effect) -> Fault {
    Fault::new(path::PROVISION, effect).method("POST")
}

/// An answer of a filter in place of the vault's.
fn page(status: u16) -> Effect {
    Effect::Answer { status, headers: Vec::new(), body: PAGE.to_owned() }
}

/// Starts once, in another mode each time, and waits for the end.
fn start(scene: &Scene, n: usize) -> Run {
    let modes: [&[&str]; 3] = [&["init"], &["sidecar"], &["exec", "--", "/bin/true"]];
    Sidecar::spawn(scene.agent(modes[n % modes.len()])).wait()
}

/// Starts again and again, as the kubelet does; every start ends with this code.
#[track_caller]
fn crash_loop(scene: &Scene, code: i32) {
    for n in 0..STARTS {
        let run = start(scene, n);
        assert_eq!(run.code, Some(code), "start {n}: {}", run.stderr);
        assert!(scene.published().is_empty(), "start {n} publishes nothing");
        for (identity, password) in passwords(scene) {
            assert!(!run.stderr.contains(&password), "start {n} shows a value of {identity}");
        }
    }
}

/// The password of every account, by identity.
fn passwords(scene: &Scene) -> Vec<(String, String)> {
    let identities = ["secret-postman", "payments/database", "a", "pem"];
    let of = |identity: &str| {
        let accounts = scene.vault.provisioned(identity).into_iter();
        accounts.map(|account| (identity.to_owned(), account.password)).collect::<Vec<_>>()
    };
    identities.into_iter().flat_map(of).collect()
}

/// Asserts that an identity has had this account alone, and that it is published.
#[track_caller]
fn assert_published(scene: &Scene, identity: &str, what: &str) {
    let accounts = scene.vault.provisioned(identity);
    assert_eq!(accounts.len(), 1, "{what}: {identity}");
    assert_eq!(scene.read(&format!("{identity}/password")), accounts[0].password, "{what}");
    assert_eq!(scene.count(DEPROVISION), 0, "{what}");
}

/// The number of POSTs that have named an identity.
fn posts_of(scene: &Scene, identity: &str) -> usize {
    let names = format!("\"{identity}\"");
    let requests = scene.vault.requests().into_iter();
    let path = PROVISION.trim_start_matches("POST ");
    requests.filter(|request| request.is("POST", path) && request.body.contains(&names)).count()
}
