//! Times and texts in the form that one line needs.

use std::time::Duration;

use crate::logging::escape::{self, CUT};

/// The characters of the longest line: many secrets may be held back.
const MAX_CHARS: usize = 600;

/// Formats a length of time in its largest useful unit, rounded down.
pub(super) fn rounded(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Formats the age of an event; `None` is an event before the boot clock's start.
pub(super) fn ago(age: Option<Duration>) -> String {
    age.map_or_else(
        || "before the machine started".to_owned(),
        |age| format!("{} ago", rounded(age)),
    )
}

/// Formats a length of time as the settings do.
pub(super) fn setting(time: Duration) -> String {
    let millis = time.as_millis();
    let unit = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = unit.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

/// Makes one line of a text: another process may have written the state file, hidden characters and
/// all.
pub(super) fn one_line(text: &str) -> String {
    let escaped = escape::one_line(text);
    match escaped.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}{CUT}", escaped.get(..end).unwrap_or_default()),
        None => escaped.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_largest_useful_unit() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(rounded(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn durations_have_the_form_of_the_settings() {
        for (millis, text) in
            [(500, "500ms"), (1_500, "1500ms"), (90_000, "90s"), (300_000, "5m"), (7_200_000, "2h")]
        {
            assert_eq!(setting(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_line_is_one_line_and_not_too_long() {
        assert_eq!(one_line("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
        assert_eq!(one_line("é"), "é");
        let long = one_line(&"é".repeat(MAX_CHARS + 1));
        assert_eq!(long.chars().count(), MAX_CHARS + 1);
        assert!(long.ends_with('…'));
    }
}
