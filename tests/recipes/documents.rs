//! What all recipes set alike, and documents for readers that a machine of tests does not have.

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};

use super::blocks;
use super::pod::{TEMPLATES, pod, template};

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
fn the_connection_string_is_read_back_from_the_json_with_every_password() {
    for password in ["plain", "it's", "''", "'", r#"a"b\c"#, "x;Host=elsewhere", " = ", "é\n"] {
        let data = json!({ "host": "db", "username": "ada", "password": password });
        let scene = pod("dotnet/agent.yaml", &[("shop-db", data)]);
        template(&scene, "dotnet/appsettings.secrets.json.j2");
        scene.init().exits(0);
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
fn a_file_for_each_key_has_the_name_that_dotnet_wants() {
    let data = json!({ "ConnectionStrings__Shop": "Host=db" });
    let scene = pod("dotnet/agent-files.yaml", &[("shop-settings", data)]);
    scene.init().exits(0);
    let names: Vec<String> = scene.published().into_keys().collect();
    assert_eq!(names, ["shop-settings/ConnectionStrings__Shop"]);
}

#[test]
fn every_recipe_says_that_it_reads_stored_secrets() {
    let settings = blocks::blocks().into_iter().map(|block| block.id);
    let settings: Vec<String> = settings.filter(|id| id.contains("/agent")).collect();
    assert!(settings.len() >= 15, "{settings:?}");
    for id in settings {
        let source = ("SEGURA_SOURCE".to_owned(), "application".to_owned());
        assert!(blocks::env(&id).contains(&source), "{id} would provision");
    }
}

#[test]
fn provisioned_values_win_over_stored_ones() {
    let data = json!({ "host": "db", "username": "ada", "password": "stands" });
    let mut scene = pod("go/agent.yaml", &[("shop-db", data)]);
    scene.set("SEGURA_SOURCE", "provision");
    scene.init().exits(0);
    let document: Value = serde_json::from_str(&scene.read("secrets.json")).expect("it is JSON");
    let secret = &document["shop-db"];
    assert_eq!(secret["host"], "db");
    assert!(secret["username"] != "ada" && secret["password"] != "stands", "an account's");
}

#[test]
fn templates_are_mounted_at_the_path_of_the_recipes() {
    let text = blocks::text("README/templates.yaml");
    let documents = Yaml::load_from_str(&text).expect("it is YAML");
    let mount = &documents[0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"].as_str(), Some(TEMPLATES));
    assert_eq!(mount["name"].as_str(), documents[0]["volumes"][0]["name"].as_str());
    let shell = blocks::text("README/templates.sh");
    let files: Vec<&str> = shell.split("--from-file=").skip(1).map(str::trim).collect();
    let page = blocks::blocks().into_iter().map(|block| block.id);
    let templates = page.filter(|id| id.starts_with("postgresql/") && id.ends_with(".j2"));
    assert_eq!(templates.map(|id| id.replace("postgresql/", "")).collect::<Vec<_>>(), files);
    for block in blocks::blocks().iter().filter(|block| block.text.contains("SEGURA_TEMPLATE_DIR"))
    {
        let looks = ("SEGURA_TEMPLATE_DIR".to_owned(), TEMPLATES.to_owned());
        assert!(blocks::env(&block.id).contains(&looks), "{}", block.place);
    }
}
