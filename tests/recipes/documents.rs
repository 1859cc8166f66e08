//! Documents for readers that a machine of tests does not have.

use serde_json::{Value, json};

use super::pod::{pod, template};

/// The values of a connection string, as `DbConnectionStringBuilder` documents them: what is in
/// quotes ends at a quote that is not doubled.
fn connection_string(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=').expect("a name");
        let (value, behind) = match behind.strip_prefix('\'') {
            None => behind.split_once(';').unwrap_or((behind, "")),
            Some(quoted) => {
                let plain = quoted.replace("''", "\u{0}\u{0}");
                let end = plain.find('\'').expect("an end");
                let (value, behind) = quoted.split_at(end);
                (value, behind.trim_start_matches(['\'', ';']))
            }
        };
        pairs.push((name.to_owned(), value.replace("''", "'")));
        rest = behind;
    }
    pairs
}

#[test]
fn the_connection_string_is_read_back_from_the_json_whatever_the_password() {
    for password in ["plain", "it's", "''", "'", r#"a"b\c"#, "x;Host=elsewhere", " = ", "é\n"] {
        let data = json!({ "host": "db", "username": "ada", "password": password });
        let scene = pod("dotnet/agent.yaml", &[("shop-db", data)]);
        template(&scene, "dotnet/appsettings.secrets.json.j2");
        scene.init().ended(0);
        let document: Value =
            serde_json::from_str(&scene.read("appsettings.secrets.json")).expect("it is JSON");
        let text = document["ConnectionStrings"]["Shop"].as_str().expect("a string");
        let read = connection_string(text);
        let expected =
            [("Host", "db"), ("Database", "shop"), ("Username", "ada"), ("Password", password)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, expected, "{text}");
    }
}

#[test]
fn a_file_for_each_key_has_the_name_that_net_wants() {
    let data = json!({ "ConnectionStrings__Shop": "Host=db" });
    let scene = pod("dotnet/agent-files.yaml", &[("shop-settings", data)]);
    scene.init().ended(0);
    let names: Vec<String> = scene.published().into_keys().collect();
    assert_eq!(names, ["shop-settings/ConnectionStrings__Shop"]);
}
