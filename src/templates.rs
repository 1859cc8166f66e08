//! The texts of templates, from their directory: read once, before anything is asked of the vault.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// What ends the name of a template's file.
pub const SUFFIX: &str = ".j2";
/// A template is shorter.
const LONGEST: u64 = 1024 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Files by name, and their texts.
    pub sources: Vec<(String, String)>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

impl Found {
    /// Reads every `NAME.j2` in `dir`; other files, and what the kubelet hides, are none.
    pub fn read(dir: &Path) -> Self {
        let mut found = Self::default();
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                found.problems.push(format!("must be a directory that can be read: {error}"));
                return found;
            }
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(SUFFIX)).collect();
        names.retain(|name| !name.starts_with(".."));
        names.sort_unstable();
        if names.is_empty() {
            found
                .problems
                .push(format!("must hold templates: none of its files ends with {SUFFIX}"));
        }
        for name in names {
            match text(&dir.join(&name)) {
                Ok(text) => found.sources.push((name, text)),
                Err(why) => {
                    found.problems.push(format!("the template {name} can't be read: {why}"))
                }
            }
        }
        found
    }
}

fn text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
        return Err("it is longer than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_the_files_that_end_like_one() {
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
    fn what_can_not_be_read_is_told_by_name() {
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
