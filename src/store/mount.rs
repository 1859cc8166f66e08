//! Finding the output directory, and requiring that it is in memory.

use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::{IN_MEMORY, WriteCause, WriteError};
use crate::config::settings::{Disk, Output};

/// The output directory.
#[derive(Debug)]
pub(super) enum Mount {
    /// The directory exists.
    There(Dir),
    /// The directory is missing, and the agent may make it.
    Within {
        /// The directory to make it in.
        parent: Dir,
        /// Its name.
        name: String,
    },
}

/// Finds the output directory. It is an error if it is missing and the agent may not make it, or is
/// on a disk and that is not allowed.
pub(super) fn find(output: &Output) -> Result<Mount, WriteError> {
    let missing = match open(&output.dir) {
        Ok(dir) => {
            require_memory(&dir, output.disk)?;
            return Ok(Mount::There(dir));
        }
        Err(error) if matches!(error.cause, WriteCause::System(Errno::NOENT)) => {
            error.hinting(
                "mount an emptyDir with medium: Memory there, or set SEGURA_OUTPUT_DIR (exec alone needs none with SEGURA_OUTPUT=none)",
            )
        }
        Err(error) => return Err(error),
    };
    let (Some(parent), Some(last), true) =
        (output.dir.parent(), output.dir.file_name(), output.create_last)
    else {
        return Err(missing);
    };
    let parent = open(parent)?;
    require_memory(&parent, output.disk)?;
    Ok(Mount::Within { parent, name: last.to_string_lossy().into_owned() })
}

fn open(path: &Path) -> Result<Dir, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = fs::open(path, flags, Mode::empty())
        .map_err(|error| WriteError::new("open the output directory", path, error))?;
    Ok(Dir::new(descriptor, path.to_owned()))
}

fn require_memory(dir: &Dir, disk: Disk) -> Result<(), WriteError> {
    let system = fs::fstatfs(dir.descriptor())
        .map_err(|error| WriteError::new("look at the file system of", dir.path(), error))?;
    // The type is signed or unsigned by architecture; the magic numbers have 32 bits (statfs(2)).
    #[expect(clippy::cast_sign_loss, reason = "magic numbers are compared as bits")]
    let kind = (system.f_type as u64) & 0xffff_ffff;
    match disk {
        _ if IN_MEMORY.contains(&kind) => Ok(()),
        Disk::Allow => Ok(()),
        Disk::Warn => {
            let dir = dir.path().display();
            tracing::warn!(%dir, "secrets are published to a disk; mount a memory emptyDir there");
            Ok(())
        }
        Disk::Refuse => Err(WriteError::new("publish to", dir.path(), WriteCause::OnDisk)
            .hinting("mount an emptyDir with medium: Memory there, or set SEGURA_ALLOW_DISK=true")),
    }
}
