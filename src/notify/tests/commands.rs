//! Notification by a command.

use super::*;

#[tokio::test]
async fn a_command_runs_in_the_environment_it_is_given_and_in_a_group_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let text = "/usr/bin/env >\"$0\"; \
                cut -d' ' -f5 /proc/$$/stat >>\"$0\"; echo $$ >>\"$0\"";
    let held = |lines: &[String]| lines.iter().any(|line| line.starts_with("PATH="));
    let mut notifier = real(by_command(text, &seen));
    notifier.publish_now(1);
    notifier.notifies(1).await;
    let shown = lines(&seen);
    assert!(held(&shown));
    assert_eq!(shown[shown.len() - 2], shown[shown.len() - 1], "it heads its group");
    let mut notify = by_command("/usr/bin/env >\"$0\"", &seen);
    notify.environment.remove(&["PATH"]);
    let mut notifier = real(notify);
    notifier.publish_now(1);
    notifier.notifies(1).await;
    assert!(!held(&lines(&seen)));
}

#[tokio::test]
async fn a_command_that_fails_runs_again_at_passes_only() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let log = Log::start();
    let text = "echo run >>\"$0\"; [ -e \"$0.ok\" ] || exit 3 # token";
    let mut notifier = real(by_command(text, &seen));
    notifier.publish_now(1);
    notifier.works_until("it failed", || log.count("failed with exit code 3") == 1).await;
    notifier.stays_pending().await;
    assert_eq!(lines(&seen).len(), 1);
    notifier.pass();
    notifier.works_until("it ran again", || lines(&seen).len() == 2).await;
    notifier.stays_pending().await;
    fs::write(folder.path().join("seen.ok"), "").unwrap();
    notifier.pass();
    notifier.notifies(1).await;
    assert_eq!(lines(&seen).len(), 3);
    assert_eq!((log.count("WARN"), log.count("the command sh can be notified again")), (1, 1));
    assert_eq!(log.count("token"), 0, "arguments are not shown");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let log = Log::start();
    let text = "sleep 300 & echo $! >\"$0\"; wait";
    let mut notifier = real_within(by_command(text, &seen), QUICK);
    notifier.publish_now(1);
    notifier.works_until("it was killed", || log.count("it took longer than 400ms") == 1).await;
    let pid: i32 = lines(&seen)[0].parse().unwrap();
    until("its child is gone", || Process::read(pid).is_err()).await;
    notifier.stays_pending().await;
    assert_eq!(log.count("WARN"), 1);
}

#[tokio::test]
async fn a_command_that_failed_runs_again_after_the_backoff() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let text = "echo run >>\"$0\"; [ \"$(wc -l <\"$0\")\" -gt 1 ]";
    let limits = Limits { backoff: Duration::from_millis(50), ..QUICK };
    let mut notifier = real_within(by_command(text, &seen), limits);
    notifier.publish_now(1);
    notifier.notifies(1).await;
    assert_eq!(lines(&seen).len(), 2);
}

#[tokio::test]
async fn a_pending_order_takes_the_number_of_a_generation_that_needs_no_notification() {
    let folder = tempfile::tempdir().unwrap();
    let (seen, pid_file) = (folder.path().join("seen"), folder.path().join("pid"));
    let notify =
        Notify { pid_file: Some(pid_file.clone()), ..by_command("echo run >>\"$0\"", &seen) };
    let stranger = Stranger::start(&["sleep", "300"]);
    let mut notifier = real(Notify { signal: Signal::parse("WINCH").unwrap(), ..notify });
    assert!(!notifier.carry_on(Generation(1)), "no order is pending");
    notifier.publish_now(1);
    notifier.works_until("the command ran", || !lines(&seen).is_empty()).await;
    notifier.stays_pending().await;
    assert!(notifier.carry_on(Generation(2)));
    notifier.pass();
    notifier.stays_pending().await;
    fs::write(&pid_file, stranger.pid.to_string()).unwrap();
    notifier.pass();
    notifier.notifies(2).await;
    assert_eq!(lines(&seen).len(), 1, "it was notified once");
    assert!(!notifier.carry_on(Generation(3)));
}

#[tokio::test]
async fn of_several_publishes_during_a_run_the_latest_counts() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let text = "echo run >>\"$0\"; until [ -e \"$0.go\" ]; do sleep 0.05; done";
    let mut notifier = real(by_command(text, &seen));
    notifier.publish_now(1);
    notifier.works_until("it runs", || lines(&seen).len() == 1).await;
    notifier.publish_now(2);
    notifier.stays_pending().await;
    notifier.publish_now(3);
    notifier.pass();
    notifier.stays_pending().await;
    assert_eq!(lines(&seen).len(), 1, "the run is left to finish");
    fs::write(folder.path().join("seen.go"), "").unwrap();
    notifier.notifies(3).await;
    assert_eq!(lines(&seen).len(), 2);
}

#[tokio::test]
async fn a_future_that_is_dropped_starts_nothing_twice_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (seen, heard) = (folder.path().join("seen"), folder.path().join("heard"));
    let name = unique("dropped");
    let _stranger = Stranger::script(folder.path(), &name, &listener(&heard)).await;
    until("it is ready", || lines(&heard) == ["ready"]).await;
    let text = "echo run >>\"$0\"; sleep 0.3; echo end >>\"$0\"";
    let mut notifier = real(Notify { process: Some(name), ..by_command(text, &seen) });
    notifier.publish_now(1);
    let mut drops = 0;
    while timeout(Duration::from_millis(5), notifier.notified()).await.is_err() {
        drops += 1;
        assert!(drops < 5000);
    }
    assert!(drops > 3, "{drops}");
    assert_eq!(lines(&seen), ["run", "end"]);
    until("it heard", || lines(&heard).len() > 1).await;
    notifier.stays_pending().await;
    assert_eq!(lines(&heard), ["ready", "hit"]);
}

#[tokio::test]
async fn a_command_outlives_the_notifier() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let text = "echo run >>\"$0\"; sleep 0.3; echo end >>\"$0\"";
    let mut notifier = real(by_command(text, &seen));
    notifier.publish_now(1);
    notifier.works_until("it runs", || !lines(&seen).is_empty()).await;
    drop(notifier);
    until("it ends", || lines(&seen) == ["run", "end"]).await;
}

#[test]
fn a_missing_program_is_reported_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let found = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        real(Notify { command: Some(words), ..notify() }).findings()
    };
    let path = program(folder.path(), "reload", "#!/bin/sh\n");
    assert_eq!(found(&[path.to_str().unwrap()]), []);
    assert_eq!(found(&["sh"]), []);
    assert_eq!(found(&["searched-for"]).len(), 1);
    let findings = found(&["/nonexistent/reload", "--token"]);
    assert!(findings[0].text.starts_with("the command reload can't be run: No such file"));
}
