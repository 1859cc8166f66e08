//! Obtains the binaries by the one recipe for the static build, and refuses any other.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;
use crate::report::{Goal, Report};

/// Names a static release binary to measure in place of one built here.
const GIVEN: &str = "SEGURA_STATIC_BINARY";
const LARGEST: u64 = 6_000_000;

/// What is measured.
pub struct Binaries {
    /// The agent.
    pub agent: PathBuf,
    /// The program that does the least; see `bare.rs`.
    pub bare: PathBuf,
}

impl Binaries {
    /// Builds both, unless the agent is given.
    pub fn obtain() -> Outcome<Self> {
        let agent = match variable(GIVEN) {
            Some(given) => PathBuf::from(given),
            None => build("--bin", "segura-agent")?,
        };
        // By a call of its own: in one build, cargo would give the agent the tests' features.
        let bare = build("--example", "bare")?;
        for path in [&agent, &bare] {
            refuse_another(path).map_err(|why| format!("{}: {why}", path.display()))?;
        }
        Ok(Self { agent: copied(&agent, "segura-agent")?, bare: copied(&bare, "bare")? })
    }
}

/// Adds the size of the binary to the report.
pub fn measure(binaries: &Binaries, report: &mut Report) -> Outcome<()> {
    let size = fs::metadata(&binaries.agent)?.len();
    let goal = Goal::at_most(size, LARGEST, "");
    report.judged("static binary, bytes", size.to_string(), goal);
    Ok(())
}

fn variable(name: &str) -> Option<OsString> {
    std::env::vars_os().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn build(kind: &str, name: &str) -> Outcome<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--config", "static.toml", "--target", &target]);
    cargo.args([kind, name, "--message-format=json-render-diagnostics"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    // These would take the recipe's place.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.ends_with("RUSTFLAGS") || text.starts_with("CARGO_PROFILE_") {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(format!("cargo could not build {name}: {}", output.status).into());
    }
    let built = String::from_utf8(output.stdout)?;
    let built = built.lines().filter_map(|line| executable(line, name)).next_back();
    Ok(built.ok_or_else(|| format!("cargo says nothing of {name}"))?)
}

/// A copy, since how a file came into the page cache changes what its page faults cost: by a sixth of
/// all time between one that a linker wrote and one that was copied.
fn copied(path: &Path, name: &str) -> Outcome<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(dir)?;
    let copy = dir.join(name);
    // By reading and writing: `fs::copy` may have the file system share what is there.
    let bytes = fs::read(path)?;
    fs::remove_file(&copy).ok();
    fs::write(&copy, bytes)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let named = message.pointer("/target/name").and_then(Value::as_str) == Some(name);
    let path = message.get("executable").and_then(Value::as_str).filter(|_| named)?;
    Some(path.into())
}

/// Proves that the file is an executable that needs no other, as the release profile makes it.
fn refuse_another(path: &Path) -> Outcome<()> {
    const INTERPRETER: u64 = 3;
    const DYNAMIC: u64 = 2;
    const NEEDED: u64 = 1;
    const SYMBOLS: u64 = 2;
    let elf = Elf(fs::read(path)?);
    if elf.0.get(..6) != Some(b"\x7fELF\x02\x01") || !(2..=3).contains(&elf.number(16, 2)?) {
        return Err("not a 64-bit ELF executable".into());
    }
    for header in elf.table(32, 54)? {
        let kind = elf.number(header, 4)?;
        if kind == INTERPRETER {
            return Err("not static: it asks for a dynamic loader".into());
        }
        if kind == DYNAMIC {
            let (start, size) = (elf.number(header + 8, 8)?, elf.number(header + 32, 8)?);
            for entry in (start..start + size).step_by(16) {
                if elf.number(usize::try_from(entry)?, 8)? == NEEDED {
                    return Err("not static: it needs a library".into());
                }
            }
        }
    }
    for header in elf.table(40, 58)? {
        if elf.number(header + 4, 4)? == SYMBOLS {
            return Err("not a release build: it has its symbols".into());
        }
    }
    Ok(())
}

/// The bytes of an ELF file; offsets are those of `elf(5)`.
struct Elf(Vec<u8>);

impl Elf {
    /// A little-endian number of so many bytes.
    fn number(&self, at: usize, bytes: usize) -> Outcome<u64> {
        let bytes = at.checked_add(bytes).and_then(|end| self.0.get(at..end));
        let bytes = bytes.ok_or("the file ends early")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Where each header of a table is: its offset at `place`, entry size and count at `shape`.
    fn table(&self, place: usize, shape: usize) -> Outcome<impl Iterator<Item = usize>> {
        let start = usize::try_from(self.number(place, 8)?)?;
        let size = usize::try_from(self.number(shape, 2)?)?;
        let count = usize::try_from(self.number(shape + 2, 2)?)?;
        Ok((0..count).map(move |index| start.saturating_add(index * size)))
    }
}
