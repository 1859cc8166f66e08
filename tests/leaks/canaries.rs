//! Canaries in every encoding, and searches for them in all places that a process shows.

#![expect(clippy::panic, reason = "a helper that can't go on fails the test that called it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Child;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::Signal;

use super::{SECRET, TOKEN, VALUE};
use crate::harness::{Run, SEED, Scene, host::mode, sidecar::Sidecar, until};

/// A string in the encodings in which it could leak.
pub fn disguises(canary: &str) -> Vec<String> {
    let bytes = canary.as_bytes();
    let joined = |separator: &str, show: fn(&u8) -> String| {
        bytes.iter().map(show).collect::<Vec<_>>().join(separator)
    };
    // The middle of base64 does not depend on the bytes before and after it.
    let encoded = (0..3).filter_map(|skip| {
        let rest = bytes.get(skip..)?;
        let whole = rest.get(..rest.len() / 3 * 3)?;
        Some(STANDARD.encode(whole))
    });
    let form: String = url::form_urlencoded::byte_serialize(bytes).collect();
    let mut disguises: Vec<String> = encoded.collect();
    disguises.extend([
        canary.to_owned(),
        form,
        joined("", |byte| format!("{byte:02x}")),
        joined(", ", u8::to_string),
    ]);
    disguises
}

/// Values, which only published files may hold, and credentials, which no file may hold.
pub struct Canaries {
    pub values: Vec<String>,
    pub credentials: Vec<String>,
}

impl Canaries {
    pub fn of(scene: &Scene) -> Self {
        let accounts = scene.vault.provisioned(SEED).into_iter();
        let mut values: BTreeSet<String> = accounts.map(|account| account.password).collect();
        values.insert(VALUE.to_owned());
        let tokens = scene.vault.requests().into_iter().filter_map(|request| {
            Some(request.header("authorization")?.strip_prefix("Bearer ")?.to_owned())
        });
        let mut credentials: BTreeSet<String> = tokens.collect();
        // What makes a token one is the last of its parts.
        let parts: Vec<String> = credentials
            .iter()
            .filter_map(|token| Some(token.rsplit_once('.')?.1.to_owned()))
            .filter(|part| part.len() > 16)
            .collect();
        credentials.extend(parts);
        credentials.extend([SECRET.to_owned(), TOKEN.to_owned()]);
        let disguised = |all: BTreeSet<String>| all.iter().flat_map(|one| disguises(one)).collect();
        Self { values: disguised(values), credentials: disguised(credentials) }
    }

    /// Asserts that bytes hold neither a value nor a credential.
    #[track_caller]
    pub fn assert_absent(&self, bytes: &[u8], place: &str) {
        Self::assert_none(&self.values, bytes, place);
        Self::assert_none(&self.credentials, bytes, place);
    }

    /// Asserts that bytes hold none of these.
    #[track_caller]
    pub fn assert_none(canaries: &[String], bytes: &[u8], place: &str) {
        for canary in canaries {
            let mut parts = bytes.windows(canary.len());
            let Some(at) = parts.position(|part| part == canary.as_bytes()) else {
                continue;
            };
            let around = bytes.get(at.saturating_sub(200)..at + canary.len()).unwrap_or_default();
            panic!("{canary} in {place}: …{}", String::from_utf8_lossy(around));
        }
    }

    /// Looks into everything below a directory; `published` says what may hold values.
    pub fn assert_files(&self, dir: &Path, published: &dyn Fn(&Path) -> bool, what: &str) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let place = format!("{what}: {}", path.display());
            self.assert_absent(place.as_bytes(), "a path");
            let kind = fs::symlink_metadata(&path).expect("it is there").file_type();
            if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                self.assert_absent(target.as_os_str().as_encoded_bytes(), &place);
            } else if kind.is_dir() {
                self.assert_files(&path, published, what);
            } else {
                let bytes = fs::read(&path).expect("tests may read it");
                Self::assert_none(&self.credentials, &bytes, &place);
                if !published(&path) {
                    Self::assert_none(&self.values, &bytes, &place);
                }
            }
        }
    }
}

/// Runs the agent to its end and reads its arguments all the while.
pub fn watched(mut agent: Child) -> (Run, Vec<u8>) {
    let arguments = format!("/proc/{}/cmdline", agent.id());
    let mut seen = Vec::new();
    until("the agent ends", || {
        let now = fs::read(&arguments).unwrap_or_default();
        if !now.is_empty() {
            seen = now;
        }
        !matches!(agent.try_wait(), Ok(None))
    });
    (Run::of(agent.wait_with_output().expect("it has ended")), seen)
}

/// Asserts that a run has shown nothing, wherever one could look.
pub fn assert_silent(scene: &Scene, what: &str, (run, arguments): &(Run, Vec<u8>)) {
    let canaries = Canaries::of(scene);
    canaries.assert_absent(run.stdout.as_bytes(), &format!("{what}: stdout"));
    canaries.assert_absent(run.stderr.as_bytes(), &format!("{what}: stderr"));
    canaries.assert_absent(arguments, &format!("{what}: arguments"));
    let log = fs::read(scene.vault.dir().join("termination-log")).expect("it is there");
    canaries.assert_absent(&log, &format!("{what}: termination log"));
    let failed = run.code != Some(0) && run.code != Some(143);
    assert_eq!(failed, !log.is_empty(), "{what}: a fatal error is in the termination log");
    let standing = fs::canonicalize(scene.path("..data")).ok();
    // A set that can't be published is kept where the agent alone may read it.
    let kept = scene.path("..segura/kept.json");
    let published = |path: &Path| {
        let inside = standing.as_ref().is_some_and(|standing| path.starts_with(standing));
        (inside && !path.ends_with("..generation.json")) || (path == kept && mode(path) == 0o600)
    };
    canaries.assert_files(scene.dir.path(), &published, what);
}

/// Ends an agent by SIGTERM, and asserts that it exits with `code` and that neither its log nor a file
/// has shown a value, a credential or one of the `former` values.
#[track_caller]
pub fn end_silent(scene: &Scene, agent: Sidecar, code: i32, what: &str, former: &[String]) -> Run {
    let arguments = fs::read(format!("/proc/{}/cmdline", agent.id())).expect("it runs");
    agent.send(Signal::TERM);
    let run = agent.wait();
    assert_eq!(run.code, Some(code), "{what}: {}", run.stderr);
    for canary in former.iter().flat_map(|value| disguises(value)) {
        assert!(!run.stderr.contains(&canary), "{what}: {canary} in {}", run.stderr);
    }
    let seen = (run, arguments);
    assert_silent(scene, what, &seen);
    seen.0
}
