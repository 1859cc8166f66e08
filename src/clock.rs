//! The only reader of clocks other than Tokio's: the wall clock for stamps, the boot clock for ages.
//!
//! The boot clock runs through suspension and ignores changes of the wall clock, so ages and due
//! times that outlive a process are kept in it (`CLOCK_BOOTTIME`, `clock_gettime(2)`).

use std::time::{Duration, SystemTime};

/// The wall clock, for stamps that people read.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Time since the machine started, suspension included.
pub fn boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
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

    #[test]
    fn the_boot_clock_does_not_run_backwards() {
        let before = boot();
        assert!(boot() >= before);
    }
}
