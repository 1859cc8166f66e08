//! Java reads what is published: by itself, and by Spring's rules.

use std::fs;
use std::process::{Command, Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::pod::{APP, at, folder, pod, program, shared_with_the_app};
use crate::harness::Run;
use crate::harness::host::{User, bounded, bounded_as, can_switch_user};
use crate::harness::sidecar::Sidecar;

/// Spring's rules for `configtree:`, as its documentation and its ConfigTreePropertySource have them:
/// every file below the directory, links followed, but for paths with a part that starts with two
/// dots; parts joined by dots; one final newline is dropped, if the value has no other.
const CONFIG_TREE: &str = r#"
import java.nio.file.*;
import java.util.*;

class ConfigTree {
    public static void main(String[] args) throws Exception {
        Path root = Path.of(args[0]);
        var properties = new TreeMap<String, String>();
        try (var paths = Files.find(root, 100, (path, attributes) -> attributes.isRegularFile(), FileVisitOption.FOLLOW_LINKS)) {
            for (Path path : (Iterable<Path>) paths::iterator) {
                var name = new StringJoiner(".");
                boolean hidden = false;
                for (Path part : root.relativize(path)) {
                    hidden |= part.toString().startsWith("..");
                    name.add(part.toString());
                }
                if (hidden) continue;
                String value = Files.readString(path);
                if (value.indexOf('\n') == value.length() - 1) value = value.stripTrailing();
                properties.put(name.toString(), value);
            }
        }
        properties.forEach((name, value) -> {
            if (!name.equals(".segura.json")) System.out.println(name + "=" + value);
        });
    }
}
"#;

/// An app of the recipe's class: prints each password as UTF-8.
const APP_OF_SECRETS: &str = r#"
class App {
    public static void main(String[] args) throws Exception {
        var out = new java.io.PrintStream(System.out, true, "UTF-8");
        Secrets.follow(entries -> out.print(entries.getProperty("shop-db.password") + "\n"));
    }
}

public final class Secrets {"#;

/// The path of a Java that compiles what it runs: not every Java can.
fn java(test: &str) -> Option<String> {
    program(test, "javac").and_then(|_| program(test, "java"))
}

#[test]
fn spring_reads_the_tree_by_its_rules() {
    let test = "spring_reads_the_tree_by_its_rules";
    let Some(java) = java(test) else {
        return;
    };
    if !can_switch_user(test) {
        return;
    }
    let several = json!([{ "username": "ada", "password": "one" }, { "password": "two" }]);
    let secrets = [("shop-db", several), ("billing/db", json!({ "password": "three" }))];
    let scene = pod("spring/agent-tree.yaml", &secrets);
    shared_with_the_app(&scene);
    let run = scene.run_as(APP, &["init"]);
    run.exits(0);
    let dir = folder();
    let program = dir.path().join("ConfigTree.java");
    fs::write(&program, CONFIG_TREE).unwrap();
    // Not the agent's user, but one of its group, which walks through all of the directory, too.
    let other = User { uid: 10002, gid: 10002, groups: &[10001] };
    let mut command = bounded_as(other, &[&java]);
    command.arg(&program).arg(scene.dir.path());
    let run = Run::of(command.output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let expected = "billing.db.password=three\nshop-db.1.password=one\nshop-db.1.username=ada\n\
        shop-db.2.password=two\nshop-db.password=two\nshop-db.username=ada\n";
    assert_eq!(run.stdout, expected);
}

#[test]
fn java_reads_the_properties_and_is_notified_of_a_change() {
    let Some(java) = java("java_reads_the_properties_and_is_notified_of_a_change") else {
        return;
    };
    let secret = |password: &str| json!({ "username": "ada", "password": password });
    let scene = pod("spring/agent.yaml", &[("shop-db", secret("first é=#!"))]);
    let agent = scene.renewing_sidecar();
    let dir = folder();
    let program = dir.path().join("App.java");
    // Java runs the first class of a file.
    let class = at(&scene, "spring/Secrets.java");
    fs::write(&program, class.replacen("public final class Secrets {", APP_OF_SECRETS, 1)).unwrap();
    let mut command = Command::new(java);
    command.arg(program).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let app = Sidecar::spawn(command);
    app.until_printed("first é=#!\n");
    scene.vault.set_data("shop-db", secret("second"));
    app.until_printed("second\n");
    scene.vault.set_data("shop-db", secret("third"));
    app.until_printed("third\n");
    app.kill();
    agent.stop();
}

#[test]
fn a_keystore_is_opened_by_java() {
    let test = "a_keystore_is_opened_by_java";
    let Some(keytool) = program(test, "keytool") else {
        return;
    };
    let dir = folder();
    let made = dir.path().join("made.p12").display().to_string();
    let words =
        "-genkeypair -keyalg EC -alias web -dname CN=web -storetype PKCS12 -storepass changeit";
    let mut command = bounded(&[&keytool]);
    command.args(words.split(' ')).args(["-keystore", &made]);
    let run = Run::of(command.output().unwrap());
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let held = STANDARD.encode(fs::read(&made).unwrap());
    let scene = pod("spring/agent-keystore.yaml", &[("web-tls", json!({ "keystore.p12": held }))]);
    scene.init().exits(0);
    let published = scene.path("web-tls/keystore.p12");
    let mut command = bounded(&[&keytool, "-list", "-storepass", "changeit", "-keystore"]);
    let run = Run::of(command.arg(published).output().unwrap());
    assert!(run.code == Some(0) && run.stdout.contains("PrivateKeyEntry"), "{}", run.stdout);
}
