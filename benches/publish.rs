//! Rendering and publishing large sets, through the library, on tmpfs.

use std::collections::BTreeMap;
use std::time::Duration;

use segura_agent::config::settings::{Access, Destination, Disk, FileGid, FileUid, Output};
use segura_agent::lifecycle::publish::{Heartbeat, Publisher, Remarked, Stamp, first};
use segura_agent::lifecycle::schedule::Alarm;
use segura_agent::model::{Bundle, Generation, Item, PodIdentity, SecretName, SecretSet};
use segura_agent::os::clock::{Clock, Machine};
use segura_agent::render::decode::Decode;
use segura_agent::render::env::Dialect;
use segura_agent::render::name::{Case, Variables};
use segura_agent::render::template::Templates;
use segura_agent::render::{Collision, Layout};
use segura_agent::secret::Secret;
use segura_agent::store::Store;
use segura_agent::store::state::{Origin, Settled};

use crate::Outcome;
use crate::clock::{median, millis, timed};
use crate::report::{Goal, Report};
use crate::scene::memory_dir;

/// Entries of each secret, as many secrets as it takes.
const KEYS: usize = 100;
const VALUE: usize = 1024;
const SMALL: usize = 1_000;
const LARGE: usize = 10 * SMALL;
const RUNS: usize = 9;
const LONGEST: f64 = 30.0;
/// Ten times the files in twelve times the time is linear enough.
const GROWTH: f64 = 12.0;

/// Adds the time for a large set, and how it grows, to the report.
pub fn measure(report: &mut Report) -> Outcome<()> {
    let (small, large) = (bundle(SMALL)?, bundle(LARGE)?);
    let (mut small_times, mut large_times) = (Vec::new(), Vec::new());
    published(&small)?;
    for _ in 0..RUNS {
        small_times.push(published(&small)?);
        large_times.push(published(&large)?);
    }
    let small = median(&small_times).unwrap_or_default();
    let large = median(&large_times).unwrap_or_default();
    let goal = Goal::at_most(small.as_secs_f64() * 1e3, LONGEST, " ms");
    report.judged("render and publish 1,000 entries of 1 KiB", millis(small), goal);
    let growth = large.as_secs_f64() / small.as_secs_f64();
    let goal = Goal::at_most(growth, GROWTH, " times");
    let text = format!("{} ({growth:.1} times)", millis(large));
    report.judged("the same of 10,000", text, goal);
    Ok(())
}

/// Publishes to an empty directory, and says how long rendering and publishing took.
fn published(bundle: &Bundle) -> Outcome<Duration> {
    let dir = memory_dir()?;
    let access = Access {
        file_mode: 0o440,
        dir_mode: 0o750,
        uid: FileUid::Agent,
        gid: FileGid::Inherited,
        rules: Vec::new(),
    };
    let output =
        Output { dir: dir.path().to_owned(), create_last: false, access, disk: Disk::Refuse };
    let mut store = Store::hold(&Destination::Directory(output), "bench")?;
    let origin = origin(bundle);
    let mut publisher = Publisher {
        store: &mut store,
        layout: &layout()?,
        remarked: &mut Remarked::default(),
        clock: &Machine,
    };
    let (took, outcome) = timed(|| {
        let stamp = Stamp::new(Generation::default(), Alarm::Never, Heartbeat::None, Machine.now());
        publisher.publish(bundle, &mut first(bundle, &origin, Settled::Get, &stamp, Machine.now()))
    });
    outcome?;
    Ok(took)
}

fn layout() -> Outcome<Layout> {
    let pod = PodIdentity {
        name: "bench".to_owned(),
        uid: None,
        namespace: None,
        deploy: "bench".to_owned(),
    };
    let variables = Variables::new("{key}", Case::Keep).ok_or("{key} is a good name")?;
    Ok(Layout {
        files: true,
        env: None,
        dialect: Dialect::Shell,
        json: None,
        yaml: None,
        properties: None,
        templates: Templates::default(),
        pod,
        environment: false,
        variables,
        collision: Collision::Last,
        decode: Decode::default(),
    })
}

fn origin(bundle: &Bundle) -> Origin {
    Origin {
        url: "https://vault.example.com".to_owned(),
        client: String::new(),
        source: "provision".to_owned(),
        identities: bundle.secrets.keys().map(ToString::to_string).collect(),
        pod_name: "bench-1".to_owned(),
        pod_uid: None,
        namespace: None,
    }
}

fn bundle(entries: usize) -> Outcome<Bundle> {
    let secret = |number| Ok((SecretName::new(format!("bench/{number}"))?, set(number)));
    let secrets = (0..entries / KEYS).map(secret).collect::<Outcome<BTreeMap<_, _>>>()?;
    Ok(Bundle { secrets, ..Bundle::default() })
}

fn set(number: usize) -> SecretSet {
    let item = |key| {
        let value = format!("{number}-{key}-").chars().cycle().take(VALUE).collect();
        Item { key: format!("key-{key}"), value: Secret::new(value) }
    };
    SecretSet {
        id: number.to_string(),
        name: String::new(),
        version: "1".to_owned(),
        engine: "Generic".to_owned(),
        expiration: String::new(),
        renew: None,
        entries: vec![(0..KEYS).map(item).collect()],
    }
}
