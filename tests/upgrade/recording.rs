//! A recorded directory, laid out again on tmpfs as one that was left a moment ago.

#![expect(clippy::panic, reason = "a helper that can't go on fails the test that called it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use serde_json::value::RawValue;

use super::list::{Entry, Kind, Owner};

/// Files that hold things of the moment, by the end of their paths.
const OF_THE_MOMENT: [&str; 3] = ["..segura/state.json", "..segura/pending.json", GENERATION];
const GENERATION: &str = "/..generation.json";
const BUNDLE: &str = "/..bundle.json";

/// Fields whose numbers are milliseconds of the boot clock.
const BOOT_TIMES: [&str; 5] = ["fetched", "next_due", "changed", "silent_until", "seen"];

/// One recording: its list, and the folder that holds the bytes of its files.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    entries: Vec<Entry>,
}

/// Moment at which a set is laid out, in its own life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It was fetched just now.
    Fresh,
    /// It is due just now.
    Due,
}

impl Recording {
    /// Reads a recording of a version.
    pub fn read(version: &str, name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade").join(version);
        let list = folder.join(format!("{name}.txt"));
        let text = fs::read_to_string(&list).unwrap_or_else(|error| panic!("{list:?}: {error}"));
        let entry = |line: &str| Entry::parse(line).unwrap_or_else(|| panic!("{list:?}: {line}"));
        Self { folder: folder.join(name), entries: text.lines().map(entry).collect() }
    }

    /// Lays the directory out at `dir`, as of the vault at `url`, or of the recorded one.
    ///
    /// Bytes are as recorded, but for these, without which no agent could adopt the set. They are
    /// rewritten in the state, in the generation's copy of it and in the pending note alike, since
    /// no agent leaves files that disagree:
    /// - `origin.url`: each vault of a test has a port of its own. All else of the origin (client
    ///   id, identities, pod) is the same for the recorder and the tests.
    /// - the times of the boot clock, moved together: those of another boot mean nothing to this
    ///   one. Wall-clock stamps stay, since no decision hangs on them.
    pub fn lay_out(&self, dir: &Path, url: Option<&str>, age: Age) {
        let moved = self.state().map_or(0, |state| moved(&state, age));
        for entry in &self.entries {
            let path = dir.join(&entry.path);
            let made = match &entry.kind {
                Kind::Folder => fs::create_dir(&path),
                Kind::Link(target) => symlink(target, &path),
                Kind::File => {
                    let mut bytes = self.bytes(entry);
                    if OF_THE_MOMENT.iter().any(|end| entry.path.ends_with(end)) {
                        let text = String::from_utf8(bytes).expect("it is JSON");
                        bytes = of_this_vault(shifted(text, moved), url).into_bytes();
                    }
                    fs::write(&path, bytes)
                }
            };
            made.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        }
        // A folder's mode may keep us out, and a change of owner drops mode bits.
        for entry in self.entries.iter().rev() {
            entry.claim(dir);
        }
    }

    /// Whether files belong to another uid, which takes root to give.
    pub fn needs_root(&self) -> bool {
        self.entries.iter().any(|entry| entry.uid != Owner::Own || entry.gid != Owner::Own)
    }

    /// The state as it was recorded; none where no set was published.
    pub fn state(&self) -> Option<Value> {
        let entry = self.entries.iter().find(|entry| entry.path == OF_THE_MOMENT[0])?;
        Some(serde_json::from_slice(&self.bytes(entry)).expect("a state is JSON"))
    }

    /// The entries of each identity, as the vault would spell them.
    pub fn values(&self) -> BTreeMap<String, Box<RawValue>> {
        let bundle = self.entries.iter().find(|entry| entry.path.ends_with(BUNDLE));
        let bytes = self.bytes(bundle.expect("a set was published"));
        serde_json::from_slice(&bytes).expect("a bundle is JSON")
    }

    fn bytes(&self, entry: &Entry) -> Vec<u8> {
        let path = self.folder.join(entry.stored());
        fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }
}

impl Entry {
    /// Gives what stands in `dir` its owner and mode.
    fn claim(&self, dir: &Path) {
        let path = dir.join(&self.path);
        let other = |owner| match owner {
            Owner::Own => None,
            Owner::Other(id) => Some(id),
        };
        let (uid, gid) = (other(self.uid), other(self.gid));
        if uid.or(gid).is_some() {
            lchown(&path, uid, gid).expect("this host was asked for the right");
        }
        if !matches!(self.kind, Kind::Link(_)) {
            fs::set_permissions(&path, fs::Permissions::from_mode(self.mode)).expect("it is ours");
        }
    }
}

/// Milliseconds by which the times of `state` move to be of `age` now.
fn moved(state: &Value, age: Age) -> i64 {
    let field = match age {
        Age::Fresh => "fetched",
        Age::Due => "next_due",
    };
    let then = state.get("boot_ms").and_then(|times| times.get(field)).and_then(Value::as_i64);
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000 - then.expect("a state has its times")
}

/// Moves every time of the boot clock.
fn shifted(mut text: String, by: i64) -> String {
    for field in BOOT_TIMES {
        let mark = format!("\"{field}\":");
        let mut parts = text.split(mark.as_str());
        let mut moved = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            let number = part.strip_suffix(rest).unwrap_or_default();
            moved += &mark;
            // `null` and 0 are no times; a top-level field of this name holds a stamp.
            match number.parse::<u64>() {
                Ok(time @ 1..) => moved += &time.saturating_add_signed(by).to_string(),
                Ok(0) | Err(_) => moved += number,
            }
            moved += rest;
        }
        text = moved;
    }
    text
}

/// Has the origin name the vault at `url`.
fn of_this_vault(text: String, url: Option<&str>) -> String {
    let Some(url) = url else {
        return text;
    };
    let state: Value = serde_json::from_str(&text).expect("it is JSON");
    let recorded = state.get("origin").and_then(|origin| origin.get("url"));
    let recorded = recorded.expect("it names its origin");
    text.replace(&format!("\"url\":{recorded}"), &format!("\"url\":\"{url}/\""))
}

#[test]
fn a_list_is_read_as_it_is_written() {
    for line in [
        "folder 2750 own  1001 ..segura",
        "file   0440 1001 own  ..segura/state.json",
        "link   0777 own  own  ..data ..2026_11_22_11_30_00.123456789",
    ] {
        assert_eq!(Entry::parse(line).map(|entry| entry.to_string()).as_deref(), Some(line));
    }
    for line in
        ["", "file 0440 own own", "file 0440 own own a b", "link 0777 own own a", "x 0 0 0 a"]
    {
        assert_eq!(Entry::parse(line), None, "{line}");
    }
    let stored = Entry::parse("file 0440 own own ..2026_11.5/..bundle.json").map(|e| e.stored());
    assert_eq!(stored, Some(PathBuf::from("2026_11.5/bundle.json")));
}

#[test]
fn times_of_the_boot_clock_are_moved_and_stamps_are_not() {
    let text = r#"{"next_due":"2026-11-22T11:30:00Z","boot_ms":{"fetched":100,"next_due":null,"changed":101,"seen":0},"fetched_at":"7"}"#;
    let moved = r#"{"next_due":"2026-11-22T11:30:00Z","boot_ms":{"fetched":90,"next_due":null,"changed":91,"seen":0},"fetched_at":"7"}"#;
    assert_eq!(shifted(text.to_owned(), -10), moved);
}
