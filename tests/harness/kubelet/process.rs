//! A container's first process as the node sees it: what it may do, what it has, what it takes.

#![expect(clippy::panic, reason = "a helper that can't go on fails the test that called it")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A process of a container, by its number on the node.
pub struct Process(PathBuf);

impl Process {
    pub fn new(pid: &str) -> Self {
        let directory = Path::new("/proc").join(pid);
        assert!(pid != "0" && directory.exists(), "there is no process {pid}");
        Self(directory)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A field of its status, its parts parted by one space.
    pub fn status(&self, field: &str) -> String {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let line = line.unwrap_or_else(|| panic!("a status has no {field}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Its environment and its mounts.
    pub fn has(&self) -> String {
        self.read("environ") + &self.read("mountinfo")
    }

    /// What becomes of a file that is made where this process has `path`; root itself makes it, so
    /// that nothing but a mount that is read-only is in its way.
    pub fn makes(&self, path: &str) -> io::Result<()> {
        let path = self.0.join("root").join(path.trim_start_matches('/'));
        fs::write(&path, "")?;
        fs::remove_file(path)
    }

    /// The memory that its control group counts.
    pub fn memory(&self) -> Memory {
        let groups = self.read("cgroup");
        let of = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            match controllers {
                "memory" => Some(Path::new("/sys/fs/cgroup/memory").join(path)),
                "" => Some(Path::new("/sys/fs/cgroup").join(path)),
                _ => None,
            }
        };
        let mut found = groups.lines().filter_map(of);
        Memory(found.find(|path| path.join("cgroup.procs").exists()).unwrap_or_default())
    }
}

/// A control group's memory, whichever version it has.
pub struct Memory(PathBuf);

impl Memory {
    fn first(&self, names: [&str; 2]) -> Option<String> {
        let found = names.iter().find_map(|name| fs::read_to_string(self.0.join(name)).ok());
        found.map(|text| text.trim().to_owned())
    }

    /// Its limit in bytes; nothing if none can be set on this machine.
    pub fn limit(&self) -> Option<u64> {
        self.first(["memory.max", "memory.limit_in_bytes"])?.parse().ok()
    }

    /// The most that it has ever held, in bytes, as far as the kernel tells.
    pub fn peak(&self) -> Option<u64> {
        self.first(["memory.peak", "memory.max_usage_in_bytes"])?.parse().ok()
    }

    /// How many processes were killed because it was short.
    pub fn kills(&self) -> u64 {
        let events = self.first(["memory.events", "memory.oom_control"]).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|kills| kills.parse().ok()).expect("the kernel counts them")
    }
}
