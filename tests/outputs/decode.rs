//! `SEGURA_DECODE`: what the vault holds as base64 is published as what it stands for, exactly.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::readers::SHELLS;
use super::templates::give;
use super::values::{NASTY, Values, scene};
use crate::harness::{SEED, Scene, side_by_side};

const TEMPLATE: &str =
    "{% for key, value in secrets.outputs|items %}{{ key }}={{ value|tojson }}\n{% endfor %}";

/// A pod whose secret holds these values, some of them base64, in every output.
fn given(values: &[(&str, &str)], globs: &str) -> Scene {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let mut scene = scene(&values.iter().map(pair).collect());
    scene.set("SEGURA_OUTPUT", "files,env,json,yaml,properties").set("SEGURA_DECODE", globs);
    give(&mut scene, &[("out.j2", TEMPLATE)]);
    scene
}

/// A key store that holds every byte there is.
fn every_byte() -> Vec<u8> {
    (0..=255).chain((0..=255).rev()).collect()
}

/// base64 as programs wrap it.
fn wrapped(bytes: &[u8], line_end: &str) -> String {
    let packed = STANDARD.encode(bytes);
    let lines = packed.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap_or_default());
    lines.map(|line| format!("{line}{line_end}")).collect()
}

fn json_of(scene: &Scene) -> Value {
    serde_json::from_str(&scene.read("secrets.json")).expect("it is JSON")
}

#[test]
fn bytes_are_exact_in_files_and_refused_by_documents() {
    let store = STANDARD.encode(every_byte());
    let values = [("keystore", store.as_str()), ("plain", "aGk=")];
    let mut scene = given(&values, "outputs/keystore");
    for output in ["env", "json", "yaml", "properties"] {
        let run = scene.set("SEGURA_OUTPUT", &format!("files,{output}")).init();
        run.exits(76);
        assert!(run.error().contains("\"keystore\" of outputs"), "{output}: {}", run.stderr);
        assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_DECODE")), "{}", run.stderr);
        assert!(scene.published().is_empty());
    }
    give(&mut scene, &[("out.j2", "{{ secrets.outputs.plain }}")]);
    scene.set("SEGURA_OUTPUT", "files").init().exits(0);
    let files = scene.published();
    assert_eq!(files["outputs/keystore"], every_byte());
    assert_eq!((&*files["outputs/plain"], &*files["out"]), (&b"aGk="[..], &b"aGk="[..]));
    // A template that asks for it is told that it is not there.
    give(&mut scene, &[("out.j2", "{{ secrets.outputs.keystore }}")]);
    let run = scene.init();
    run.exits(78);
    assert!(run.error().contains("out.j2, line 1: "));
}

#[test]
fn text_is_decoded_in_every_output() {
    let text = "it's\n\"{{ x }}\" \u{1f511} ${y}";
    let scene = given(&[("k", &STANDARD.encode(text))], "outputs/*");
    scene.init().exits(0);
    assert_eq!(scene.read("outputs/k"), text);
    assert_eq!(json_of(&scene)["outputs"]["k"], text);
    let expected: Values = [("k".to_owned(), text.to_owned())].into();
    for shell in SHELLS {
        shell.reads("decoded text", &scene.path("secrets.env"), &expected);
    }
    let quoted = serde_json::to_string(text).unwrap();
    assert_eq!(scene.read("out"), format!("k={quoted}\n"));
    assert_eq!(scene.read("secrets.yaml"), format!("\"outputs\":\n  \"k\": {quoted}\n"));
    let properties = "outputs.k=it's\\n\"{{ x }}\" \\uD83D\\uDD11 ${y}\n";
    assert_eq!(scene.read("secrets.properties"), properties);
}

#[test]
fn every_text_is_decoded_to_the_byte() {
    let encoded =
        NASTY.iter().enumerate().map(|(n, value)| (format!("V{n}"), STANDARD.encode(value)));
    let mut scene = scene(&encoded.collect());
    scene.set("SEGURA_OUTPUT", "files,json").set("SEGURA_DECODE", "outputs/V*");
    scene.init().exits(0);
    let document = json_of(&scene);
    for (n, value) in NASTY.iter().enumerate() {
        assert_eq!(scene.read(&format!("outputs/V{n}")), *value);
        assert_eq!(document["outputs"][format!("V{n}")], *value);
    }
}

#[test]
fn line_breaks_and_padding_are_read_as_programs_write_them() {
    for length in [0, 1, 2, 3, 57, 58, 59, 300] {
        let bytes: Vec<u8> = every_byte().into_iter().cycle().skip(200).take(length).collect();
        let forms = [
            STANDARD.encode(&bytes),
            wrapped(&bytes, "\n"),
            wrapped(&bytes, "\r\n"),
            format!("\n\t{} \n", STANDARD.encode(&bytes)),
        ];
        let names = ["a", "b", "c", "d"];
        let values: Vec<_> = names.into_iter().zip(forms.iter().map(String::as_str)).collect();
        let mut scene = given(&values, "**");
        scene.unset("SEGURA_TEMPLATE_DIR").set("SEGURA_OUTPUT", "files").init().exits(0);
        for name in names {
            assert_eq!(scene.published()[&format!("outputs/{name}")], bytes, "{name} of {length}");
        }
    }
}

#[test]
fn globs_choose_by_identity_and_key() {
    let all = ["cart/db/cert", "cart/db/key", "outputs/cert", "outputs/key"];
    for (globs, decoded) in [
        ("outputs/cert", &all[2..3]),
        ("outputs/*", &all[2..]),
        ("*/cert", &all[2..3]),
        ("**/cert", &[all[0], all[2]]),
        ("cart/**", &all[..2]),
        ("cart/*/key, outputs/k?y", &[all[1], all[3]]),
        ("**", &all),
        ("Outputs/*", &[]),
        ("nobody/*", &[]),
        ("cart/*", &[]),
    ] {
        let mut scene = given(&[("cert", "aGk="), ("key", "aGk=")], globs);
        scene.vault.set_data("cart/db", json!({ "cert": "aGk=", "key": "aGk=" }));
        scene.set("SEGURA_IDENTITY", "outputs,cart/db").set("SEGURA_OUTPUT", "files,json");
        scene.init().exits(0);
        for path in all {
            let expected = if decoded.contains(&path) { "hi" } else { "aGk=" };
            assert_eq!(scene.read(path), expected, "{path} by {globs}");
            let (identity, key) = path.rsplit_once('/').unwrap();
            assert_eq!(json_of(&scene)[identity][key], expected, "{path} by {globs}");
        }
    }
}

#[test]
fn each_entry_is_decoded_by_itself() {
    let mut scene = given(&[], "*/cert");
    scene.vault.set_data("outputs", r#"[{"cert": "YQ=="}, {"cert": "Yg==", "k": "aGk="}]"#);
    scene.set("SEGURA_OUTPUT", "files,json");
    scene.init().exits(0);
    for (path, content) in [
        ("outputs/cert", "b"),
        ("outputs/1/cert", "a"),
        ("outputs/2/cert", "b"),
        ("outputs/2/k", "aGk="),
    ] {
        assert_eq!(scene.read(path), content, "{path}");
    }
    assert_eq!(json_of(&scene), json!({ "outputs": { "cert": "b", "k": "aGk=" } }));
}

#[test]
fn a_value_that_is_not_base64_is_refused_by_name_and_its_secret_kept() {
    let values =
        ["cAnArY!", "YWI", "YW=I", "YQ=", "Y Q = = =", "-_8=", "YWJj\u{e9}", "YQ==YQ==", "="];
    side_by_side(values, |value| {
        let scene = |outputs: &str| {
            let mut scene = Scene::new();
            scene.vault.set_data(SEED, json!([{ "cert": value, "k": "v" }]));
            scene.set("SEGURA_DECODE", "*/cert").set("SEGURA_OUTPUT", outputs);
            scene
        };
        for outputs in ["files", "json", "files,env,yaml"] {
            let scene = scene(outputs);
            let run = scene.init();
            run.exits(76);
            let reported = format!("\"cert\" of {SEED} ");
            assert!(run.error().contains(&reported), "{value}: {}", run.stderr);
            assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_DECODE")), "{value}");
            assert!(!run.stderr.contains("cAnArY"), "{}", run.stderr);
            assert!(scene.published().is_empty() && scene.generations().is_empty(), "{value}");
            assert_eq!(scene.vault.provisioned(SEED).len(), 1, "{value}");
        }
    });
}

#[test]
fn decoded_values_have_to_fit_the_env_file() {
    for (dialect, value, code, part) in [
        ("shell", "cAnArY\0x", 76, "NUL"),
        ("dotenv", "cAnArY\\", 78, "dotenv"),
        ("docker", "cAnArY\n", 78, "docker"),
        ("k8s", "cAnArY'", 78, "k8s"),
    ] {
        let mut scene = given(&[("cert", &STANDARD.encode(value))], "*/cert");
        scene.set("SEGURA_ENV_DIALECT", dialect);
        let run = scene.init();
        run.exits(code);
        let error = run.error();
        assert!(error.contains("\"cert\" of outputs") && error.contains(part), "{error}");
        assert!(!run.stderr.contains("cAnArY"), "{}", run.stderr);
        assert!(scene.published().is_empty());
        scene.set("SEGURA_OUTPUT", "files");
        scene.init().exits(0);
        assert_eq!(scene.read("outputs/cert"), value);
    }
}

#[test]
fn a_command_has_decoded_values_in_its_environment() {
    let bytes = STANDARD.encode([0xff, 0]);
    let values = [("CERT", STANDARD.encode("it's\n")), ("STORE", bytes)];
    let values: Vec<_> = values.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut scene = given(&values, "outputs/*");
    scene.unset("SEGURA_TEMPLATE_DIR").set("SEGURA_OUTPUT", "files");
    let run = scene.exec_to_end(&["sh", "-c", "printf '%s|%s' \"$CERT\" \"${STORE-none}\""]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout, "it's\n|none");
    assert!(run.stderr.contains("outputs/STORE"), "a line names it: {}", run.stderr);
    assert_eq!(scene.published()["outputs/STORE"], [0xff, 0]);
}

#[test]
fn a_malformed_list_of_globs_is_refused_before_any_request() {
    for globs in ["/outputs/k", "outputs/k,,x", ",", "outputs/k,", "outputs/{k", "!outputs/k"] {
        let scene = given(&[("k", "aGk=")], globs);
        let run = scene.init();
        run.refuses("SEGURA_DECODE");
        assert!(scene.request_lines().is_empty());
    }
}
