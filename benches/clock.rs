//! Owns the stopwatch, and what is made of its readings.

use std::time::Duration;

/// Does `work` and says how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    #[expect(
        clippy::disallowed_types,
        reason = "a stopwatch of milliseconds: no suspension in it, and no test that pauses it"
    )]
    let began = std::time::Instant::now();
    let outcome = work();
    (began.elapsed(), outcome)
}

/// The value in the middle; of an even number, the upper of the two.
pub fn median<T: Copy + PartialOrd>(readings: &[T]) -> Option<T> {
    share(readings, 1, 2)
}

/// The value below which so many parts of all readings lie.
pub fn share<T: Copy + PartialOrd>(readings: &[T], parts: usize, of: usize) -> Option<T> {
    let mut sorted = readings.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted.get(sorted.len() * parts / of).copied()
}

/// Milliseconds, as the table shows them.
pub fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
