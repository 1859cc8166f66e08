//! A simulated day: an agent whose clock is turned by hand, and a vault that rotates and fails.

use std::ffi::OsString;
use std::pin::Pin;
use std::time::SystemTime;

use super::*;
use crate::config::Mounts;
use crate::config::raw::Raw;
use crate::config::settings::Destination;
use crate::lifecycle::publish::{Heartbeat, Publisher, Stamp, first, origin};
use crate::model::SecretSet;
use crate::os::clock::{Deadline, Machine};
use crate::render::tests::bundle;
use crate::store::state::Settled;
use crate::vault::Source;
use crate::vault::error::{Attempt, Cause, FetchError};

const DAY: Duration = Duration::from_secs(24 * 3600);
const ROTATION: Duration = Duration::from_secs(3600);
/// Half-way between two rotations.
const BEGIN: Duration = Duration::from_secs(1800);
/// Begins between two rotations and outlasts one.
const OUTAGE: [Duration; 2] = [Duration::from_secs(22_000), Duration::from_secs(26_000)];
/// The time of one request.
const REQUEST: Duration = Duration::from_millis(50);

/// A clock that stops unless the agent waits, and jumps to the end of each wait at once.
#[derive(Debug, Default)]
struct Turned(Cell<Duration>);

impl Turned {
    fn turn(&self, by: Duration) {
        self.0.set(self.0.get() + by);
    }
}

impl Clock for Turned {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.boot()
    }

    fn boot(&self) -> Duration {
        self.0.get()
    }

    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move { self.0.set(self.boot().max(at)) })
    }
}

/// Files that never change.
struct Still;

impl Hints for Still {
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = Hint> + '_>> {
        Box::pin(pending())
    }

    fn look(&mut self) -> bool {
        false
    }

    fn end(&mut self) {}
}

/// A vault whose one secret rotates every hour, and that can't be reached during an outage.
struct Rotating<'a> {
    clock: &'a Turned,
    reads: &'a Cell<u32>,
}

impl Rotating<'_> {
    fn version(at: Duration) -> u64 {
        at.as_secs() / ROTATION.as_secs()
    }

    fn secrets(at: Duration) -> Bundle {
        let version = Self::version(at).to_string();
        let mut secrets = bundle(&[("db", &[&[("password", version.as_str())]])]);
        for set in secrets.secrets.values_mut() {
            set.version.clone_from(&version);
        }
        secrets
    }
}

impl<'a> Connect for Rotating<'a> {
    type Source = Rotating<'a>;

    fn connect(&self, _: &mut Option<Token>) -> Result<Rotating<'a>, FetchError> {
        Ok(Rotating { ..*self })
    }

    fn end(&self, _: Rotating<'a>) -> Option<Token> {
        None
    }
}

impl Source for Rotating<'_> {
    fn end_by(&mut self, _: Deadline) {}

    async fn provision(&mut self, _: &SecretName) -> Result<SecretSet, FetchError> {
        panic!("nothing runs out, so nothing is provisioned again")
    }

    async fn read_provisioned(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        self.reads.set(self.reads.get() + 1);
        self.clock.turn(REQUEST);
        let at = self.clock.boot();
        if (OUTAGE[0]..OUTAGE[1]).contains(&at) {
            let cause = Cause::Unconnected("connection refused".to_owned());
            return Err(FetchError { attempt: Attempt::ReadProvisioned(name.clone()), cause });
        }
        Ok(Self::secrets(at).secrets.remove(name).expect("it is the one secret"))
    }

    async fn read_application(&mut self) -> Result<Bundle, FetchError> {
        panic!("each secret is read by itself")
    }

    async fn read_secrets(&mut self) -> Result<Bundle, FetchError> {
        panic!("each secret is read by itself")
    }

    async fn read_secret(&mut self, _: &SecretName) -> Result<SecretSet, FetchError> {
        panic!("the secret is one that was provisioned")
    }

    fn id(&self, _: &SecretName) -> Option<&str> {
        None
    }

    async fn deprovision(&mut self, _: Attempt, _: &str) -> Result<(), FetchError> {
        panic!("nothing is given back")
    }
}

fn config() -> Config {
    let environment = [
        ("SEGURA_URL", "https://vault.example.com"),
        ("SEGURA_CLIENT_ID", "id"),
        ("SEGURA_CLIENT_SECRET", "canary"),
        ("SEGURA_POD_NAME", "web-0"),
        ("SEGURA_IDENTITY", "db"),
    ];
    let environment = environment.map(|(name, value)| (OsString::from(name), value.into()));
    Config::for_sidecar(Raw::from_environment(environment), Mounts::default()).unwrap().settings.0
}

/// Result of one simulated day.
#[derive(Debug, PartialEq)]
struct Day {
    /// The time of each pass, and the version that it published, if any.
    passes: Vec<(Duration, Trigger, Option<u64>)>,
    reads: u32,
    state: State,
    failed: bool,
}

/// Publishes a first set, and renews it for a day.
async fn day(seed: u64) -> Day {
    let (clock, reads, config) = (Turned(Cell::new(BEGIN)), Cell::new(0), config());
    let mut store = Store::hold(&Destination::Memory, "sidecar").unwrap();
    let (origin, layout) = (origin(&config).unwrap(), &config.layout);
    let secrets = Rotating::secrets(clock.boot());
    let due = clock.boot() + Duration::from_secs(60);
    let stamp = Stamp::new(Generation::default(), Alarm::At(due), Heartbeat::None, clock.now());
    let mut state = first(&secrets, &origin, Settled::Get, &stamp, clock.now());
    let mut remarked = Remarked::default();
    Publisher { store: &mut store, layout, remarked: &mut remarked, clock: &clock }
        .publish(&secrets, &mut state)
        .unwrap();
    let edges = Edges {
        clock: &clock,
        random: fastrand::Rng::with_seed(seed),
        watch: Box::new(Still),
        vault: Rotating { clock: &clock, reads: &reads },
    };
    let set = Handover { state, token: None, remarked };
    let board = Rc::new(RefCell::new(Board::default()));
    let mut renewer = Renewer::new(&config, &mut store, set, edges, Rc::clone(&board));
    let mut passes = Vec::new();
    let mut failed = false;
    while clock.boot() < BEGIN + DAY {
        let trigger = renewer.wait().await;
        let at = clock.boot();
        let version = renewer.pass(trigger).await.map(|publication| {
            assert!(matches!(publication, Publication::Changed(_)), "{publication:?}");
            renewer.state().secrets.first().unwrap().version.parse().unwrap()
        });
        failed |= renewer.state().failures > 0;
        passes.push((at, trigger, version));
    }
    Day { passes, reads: reads.get(), state: renewer.state().clone(), failed }
}

#[tokio::test]
async fn a_day_of_passes_publishes_every_rotation_soon_after_it() {
    let began = Machine.boot();
    let day = day(7).await;
    let published: Vec<(Duration, u64)> =
        day.passes.iter().filter_map(|(at, _, version)| version.map(|v| (*at, v))).collect();
    let versions: Vec<u64> = published.iter().map(|(_, version)| *version).collect();
    assert_eq!(versions, (1..=24).collect::<Vec<_>>());
    for (at, version) in &published {
        let rotated = ROTATION * u32::try_from(*version).unwrap();
        // One wait of plain polling, or what is left of the outage and the longest step between
        // tries.
        let late = if OUTAGE[0] < rotated && rotated < OUTAGE[1] {
            OUTAGE[1] - rotated + Duration::from_secs(300)
        } else {
            Duration::from_secs(121)
        };
        assert!((rotated..rotated + late).contains(at), "{version} at {at:?}");
    }
    assert!(day.failed, "the outage was met");
    assert_eq!((day.state.failures, day.state.last_error), (0, None));
    // Some 720 by plain polling; polls brought forward to a rotation come on top.
    assert!((650..=900).contains(&day.reads), "{}", day.reads);
    let sweeps = day.passes.iter().filter(|(_, trigger, _)| *trigger == Trigger::Sweep).count();
    assert!((published.len()..=2 * published.len() + 1).contains(&sweeps), "{sweeps}");
    assert!(Machine.boot() - began < Duration::from_secs(10), "no pass waits for real");
}

#[tokio::test]
async fn one_seed_makes_one_day() {
    assert_eq!(day(7).await, day(7).await);
    assert_ne!(day(7).await.passes, day(8).await.passes);
}
