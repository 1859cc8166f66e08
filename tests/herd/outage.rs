//! A long outage of the vault: the set stays published, few attempts are made, recovery is prompt.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::report;
use crate::harness::secret::{after_passes, change, passes, scene};
use crate::harness::wait::{throughout, within};
use crate::harness::{Scene, lines};

/// No step of the backoff is longer.
const LONGEST_STEP: Duration = Duration::from_secs(300);
/// For the pass itself, on a busy machine.
const PASS: Duration = Duration::from_secs(20);

/// Takes connections where the vault was, and closes each at once.
struct Counter {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Counter {
    fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the vault has left the port");
        let (taken, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, end) = (Arc::clone(&taken), Arc::clone(&over));
        let thread = thread::spawn(move || {
            // The last connection is the one that `stop` makes to end this.
            while listener.accept().is_ok() && !end.load(Ordering::Acquire) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { address, taken, over, thread: Some(thread) }
    }

    fn wait(mut self) -> usize {
        self.stop();
        self.taken.load(Ordering::Relaxed)
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.over.store(true, Ordering::Release);
            TcpStream::connect(self.address).expect("it listens");
            thread.join().ok();
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What an outage was like.
#[derive(Debug)]
struct Outage {
    attempts: usize,
    recovery: Duration,
}

/// Has the vault gone for so long, and a new value in it when it comes back.
fn outage(scene: &Scene, lasts: Duration, value: &str) -> Outage {
    let before = scene.published();
    scene.vault.go_down();
    let counter = Counter::at(scene.vault.address());
    throughout(lasts, "the published set is left alone", || scene.published() == before);
    let ready = scene.agent(&["check", "ready"]).output().expect("the agent runs");
    assert!(ready.status.success(), "{ready:?}");
    let attempts = counter.wait();
    change(scene, value);
    scene.vault.come_back();
    let back = scene.vault.elapsed();
    let recovers = within(LONGEST_STEP + PASS, || scene.read("app/password") == value);
    assert!(recovers, "it has not recovered");
    Outage { attempts, recovery: scene.vault.elapsed() - back }
}

#[test]
fn the_published_set_survives_a_short_outage() {
    let scene = scene();
    let sidecar = scene.sidecar();
    after_passes(&scene, 1);
    let found = outage(&scene, Duration::from_secs(4), "two");
    assert!((1..20).contains(&found.attempts), "{found:?}");
    assert!(found.recovery < PASS, "{found:?}");
    sidecar.until_logged(lines::WORKS);
    assert_eq!(sidecar.text_warnings().len(), 1, "{:#?}", sidecar.log());
    after_passes(&scene, 1);
    sidecar.stop();
}

#[test]
#[ignore = "takes eleven minutes"]
fn the_published_set_survives_an_outage_of_ten_minutes() {
    let mut scene = scene();
    scene.set("SEGURA_RENEW_INTERVAL", "10s");
    let sidecar = scene.sidecar();
    after_passes(&scene, 0);
    let short = outage(&scene, Duration::from_secs(15), "two");
    assert!((1..30).contains(&short.attempts), "{short:?}");
    let long = outage(&scene, Duration::from_secs(600), "three");
    report(&format!("{short:?}, {long:?}, {} answers in all", passes(&scene)));
    assert!((1..60).contains(&long.attempts), "{long:?}");
    assert_eq!(sidecar.text_warnings().len(), 2, "{:#?}", sidecar.log());
    after_passes(&scene, 1);
    sidecar.stop();
}
