//! A PostgreSQL server of a test's own, on loopback, in memory, run by a user of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::host::{User, bounded, bounded_as, can_switch_user, skip};
use crate::harness::sidecar::free_port;
use crate::harness::{Run, until};
use crate::recipes::pod::{Server, folder, found};

/// Debian's `nobody`: the server wants a user that has a name.
const OWNER: User = User { uid: 65534, gid: 65534, groups: &[] };
const PASSWORD: &str = "of-the-administrator";

pub struct Postgres {
    pub port: u16,
    psql: String,
    // Dropped in this order: the server first.
    _server: Server,
    dir: TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it, if this machine can.
    pub fn start(test: &str, psql: &str) -> Option<Self> {
        if !can_switch_user(test) {
            return None;
        }
        let Some(programs) = programs() else {
            skip(test, "there is no PostgreSQL server");
            return None;
        };
        let dir = folder();
        let data = dir.path().join("data");
        let password = dir.path().join("password");
        fs::write(&password, PASSWORD).expect("it is ours");
        let mut init = bounded_as(OWNER, &[&format!("{programs}/initdb")]);
        init.args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--no-locale"]);
        init.arg(format!("--pwfile={}", password.display())).arg("--pgdata").arg(&data);
        let run = Run::of(init.env("PATH", "/usr/bin:/bin").output().expect("it was found"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let port = free_port();
        let mut server = OWNER.runs(&format!("{programs}/postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            server.args(["-c", setting]);
        }
        server.stderr(Stdio::null());
        let server = Server::start(server, Signal::INT);
        let postgres = Self { port, psql: psql.to_owned(), _server: server, dir };
        until("the server answers", || postgres.asks("SELECT 1").code == Some(0));
        Some(postgres)
    }

    /// Has the administrator say something.
    #[track_caller]
    pub fn does(&self, sql: &str) {
        let run = self.asks(sql);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }

    fn asks(&self, sql: &str) -> Run {
        let mut psql = bounded(&[&self.psql]);
        psql.env_clear();
        psql.args(["--no-psqlrc", "--no-password", "--host=127.0.0.1", "--username=postgres"]);
        psql.arg(format!("--port={}", self.port)).args(["--command", sql]);
        Run::of(psql.env("PGPASSWORD", PASSWORD).output().expect("it was found"))
    }

    /// Speaks TLS from now on, and asks clients for certificates without a need for them.
    pub fn speaks_tls(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = self.dir.path().join("data").join(name);
            private(&file, text);
        }
        self.does("ALTER SYSTEM SET ssl = on");
        self.does("SELECT pg_reload_conf()");
        until("the server speaks TLS", || {
            self.asks("SELECT 1 / count(*) FROM pg_stat_ssl WHERE ssl").code == Some(0)
        });
    }
}

fn private(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(file, text).expect("it is ours");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    chown(file, Some(OWNER.uid), Some(OWNER.gid)).expect("root may");
}

/// Where the server's programs are: in a place of their own in Debian, by version.
fn programs() -> Option<String> {
    let debian = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let mut places: Vec<String> =
        debian.map(|version| version.path().join("bin").display().to_string()).collect();
    places.sort();
    let path = found("initdb").and_then(|path| path.strip_suffix("/initdb").map(str::to_owned));
    places.extend(path);
    places.into_iter().rfind(|place| Path::new(place).join("initdb").exists())
}
