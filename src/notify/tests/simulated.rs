//! Notification of simulated processes, by Tokio's paused clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::io::{self, ErrorKind};
use std::time::SystemTime;

use tokio::time::{Instant, advance};

use super::*;
use crate::os::clock::Clock;
use crate::os::environment::Environment;
use crate::os::process::{End, Hold, Names, Process, Reaction, SpawnedChild, StartTime};
use crate::os::signal::KILL;

/// The time since the simulated machine started.
const BOOT: Duration = Duration::from_secs(36_000);
const TICK: Duration = Duration::from_millis(1);

/// A clock whose time does not change.
#[derive(Debug)]
struct FixedClock {
    wall: SystemTime,
}

impl Clock for FixedClock {
    fn wall(&self) -> SystemTime {
        self.wall
    }

    fn boot(&self) -> Duration {
        BOOT
    }

    fn until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        panic!("waits of notify are by Tokio's clock")
    }
}

const EPOCH: FixedClock = FixedClock { wall: SystemTime::UNIX_EPOCH };

/// A simulated process.
#[derive(Clone, Debug)]
struct SimProcess {
    process: Process,
    reaction: Reaction,
}

/// A simulated PID namespace.
#[derive(Clone, Debug, Default)]
struct SimNamespace(Rc<SimRecord>);

#[derive(Debug, Default)]
struct SimRecord {
    own: Cell<i32>,
    processes: RefCell<BTreeMap<i32, SimProcess>>,
    /// The signals that were sent: to a process by its number, to a group as 0.
    sent: RefCell<Vec<(i32, Signal)>>,
    /// The ends of the children that will be started; `None` is a child that does not end by
    /// itself.
    ends: RefCell<Vec<Option<End>>>,
    started: Cell<i32>,
}

impl SimNamespace {
    /// Adds a process that started at `start` by the boot clock.
    fn add(&self, pid: i32, name: &str, start: Duration, reaction: Reaction) {
        let names = Names { comm: name.to_owned(), ..Names::default() };
        let process = Process { pid, parent: 1, start: StartTime::at(start), names };
        self.0.processes.borrow_mut().insert(pid, SimProcess { process, reaction });
    }

    fn sent(&self) -> Vec<i32> {
        self.0.sent.borrow().iter().map(|(pid, _)| *pid).collect()
    }
}

impl Processes for SimNamespace {
    fn own(&self) -> i32 {
        self.0.own.get()
    }

    fn is_above_us(&self, _: i32) -> bool {
        false
    }

    fn named(&self, name: &str) -> io::Result<Vec<Process>> {
        let processes = self.0.processes.borrow();
        let named = processes.values().filter(|sim| sim.process.names.matches(name));
        Ok(named.map(|sim| sim.process.clone()).collect())
    }

    fn hold(&self, pid: i32) -> io::Result<HeldProcess> {
        let sim = self.0.processes.borrow().get(&pid).cloned().ok_or(ErrorKind::NotFound)?;
        let hold = Box::new(SimHold { pid, start: sim.process.start, namespace: self.clone() });
        Ok(HeldProcess { process: sim.process, hold })
    }

    fn spawn(&self, _: &Program, _: &Environment) -> io::Result<Box<dyn SpawnedChild>> {
        self.0.started.set(self.0.started.get() + 1);
        let end = Cell::new(self.0.ends.borrow_mut().remove(0));
        Ok(Box::new(SimChild { end, namespace: self.clone() }))
    }
}

/// A hold on a simulated process.
#[derive(Debug)]
struct SimHold {
    pid: i32,
    start: StartTime,
    namespace: SimNamespace,
}

impl SimHold {
    fn sim(&self) -> io::Result<SimProcess> {
        let sim = self.namespace.0.processes.borrow().get(&self.pid).cloned();
        let same = sim.filter(|sim| sim.process.start == self.start);
        same.ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Hold for SimHold {
    fn reaction(&self, _: Signal) -> io::Result<Reaction> {
        Ok(self.sim()?.reaction)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.sim()?;
        self.namespace.0.sent.borrow_mut().push((self.pid, signal));
        Ok(())
    }

    fn probe(&self) -> io::Result<()> {
        self.sim().map(drop)
    }
}

/// A simulated child.
#[derive(Debug)]
struct SimChild {
    end: Cell<Option<End>>,
    namespace: SimNamespace,
}

impl SpawnedChild for SimChild {
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = End> + '_>> {
        match self.end.get() {
            Some(end) => Box::pin(ready(end)),
            None => Box::pin(pending()),
        }
    }

    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        self.end.set(Some(End::Signal(signal)));
        self.namespace.0.sent.borrow_mut().push((0, signal));
        Ok(())
    }
}

/// Works as far as possible without a wait; returns `true` if every target was notified.
async fn works(notifier: &mut Notifier<'_>) -> bool {
    tokio::select! {
        biased;
        _ = notifier.notified() => true,
        () = ready(()) => false,
    }
}

#[tokio::test(start_paused = true)]
async fn every_process_of_the_name_that_is_older_than_the_publish_is_signalled_once() {
    let namespace = SimNamespace::default();
    namespace.add(10, "app", BOOT / 2, Reaction::Lives);
    namespace.add(11, "app", BOOT / 3, Reaction::Lives);
    namespace.add(12, "app", BOOT + Duration::from_secs(60), Reaction::Lives);
    namespace.add(13, "other", BOOT / 2, Reaction::Lives);
    let mut notifier = Notifier::new(by_name("app"), &namespace, &EPOCH);
    notifier.publish(Generation(1), BOOT);
    assert!(works(&mut notifier).await);
    assert_eq!(namespace.sent(), [10, 11]);
    notifier.publish(Generation(2), BOOT + Duration::from_secs(120));
    assert!(works(&mut notifier).await);
    assert_eq!(namespace.sent(), [10, 11, 10, 11, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_without_a_handler_is_withheld_for_a_minute_and_then_until_a_pass() {
    let namespace = SimNamespace::default();
    namespace.add(10, "app", BOOT / 2, Reaction::Dies);
    let failures = Rc::new(Cell::new(0));
    let mut notifier = Notifier::new(by_name("app"), &namespace, &EPOCH);
    notifier.count_failures(&failures);
    notifier.publish(Generation(1), BOOT);
    let began = Instant::now();
    let given_up = timeout(LIMITS.withhold - TICK, notifier.notified()).await;
    assert!(given_up.is_err() && failures.get() == 0, "{:?}", began.elapsed());
    let given_up = timeout(2 * TICK, notifier.notified()).await;
    assert!(given_up.is_err() && failures.get() == 1, "{:?}", began.elapsed());
    namespace.add(10, "app", BOOT / 2, Reaction::Lives);
    assert!(timeout(LIMITS.withhold, notifier.notified()).await.is_err());
    assert!(namespace.sent().is_empty());
    notifier.pass();
    assert!(works(&mut notifier).await);
    assert_eq!(namespace.sent(), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_a_later_process_has_is_not_signalled_by_a_pid_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    fs::write(&path, "10").unwrap();
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let clock = FixedClock { wall: written + Duration::from_secs(7200) };
    let namespace = SimNamespace::default();
    // By the wall clock the first process starts as the file is written, the next one almost two
    // hours later.
    namespace.add(10, "app", BOOT - Duration::from_secs(7200), Reaction::Lives);
    let mut notifier = Notifier::new(by_pid_file(&path), &namespace, &clock);
    notifier.publish(Generation(1), BOOT);
    assert!(works(&mut notifier).await);
    assert_eq!(namespace.sent(), [10]);
    namespace.add(10, "app", BOOT - Duration::from_secs(60), Reaction::Lives);
    let mut notifier = Notifier::new(by_pid_file(&path), &namespace, &clock);
    assert!(notifier.findings()[0].text.contains("started after it was written"));
    notifier.publish(Generation(2), BOOT);
    assert!(!works(&mut notifier).await);
    assert_eq!(namespace.sent(), [10]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_process_1_is_advised_to_share_the_pid_namespace() {
    let namespace = SimNamespace::default();
    let finding = |own: i32| {
        namespace.0.own.set(own);
        Notifier::new(by_name("app"), &namespace, &EPOCH).findings().remove(0)
    };
    assert!(finding(1).hint.contains("shareProcessNamespace: true"));
    assert!(!finding(7).hint.contains("shareProcessNamespace: true"));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_killed_at_its_limit_and_run_again_after_the_backoff() {
    let namespace = SimNamespace::default();
    *namespace.0.ends.borrow_mut() = vec![None, Some(End::Code(0))];
    let mut notifier = Notifier::new(by_command("", Path::new("/")), &namespace, &EPOCH);
    notifier.publish(Generation(1), BOOT);
    assert!(!works(&mut notifier).await);
    advance(LIMITS.command - TICK).await;
    assert!(!works(&mut notifier).await);
    assert!(namespace.0.sent.take().is_empty());
    advance(TICK).await;
    assert!(!works(&mut notifier).await);
    assert_eq!(namespace.0.sent.take(), [(0, KILL)]);
    advance(LIMITS.backoff).await;
    assert!(works(&mut notifier).await);
    assert_eq!(namespace.0.started.get(), 2);
}
