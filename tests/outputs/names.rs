//! Names: of variables and of files, who may have which, and that equal secrets are equal bytes.

use serde_json::json;

use super::readers::SHELLS;
use super::values::{IDENTITY, Values, scene};
use crate::harness::{SEED, Scene};

const ALL: &str = "files,env,json,yaml,properties";

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A pod that asks for `outputs` and `cart/db`.
fn two() -> Scene {
    let mut scene = scene(&values(&[("user-name", "ann"), ("1st", "it's")]));
    scene.vault.set_data("cart/db", json!({ "user-name": "bob", "é.x": "" }));
    scene.set("SEGURA_SOURCE", "application").set("SEGURA_IDENTITY", "outputs,cart/db");
    scene.set("SEGURA_OUTPUT", "env");
    scene
}

fn shells_read(scene: &Scene, expected: &[(&str, &str)]) {
    for shell in SHELLS {
        shell.reads("names of variables", &scene.path("secrets.env"), &values(expected));
    }
    let lines = scene.read("secrets.env").lines().count();
    assert_eq!(lines, expected.len());
}

#[test]
fn one_identity_gives_variables_by_key() {
    let mut scene = scene(&values(&[("user-name", "ann"), ("1st", "it's")]));
    scene.set("SEGURA_OUTPUT", "env").init().exits(0);
    shells_read(&scene, &[("_1st", "it's"), ("user_name", "ann")]);
}

#[test]
fn several_identities_give_variables_by_identity_and_key() {
    let scene = two();
    scene.init().exits(0);
    let expected = [
        ("cart_db_user_name", "bob"),
        ("cart_db___x", ""),
        ("outputs_1st", "it's"),
        ("outputs_user_name", "ann"),
    ];
    shells_read(&scene, &expected);
}

#[test]
fn the_pod_chooses_pattern_and_case() {
    let mut scene = two();
    scene.set("SEGURA_ENV_NAME", "9{key}_of_{identity}").set("SEGURA_ENV_CASE", "upper");
    scene.init().exits(0);
    let expected = [
        ("_9USER_NAME_OF_CART_DB", "bob"),
        ("_9__X_OF_CART_DB", ""),
        ("_91ST_OF_OUTPUTS", "it's"),
        ("_9USER_NAME_OF_OUTPUTS", "ann"),
    ];
    shells_read(&scene, &expected);
}

#[test]
fn two_keys_that_become_one_variable_are_refused_and_both_are_named() {
    let mut scene = two();
    let run = scene.set("SEGURA_ENV_NAME", "{key}").init();
    run.exits(78);
    for part in ["\"user-name\" of cart/db", "\"user-name\" of outputs", "user_name"] {
        assert!(run.error().contains(part), "{}", run.error());
    }
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_ENV_NAME")), "{}", run.stderr);
    assert!(scene.published().is_empty());
}

#[test]
fn two_keys_that_become_one_property_are_refused_and_both_are_named() {
    let mut scene = scene(&values(&[("b.c", "1")]));
    scene.vault.set_data("outputs.b", json!({ "c": "2" }));
    scene.set("SEGURA_SOURCE", "application").set("SEGURA_IDENTITY", "outputs,outputs.b");
    let run = scene.set("SEGURA_OUTPUT", "properties").init();
    run.exits(78);
    for part in ["\"b.c\" of outputs", "\"c\" of outputs.b", "outputs.b.c"] {
        assert!(run.error().contains(part), "{}", run.error());
    }
    assert!(scene.published().is_empty());
}

#[test]
fn two_outputs_that_want_one_file_are_refused_and_both_are_named() {
    for (outputs, first, second, name) in [
        ("env,json", "SEGURA_ENV_FILE", "SEGURA_JSON_FILE", "app"),
        ("json,yaml", "SEGURA_JSON_FILE", "SEGURA_YAML_FILE", "app"),
        ("yaml,properties", "SEGURA_YAML_FILE", "SEGURA_PROPERTIES_FILE", "app"),
        ("env,properties", "SEGURA_ENV_FILE", "SEGURA_PROPERTIES_FILE", "app"),
    ] {
        let mut scene = scene(&values(&[("k", "v")]));
        scene.set("SEGURA_OUTPUT", outputs).set(first, name).set(second, name);
        let run = scene.init();
        run.exits(78);
        let reported = run.stderr.lines().any(|line| line.contains(first) && line.contains(second));
        assert!(reported, "{}", run.stderr);
        assert!(scene.request_lines().is_empty(), "settings are proven first");
    }
    // One that has taken another's default name.
    let mut scene = scene(&values(&[("k", "v")]));
    scene.set("SEGURA_OUTPUT", "json,yaml").set("SEGURA_YAML_FILE", "secrets.json");
    let run = scene.init();
    run.exits(78);
    assert!(run.stderr.contains("SEGURA_JSON_FILE") && run.stderr.contains("SEGURA_YAML_FILE"));
    // A name is nobody's if its output isn't wanted.
    scene.set("SEGURA_OUTPUT", "yaml").init().exits(0);
    assert_eq!(scene.read("secrets.json"), "\"outputs\":\n  \"k\": \"v\"\n");
}

#[test]
fn a_secret_whose_folder_has_an_outputs_name_is_refused_and_both_are_named() {
    for (output, name, variable, owner) in [
        ("env", "secrets.env", "SEGURA_ENV_FILE", "the env file"),
        ("json", "secrets.json", "SEGURA_JSON_FILE", "the JSON file"),
        ("yaml", "secrets.yaml", "SEGURA_YAML_FILE", "the YAML file"),
        ("properties", "secrets.properties", "SEGURA_PROPERTIES_FILE", "the properties file"),
    ] {
        for identity in [name.to_owned(), format!("{name}/deep")] {
            let mut scene = Scene::new();
            scene.vault.set_data(&identity, json!({ "k": "v" }));
            scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", &identity);
            let run = scene.set("SEGURA_OUTPUT", &format!("files,{output}")).init();
            run.exits(78);
            let both = run.stderr.contains(variable) && run.stderr.contains("SEGURA_IDENTITY");
            assert!(both && scene.request_lines().is_empty(), "{}", run.stderr);
            // Where all secrets are asked for, it shows once they are there.
            scene.vault.remove_secret(SEED);
            let run = scene.unset("SEGURA_IDENTITY").init();
            run.exits(76);
            assert!(run.error().contains(owner), "{}", run.error());
            assert!(run.error().contains(&identity), "{}", run.error());
            assert!(scene.published().is_empty());
            // Without its files, nobody wants the folder.
            scene.set("SEGURA_IDENTITY", &identity);
            scene.set("SEGURA_OUTPUT", output).init().exits(0);
            assert_eq!(scene.published().into_keys().collect::<Vec<_>>(), [name]);
        }
    }
}

#[test]
fn equal_secrets_are_equal_bytes_in_every_order() {
    let mut first = scene(&values(&[]));
    first.vault.set_data(IDENTITY, r#"{"b": "2", "a": "1", "c": "it's\n"}"#);
    first.vault.set_data("cart/db", r#"[{"z": 1e3}, {"y": null}]"#);
    first.set("SEGURA_SOURCE", "application").set("SEGURA_IDENTITY", "cart/db,outputs");
    for (variable, name) in [
        ("SEGURA_OUTPUT", ALL),
        ("SEGURA_ENV_FILE", "app.env"),
        ("SEGURA_JSON_FILE", "appsettings.json"),
        ("SEGURA_YAML_FILE", "app.yaml"),
        ("SEGURA_PROPERTIES_FILE", "app.properties"),
    ] {
        first.set(variable, name);
    }
    first.init().exits(0);

    let mut second = first.another_pod("web-7d4b9c6f5-b8n2w");
    second.vault.set_data(IDENTITY, r#"{"c": "it's\u000a", "a": "1", "b": "2"}"#);
    second.set("SEGURA_IDENTITY", "outputs,cart/db").init().exits(0);
    assert_eq!(second.published(), first.published());

    assert_eq!(
        first.read("app.env"),
        "cart_db_y=''\ncart_db_z='1e3'\noutputs_a='1'\noutputs_b='2'\noutputs_c='it'\"'\"'s\n'\n"
    );
    let json = r#"{"cart/db":{"y":"","z":"1e3"},"outputs":{"a":"1","b":"2","c":"it's\n"}}"#;
    assert_eq!(first.read("appsettings.json"), format!("{json}\n"));
    assert_eq!(
        first.read("app.yaml"),
        "\"cart/db\":\n  \"y\": \"\"\n  \"z\": \"1e3\"\n\"outputs\":\n  \"a\": \"1\"\n  \"b\": \"2\"\n  \"c\": \"it's\\n\"\n"
    );
    assert_eq!(
        first.read("app.properties"),
        "cart/db.y=\ncart/db.z=1e3\noutputs.a=1\noutputs.b=2\noutputs.c=it's\\n\n"
    );
    assert_eq!(first.read("outputs/c"), "it's\n");
}

#[test]
fn several_entries_are_merged_in_documents_and_separate_in_files() {
    let mut scene = scene(&values(&[]));
    let data = r#"[{"user": "ann", "host": "h"}, {"user": "bob", "host": "h", "pw": "canary"}]"#;
    scene.vault.set_data(IDENTITY, data);
    let run = scene.set("SEGURA_OUTPUT", ALL).init();
    run.exits(0);
    let reported: Vec<&str> = run.stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(reported.len(), 1, "{}", run.stderr);
    assert!(reported[0].contains("user") && !reported[0].contains("host"), "{}", reported[0]);
    assert!(!run.stderr.contains("canary") && !reported[0].contains("bob"), "{}", run.stderr);
    assert_eq!(scene.read("secrets.env"), "host='h'\npw='canary'\nuser='bob'\n");
    let properties = "outputs.host=h\noutputs.pw=canary\noutputs.user=bob\n";
    assert_eq!(scene.read("secrets.properties"), properties);
    assert_eq!(scene.read("outputs/1/user"), "ann");
    assert_eq!(scene.read("outputs/2/user"), "bob");
    assert_eq!(scene.read("outputs/user"), "bob");

    let mut strict = scene.another_pod("web-7d4b9c6f5-b8n2w");
    let run = strict.set("SEGURA_COLLISION", "error").init();
    run.exits(78);
    assert!(run.error().contains("outputs") && run.error().contains("user"), "{}", run.error());
}
