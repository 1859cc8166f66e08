//! What the agent costs: `cargo bench` prints a table of it, with the goals.
//!
//! Measured is the static release binary and no other, over loopback, against a development vault
//! in this process. A goal that is missed is marked, and no failure: only what could not be measured
//! is. Wall times drift on shared machines; ratios taken pair by pair hold.

mod binary;
mod clock;
#[expect(unused_imports, reason = "its own tests are not run here, and so use nothing")]
#[path = "../tests/dev-vault/mod.rs"]
mod dev_vault;
mod exec;
mod memory;
mod one_shot;
mod publish;
mod report;
mod scene;
mod sidecar;

use std::error::Error;
use std::io::{self, Write};

use binary::Binaries;
use report::Report;
use scene::Scene;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    // `cargo test --all-targets` runs this too, and gives it no such argument.
    if !std::env::args_os().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let binaries = Binaries::obtain()?;
    let mut report = Report::default();
    binary::measure(&binaries, &mut report)?;
    let scene = Scene::new(binaries);
    one_shot::measure(&scene, &mut report)?;
    memory::measure(&scene, &mut report)?;
    sidecar::measure(&scene, &mut report)?;
    exec::measure(&scene, &mut report)?;
    publish::measure(&mut report)?;
    Ok(write!(io::stdout(), "{report}")?)
}
