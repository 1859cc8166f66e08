//! Reads the texts of templates from their directory.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use crate::os::opened::{self, LONGEST_INPUT};

/// The suffix of a template's file name.
pub const SUFFIX: &str = ".j2";
/// The link of a ConfigMap's volume to its current files (the kubelet's atomic writer).
const DATA: &str = "..data";

/// The content of the directory.
#[derive(Debug, Default)]
pub struct Found {
    /// File names and texts.
    pub sources: Vec<(String, String)>,
    /// The problems of files that could not be read.
    pub problems: Vec<String>,
}

impl Found {
    /// Reads every `NAME.j2` in `dir`, without names that start with `..`, which are the kubelet's.
    pub fn read(dir: &Path) -> Self {
        let mut found = Self::default();
        // Resolved once, so that all files are of one version if the kubelet turns the link
        // meanwhile.
        let version = fs::canonicalize(dir.join(DATA));
        let dir = version.as_deref().unwrap_or(dir);
        let names = match names(dir) {
            Ok(names) => names,
            Err(error) => {
                found.problems.push(format!("must be a directory that can be read: {error}"));
                return found;
            }
        };
        if names.is_empty() {
            found
                .problems
                .push(format!("must hold templates: none of its files ends with {SUFFIX}"));
        }
        for name in names {
            let read = match name.to_str() {
                Some(text) => self::text(&dir.join(text)).map(|source| (text.to_owned(), source)),
                None => Err("its name is not UTF-8".to_owned()),
            };
            match read {
                Ok(source) => found.sources.push(source),
                Err(why) => {
                    found.problems.push(format!("the template {name:?} can't be read: {why}"));
                }
            }
        }
        found
    }
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(SUFFIX.as_bytes()) && !bytes.starts_with(b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn text(path: &Path) -> Result<String, String> {
    let bytes = opened::read_input(path, LONGEST_INPUT).map_err(|error| error.to_string())?;
    String::from_utf8(bytes.expose().clone()).map_err(|_| "it is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_the_files_with_the_suffix() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Found::read(dir.path()).problems[0].contains("none of its files"));
        for (name, text) in [("b.conf.j2", "b"), ("a.j2", "a"), ("readme", "x"), ("..x.j2", "x")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let found = Found::read(dir.path());
        let expected =
            [("a.j2", "a"), ("b.conf.j2", "b")].map(|(n, t)| (n.to_owned(), t.to_owned()));
        assert_eq!(found.sources, expected);
        assert!(found.problems.is_empty());
    }

    #[test]
    fn an_unreadable_template_is_reported_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("folder.j2")).unwrap();
        fs::write(dir.path().join("latin.j2"), b"\xff").unwrap();
        fs::write(dir.path().join("long.j2"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
        let problems = Found::read(dir.path()).problems;
        for (problem, part) in problems.iter().zip(["folder.j2", "latin.j2", "long.j2"]) {
            assert!(problem.contains(part), "{problem}");
        }
        assert_eq!(problems.len(), 3);
        assert!(
            Found::read(&dir.path().join("missing")).problems[0].contains("must be a directory")
        );
    }
}
