//! The only reader of clocks other than Tokio's: the wall clock for stamps, the boot clock for
//! ages.
//!
//! The boot clock runs through suspension and ignores changes of the wall clock, so ages and due
//! times that outlive a process are kept in it (`CLOCK_BOOTTIME`, `clock_gettime(2)`).

use std::future::pending;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use rustix::time::{self, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// The clocks as a value: a simulation gives others than the machine's.
pub trait Clock: fmt::Debug {
    /// Reads the wall clock, for stamps that people read.
    fn wall(&self) -> SystemTime;

    /// Reads the time since the machine started, suspension included.
    fn boot(&self) -> Duration;

    /// Waits until the boot clock shows `at`. Cancel-safe.
    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>>;

    /// Reads both clocks.
    fn now(&self) -> Moment {
        Moment { wall: self.wall(), boot: self.boot() }
    }
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: SystemTime,
    /// Time since the machine started.
    pub boot: Duration,
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Clock for Machine {
    fn wall(&self) -> SystemTime {
        wall()
    }

    fn boot(&self) -> Duration {
        boot()
    }

    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(until(at))
    }
}

/// The time by which something ends, by Tokio's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// At this time.
    At(Instant),
    /// It need not end.
    Never,
}

impl Deadline {
    /// Sets a deadline after this time from now.
    pub fn after(limit: Duration) -> Self {
        Self::At(Instant::now() + limit)
    }

    /// Computes the time that is left: zero once it is over, the longest there is if it need not end.
    pub fn left(self) -> Duration {
        match self {
            Self::At(at) => at.saturating_duration_since(Instant::now()),
            Self::Never => Duration::MAX,
        }
    }

    /// Tells whether the time is over.
    pub fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// Leaves this time from now at least.
    #[must_use]
    pub fn at_least(self, limit: Duration) -> Self {
        match self {
            Self::At(at) => Self::At(at.max(Instant::now() + limit)),
            Self::Never => Self::Never,
        }
    }

    /// Waits until the time is over. Cancel-safe.
    pub async fn over(self) {
        match self {
            Self::At(at) => sleep_until(at).await,
            Self::Never => pending().await,
        }
    }
}

/// The wall clock, for stamps that people read.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Time since the machine started, suspension included.
pub fn boot() -> Duration {
    let now = time::clock_gettime(time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Waits until the boot clock shows `at`. Cancel-safe.
///
/// Tokio's timers use the monotonic clock, which stops while the machine is suspended
/// (`clock_gettime(2)`). They are the fallback where the kernel or a sandbox lacks the alarm.
pub async fn until(at: Duration) {
    match alarm(at) {
        // The only error is that the runtime ends.
        Ok(alarm) => drop(alarm.readable().await),
        Err(_) => tokio::time::sleep(at.saturating_sub(boot())).await,
    }
}

#[expect(deprecated, reason = "its successor is unsafe and asks for no more than an OwnedFd gives")]
fn alarm(at: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let alarm = time::timerfd_create(TimerfdClockId::Boottime, flags)?;
    // Zero would disarm the timer (`timerfd_settime(2)`).
    let at = at.max(Duration::from_nanos(1));
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let at = Timespec::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    let once = Itimerspec { it_interval: never, it_value: at };
    time::timerfd_settime(&alarm, TimerfdTimerFlags::ABSTIME, &once)?;
    AsyncFd::with_interest(alarm, Interest::READABLE)
}

/// The wall-clock stamp of the state file: RFC 3339, UTC, whole seconds.
pub fn stamp(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_rfc_3339_in_utc() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_900);
        assert_eq!(stamp(at), "2026-09-21T14:13:20Z");
    }

    #[tokio::test]
    async fn an_alarm_waits_until_its_time_and_not_for_one_that_is_over() {
        until(Duration::ZERO).await;
        until(boot()).await;
        let at = boot() + Duration::from_millis(30);
        until(at).await;
        assert!(boot() >= at);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_over_once_and_may_be_put_off_but_never_brought_forward() {
        let second = Duration::from_secs(1);
        let deadline = Deadline::after(2 * second);
        assert_eq!(deadline.left(), 2 * second);
        assert_eq!(deadline.at_least(second), deadline);
        assert_eq!(deadline.at_least(5 * second).left(), 5 * second);
        deadline.over().await;
        assert!(deadline.is_over() && !deadline.at_least(second).is_over());
        assert_eq!(Deadline::Never.at_least(second), Deadline::Never);
        assert!(!Deadline::Never.is_over());
        let waited = tokio::time::timeout(1_000_000 * second, Deadline::Never.over()).await;
        assert!(waited.is_err());
    }

    #[test]
    fn the_boot_clock_does_not_run_backwards() {
        let before = boot();
        assert!(boot() >= before);
    }
}
