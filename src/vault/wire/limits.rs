//! Bounds of the words in an answer, so that state, log and metrics are bounded, too.

use crate::secret::sha256;

/// The longest word that is kept as it stands, in bytes.
pub(super) const LONGEST_WORD: usize = 1024;
/// The longest name that a message shows, in characters.
const LONGEST_SHOWN: usize = 64;
/// The most secrets of one answer that can't be named, and are still reported one by one.
pub(super) const MOST_NAMELESS: usize = 100;

/// A version, a name or a date: as it stands, or its digest if it is longer than 1 KiB. Equal words
/// have equal digests, so a version still tells an old secret from a new one.
pub(super) fn bounded(word: String) -> String {
    if word.len() <= LONGEST_WORD {
        return word;
    }
    format!("sha256:{}", sha256(word.as_bytes()))
}

/// A name that is no valid one, for a message: its beginning, and `…` if that is not all of it.
pub(super) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(LONGEST_SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_word_is_kept_as_its_digest() {
        let longest = "x".repeat(LONGEST_WORD);
        assert_eq!(bounded(longest.clone()), longest);
        let (a, b) = (bounded(format!("{longest}a")), bounded(format!("{longest}b")));
        assert!(a.starts_with("sha256:") && a.len() == 71, "{a}");
        assert_ne!(a, b);
        assert_eq!(a, bounded(format!("{longest}a")));
    }

    #[test]
    fn a_name_is_shown_by_its_beginning() {
        assert_eq!(shown("é".repeat(64).as_str()), "é".repeat(64));
        assert_eq!(shown("é".repeat(65).as_str()), format!("{}…", "é".repeat(64)));
    }
}
