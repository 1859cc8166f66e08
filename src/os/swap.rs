//! Swap: whether the kernel may write the pages of a file system in memory to a disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

/// Reports if files in `dir` may be swapped out: the machine has swap, and `dir` is on a tmpfs that
/// is not mounted with `noswap` (`tmpfs(5)`). A ramfs never swaps; a disk needs no swap to be read.
///
/// False where `/proc` does not say.
pub fn may_take(dir: &Path) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let Ok(stat) = fs::metadata(dir) else { return false };
    let device = format!("{}:{}", major(stat.dev()), minor(stat.dev()));
    is_on(&read("/proc/swaps")) && swaps(&read("/proc/self/mountinfo"), &device)
}

/// Reads `/proc/swaps`, whose first line is a heading (`proc_swaps(5)`).
fn is_on(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

/// Reads `/proc/self/mountinfo`: the device is the third field, and after a hyphen come the type, the
/// source and the options of the file system (`proc_pid_mountinfo(5)`).
fn swaps(mountinfo: &str, device: &str) -> bool {
    mountinfo.lines().any(|line| {
        let Some((mount, system)) = line.split_once(" - ") else { return false };
        let mut system = system.split(' ');
        let (kind, options) = (system.next(), system.nth(1).unwrap_or_default());
        mount.split(' ').nth(2) == Some(device)
            && kind == Some("tmpfs")
            && options.split(',').all(|option| option != "noswap")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_on_where_the_list_has_an_entry() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!is_on("") && !is_on(heading));
        assert!(is_on(&format!("{heading}/dev/zram0 partition\t8388604\t0\t100\n")));
    }

    #[test]
    fn a_tmpfs_swaps_unless_its_mount_says_otherwise() {
        let mounts = "\
            36 35 0:40 / /a rw,nosuid master:1 - tmpfs tmpfs rw,size=8192k\n\
            37 35 0:41 / /b rw,nosuid shared:2 master:3 - tmpfs tmpfs rw,size=8192k,noswap\n\
            38 35 0:42 / /c rw - ramfs none rw\n\
            39 35 254:1 / / rw - ext4 /dev/vda rw\n";
        for (device, expected) in
            [("0:40", true), ("0:41", false), ("0:42", false), ("254:1", false), ("0:4", false)]
        {
            assert_eq!(swaps(mounts, device), expected, "{device}");
        }
    }
}
