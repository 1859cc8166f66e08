//! The volumes of one pod, made by the kubelet's rules: they outlive its containers and its sandbox,
//! and go with the pod.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that can't go on fails the test that called it"
)]

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use serde_json::Value;
use tempfile::TempDir;

use super::adapt::fs_group;
use crate::harness::host::Memory;
use crate::harness::host::set_mode;

/// What a pod has of its node's disk and memory.
pub struct Volumes {
    /// Unmounted before the folder below goes.
    _memory: Vec<Memory>,
    folder: TempDir,
}

impl Volumes {
    /// Makes the volumes of a template, with those files in its Secrets and ConfigMaps.
    pub fn of(template: &Value, files: &[(&str, &str, &str)]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let group = fs_group(template);
        let mut memory = Vec::new();
        for volume in template["spec"]["volumes"].as_array().into_iter().flatten() {
            let name = volume["name"].as_str().expect("volumes have names");
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("names are unique");
            if volume["emptyDir"]["medium"] == "Memory" {
                let size = volume["emptyDir"]["sizeLimit"].as_str().map(mebibytes);
                let pages = size.expect("a memory volume has a limit") * 256;
                memory.push(Memory::mount(&path, pages, MsFlags::empty()));
            }
            if volume["emptyDir"].is_object() {
                chown(&path, Some(0), group).expect("root may");
                set_mode(&path, if group.is_some() { 0o2777 } else { 0o777 });
            } else {
                fill(&path, volume, group, files);
            }
        }
        Self { _memory: memory, folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of one volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Fills a volume of a Secret or a ConfigMap.
fn fill(path: &Path, volume: &Value, group: Option<u32>, files: &[(&str, &str, &str)]) {
    let source =
        [&volume["secret"], &volume["configMap"]].into_iter().find(|from| from.is_object());
    let source = source.unwrap_or_else(|| panic!("a volume that no kubelet here knows: {volume}"));
    let name = ["secretName", "name"].iter().find_map(|name| source[*name].as_str());
    let name = name.unwrap_or_default();
    let mode = source["defaultMode"].as_u64().unwrap_or(0o644);
    let mut files = files.iter().filter(|(object, ..)| *object == name).peekable();
    assert!(files.peek().is_some(), "there is no object {name}");
    for (_, file, content) in files {
        let file = path.join(file);
        fs::write(&file, content).expect("it is new");
        chown(&file, Some(0), group).expect("root may");
        set_mode(&file, u32::try_from(mode).expect("a mode"));
    }
    chown(path, Some(0), group).expect("root may");
    set_mode(path, 0o2755);
}

/// A quantity in mebibytes, as a number of them.
pub fn mebibytes(quantity: &str) -> usize {
    let number = quantity.strip_suffix("Mi").and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{quantity} is not in Mi"))
}
