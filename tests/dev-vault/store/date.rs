//! Dates as the vault spells them: `Y-m-d H:i:s`, which sort as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A date in one of the spellings that the documents use, in the one that the vault answers with.
pub fn spelled(text: &str) -> Option<String> {
    let text = text.trim();
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let date = match date.split('/').collect::<Vec<_>>().as_slice() {
        [month, day, year] => format!("{year}-{month:0>2}-{day:0>2}"),
        _ => date.to_owned(),
    };
    let time = humantime::parse_rfc3339_weak(&format!("{date} {time}")).ok()?;
    Some(show(time))
}

/// Seconds of the wall clock as a date.
pub fn of(seconds: i64) -> String {
    show(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn show(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").trim_end_matches('Z').to_owned()
}
