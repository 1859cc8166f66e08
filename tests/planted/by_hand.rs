//! Documents that a person gives to `secret put` and `credential put`: pipes are read, within a
//! bound, and Ctrl-C ends a wait.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};
use rustix::process::Signal;

use super::limited;
use crate::harness::{Run, Scene, memory_dir, send, side_by_side, until};

const SECRET: &str = "identity: cart/db\ndata: {password: from-a-pipe}\n";
const CREDENTIAL: &str = "identifier: web\nusername: app\nhostname: db1\nip: 10.0.0.1\ntype: Local User\ncontent: from-a-pipe\n";
/// Each command that takes documents, and a document for it.
const COMMANDS: [(&str, &str); 2] = [("secret", SECRET), ("credential", CREDENTIAL)];

fn put(scene: &Scene, command: &str, file: &str, stdin: Stdio) -> Child {
    let mut put = limited(&scene.agent(&[command, "put", file, "--dry-run"]));
    put.stdin(stdin).spawn().unwrap()
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Bits::from_raw_mode(0o600), 0).unwrap();
}

/// Whether a child is the agent, no longer the shell before it, and sleeps.
fn is_waiting(child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.contains("(segura-agent) S")
}

/// Asserts that a document was read whole and is sound.
#[track_caller]
fn assert_valid(run: &Run) {
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.starts_with("valid "), "{run:?}");
}

#[test]
fn documents_are_read_from_pipes() {
    let scene = Scene::new();
    let folder = memory_dir();
    for (command, document) in COMMANDS {
        for file in ["-", "/dev/stdin", "/proc/self/fd/0"] {
            let mut child = put(&scene, command, file, Stdio::piped());
            child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
            assert_valid(&Run::wait(child));
        }
        let path = folder.path().join(command);
        fifo(&path);
        let child = put(&scene, command, path.to_str().unwrap(), Stdio::null());
        fs::write(&path, document).unwrap();
        assert_valid(&Run::wait(child));
    }
    let (value, document) = (folder.path().join("value"), folder.path().join("document"));
    fifo(&value);
    fs::write(&document, "identity: a\ndata: {k: {from_file: value}}\n").unwrap();
    let child = put(&scene, "secret", document.to_str().unwrap(), Stdio::null());
    fs::write(&value, "from a pipe").unwrap();
    assert_valid(&Run::wait(child));
}

#[test]
fn an_endless_document_is_refused_at_its_bound() {
    let scene = Scene::new();
    for (command, _) in COMMANDS {
        let child = put(&scene, command, "/dev/zero", Stdio::null());
        let run = Run::wait(child);
        assert_eq!(run.code, Some(78), "{run:?}");
        assert!(run.error().contains("longer than 4 MiB"), "{run:?}");
        let mut child = put(&scene, command, "-", Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || while stdin.write_all(&[b'#'; 4096]).is_ok() {});
        let run = Run::wait(child);
        assert_eq!(run.code, Some(78), "{run:?}");
        assert!(run.error().contains("longer than 4 MiB"), "{run:?}");
        writer.join().unwrap();
    }
}

#[test]
fn ctrl_c_ends_the_wait_for_a_document() {
    let scene = Scene::new();
    let folder = memory_dir();
    let path = folder.path().join("fifo");
    fifo(&path);
    let cases = COMMANDS.into_iter().flat_map(|(command, _)| [(command, "-"), (command, "fifo")]);
    side_by_side(cases, |(command, file)| {
        let path = if file == "fifo" { path.to_str().unwrap() } else { file };
        let mut child = put(&scene, command, path, Stdio::piped());
        until("it waits for the document", || is_waiting(&child));
        send(&child, Signal::INT);
        until("it ends", || !matches!(child.try_wait(), Ok(None)));
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()), "{command} {file}");
    });
}
