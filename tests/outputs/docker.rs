//! The dialect `docker`: `--env-file` of docker's and podman's real clients, and a port of docker's
//! rules for machines that have neither.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use segura_agent::render::env::Dialect;
use serde_json::Value;
use tempfile::TempDir;

use super::values::{Values, assert_same, env_scene, is_refused, taken, values};
use crate::harness::host::{bounded, is_root, skip};
use crate::harness::until;

/// What Go's `bufio.Scanner` holds: a line with its newline.
const LONGEST_LINE: usize = 64 * 1024;

fn is_beyond(value: &str) -> bool {
    value.contains(['\n', '\r'])
}

/// What the dialect takes, with the longest line that it takes.
fn batch() -> Values {
    let mut values = taken(Dialect::Docker, values(5_000), is_beyond);
    assert!(values.len() > 2_000, "only {} are left", values.len());
    values.insert("LONG".to_owned(), "x".repeat(LONGEST_LINE - "LONG=\n".len()));
    values
}

/// Names and values as `K=V`.
fn split<'a>(lines: impl Iterator<Item = &'a str>) -> Values {
    let pair = |line: &'a str| line.split_once('=').expect("an assignment");
    lines.map(pair).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What docker's `kvfile` makes of an env file.
fn kvfile(file: &str) -> Result<Values, String> {
    let mut read = Values::new();
    for line in file.split_inclusive('\n') {
        if line.len() > LONGEST_LINE {
            return Err("a line is too long".to_owned());
        }
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Without `=` it would be taken from the client's own environment.
        let (name, value) = line.split_once('=').ok_or_else(|| format!("no value: {line}"))?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("no name: {line}"));
        }
        read.insert(name.to_owned(), value.to_owned());
    }
    Ok(read)
}

/// What docker's client asks its daemon for, when it is given an env file.
fn docker(file: &Path) -> Option<Values> {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = TcpListener::bind("127.0.0.1:0").expect("a port");
    daemon.set_nonblocking(true).expect("it is a socket");
    let host = format!("tcp://{}", daemon.local_addr().expect("it has one"));
    let mut client = bounded(&["docker", "--host", &host, "create", "--env-file"]);
    client.arg(file).arg("image").env("DOCKER_CONFIG", dir.path()).env_remove("DOCKER_CONTEXT");
    let client =
        client.env_remove("DOCKER_TLS_VERIFY").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().expect("timeout(1) is there");
    let mut asked = None;
    until("docker ends", || {
        while let Ok((connection, _)) = daemon.accept() {
            let wanted = answer(connection);
            asked = asked.take().or(wanted);
        }
        client.try_wait().expect("it is ours").is_some()
    });
    let output = client.wait_with_output().expect("it has ended");
    if output.status.code() == Some(127) {
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let asked: Value = serde_json::from_slice(&asked.expect("a container")).expect("JSON");
    let lines = asked.get("Env").and_then(Value::as_array).expect("a list").iter();
    Some(split(lines.map(|line| line.as_str().expect("text"))))
}

/// Answers one request as a daemon does; what a container is to be made of, if it is that.
fn answer(mut connection: TcpStream) -> Option<Vec<u8>> {
    connection.set_nonblocking(false).expect("it is a socket");
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a socket");
    let mut reader = BufReader::new(connection.try_clone().expect("it is a socket"));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let at = head.len();
        if reader.read_line(&mut head).expect("a request") <= 2 {
            break;
        }
        let line = head.split_at(at).1.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    let creates = head.lines().next().is_some_and(|line| line.contains("/containers/create"));
    let text = if creates { r#"{"Id":"made","Warnings":[]}"# } else { "" };
    let head = "Api-Version: 1.41\r\nContent-Type: application/json\r\nConnection: close";
    let length = text.len();
    let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {length}\r\n\r\n{text}");
    connection.write_all(answer.as_bytes()).ok();
    creates.then_some(body)
}

/// Podman with storage of its own, and an image of busybox alone.
struct Podman {
    dir: TempDir,
}

impl Podman {
    fn new() -> Result<Self, String> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let context = dir.path().join("context");
        fs::create_dir(&context).expect("it is new");
        fs::copy("/bin/busybox", context.join("busybox")).map_err(|_| "there is no busybox")?;
        let containerfile = "FROM scratch\nCOPY busybox /busybox\n";
        fs::write(context.join("Containerfile"), containerfile).expect("it is new");
        let settings = "[engine]\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\n\
                        [containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n";
        fs::write(dir.path().join("containers.conf"), settings).expect("it is new");
        let podman = Self { dir };
        let mut build = podman.command("build");
        build.args(["--tag", "localhost/busybox-alone"]).arg(&context);
        let built = build.output().expect("timeout(1) is there");
        match built.status.code() {
            Some(0) => Ok(podman),
            Some(127) => Err("there is no podman".to_owned()),
            Some(_) | None => Err(String::from_utf8_lossy(&built.stderr).into_owned()),
        }
    }

    fn command(&self, verb: &str) -> Command {
        let place = |name: &str| self.dir.path().join(name);
        let mut podman = bounded(&["podman"]);
        podman.env("CONTAINERS_CONF", place("containers.conf"));
        podman.arg("--root").arg(place("storage")).arg("--runroot").arg(place("run"));
        podman.args(["--storage-driver", "vfs", verb]);
        podman
    }

    /// The environment of a container's process that is given an env file.
    fn run(&self, file: &Path) -> Output {
        let mut run = self.command("run");
        run.args(["--rm", "--network=none", "--env-file"]).arg(file);
        run.args(["localhost/busybox-alone", "/busybox", "cat", "/proc/self/environ"]);
        run.output().expect("timeout(1) is there")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.command("rm").args(["--all", "--force"]).output().ok();
        self.command("rmi").args(["--all", "--force"]).output().ok();
    }
}

#[test]
fn every_value_of_one_line_is_read_back_by_dockers_rules() {
    let values = batch();
    let scene = env_scene(Dialect::Docker, &values);
    assert_same("kvfile", &kvfile(&scene.read("secrets.env")).unwrap(), &values);
}

#[test]
fn every_value_of_one_line_is_read_back_by_dockers_client() {
    let values = batch();
    let scene = env_scene(Dialect::Docker, &values);
    match docker(&scene.path("secrets.env")) {
        Some(read) => assert_same("docker", &read, &values),
        None => skip("docker --env-file", "there is no docker"),
    }
}

#[test]
fn every_value_of_one_line_is_in_the_environment_of_a_podman_container() {
    let test = "podman --env-file";
    if !is_root() {
        return skip(test, "only root runs containers here");
    }
    let podman = match Podman::new() {
        Ok(podman) => podman,
        Err(why) => return skip(test, why.lines().last().unwrap_or_default()),
    };
    let values = batch();
    let scene = env_scene(Dialect::Docker, &values);
    let output = podman.run(&scene.path("secrets.env"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut read = split(text.split_terminator('\0'));
    read.retain(|name, _| values.contains_key(name) || name.starts_with('V'));
    assert_same("podman", &read, &values);
}

#[test]
fn values_that_would_end_or_fill_a_line_are_refused_by_name() {
    is_refused(Dialect::Docker, "a\nb", "line break");
    is_refused(Dialect::Docker, "a\r\nb", "line break");
    is_refused(Dialect::Docker, "a\r", "line break");
    is_refused(Dialect::Docker, &"x".repeat(LONGEST_LINE), "64 KiB");
}
