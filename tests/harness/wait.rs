//! The one way to wait: for a state, never for a time.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// More than anything here takes, on a machine that has much else to do.
pub const LIMIT: Duration = Duration::from_secs(180);
/// Between two looks, at first.
const STEP: Duration = Duration::from_millis(5);
/// Between two looks, after a while: what takes long is not to be slowed down by looks at it.
const LONGEST_STEP: Duration = Duration::from_millis(50);
/// How long [`for_a_while`] looks: longer than the agent takes for anything that it does at once.
const WHILE: Duration = Duration::from_millis(1_500);

/// Waits until `holds`, which must come true and stay so.
#[track_caller]
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(within(LIMIT, holds), "it never came true that {what}");
}

/// Waits until `holds` of what `look` finds, and returns that; on failure it shows the last look.
#[track_caller]
pub fn until_seen<T: Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    holds: impl Fn(&T) -> bool,
) -> T {
    let mut seen = look();
    let came = within(LIMIT, || {
        let held = holds(&seen);
        if !held {
            seen = look();
        }
        held
    });
    assert!(came, "it never came true that {what}; last seen: {seen:?}");
    seen
}

/// Waits until `holds`, for at most `limit`. Returns whether it came true.
pub fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = now() + limit;
    let mut step = STEP;
    loop {
        // A look that begins in time counts, however long it takes.
        let last = now() >= end;
        if holds() {
            return true;
        }
        if last {
            return false;
        }
        sleep(step);
        step = (step * 21 / 20).min(LONGEST_STEP);
    }
}

/// Asserts that `holds` for a while, of what must not happen.
#[track_caller]
pub fn for_a_while(what: &str, holds: impl FnMut() -> bool) {
    throughout(WHILE, what, holds);
}

/// Asserts that `holds` for so long.
#[track_caller]
pub fn throughout(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let broken = within(time, || !holds());
    assert!(!broken, "it was not so all the while that {what}");
}

/// Lets milliseconds pass where a test is about time itself: a rest, a pace, a moment to be hit.
pub fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds));
}

/// The monotonic clock.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}
