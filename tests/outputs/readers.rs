//! The programs that read what is published: real ones, in a process each, bounded.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::values::{Values, assert_same};
use crate::harness::host::{bounded, skip};

/// The exit code that says that a reader is missing, of timeout(1) as of the scripts below.
const MISSING: i32 = 127;

/// A program that reads a file, given as its last argument, and prints every name and every value,
/// each with a NUL behind it.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    pub name: &'static str,
    program: &'static [&'static str],
    script: Script,
}

#[derive(Clone, Copy, Debug)]
enum Script {
    /// Text for the program, as one argument.
    Text(&'static str),
    /// A shell's, which has to be told the names.
    Shell,
}

const fn reader(
    name: &'static str,
    program: &'static [&'static str],
    text: &'static str,
) -> Reader {
    Reader { name, program, script: Script::Text(text) }
}

const fn shell(name: &'static str, program: &'static [&'static str]) -> Reader {
    Reader { name, program, script: Script::Shell }
}

/// POSIX shells, by `.`.
pub const SHELLS: [Reader; 3] =
    [shell("dash", &["dash"]), shell("bash", &["bash"]), shell("busybox sh", &["busybox", "sh"])];

/// systemd's own code for `EnvironmentFile=`: `load_env_file` and what a unit does with its result.
pub const SYSTEMD: Reader = reader(
    "systemd",
    &["python3", "-c"],
    r#"
import ctypes, glob, sys
found = glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so")
found += glob.glob("/usr/lib/systemd/libsystemd-shared-*.so")
if not found:
    sys.exit(127)
systemd = ctypes.CDLL(found[0])
read = ctypes.POINTER(ctypes.c_char_p)()
if systemd.load_env_file(None, sys.argv[1].encode(), ctypes.byref(read)) != 0:
    sys.exit("systemd can't read it")
systemd.strv_env_clean_with_callback(read, None, None)
n = 0
while read[n] is not None:
    sys.stdout.buffer.write(read[n].replace(b"=", b"\0", 1) + b"\0")
    n += 1
"#,
);

/// python-dotenv, as it is called without options.
pub const PYTHON: Reader = reader(
    "python-dotenv",
    &["python3", "-c"],
    r#"
import sys
try:
    from dotenv import dotenv_values
except ImportError:
    sys.exit(127)
for name, value in dotenv_values(sys.argv[1]).items():
    sys.stdout.buffer.write(f"{name}\0{value}\0".encode())
"#,
);

/// python-dotenv with `interpolate=False`.
pub const PYTHON_PLAIN: Reader = reader(
    "python-dotenv, plain",
    &["python3", "-c"],
    r#"
import sys
try:
    from dotenv import dotenv_values
except ImportError:
    sys.exit(127)
for name, value in dotenv_values(sys.argv[1], interpolate=False).items():
    sys.stdout.buffer.write(f"{name}\0{value}\0".encode())
"#,
);

/// The same of Debian, where another Python comes first in `PATH`.
pub const PYTHON_DEBIAN: Reader =
    Reader { name: "Debian's python-dotenv", program: &["/usr/bin/python3", "-c"], ..PYTHON };

/// node's own `util.parseEnv`.
pub const NODE_PARSE: Reader = reader(
    "node util.parseEnv",
    &["node", "-e"],
    r#"
const { parseEnv } = require("util");
if (!parseEnv) process.exit(127);
const read = parseEnv(require("fs").readFileSync(process.argv[1], "utf8"));
process.stdout.write(Object.entries(read).map(([k, v]) => `${k}\0${v}\0`).join(""));
"#,
);

/// node's own `process.loadEnvFile`, which is what `--env-file` does, too.
pub const NODE_LOAD: Reader = reader(
    "node process.loadEnvFile",
    &["node", "-e"],
    r#"
if (!process.loadEnvFile) process.exit(127);
const before = new Set(Object.keys(process.env));
process.loadEnvFile(process.argv[1]);
const read = Object.entries(process.env).filter(([k]) => !before.has(k));
process.stdout.write(read.map(([k, v]) => `${k}\0${v}\0`).join(""));
"#,
);

/// npm's dotenv, which Debian lacks: found by `NODE_PATH`, never fetched.
pub const NPM: Reader = reader(
    "npm dotenv",
    &["node", "-e"],
    r#"
let dotenv;
try { dotenv = require("dotenv"); } catch { process.exit(127); }
const read = dotenv.parse(require("fs").readFileSync(process.argv[1]));
process.stdout.write(Object.entries(read).map(([k, v]) => `${k}\0${v}\0`).join(""));
"#,
);

/// ruby's dotenv.
pub const RUBY: Reader = reader(
    "ruby dotenv",
    &["ruby", "-EUTF-8", "-e"],
    r#"
begin
  require "dotenv"
rescue LoadError
  exit 127
end
read = Dotenv.respond_to?(:parse) ? Dotenv.parse(ARGV[0]) : Dotenv::Environment.new(ARGV[0], false)
read.each { |name, value| print name, "\0", value, "\0" }
"#,
);

/// Python's json.
pub const JSON: Reader = reader(
    "python json",
    &["python3", "-c"],
    r#"
import json, sys
for identity, values in json.load(open(sys.argv[1], encoding="utf-8")).items():
    for key, value in values.items():
        assert isinstance(value, str), key
        sys.stdout.buffer.write(f"{identity}\x01{key}\0{value}\0".encode())
"#,
);

/// PyYAML's own parser, which speaks YAML 1.1.
pub const PYYAML: Reader = reader(
    "PyYAML",
    &["python3", "-c"],
    r#"
import sys
try:
    import yaml
except ImportError:
    sys.exit(127)
for identity, values in yaml.load(open(sys.argv[1], "rb"), yaml.SafeLoader).items():
    for key, value in values.items():
        assert all(isinstance(text, str) for text in (identity, key, value)), key
        sys.stdout.buffer.write(f"{identity}\x01{key}\0{value}\0".encode())
"#,
);

/// libyaml by PyYAML: YAML 1.1, too, and what the parsers of Go, Ruby and .NET grew from.
pub const LIBYAML: Reader = reader(
    "libyaml",
    &["python3", "-c"],
    r#"
import sys
try:
    from yaml import CSafeLoader, load
except ImportError:
    sys.exit(127)
for identity, values in load(open(sys.argv[1], "rb"), CSafeLoader).items():
    for key, value in values.items():
        assert all(isinstance(text, str) for text in (identity, key, value)), key
        sys.stdout.buffer.write(f"{identity}\x01{key}\0{value}\0".encode())
"#,
);

/// javaproperties of Debian's Python.
pub const PROPERTIES: Reader = reader(
    "python javaproperties",
    &["/usr/bin/python3", "-c"],
    r#"
import sys
try:
    import javaproperties
except ImportError:
    sys.exit(127)
for name, value in javaproperties.load(open(sys.argv[1], "rb")).items():
    sys.stdout.buffer.write(f"{name}\0{value}\0".encode())
"#,
);

impl Reader {
    /// What it reads from `file`, if it can.
    pub fn attempt(self, file: &Path, names: &Values) -> Option<Values> {
        let dir = tempfile::tempdir().expect("a directory");
        let output = self.command(dir.path(), names).arg(file).output();
        let output = output.expect("timeout(1) is there");
        output.status.success().then(|| pairs(self.name, &output.stdout))
    }

    /// What it reads from `file`; nothing, with a line, where the machine has no such reader.
    #[track_caller]
    pub fn read(self, test: &str, file: &Path, names: &Values) -> Option<Values> {
        let dir = tempfile::tempdir().expect("a directory");
        // Whatever a value makes a reader run leaves its trace here.
        let work = dir.path().join("work");
        fs::create_dir(&work).expect("it is new");
        let output = self.command(dir.path(), names).arg(file).current_dir(&work).output();
        let output = output.expect("timeout(1) is there");
        if output.status.code() == Some(MISSING) {
            skip(test, &format!("there is no {}", self.name));
            return None;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{said}", self.name, output.status);
        let traces = fs::read_dir(&work).expect("it is there").count();
        assert_eq!(traces, 0, "{} has run what a value says", self.name);
        Some(pairs(self.name, &output.stdout))
    }

    /// The program and its script, which may need a place.
    fn command(self, dir: &Path, names: &Values) -> Command {
        let mut command = bounded(self.program);
        match self.script {
            Script::Text(text) => command.arg(text),
            Script::Shell => {
                let script = dir.join("script");
                fs::write(&script, printing(names)).expect("it is new");
                command.arg(script)
            }
        };
        command
    }

    /// Asserts that it reads all of this from `file` and nothing else; false if there is no such
    /// reader.
    #[track_caller]
    pub fn reads(self, test: &str, file: &Path, expected: &Values) -> bool {
        let Some(read) = self.read(test, file, expected) else {
            return false;
        };
        assert_same(self.name, &read, expected);
        true
    }
}

/// A script that reads the file, and prints variables with what the shell has built in.
fn printing(names: &Values) -> String {
    let mut script = "set -eu\n. \"$1\"\n".to_owned();
    for name in names.keys() {
        script.push_str(&format!("printf '%s\\0%s\\0' {name} \"${name}\"\n"));
    }
    script
}

/// Names and values, in turn, each with a NUL behind it.
#[track_caller]
pub fn pairs(reader: &str, bytes: &[u8]) -> Values {
    let text = str::from_utf8(bytes);
    assert!(text.is_ok(), "{reader} prints no UTF-8: {text:?}");
    let text = text.unwrap_or_default();
    let mut words = text.split_terminator('\0').map(str::to_owned);
    let mut read = Values::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        assert!(read.insert(name.clone(), value).is_none(), "{reader} has {name} twice");
    }
    read
}
