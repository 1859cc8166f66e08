//! Finds the file that a command's first word means, as `execvp(3)` does.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

/// The search path without the variable `PATH` (`confstr(3)`, `_CS_PATH`).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// A command: a program and its arguments, the name it is called by first.
#[derive(Clone, Debug)]
pub struct Program {
    words: Vec<CString>,
}

impl Program {
    /// A command of these words; none if there is no word, or a word holds a NUL.
    pub fn new(words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let words: Option<Vec<CString>> =
            words.into_iter().map(|word| CString::new(word.into_vec()).ok()).collect();
        words.filter(|words| !words.is_empty()).map(|words| Self { words })
    }

    /// The words as they were given.
    pub fn words(&self) -> &[CString] {
        &self.words
    }

    /// The program as the user wrote it.
    pub fn asked(&self) -> &OsStr {
        OsStr::from_bytes(self.words.first().map_or(&[], |word| word.as_bytes()))
    }

    /// The name for messages: the program's file name, since arguments may hold secrets.
    pub fn name(&self) -> String {
        let name = Path::new(self.asked()).file_name().unwrap_or_else(|| self.asked());
        name.to_string_lossy().into_owned()
    }

    /// The file to run, searched for in the folders of `path`, the value of `PATH`.
    ///
    /// An error of kind `NotFound` says that there is no such file, one of kind `PermissionDenied`
    /// that the agent may not run the file that there is. As in `execvp(3)`, the search goes on
    /// after such a file.
    pub fn find(&self, path: Option<&OsStr>) -> io::Result<PathBuf> {
        let asked = self.asked();
        if asked.is_empty() {
            return Err(Errno::NOENT.into());
        }
        if asked.as_bytes().contains(&b'/') {
            return runnable(Path::new(asked)).map(|()| asked.into());
        }
        let path = path.map_or(DEFAULT_PATH, OsStr::as_bytes);
        let mut found = io::Error::from(Errno::NOENT);
        for folder in path.split(|byte| *byte == b':') {
            let folder = if folder.is_empty() { b"." } else { folder };
            let file = Path::new(OsStr::from_bytes(folder)).join(asked);
            match runnable(&file) {
                Ok(()) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found = error,
                Err(_) => {}
            }
        }
        Err(found)
    }
}

/// Fails if the agent may not run `file`, as far as a look can tell.
fn runnable(file: &Path) -> io::Result<()> {
    let kind = FileType::from_raw_mode(stat(file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(Errno::ACCESS.into());
    }
    match accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS) {
        // A kernel or sandbox without the flag: running the file will tell.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(word: &str) -> Program {
        Program::new([OsString::from(word)]).unwrap()
    }

    #[test]
    fn a_program_is_the_first_that_may_be_run_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        for dir in [&first, &second] {
            fs::create_dir(dir).unwrap();
        }
        let make = |file: PathBuf, mode: u32| {
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        make(first.join("both"), 0o600);
        make(second.join("both"), 0o700);
        make(first.join("closed"), 0o600);
        fs::create_dir(first.join("folder")).unwrap();
        let path = OsString::from(format!("{}:{}", first.display(), second.display()));
        let find = |word: &str| program(word).find(Some(&path)).map_err(|error| error.kind());
        assert_eq!(find("both"), Ok(second.join("both")));
        assert_eq!(find("closed"), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(find("folder"), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(find("nowhere"), Err(io::ErrorKind::NotFound));
        assert_eq!(find(""), Err(io::ErrorKind::NotFound));
        let whole = second.join("both").display().to_string();
        assert_eq!(find(&whole), Ok(second.join("both")));
        assert_eq!(find(&format!("{whole}/x")), Err(io::ErrorKind::NotADirectory));
        assert!(program("sh").find(None).is_ok());
    }

    #[test]
    fn a_command_has_words_without_nul() {
        assert!(Program::new([]).is_none());
        assert!(Program::new([OsString::from("a\0b")]).is_none());
        assert_eq!(program("/usr/sbin/nginx").name(), "nginx");
        assert_eq!(program("nginx").words().len(), 1);
    }
}
