//! The signals that are ignored or blocked where tests run: a shell ignores some for a background job,
//! Python for each of its children. A program inherits both, and would then do other than tests expect.

use std::fs;
use std::sync::{Arc, Once};

use nix::sys::signal::SigSet;

/// Rust's runtime ignores it in the tests themselves, and gives children the default by itself.
const PIPE: i32 = 13;

/// Gives each program that this thread starts from now on the default of every signal, and blocks none.
///
/// This process catches the signals that it was told to ignore, and goes on as if it ignored them: a
/// caught signal has its default in a new program, an ignored one stays ignored (`execve(2)`).
pub fn default_for_children() {
    static ONCE: Once = Once::new();
    SigSet::empty().thread_set_mask().expect("every mask may be set");
    ONCE.call_once(|| {
        for signal in ignored().filter(|signal| *signal != PIPE) {
            // It fails only for the two signals that the C library keeps for itself.
            signal_hook::flag::register(signal, Arc::default()).ok();
        }
    });
}

/// A mask of signals in `/proc/PID/status` (`proc(5)`), by its name.
#[track_caller]
pub fn mask(status: &str, name: &str) -> u64 {
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    let field = fields.into_iter().find(|(field, _)| *field == name);
    field.and_then(|(_, mask)| u64::from_str_radix(mask.trim(), 16).ok()).expect("a mask")
}

/// The signals that this process ignores.
fn ignored() -> impl Iterator<Item = i32> {
    let status = fs::read_to_string("/proc/self/status").expect("this process lives");
    let mask = mask(&status, "SigIgn");
    (1..=64).filter(move |signal| mask >> (signal - 1) & 1 == 1)
}
