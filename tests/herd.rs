//! Many agents at once, long outages, clocks that jump: what only numbers and time show.

mod clock;
mod many;
mod outage;

use std::io::Write;

/// Shows a figure, past the capture of what tests print.
pub fn report(figure: &str) {
    writeln!(std::io::stderr(), "{figure}").ok();
}
