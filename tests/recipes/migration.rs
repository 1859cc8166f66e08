//! What the page on migration says of settings and templates, by the agent itself.

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::json;

use super::blocks;
use super::pod::{pod, template};
use crate::dev_vault::requests::PROVISION;
use crate::harness::host::mode;

#[test]
fn secrets_that_external_secrets_reads_are_published() {
    let data = json!([{ "password": "one" }, { "password": "two", "port": 5432 }]);
    let scene = pod("migration/agent-external-secrets.yaml", &[("shop-db", data)]);
    let reported = blocks::env("migration/agent-external-secrets.yaml");
    assert!(reported.contains(&("SEGURA_SOURCE".to_owned(), "application".to_owned())));
    scene.init().exits(0);
    assert_eq!(scene.read("shop-db/password"), "two");
    assert_eq!(scene.read("shop-db/1/password"), "one");
    assert_eq!(scene.read("shop-db/port"), "5432");
    assert_eq!(scene.count(PROVISION), 0, "nothing is provisioned");
}

#[test]
fn a_template_of_vault_agent_is_translated_to_jinja() {
    let before = blocks::text("migration/shop.conf.tmpl");
    assert!(before.contains("toUpper") && before.contains("base64Encode"));
    let secrets = [
        ("shop-db", json!({ "username": "ada", "password": "p@:w" })),
        ("shop", json!({ "api_key": "k", "pin": "1" })),
    ];
    let mut scene = pod("migration/agent-conjur.yaml", &secrets);
    scene.unset("SEGURA_FILE_RULES").set("SEGURA_IDENTITY", "shop-db,shop");
    template(&scene, "migration/shop.conf.j2");
    scene.init().exits(0);
    let expected = "postgresql://ada:p%40%3Aw@db/shop\nAPI_KEY=aw==\nPIN=MQ==\n";
    assert_eq!(scene.read("shop.conf"), expected);
}

#[test]
fn a_secret_group_of_conjur_becomes_a_template() {
    let password = "it's: #\"\\ x";
    let data = json!({ "username": "ada", "password": password });
    let scene = pod("migration/agent-conjur.yaml", &[("shop-admin", data)]);
    template(&scene, "migration/credentials.yaml.j2");
    scene.init().exits(0);
    let text = scene.read("credentials.yaml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let field = |name: &str| documents[0][name].as_str();
    assert_eq!((field("admin-username"), field("admin-password")), (Some("ada"), Some(password)));
    assert_eq!(mode(scene.path("credentials.yaml")), 0o640);
}
