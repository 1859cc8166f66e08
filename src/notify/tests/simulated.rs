//! Simulated processes are notified, by Tokio's paused clock: none of them is real.

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

/// A clock that stands still.
#[derive(Debug)]
struct Stopped {
    wall: SystemTime,
}

impl Clock for Stopped {
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

const EPOCH: Stopped = Stopped { wall: SystemTime::UNIX_EPOCH };

/// A simulated process.
#[derive(Clone, Debug)]
struct Actor {
    process: Process,
    reaction: Reaction,
}

/// A simulated PID namespace.
#[derive(Clone, Debug, Default)]
struct Stage(Rc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    own: Cell<i32>,
    actors: RefCell<BTreeMap<i32, Actor>>,
    /// The processes that were signalled, and the groups that were.
    sent: RefCell<Vec<(i32, Signal)>>,
    /// The ends of the children that will be started; none is a child that never ends by itself.
    ends: RefCell<Vec<Option<End>>>,
    started: Cell<i32>,
}

impl Stage {
    /// Adds a process that started so long after the machine.
    fn enters(&self, pid: i32, name: &str, start: Duration, reaction: Reaction) {
        let names = Names { comm: name.to_owned(), ..Names::default() };
        let process = Process { pid, parent: 1, start: StartTime::at(start), names };
        self.0.actors.borrow_mut().insert(pid, Actor { process, reaction });
    }

    fn sent(&self) -> Vec<i32> {
        self.0.sent.borrow().iter().map(|(pid, _)| *pid).collect()
    }
}

impl Processes for Stage {
    fn own(&self) -> i32 {
        self.0.own.get()
    }

    fn is_above_us(&self, _: i32) -> bool {
        false
    }

    fn named(&self, name: &str) -> io::Result<Vec<Process>> {
        let actors = self.0.actors.borrow();
        let named = actors.values().filter(|actor| actor.process.names.matches(name));
        Ok(named.map(|actor| actor.process.clone()).collect())
    }

    fn hold(&self, pid: i32) -> io::Result<HeldProcess> {
        let actor = self.0.actors.borrow().get(&pid).cloned().ok_or(ErrorKind::NotFound)?;
        let hold = Box::new(Grip { pid, start: actor.process.start, stage: self.clone() });
        Ok(HeldProcess { process: actor.process, hold })
    }

    fn spawn(&self, _: &Program, _: &Environment) -> io::Result<Box<dyn SpawnedChild>> {
        self.0.started.set(self.0.started.get() + 1);
        let end = Cell::new(self.0.ends.borrow_mut().remove(0));
        Ok(Box::new(Extra { end, stage: self.clone() }))
    }
}

/// A hold on a simulated process.
#[derive(Debug)]
struct Grip {
    pid: i32,
    start: StartTime,
    stage: Stage,
}

impl Grip {
    fn actor(&self) -> io::Result<Actor> {
        let actor = self.stage.0.actors.borrow().get(&self.pid).cloned();
        let same = actor.filter(|actor| actor.process.start == self.start);
        same.ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Hold for Grip {
    fn reaction(&self, _: Signal) -> io::Result<Reaction> {
        Ok(self.actor()?.reaction)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.actor()?;
        self.stage.0.sent.borrow_mut().push((self.pid, signal));
        Ok(())
    }

    fn probe(&self) -> io::Result<()> {
        self.actor().map(drop)
    }
}

/// A simulated child.
#[derive(Debug)]
struct Extra {
    end: Cell<Option<End>>,
    stage: Stage,
}

impl SpawnedChild for Extra {
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = End> + '_>> {
        match self.end.get() {
            Some(end) => Box::pin(ready(end)),
            None => Box::pin(pending()),
        }
    }

    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        self.end.set(Some(End::Signal(signal)));
        self.stage.0.sent.borrow_mut().push((0, signal));
        Ok(())
    }
}

/// Goes as far as it can without a wait; says whether every target was notified.
async fn works(notifier: &mut Notifier<'_>) -> bool {
    tokio::select! {
        biased;
        _ = notifier.notified() => true,
        () = ready(()) => false,
    }
}

#[tokio::test(start_paused = true)]
async fn every_process_of_the_name_that_is_older_than_the_publish_is_signalled_once() {
    let stage = Stage::default();
    stage.enters(10, "app", BOOT / 2, Reaction::Lives);
    stage.enters(11, "app", BOOT / 3, Reaction::Lives);
    stage.enters(12, "app", BOOT + Duration::from_secs(60), Reaction::Lives);
    stage.enters(13, "other", BOOT / 2, Reaction::Lives);
    let mut notifier = Notifier::new(by_name("app"), &stage, &EPOCH);
    notifier.publish(Generation(1), BOOT);
    assert!(works(&mut notifier).await);
    assert_eq!(stage.sent(), [10, 11]);
    notifier.publish(Generation(2), BOOT + Duration::from_secs(120));
    assert!(works(&mut notifier).await);
    assert_eq!(stage.sent(), [10, 11, 10, 11, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_deadly_signal_is_withheld_for_a_minute_and_then_until_a_pass() {
    let stage = Stage::default();
    stage.enters(10, "app", BOOT / 2, Reaction::Dies);
    let failures = Rc::new(Cell::new(0));
    let mut notifier = Notifier::new(by_name("app"), &stage, &EPOCH);
    notifier.count_failures(&failures);
    notifier.publish(Generation(1), BOOT);
    let began = Instant::now();
    let given_up = timeout(LIMITS.withhold - TICK, notifier.notified()).await;
    assert!(given_up.is_err() && failures.get() == 0, "{:?}", began.elapsed());
    let given_up = timeout(2 * TICK, notifier.notified()).await;
    assert!(given_up.is_err() && failures.get() == 1, "{:?}", began.elapsed());
    stage.enters(10, "app", BOOT / 2, Reaction::Lives);
    assert!(timeout(LIMITS.withhold, notifier.notified()).await.is_err());
    assert!(stage.sent().is_empty());
    notifier.pass();
    assert!(works(&mut notifier).await);
    assert_eq!(stage.sent(), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_passes_to_a_later_process_is_not_signalled_by_a_pid_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    fs::write(&path, "10").unwrap();
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let clock = Stopped { wall: written + Duration::from_secs(7200) };
    let stage = Stage::default();
    // On the wall clock it starts as the file is written, and then later than a clock may be off by.
    stage.enters(10, "app", BOOT - Duration::from_secs(7200), Reaction::Lives);
    let mut notifier = Notifier::new(by_pid_file(&path), &stage, &clock);
    notifier.publish(Generation(1), BOOT);
    assert!(works(&mut notifier).await);
    assert_eq!(stage.sent(), [10]);
    stage.enters(10, "app", BOOT - Duration::from_secs(60), Reaction::Lives);
    let mut notifier = Notifier::new(by_pid_file(&path), &stage, &clock);
    assert!(notifier.findings()[0].text.contains("started after it was written"));
    notifier.publish(Generation(2), BOOT);
    assert!(!works(&mut notifier).await);
    assert_eq!(stage.sent(), [10]);
}

#[tokio::test(start_paused = true)]
async fn process_1_that_sees_no_other_container_is_told_of_the_shared_namespace() {
    let stage = Stage::default();
    let finding = |own: i32| {
        stage.0.own.set(own);
        Notifier::new(by_name("app"), &stage, &EPOCH).findings().remove(0)
    };
    assert!(finding(1).hint.contains("shareProcessNamespace: true"));
    assert!(!finding(7).hint.contains("shareProcessNamespace: true"));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_killed_at_its_limit_and_run_again_after_the_backoff() {
    let stage = Stage::default();
    *stage.0.ends.borrow_mut() = vec![None, Some(End::Code(0))];
    let mut notifier = Notifier::new(by_command("", Path::new("/")), &stage, &EPOCH);
    notifier.publish(Generation(1), BOOT);
    assert!(!works(&mut notifier).await);
    advance(LIMITS.command - TICK).await;
    assert!(!works(&mut notifier).await);
    assert!(stage.0.sent.take().is_empty());
    advance(TICK).await;
    assert!(!works(&mut notifier).await);
    assert_eq!(stage.0.sent.take(), [(0, KILL)]);
    advance(LIMITS.backoff).await;
    assert!(works(&mut notifier).await);
    assert_eq!(stage.0.started.get(), 2);
}
