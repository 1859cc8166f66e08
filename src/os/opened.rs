//! Opens files that another process may have made or replaced: regular files alone, without a wait,
//! and reads no more of them than a bound. It knows no name and no setting; its errors say which
//! kind of file is there.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::secret::{Secret, SecretBuf};

/// The most bytes of an input file: a credential, a certificate, a key, a template.
pub const LONGEST_INPUT: u64 = 1024 * 1024;

/// `f_type` of procfs (`statfs(2)`).
const PROCFS: u64 = 0x9fa0;
/// The most bytes of one read.
const CHUNK: usize = 64 * 1024;

/// The reason why a file is not opened or not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The system refused a call.
    #[error(transparent)]
    System(#[from] Errno),
    /// It is of another kind.
    #[error("it is {0}, and must be a regular file")]
    Kind(FileKind),
    /// It has more bytes than its bound.
    #[error("it is larger than {}, the most that is read", Size(*.0))]
    TooLarge(u64),
    /// The kernel makes its bytes at each read.
    #[error("it is on procfs, and must be on another file system")]
    OnProcfs,
}

impl FileError {
    /// Reports if there is no file of that name.
    pub fn is_missing(self) -> bool {
        self == Self::System(Errno::NOENT)
    }

    /// Reports if there is a file, but not one that the agent reads.
    pub fn is_unfit(self) -> bool {
        !matches!(self, Self::System(_))
    }
}

/// The kind of a file that is not a regular one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A symbolic link, where none is followed.
    Link,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A device, of characters or of blocks.
    Device,
    /// A kind that `inode(7)` does not list.
    Unknown,
}

impl FileKind {
    fn of(stat: &Stat) -> Option<Self> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => None,
            FileType::Directory => Some(Self::Directory),
            FileType::Symlink => Some(Self::Link),
            FileType::Fifo => Some(Self::Fifo),
            FileType::Socket => Some(Self::Socket),
            FileType::CharacterDevice | FileType::BlockDevice => Some(Self::Device),
            FileType::Unknown => Some(Self::Unknown),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Unknown => "of an unknown kind",
        })
    }
}

/// A number of bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * KIB;
        match self.0 {
            size if size > 0 && size.is_multiple_of(MIB) => write!(f, "{} MiB", size / MIB),
            size if size > 0 && size.is_multiple_of(KIB) => write!(f, "{} KiB", size / KIB),
            size => write!(f, "{size} bytes"),
        }
    }
}

/// The treatment of a symbolic link in the last part of a path.
#[derive(Clone, Copy)]
enum LastLink {
    /// It is followed, as the kubelet's links must be (`pkg/volume/util/atomic_writer.go`).
    Followed,
    /// It is refused.
    Refused,
}

impl LastLink {
    fn open_flags(self) -> OFlags {
        match self {
            Self::Followed => OFlags::empty(),
            Self::Refused => OFlags::NOFOLLOW,
        }
    }

    fn stat_flags(self) -> AtFlags {
        match self {
            Self::Followed => AtFlags::empty(),
            Self::Refused => AtFlags::SYMLINK_NOFOLLOW,
        }
    }
}

/// Opens the regular file `name` in `dir`, one of the agent's own; a link is refused.
pub fn beneath(dir: impl AsFd, name: &str) -> Result<File, FileError> {
    open(dir.as_fd(), Path::new(name), OFlags::RDONLY, LastLink::Refused)
}

/// Opens the regular file that a setting names; links are followed, and procfs is refused.
pub fn input(path: &Path) -> Result<File, FileError> {
    outside_procfs(open(CWD, path, OFlags::RDONLY, LastLink::Followed)?)
}

/// Opens the regular file that a setting names, to be replaced byte by byte: it is not made.
pub fn to_overwrite(path: &Path) -> Result<File, FileError> {
    outside_procfs(open(CWD, path, OFlags::WRONLY, LastLink::Followed)?)
}

/// Reads the regular file that a setting names, of at most `longest` bytes.
pub fn read_input(path: &Path, longest: u64) -> Result<Secret<Vec<u8>>, FileError> {
    read(input(path)?, longest)
}

/// The reason why a file of this `stat` is not a regular one of at most `longest` bytes.
pub fn unfit(stat: &Stat, longest: u64) -> Option<FileError> {
    match FileKind::of(stat) {
        Some(kind) => Some(FileError::Kind(kind)),
        None if size(stat) > longest => Some(FileError::TooLarge(longest)),
        None => None,
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn open(
    dir: BorrowedFd<'_>,
    path: &Path,
    access: OFlags,
    link: LastLink,
) -> Result<File, FileError> {
    // Without O_NONBLOCK, open(2) of a FIFO waits for the other end (fifo(7)); without O_NOCTTY, a
    // terminal may become the one that controls this process (open(2)).
    let flags = access | link.open_flags() | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = fs::openat(dir, path, flags, Mode::empty());
    let file = opened.map(File::from).map_err(|error| {
        // A socket fails with ENXIO, a link that is refused with ELOOP, a device with an error of
        // its driver or of a mount without devices (open(2)): the kind says more.
        let stat = fs::statat(dir, path, link.stat_flags()).ok();
        let kind = stat.as_ref().and_then(FileKind::of);
        kind.map_or(FileError::System(error), FileError::Kind)
    })?;
    match FileKind::of(&fs::fstat(&file)?) {
        None => Ok(file),
        Some(kind) => Err(FileError::Kind(kind)),
    }
}

fn outside_procfs(file: File) -> Result<File, FileError> {
    // The type is signed or unsigned by architecture; the magic numbers have 32 bits (statfs(2)).
    #[expect(clippy::cast_sign_loss, reason = "magic numbers are compared as bits")]
    let kind = (fs::fstatfs(&file)?.f_type as u64) & 0xffff_ffff;
    if kind == PROCFS { Err(FileError::OnProcfs) } else { Ok(file) }
}

/// Reads an open file of at most `longest` bytes; one that grows meanwhile is refused, too.
pub fn read(mut file: File, longest: u64) -> Result<Secret<Vec<u8>>, FileError> {
    let stat = fs::fstat(&file)?;
    if let Some(error) = unfit(&stat, longest) {
        return Err(error);
    }
    let size = usize::try_from(size(&stat)).unwrap_or_default();
    let mut bytes = SecretBuf::with_capacity(size);
    // One byte more than the size, so that the file fits one read; the next one returns the end.
    let mut chunk = Secret::new(vec![0; size.saturating_add(1).min(CHUNK)]);
    loop {
        match file.read(chunk.expose_mut()) {
            Ok(0) => return Ok(bytes.into_secret()),
            Ok(read) => bytes.push(chunk.expose().get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO).into()),
        }
        if u64::try_from(bytes.len()).is_ok_and(|length| length > longest) {
            return Err(FileError::TooLarge(longest));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn text(path: &Path, longest: u64) -> Result<String, FileError> {
        read_input(path, longest).map(|bytes| String::from_utf8(bytes.expose().clone()).unwrap())
    }

    #[test]
    fn a_regular_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(text(&path, 4).unwrap(), "four");
        assert_eq!(text(&path, 3).unwrap_err(), FileError::TooLarge(3));
        symlink("file", dir.path().join("link")).unwrap();
        assert_eq!(text(&dir.path().join("link"), 4).unwrap(), "four");
        std::fs::write(&path, "").unwrap();
        assert_eq!(text(&path, 0).unwrap(), "");
        let sparse = File::create(&path).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert_eq!(text(&path, 4).unwrap_err(), FileError::TooLarge(4));
        assert!(text(&dir.path().join("missing"), 4).unwrap_err().is_missing());
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_refused_at_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "four").unwrap();
        let file = input(&path).unwrap();
        std::fs::write(&path, "more than four").unwrap();
        assert_eq!(read(file, 4).unwrap_err(), FileError::TooLarge(4));
        // Its size says 0, and it has bytes.
        let status = File::open("/proc/self/status").unwrap();
        assert_eq!(read(status, 10).unwrap_err(), FileError::TooLarge(10));
    }

    #[test]
    fn each_other_kind_is_refused_by_its_name_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("directory")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("fifo", at("link")).unwrap();
        fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        for (path, kind) in [
            (at("directory"), FileKind::Directory),
            (at("fifo"), FileKind::Fifo),
            (at("link"), FileKind::Fifo),
            (at("socket"), FileKind::Socket),
            ("/dev/zero".into(), FileKind::Device),
            ("/dev/tty".into(), FileKind::Device),
        ] {
            let refused = FileError::Kind(kind);
            assert_eq!(text(&path, 4).unwrap_err(), refused, "{}", path.display());
            assert_eq!(to_overwrite(&path).unwrap_err(), refused, "{}", path.display());
        }
        assert!(input(&at("dangling")).unwrap_err().is_missing());
        for (name, kind) in
            [("link", FileKind::Link), ("dangling", FileKind::Link), ("fifo", FileKind::Fifo)]
        {
            let open = fs::open(dir.path(), OFlags::RDONLY, Mode::empty()).unwrap();
            assert_eq!(beneath(&open, name).unwrap_err(), FileError::Kind(kind), "{name}");
        }
        assert_eq!(
            FileError::Kind(FileKind::Fifo).to_string(),
            "it is a FIFO, and must be a regular file"
        );
    }

    #[test]
    fn what_the_kernel_makes_up_is_no_input() {
        for path in ["/proc/self/environ", "/proc/self/mem", "/proc/self/cmdline"] {
            assert_eq!(input(Path::new(path)).unwrap_err(), FileError::OnProcfs, "{path}");
        }
    }

    #[test]
    fn a_bound_is_shown_in_the_largest_unit_that_divides_it() {
        for (size, shown) in
            [(LONGEST_INPUT, "1 MiB"), (4096, "4 KiB"), (64, "64 bytes"), (0, "0 bytes")]
        {
            assert_eq!(Size(size).to_string(), shown);
        }
    }
}
