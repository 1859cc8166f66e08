//! Notification of real processes, commands and sockets, and of simulated processes.

mod commands;
mod simulated;
mod urls;

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Once;

use ::url::Url;
use tokio::time::timeout;

use super::pid_file::PidFile;
use super::*;
use crate::os::clock::{self, Machine};
use crate::os::process::tests::{LONG, Stranger, program, unique, until};
use crate::os::process::{HeldProcess, PidNamespace, Process, Reaper, own};
use crate::os::signal::Signal;

/// Long enough for a notification that should not happen to show.
const MOMENT: Duration = Duration::from_millis(300);

const QUICK: Limits = Limits {
    withhold: Duration::from_millis(400),
    command: Duration::from_millis(400),
    post: Duration::from_millis(400),
    backoff: Duration::from_secs(3600),
};

/// The processes of this machine.
fn processes() -> &'static PidNamespace {
    Box::leak(Box::new(PidNamespace::new(Reaper::listening())))
}

fn real(notify: Notify) -> Notifier<'static> {
    Notifier::new(notify, processes(), &Machine)
}

fn real_within(notify: Notify, limits: Limits) -> Notifier<'static> {
    Notifier::within(notify, processes(), &Machine, limits)
}

fn hold(pid_file: &Path) -> Result<HeldProcess, Finding> {
    PidFile::new(pid_file.to_owned()).hold(processes(), Machine.now())
}

fn notify() -> Notify {
    Notify {
        signal: Signal::parse("USR1").unwrap(),
        process: None,
        pid_file: None,
        command: None,
        url: None,
        environment: std::env::vars_os().collect(),
    }
}

fn by_name(name: &str) -> Notify {
    Notify { process: Some(name.to_owned()), ..notify() }
}

fn by_pid_file(path: &Path) -> Notify {
    Notify { pid_file: Some(path.to_owned()), ..notify() }
}

fn by_command(text: &str, path: &Path) -> Notify {
    let words = ["/bin/sh", "-c", text, path.to_str().unwrap()];
    Notify { command: Some(words.map(str::to_owned).to_vec()), ..notify() }
}

fn by_url(url: &str) -> Notify {
    Notify { url: Some(Url::parse(url).unwrap()), ..notify() }
}

/// The script of a process that writes a line to `path` for each signal.
fn listener(path: &Path) -> String {
    format!(
        "trap 'echo hit >>{0}' USR1; echo ready >{0}; while :; do sleep 0.05; done",
        path.display()
    )
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

thread_local! {
    /// The lines that this thread has logged.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of one test, which is one thread's.
struct Log;

struct Logged;

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Starts an empty log. One subscriber serves all tests: tracing caches per call site if a line
    /// is enabled, so with one for each test the first thread at the line would decide for all.
    fn start() -> Self {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Logged);
            tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
        });
        LOGGED.take();
        Self
    }

    fn count(&self, part: &str) -> usize {
        let text = LOGGED.with_borrow(|logged| String::from_utf8(logged.clone()).unwrap());
        text.lines().filter(|line| line.contains(part)).count()
    }
}

impl Notifier<'_> {
    fn findings(&mut self) -> Vec<Finding> {
        self.targets.iter_mut().flat_map(|target| target.look()).collect()
    }

    fn publish_now(&mut self, generation: u64) {
        self.publish(Generation(generation), clock::boot());
    }

    /// Asserts that this generation is notified in the end.
    #[track_caller]
    fn notifies(&mut self, generation: u64) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let notified = timeout(LONG, self.notified()).await;
            assert_eq!(notified.ok(), Some(Generation(generation)), "{at}");
        }
    }

    /// Works for a moment; asserts that an order is still pending.
    #[track_caller]
    fn stays_pending(&mut self) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let notified = timeout(MOMENT, self.notified()).await;
            assert!(notified.is_err(), "{at}: {notified:?}");
        }
    }

    /// Works until a condition holds; asserts that an order is still pending then.
    async fn works_until(&mut self, what: &str, holds: impl FnMut() -> bool) {
        tokio::select! {
            notified = self.notified() => panic!("{notified} was notified before: {what}"),
            () = until(what, holds) => {}
        }
    }
}

#[tokio::test]
async fn without_a_target_a_publish_needs_no_notification() {
    let mut notifier = real(notify());
    assert!(!notifier.has_targets());
    notifier.stays_pending().await;
    notifier.publish_now(1);
    notifier.notifies(1).await;
    notifier.stays_pending().await;
    assert!(real(by_name("x")).has_targets());
}

#[tokio::test]
async fn a_process_is_notified_once_for_each_publish() {
    let folder = tempfile::tempdir().unwrap();
    let (name, heard) = (unique("once"), folder.path().join("heard"));
    let stranger = Stranger::script(folder.path(), &name, &listener(&heard)).await;
    until("it is ready", || lines(&heard) == ["ready"]).await;
    let log = Log::start();
    let mut notifier = real(by_name(&name));
    assert_eq!(notifier.findings(), []);
    notifier.stays_pending().await;
    for generation in 1..4 {
        notifier.publish_now(generation);
        notifier.pass();
        notifier.notifies(generation).await;
        notifier.pass();
        notifier.stays_pending().await;
        until("it heard", || lines(&heard).len() > usize::try_from(generation).unwrap()).await;
    }
    assert_eq!(lines(&heard), ["ready", "hit", "hit", "hit"]);
    let notified = format!("notified {name} (pid {}) with SIGUSR1", stranger.pid);
    assert_eq!(log.count(&notified), 3);
    assert_eq!(log.count("generation=3"), 1);
}

#[tokio::test]
async fn a_process_that_started_after_the_publish_is_not_signalled() {
    let folder = tempfile::tempdir().unwrap();
    let (name, heard) = (unique("young"), folder.path().join("heard"));
    let pid_file = folder.path().join("pid");
    let mut notifier = real(Notify { pid_file: Some(pid_file.clone()), ..by_name(&name) });
    notifier.publish_now(1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stranger = Stranger::script(folder.path(), &name, &listener(&heard)).await;
    until("it is ready", || lines(&heard) == ["ready"]).await;
    fs::write(&pid_file, format!("{}\n", stranger.pid)).unwrap();
    notifier.notifies(1).await;
    notifier.publish_now(2);
    notifier.notifies(2).await;
    until("it heard", || lines(&heard).len() > 1).await;
    assert_eq!(lines(&heard).iter().filter(|line| *line == "ready").count(), 1);
}

#[tokio::test]
async fn a_signal_that_would_kill_is_withheld_until_it_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let (name, heard) = (unique("late"), folder.path().join("heard"));
    let go = folder.path().join("go");
    let text = format!("until [ -e {} ]; do sleep 0.05; done; {}", go.display(), listener(&heard));
    let stranger = Stranger::script(folder.path(), &name, &text).await;
    let mut notifier = real(by_name(&name));
    assert!(notifier.findings()[0].text.contains("which would end it"));
    notifier.publish_now(1);
    notifier.stays_pending().await;
    assert!(stranger.lives());
    fs::write(&go, "").unwrap();
    notifier.notifies(1).await;
    until("it heard", || lines(&heard) == ["ready", "hit"]).await;
}

#[tokio::test]
async fn a_missing_handler_is_logged_once_and_checked_again_at_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (name, heard) = (unique("never"), folder.path().join("heard"));
    let go = folder.path().join("go");
    let text = format!("until [ -e {} ]; do sleep 0.05; done; {}", go.display(), listener(&heard));
    let stranger = Stranger::script(folder.path(), &name, &text).await;
    let log = Log::start();
    let mut notifier = real_within(by_name(&name), QUICK);
    notifier.publish_now(1);
    notifier.works_until("it is logged", || log.count("WARN") == 1).await;
    fs::write(&go, "").unwrap();
    until("it is ready", || lines(&heard) == ["ready"]).await;
    notifier.stays_pending().await;
    assert_eq!(lines(&heard), ["ready"], "only a pass checks again");
    notifier.pass();
    notifier.notifies(1).await;
    until("it heard", || lines(&heard) == ["ready", "hit"]).await;
    assert!(stranger.lives());
    assert_eq!((log.count("WARN"), log.count("can be notified again")), (1, 1));
}

#[tokio::test]
async fn an_ignored_signal_and_one_with_a_harmless_default_need_no_handler() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("deaf");
    let ready = folder.path().join("ready");
    let text =
        format!("trap '' USR1; echo ready >{}; while :; do sleep 0.1; done", ready.display());
    let stranger = Stranger::script(folder.path(), &name, &text).await;
    until("it is ready", || lines(&ready) == ["ready"]).await;
    for signal in ["USR1", "WINCH", "CONT"] {
        let signal = Signal::parse(signal).unwrap();
        let mut notifier = real(Notify { signal, ..by_name(&name) });
        notifier.publish_now(1);
        notifier.notifies(1).await;
    }
    assert!(stranger.lives());
}

#[tokio::test]
async fn a_process_that_keeps_the_signal_blocked_is_notified_after_a_second_check() {
    let env = ["env", "--block-signal=USR1"];
    let known = std::process::Command::new(env[0]).args([env[1], "true"]).output().unwrap();
    if !known.status.success() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let stranger = Stranger::start(&[env[0], env[1], "sleep", "300"]);
    until("it runs", || stranger.names().matches("sleep")).await;
    fs::write(&pid_file, stranger.pid.to_string()).unwrap();
    let log = Log::start();
    let mut notifier = real(by_pid_file(&pid_file));
    assert_eq!(notifier.findings(), []);
    notifier.publish_now(1);
    notifier.notifies(1).await;
    assert_eq!(log.count("with SIGUSR1"), 1);
    assert!(stranger.lives());
}

#[tokio::test]
async fn a_process_of_another_user_is_reported_with_the_remedy() {
    if rustix::process::getuid().is_root() || !Path::new("/proc/1/stat").exists() {
        return;
    }
    let name = Process::read(1).unwrap().names.comm;
    let mut notifier = real(Notify { signal: Signal::parse("WINCH").unwrap(), ..by_name(&name) });
    let findings = notifier.findings();
    assert!(
        findings
            .iter()
            .any(|finding| finding.text.starts_with("the agent has no permission to signal")),
        "{findings:?}"
    );
    notifier.publish_now(1);
    notifier.stays_pending().await;
}

#[tokio::test]
async fn a_real_time_signal_is_sent_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("real");
    let ready = folder.path().join("ready");
    let hit = folder.path().join("hit");
    let (ready_path, hit_path) = (ready.display(), hit.display());
    let text = format!(
        "trap 'echo hit >{hit_path}' 37; echo ready >{ready_path}; while :; do sleep 0.1; done"
    );
    let stranger = Stranger::script(folder.path(), &name, &text).await;
    until("it is ready", || lines(&ready) == ["ready"]).await;
    let signal = Signal::parse("RTMIN+3").unwrap();
    let mut notifier = real(Notify { signal, ..by_name(&name) });
    assert!(notifier.findings().is_empty());
    notifier.publish_now(1);
    notifier.notifies(1).await;
    until("it has heard", || lines(&hit) == ["hit"]).await;
    assert!(stranger.lives());
}

#[tokio::test]
async fn a_name_that_no_process_has_is_reported_and_needs_no_notification() {
    let mut notifier = real(by_name(&unique("absent")));
    let findings = notifier.findings();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].expected && findings[0].text.starts_with("the agent does not see"));
    notifier.publish_now(1);
    notifier.notifies(1).await;
}

#[tokio::test]
async fn a_pid_file_is_read_at_each_pass_and_a_stale_one_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let (pid_file, heard) = (folder.path().join("pid"), folder.path().join("heard"));
    let stranger = Stranger::script(folder.path(), &unique("filed"), &listener(&heard)).await;
    until("it is ready", || lines(&heard) == ["ready"]).await;
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let log = Log::start();
    let mut notifier = real(by_pid_file(&pid_file));
    notifier.publish_now(1);
    notifier.stays_pending().await;
    assert_eq!((log.count("there is no PID file"), log.count("WARN")), (1, 0));
    for (warnings, text) in [
        (1, format!("{}\n", gone.id())),
        (2, String::new()),
        (2, "twelve\n".to_owned()),
        (2, "-1".to_owned()),
        (2, "+1".to_owned()),
        (2, "99999999999999999999".to_owned()),
    ] {
        fs::write(&pid_file, &text).unwrap();
        for _ in 0..2 {
            notifier.pass();
            notifier.stays_pending().await;
        }
        assert_eq!(log.count("WARN"), warnings, "{text:?}");
    }
    fs::write(&pid_file, format!(" {} \nmore\n", stranger.pid)).unwrap();
    notifier.pass();
    notifier.notifies(1).await;
    until("it heard", || lines(&heard) == ["ready", "hit"]).await;
    assert_eq!(log.count("can be notified again"), 1);
}

#[tokio::test]
async fn a_number_that_a_later_process_has_is_not_signalled() {
    let folder = tempfile::tempdir().unwrap();
    let (pid_file, heard) = (folder.path().join("pid"), folder.path().join("heard"));
    let stranger = Stranger::script(folder.path(), &unique("reused"), &listener(&heard)).await;
    until("it is ready", || lines(&heard) == ["ready"]).await;
    fs::write(&pid_file, stranger.pid.to_string()).unwrap();
    assert!(hold(&pid_file).is_ok());
    let file = fs::File::options().write(true).open(&pid_file).unwrap();
    // The time of the file after the wall clock was set forward.
    file.set_modified(clock::wall() - Duration::from_secs(1800)).unwrap();
    assert!(hold(&pid_file).is_ok());
    file.set_modified(clock::wall() - Duration::from_secs(7200)).unwrap();
    let finding = hold(&pid_file).err().unwrap();
    assert!(finding.text.contains("started after it was written"), "{}", finding.text);
    let mut notifier = real(by_pid_file(&pid_file));
    assert_eq!(notifier.findings(), [finding]);
    notifier.publish_now(1);
    notifier.stays_pending().await;
    assert_eq!(lines(&heard), ["ready"]);
    file.set_modified(clock::wall()).unwrap();
    notifier.pass();
    notifier.notifies(1).await;
}

#[tokio::test]
async fn a_pid_file_that_names_the_wrong_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let refused = || hold(&path).err().unwrap();
    fs::write(&path, own().to_string()).unwrap();
    assert!(refused().text.ends_with("which is the agent itself"), "{}", refused().text);
    // The tests don't run as process 1, so it is an ancestor of them or not visible.
    if Process::read(1).is_ok() && crate::os::process::is_above_us(1) {
        fs::write(&path, "1\n").unwrap();
        assert!(refused().text.ends_with("which is not the main process"), "{}", refused().text);
        assert!(
            refused().hint.contains("shareProcessNamespace")
                || Process::read(1).unwrap().is_pause()
        );
    }
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert!(refused().text.ends_with("it is a FIFO, and must be a regular file"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refused().text.starts_with("cannot read the PID file"));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, format!("{}\n{}", own(), "/var/lib\n".repeat(100))).unwrap();
    assert!(refused().text.ends_with("which is the agent itself"), "more lines may follow");
}

#[tokio::test]
async fn all_targets_are_notified_and_one_that_fails_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let pid_file = folder.path().join("pid");
    let notify =
        Notify { pid_file: Some(pid_file.clone()), ..by_command("echo run >>\"$0\"", &seen) };
    let stranger = Stranger::start(&["sleep", "300"]);
    let signal = Signal::parse("WINCH").unwrap();
    let mut notifier = real(Notify { signal, ..notify });
    notifier.publish_now(1);
    notifier.works_until("the command ran", || !lines(&seen).is_empty()).await;
    notifier.stays_pending().await;
    fs::write(&pid_file, stranger.pid.to_string()).unwrap();
    notifier.pass();
    notifier.notifies(1).await;
    assert_eq!(lines(&seen).len(), 1, "a target that was notified is not notified again");
}
