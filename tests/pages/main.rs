//! Writes the pages that are made from the code, where they are committed.

#![expect(clippy::unwrap_used, reason = "what can't be written is a reason to end")]

use std::fs;
use std::path::Path;

#[path = "mod.rs"]
mod pages;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in pages::all() {
        let path = root.join(&page.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, page.text).unwrap();
    }
}
