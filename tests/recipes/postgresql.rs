//! psql, a PostgreSQL server and what is published: the password file, the service file, the client
//! key, each by the recipe.

mod server;

use std::process::Command;

use rcgen::CertifiedKey;
use serde_json::{Value, json};

use self::server::Postgres;
use super::blocks;
use super::pod::{APP, pod, program, shared_with_the_app, template};
use crate::harness::host::{bounded_as, mode};
use crate::harness::sidecar::Sidecar;
use crate::harness::{Run, Scene, until};

/// What libpq's files have to carry, and what a user may well be called.
const USER: &str = r"an:n\a";
const PASSWORDS: [&str; 2] = [r"p:w\d*", r"\:other# "];

fn secret(server: &Postgres, password: &str) -> Value {
    json!({
        "host": "127.0.0.1", "port": server.port.to_string(), "dbname": "postgres",
        "username": USER, "password": password,
    })
}

/// A server that knows the user, and the path of psql; or a line.
fn server(test: &str) -> Option<(Postgres, String)> {
    let psql = program(test, "psql")?;
    let server = Postgres::start(test, &psql)?;
    server.does(&format!(r#"CREATE ROLE "{USER}" LOGIN PASSWORD '{}'"#, PASSWORDS[0]));
    Some((server, psql))
}

/// A pod by the recipe, whose agent runs as the app's user.
fn shop(server: &Postgres) -> Scene {
    let scene = pod("postgresql/agent.yaml", &[("shop-db", secret(server, PASSWORDS[0]))]);
    template(&scene, "postgresql/.pgpass.j2");
    template(&scene, "postgresql/pg_service.conf.j2");
    shared_with_the_app(&scene);
    scene
}

fn sidecar(scene: &Scene) -> Sidecar {
    let sidecar = Sidecar::spawn(scene.agent_as(APP, &["sidecar"]));
    sidecar.until_logged("published\"");
    sidecar
}

/// psql as the app, with the app's variables.
fn psql(scene: &Scene, psql: &str, recipe: &str) -> Command {
    let mut command = bounded_as(APP, &[psql]);
    for (name, value) in blocks::env(recipe) {
        let value = value.replace(blocks::MOUNT, &scene.dir.path().display().to_string());
        command.env(name, value);
    }
    command.args(["--no-psqlrc", "--no-password", "--tuples-only", "--no-align"]);
    command.args(["--command", "SELECT current_user"]).env("PGCONNECT_TIMEOUT", "20");
    command
}

fn output_of(command: &mut Command) -> Run {
    Run::of(command.output().expect("it was found before"))
}

#[test]
fn psql_connects_by_the_published_files_and_again_after_a_rotation() {
    let test = "psql_connects_by_the_published_files_and_again_after_a_rotation";
    let Some((server, path)) = server(test) else {
        return;
    };
    let scene = shop(&server);
    let agent = sidecar(&scene);
    let run = output_of(&mut psql(&scene, &path, "postgresql/app.yaml"));
    assert_eq!((run.stdout.trim_end(), run.stderr.as_str()), (USER, ""));

    server.does(&format!(r#"ALTER ROLE "{USER}" PASSWORD '{}'"#, PASSWORDS[1]));
    let refused = output_of(&mut psql(&scene, &path, "postgresql/app.yaml"));
    assert!(refused.stderr.contains("password authentication failed"), "{}", refused.stderr);
    scene.vault.set_data("shop-db", secret(&server, PASSWORDS[1]));
    until("psql connects with the new password", || {
        output_of(&mut psql(&scene, &path, "postgresql/app.yaml")).code == Some(0)
    });
    agent.stop();
}

#[test]
fn a_password_file_that_the_group_can_read_is_ignored() {
    let Some((server, path)) = server("a_password_file_that_the_group_can_read_is_ignored") else {
        return;
    };
    let mut scene = shop(&server);
    scene.unset("SEGURA_FILE_RULES");
    let agent = sidecar(&scene);
    assert_eq!(mode(scene.path(".pgpass")), 0o440);
    let run = output_of(&mut psql(&scene, &path, "postgresql/app.yaml"));
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    // The page quotes it.
    let file = scene.path(".pgpass").display().to_string();
    let warning = run.stderr.lines().find(|line| line.starts_with("WARNING"));
    let warning = warning.expect("a warning").replace(&file, "…");
    assert!(blocks::page("postgresql").contains(&warning), "{warning}");
    agent.stop();
}

#[test]
fn psql_accepts_a_client_key_that_only_its_user_can_read() {
    let Some((server, path)) = server("psql_accepts_a_client_key_that_only_its_user_can_read")
    else {
        return;
    };
    let made = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        rcgen::generate_simple_self_signed(names).expect("a certificate")
    };
    let CertifiedKey { cert, signing_key } = made(&["127.0.0.1"]);
    server.speaks_tls(&cert.pem(), &signing_key.serialize_pem());
    let client = made(&["ada"]);
    let tls = json!({
        "ca.crt": cert.pem(), "tls.crt": client.cert.pem(),
        "tls.key": client.signing_key.serialize_pem(),
    });
    for (recipe_rules, code) in [(true, 0), (false, 2)] {
        let secrets = [("shop-db", secret(&server, PASSWORDS[0])), ("shop-db-tls", tls.clone())];
        let mut scene = pod("postgresql/agent-tls.yaml", &secrets);
        if !recipe_rules {
            scene.unset("SEGURA_FILE_RULES");
        }
        shared_with_the_app(&scene);
        let agent = sidecar(&scene);
        let mut psql = psql(&scene, &path, "postgresql/app-tls.yaml");
        psql.env("PGHOST", "127.0.0.1").env("PGPORT", server.port.to_string());
        psql.env("PGUSER", USER).env("PGDATABASE", "postgres").env("PGPASSWORD", PASSWORDS[0]);
        let run = output_of(&mut psql);
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        let refused = run.stderr.contains("has group or world access");
        assert_eq!(refused, !recipe_rules, "{}", run.stderr);
        agent.stop();
    }
}
