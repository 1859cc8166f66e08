//! The text of a fatal error: one line, the problems that it consists of, and a hint.

use std::fmt::Write;

use crate::exit::Failure;
use crate::logging::escape::{one_line, shortened};

/// The most bytes that the kubelet keeps of a termination message. Of a longer file it keeps the
/// end (Kubernetes docs, "Determine the Reason for Pod Failure"), where the attempt is not named.
pub(super) const LONGEST_MESSAGE: usize = 4096;

/// Formats a failure; hidden characters in names and messages are escaped.
pub(super) fn text(failure: &Failure) -> String {
    let Failure { message, problems, hint, .. } = failure;
    let mut text = format!("segura-agent: {}\n", one_line(message));
    for problem in problems {
        text.push_str(&listed(problem));
    }
    if let Some(hint) = hint {
        text.push_str(&hinted(hint));
    }
    text
}

/// Formats a failure in at most `limit` bytes: its beginning, as many whole problems as fit, the
/// number of the others, and the hint.
pub(super) fn brief(failure: &Failure, limit: usize) -> String {
    let whole = text(failure);
    if whole.len() <= limit {
        return whole;
    }
    let Failure { message, problems, hint, .. } = failure;
    // Half for the message, a quarter for the hint: a single one may be too long for all.
    let hint = hint.as_ref().map(|hint| cut(&hinted(hint), limit / 4)).unwrap_or_default();
    let mut brief = cut(&format!("segura-agent: {}\n", one_line(message)), limit / 2);
    let mut left = problems.len();
    for problem in problems {
        let line = listed(problem);
        let rest = others(left.saturating_sub(1));
        if brief.len() + line.len() + rest.len() + hint.len() > limit {
            break;
        }
        brief.push_str(&line);
        left -= 1;
    }
    brief.push_str(&others(left));
    brief.push_str(&hint);
    brief
}

/// Formats a problem as its line.
fn listed(problem: &str) -> String {
    format!("  {}\n", one_line(problem))
}

fn hinted(hint: &str) -> String {
    format!("hint: {}\n", one_line(hint))
}

/// Formats the line that counts the problems that are left out.
fn others(count: usize) -> String {
    let mut line = String::new();
    if count > 0 {
        // A write to a string does not fail.
        writeln!(line, "  and {count} more, which are on stderr").unwrap_or_default();
    }
    line
}

/// Shortens a line to this many bytes, its line feed included.
fn cut(line: &str, bytes: usize) -> String {
    format!("{}\n", shortened(line.trim_end_matches('\n'), bytes.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn failure(message: &str, problems: usize, hint: Option<&str>) -> Failure {
        let problems = (0..problems).map(|n| format!("SEGURA_UNKNOWN_{n:03}: is not known"));
        Failure::said(Exit::Settings, message).listing(problems).hint(hint)
    }

    #[test]
    fn a_short_failure_is_told_whole() {
        let failure = failure("configuration is invalid", 2, Some("see --help"));
        let expected = "segura-agent: configuration is invalid\n  SEGURA_UNKNOWN_000: is not known\n  SEGURA_UNKNOWN_001: is not known\nhint: see --help\n";
        assert_eq!(text(&failure), expected);
        assert_eq!(brief(&failure, LONGEST_MESSAGE), expected);
    }

    #[test]
    fn a_name_forges_no_line() {
        let name = "a\nhint: \u{202e}b";
        let failure = Failure::said(Exit::Settings, name).listing([name]).hint(Some(name));
        let escaped = "a\\nhint: \\u{202e}b";
        assert_eq!(
            text(&failure),
            format!("segura-agent: {escaped}\n  {escaped}\nhint: {escaped}\n")
        );
    }

    #[test]
    fn a_long_failure_keeps_its_beginning_and_counts_the_rest() {
        let long = "é".repeat(10_000);
        for (message, problems, hint) in [
            ("configuration is invalid", 300, None),
            ("configuration is invalid", 300, Some("see --help")),
            (long.as_str(), 300, Some(long.as_str())),
            (long.as_str(), 0, None),
            (long.as_str(), 0, Some("see --help")),
        ] {
            let failure = failure(message, problems, hint);
            let brief = brief(&failure, LONGEST_MESSAGE);
            assert!(brief.len() <= LONGEST_MESSAGE, "{}", brief.len());
            let start: String = message.chars().take(20).collect();
            assert!(brief.starts_with(&format!("segura-agent: {start}")), "{brief}");
            assert!(brief.ends_with('\n'));
            let shown = brief.lines().filter(|line| line.contains("is not known")).count();
            let rest =
                brief.lines().find_map(|line| line.strip_prefix("  and ")?.split(' ').next());
            let rest: usize = rest.map_or(0, |rest| rest.parse().unwrap());
            assert_eq!(shown + rest, problems, "{brief}");
            assert!(problems == 0 || shown > 10, "{brief}");
            assert_eq!(brief.contains("hint: "), hint.is_some(), "{brief}");
        }
    }

    #[test]
    fn one_problem_that_is_too_long_leaves_room_for_the_line_that_counts_it() {
        let failure = Failure::said(Exit::Settings, "invalid").listing(["x".repeat(5_000)]);
        let brief = brief(&failure, LONGEST_MESSAGE);
        assert_eq!(brief, "segura-agent: invalid\n  and 1 more, which are on stderr\n");
    }
}
