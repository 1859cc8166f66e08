//! Times and texts as one line has them.

use std::time::Duration;

/// No line is longer, however many secrets are held back.
const LONGEST: usize = 600;

/// A length of time, as exactly as people want it.
pub(super) fn spelled(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// When it was, unless another boot's clock told it.
pub(super) fn ago(age: Option<Duration>) -> String {
    age.map_or_else(
        || "before the machine started".to_owned(),
        |age| format!("{} ago", spelled(age)),
    )
}

/// A length of time as the settings write it.
pub(super) fn setting(time: Duration) -> String {
    let millis = time.as_millis();
    let unit = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = unit.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

/// One line, whatever the state file holds.
pub(super) fn plain(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    let cut = plain.len() < text.len();
    if cut { format!("{plain}…") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_for_people() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(spelled(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn settings_are_spelled_as_they_are_written() {
        for (millis, text) in
            [(500, "500ms"), (1_500, "1500ms"), (90_000, "90s"), (300_000, "5m"), (7_200_000, "2h")]
        {
            assert_eq!(setting(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_line_is_one_line_and_not_too_long() {
        assert_eq!(plain("a\nb\tc"), "a b c");
        assert_eq!(plain("é"), "é");
        let long = plain(&"é".repeat(LONGEST + 1));
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert!(long.ends_with('…'));
    }
}
