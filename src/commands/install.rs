//! `install`: copies the binary of the agent to a directory, for the entrypoint of another image.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::exit::{Exit, Failure};

/// The name of the copy.
const NAME: &str = "segura-agent";
/// The binary of this process.
const OURSELVES: &str = "/proc/self/exe";
/// Everyone may run the copy, only its owner may write to it.
const MODE: u32 = 0o755;

/// Copies the own binary to `dir` atomically: a process that starts it meanwhile gets the old one
/// or the new one.
pub fn run(dir: &Path) -> Result<Exit, Failure> {
    copy(Path::new(OURSELVES), dir).map(|()| Exit::Done).map_err(|error| {
        Failure::said(
            Exit::CannotWrite,
            format!("cannot install {NAME} in {}: {error}", dir.display()),
        )
        .hint(remedy(error.kind()))
    })
}

fn remedy(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind::{
        NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull,
    };
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&kind);
    if is(&[NotFound, NotADirectory]) {
        Some("mount a volume there, such as a plain emptyDir")
    } else if is(&[PermissionDenied, ReadOnlyFilesystem]) {
        Some("this container's user must be able to write there: its mount must not be readOnly")
    } else if is(&[StorageFull]) {
        Some("raise the sizeLimit of the volume to 16Mi or more")
    } else {
        None
    }
}

fn copy(from: &Path, dir: &Path) -> io::Result<()> {
    let unfinished = dir.join(format!(".{NAME}.{}", std::process::id()));
    let whole = dir.join(NAME);
    let copied = write(from, &unfinished).and_then(|()| fs::rename(&unfinished, &whole));
    if copied.is_err() {
        // The first error is the one to report.
        fs::remove_file(&unfinished).ok();
    }
    copied
}

fn write(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    // A process of the same id may have left a file or a link.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut to = OpenOptions::new().write(true).create_new(true).mode(MODE).open(to)?;
    io::copy(&mut from, &mut to)?;
    // The umask may have cleared bits.
    to.set_permissions(Permissions::from_mode(MODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_copy_is_whole_and_for_everyone_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "new").unwrap();
        let target = dir.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join(NAME), "old").unwrap();
        for _ in 0..2 {
            copy(&source, &target).unwrap();
            let whole = target.join(NAME);
            assert_eq!(fs::read_to_string(&whole).unwrap(), "new");
            assert_eq!(fs::metadata(&whole).unwrap().permissions().mode() & 0o7777, MODE);
        }
        assert_eq!(names(&target), [NAME]);
    }

    #[test]
    fn a_copy_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "new").unwrap();
        let target = dir.path().join("target");
        assert_eq!(copy(&source, &target).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&target).unwrap();
        fs::create_dir(target.join(NAME)).unwrap();
        assert!(copy(&source, &target).is_err());
        assert_eq!(names(&target), [NAME]);
        let failure = run(&dir.path().join("missing")).unwrap_err();
        assert_eq!(failure.exit.code(), 73);
        assert!(failure.hint.unwrap().contains("emptyDir"));
    }
}
