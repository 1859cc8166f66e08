//! Templates by the agent itself: what they see, and that what they make is read back as it was.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::json::{Document, flat};
use super::readers::{JSON, LIBYAML, PROPERTIES, PYYAML, SHELLS};
use super::values::{IDENTITY, Values, assert_same, scene, values};
use crate::harness::Scene;

/// Gives a pod templates, in place of those that it had.
pub fn give(scene: &mut Scene, templates: &[(&str, &str)]) -> PathBuf {
    let dir = scene.vault.dir().join("templates");
    fs::remove_dir_all(&dir).ok();
    fs::create_dir(&dir).expect("the vault's directory is ours");
    for (name, text) in templates {
        fs::write(dir.join(name), text).expect("it is new");
    }
    scene.set("SEGURA_TEMPLATE_DIR", &dir.display().to_string());
    dir
}

/// What is published of values by one template, `out.j2`.
#[track_caller]
fn made(values: &Values, template: &str) -> Scene {
    let mut scene = scene(values);
    give(&mut scene, &[("out.j2", template)]);
    scene.init().exits(0);
    scene
}

/// The same for one value, whose key is `k`.
#[track_caller]
fn shown(value: &str, template: &str) -> String {
    made(&[("k".to_owned(), value.to_owned())].into(), template).read("out")
}

/// libpq's `passwordFromFile`: the password for one connection, if a line has it.
fn libpq(file: &str, wanted: [&str; 4]) -> Option<String> {
    /// What stands behind a field and its colon, if the field is `wanted` (`pwdfMatchesString`).
    fn behind<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
        if let Some(rest) = line.strip_prefix("*:") {
            return Some(rest);
        }
        let (mut line, mut wanted) = (line.chars(), wanted.chars());
        loop {
            let rest = line.as_str();
            match (line.next()?, wanted.clone().next()) {
                (':', None) => return rest.strip_prefix(':'),
                ('\\', _) => (line.next()? == wanted.next()?).then_some(())?,
                (character, _) => (character == wanted.next()?).then_some(())?,
            }
        }
    }
    let lines = file.split('\n').filter(|line| !line.starts_with('#'));
    let mut lines = lines.map(|line| line.strip_suffix('\r').unwrap_or(line));
    let escaped = lines.find_map(|line| {
        wanted.into_iter().try_fold(line, behind).filter(|password| !password.is_empty())
    })?;
    let mut password = String::new();
    let mut characters = escaped.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => break,
            '\\' => password.push(characters.next().unwrap_or('\\')),
            _ => password.push(character),
        }
    }
    Some(password)
}

#[test]
fn a_template_sees_secrets_entries_meta_and_pod() {
    let mut scene = scene(&values(0));
    scene.vault.put_secret(json!({
        "identity": "cart/db", "data": [{"user": "ann"}, {"user": "bob", "pw": "x"}],
        "engine": "PostgreSQL", "expiration_date": "2031-01-02 03:04:05", "version": "7",
    }));
    scene.set("SEGURA_IDENTITY", "outputs,cart/db").set("SEGURA_POD_UID", "11-22");
    let template = r#"
{{- secrets["cart/db"].user }} {{ secrets["cart/db"]["pw"] }} {{ secrets.outputs.V00001 -}} |
{% for identity in secrets %}{{ identity }};{% endfor %}
{% for entry in entries["cart/db"] %}{{ entry.user }} {% endfor %}{{ entries["cart/db"][0] | length }}
{% for identity, meta in meta|items %}{{ identity }} {{ meta.name }};{% endfor %}
{{ meta["cart/db"].version }} {{ meta["cart/db"].engine }} {{ meta["cart/db"].expiration_date }}
{{ meta["cart/db"].id }}
{{ pod.name }} {{ pod.namespace }} {{ pod.deploy }} {{ pod.uid }}
"#;
    give(&mut scene, &[("out.j2", template)]);
    scene.init().exits(0);
    let state = scene.state();
    let secrets = state["secrets"].as_array().unwrap();
    let cart = secrets.iter().find(|secret| secret["identity"] == "cart/db").unwrap();
    let expected = [
        "bob x  |",
        "cart/db;outputs;",
        "ann bob 1",
        "cart/db cart/db;outputs outputs;",
        "7 PostgreSQL 2031-01-02 03:04:05",
        cart["secret_id"].as_str().unwrap(),
        "web-7d4b9c6f5-x2k4z shop web 11-22",
    ];
    assert_eq!(scene.read("out").lines().collect::<Vec<_>>(), expected);
}

#[test]
fn values_quoted_for_a_shell_are_read_back_by_shells() {
    let values = values(1_000);
    let template = "{% for key, value in secrets.outputs|items %}{{ key }}={{ value|shell }}\n{% endfor %}set -- x{{ secrets.outputs.V00013|shell }}y\n";
    let scene = made(&values, template);
    for shell in SHELLS {
        shell.reads("the filter shell", &scene.path("out"), &values);
    }
}

#[test]
fn values_quoted_for_json_are_read_back_by_its_parsers() {
    let mut values = values(1_000);
    values.insert("NUL".to_owned(), "a\0b".to_owned());
    let whole: Document = [(IDENTITY.to_owned(), values.clone())].into();
    let scene = made(&values, "{{ secrets|tojson }}");
    let read: Document = serde_json::from_str(&scene.read("out")).unwrap();
    assert_same("serde_json", &flat(&read), &flat(&whole));
    values.remove("NUL");
    let whole: Document = [(IDENTITY.to_owned(), values.clone())].into();
    let single = "{ {{- \"outputs\"|tojson }}: { \"V00000\": {{ secrets.outputs.V00000|tojson }}
        {%- for key in secrets.outputs %}, \n{{ key|tojson }}: {{ secrets.outputs[key]|tojson }}{% endfor %}}}\n";
    let scene = made(&values, single);
    JSON.reads("the filter tojson", &scene.path("out"), &flat(&whole));
}

#[test]
fn values_quoted_for_yaml_are_read_back_by_its_parsers() {
    let values = values(1_000);
    let whole: Document = [(IDENTITY.to_owned(), values.clone())].into();
    let single = "outputs:\n{% for key, value in secrets.outputs|items %}  {{ key|toyaml }}: {{ value|toyaml }}\n{% endfor %}";
    for template in [single, "{{ secrets|toyaml }}\n"] {
        let scene = made(&values, template);
        for parser in [PYYAML, LIBYAML] {
            parser.reads("the filter toyaml", &scene.path("out"), &flat(&whole));
        }
    }
}

#[test]
fn values_quoted_for_properties_are_read_back_by_their_parsers() {
    let mut values = values(1_000);
    let template = "# made\n{% for key, value in secrets.outputs|items %}{{ key }} = {{ value|properties }}\n{% endfor %}";
    let scene = made(&values, template);
    PROPERTIES.reads("the filter properties", &scene.path("out"), &values);
    // This parser knows no surrogate pairs; the other does.
    values.insert("NUL".to_owned(), "a\0b".to_owned());
    values.retain(|_, value| value.chars().all(|character| u32::from(character) <= 0xffff));
    let scene = made(&values, template);
    let file = fs::File::open(scene.path("out")).unwrap();
    let read = java_properties::read(file).unwrap();
    assert_same("java-properties", &read.into_iter().collect(), &values);
}

#[test]
fn values_quoted_for_pgpass_are_read_back_by_libpqs_rules() {
    let mut values = values(1_000);
    // No line can hold them, and an empty password is none.
    values.retain(|_, value| !value.contains(['\n', '\r']) && !value.is_empty());
    assert!(values.len() > 400, "only {} are left", values.len());
    let template = "# made\n{% for key, value in secrets.outputs|items %}{{ key }}:5432:*:{{ value|pgpass }}:{{ value|pgpass }}\n{% endfor %}";
    let file = made(&values, template).read("out");
    for (key, value) in &values {
        let password = libpq(&file, [key, "5432", "app", value]);
        assert_eq!(password.as_ref(), Some(value), "{key}");
        assert_eq!(libpq(&file, [key, "5433", "app", value]), None);
    }
}

#[test]
fn values_quoted_for_pgpass_are_no_comment_and_match_one_connection_alone() {
    for value in ["#host", "*"] {
        let file = shown(value, "{{ secrets.outputs.k|pgpass }}:5432:app:ann:pw\n");
        assert_eq!(libpq(&file, [value, "5432", "app", "ann"]).as_deref(), Some("pw"), "{file}");
        assert_eq!(libpq(&file, ["another", "5432", "app", "ann"]), None, "{file}");
    }
}

#[test]
fn values_quoted_for_a_url_are_read_back_by_its_parser() {
    let mut values = values(1_000);
    values.insert("NUL".to_owned(), "a\0b".to_owned());
    let template = "{% for key, value in secrets.outputs|items %}jdbc:postgresql://db:5432/app?user={{ key|urlencode }}&password={{ value|urlencode }}&ssl=true\npostgres://ann:{{ value|urlencode }}@db/{{ value|urlencode }}\n{% endfor %}";
    let file = made(&values, template).read("out");
    let (mut queries, mut passwords) = (Values::new(), Values::new());
    let mut lines = file.lines();
    while let (Some(jdbc), Some(other)) = (lines.next(), lines.next()) {
        let jdbc = url::Url::parse(jdbc.strip_prefix("jdbc:").unwrap()).unwrap();
        let pairs: Values = jdbc.query_pairs().into_owned().collect();
        assert_eq!((pairs.len(), &*pairs["ssl"]), (3, "true"), "{jdbc}");
        queries.insert(pairs["user"].clone(), pairs["password"].clone());
        let other = url::Url::parse(other).unwrap();
        assert_eq!((other.host_str(), other.username()), (Some("db"), "ann"));
        let password = other.password().unwrap_or_default();
        let password = percent_encoding::percent_decode_str(password).decode_utf8().unwrap();
        passwords.insert(pairs["user"].clone(), password.into_owned());
    }
    assert_same("a query", &queries, &values);
    assert_same("a password", &passwords, &values);
}

#[test]
fn base64_is_encoded_and_decoded() {
    let mut values = values(300);
    values.insert("NUL".to_owned(), "a\0b".to_owned());
    let template = "{% for key, value in secrets.outputs|items %}{{ key }} {{ value|b64encode }}\n{% endfor %}";
    let file = made(&values, template).read("out");
    let decoded = |text: &str| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
    let pairs = file.lines().map(|line| line.split_once(' ').unwrap());
    let read = pairs.map(|(key, text)| (key.to_owned(), decoded(text))).collect();
    assert_same("base64", &read, &values);

    for value in ["it's\n\u{1f511}\0{{ x }}", ""] {
        let mut wrapped = STANDARD.encode(value);
        wrapped.insert_str(wrapped.len() / 2, "\r\n");
        assert_eq!(shown(&wrapped, "<{{ secrets.outputs.k|b64decode }}>"), format!("<{value}>"));
    }
}

#[test]
fn a_value_is_written_as_it_is_and_never_rendered_itself() {
    for value in [
        "{{ secrets.outputs.k }}",
        "{{ 7 * 7 }}{% for x in range(9) %}x{% endfor %}{# gone #}",
        "{% raw %}",
        "{% endraw %}{{ nothing }}",
        "<a href=\"x\">&amp;'</a>",
        "a\r\n\u{1f511}\0b\n\n",
        "",
    ] {
        assert_eq!(shown(value, "<{{ secrets.outputs.k }}>"), format!("<{value}>"));
        assert_eq!(shown(value, "{% set x %}{{ secrets.outputs.k }}{% endset %}{{ x }}"), value);
    }
}

#[test]
fn no_output_is_escaped_as_html() {
    let mut scene = scene(&[("k".to_owned(), "<&\"'/>".to_owned())].into());
    let names = ["a.html", "a.htm", "a.xml", "a.json", "a.yaml", "a.js", "a"];
    let files = names.map(|name| format!("{name}.j2"));
    let templates: Vec<_> =
        files.iter().map(|file| (file.as_str(), "{{ secrets.outputs.k }}")).collect();
    give(&mut scene, &templates);
    scene.init().exits(0);
    for name in names {
        assert_eq!(scene.read(name), "<&\"'/>", "{name}");
    }
}

#[test]
fn line_ends_stay_as_the_template_has_them() {
    for (template, expected) in [
        ("{{ secrets.outputs.k }}", "v"),
        ("{{ secrets.outputs.k }}\n", "v\n"),
        ("{{ secrets.outputs.k }}\n\n", "v\n\n"),
        ("a\r\n{{ secrets.outputs.k }}\r\n", "a\r\nv\r\n"),
        ("{% if true %}\r\na\r\n{% endif %}\r\nb", "\r\na\r\n\r\nb"),
        ("\u{feff}\ta \n", "\u{feff}\ta \n"),
        ("", ""),
        ("\n", "\n"),
    ] {
        assert_eq!(shown("v", template), expected, "{template:?}");
    }
}

#[test]
fn templates_of_users_render_what_their_programs_need() {
    let mut scene = scene(&values(0));
    let secret = json!({"host": "db.shop", "user": "ann", "password": "p:\\\"'#<&>${x} é"});
    scene.vault.set_data("cart/db", secret);
    scene.set("SEGURA_IDENTITY", "cart/db").set("SEGURA_OUTPUT", "json");
    let templates = [
        (
            ".pgpass.j2",
            "{% set db = secrets[\"cart/db\"] %}{{ db.host|pgpass }}:5432:*:{{ db.user|pgpass }}:{{ db.password|pgpass }}\n",
        ),
        (
            "my.cnf.j2",
            "[client]\nuser={{ secrets[\"cart/db\"].user }}\npassword={{ secrets[\"cart/db\"].password|tojson }}\n",
        ),
        (
            "appsettings.json.j2",
            "{\n  \"ConnectionStrings\": { \"Db\": {{ (\"Host=\" ~ secrets[\"cart/db\"].host ~ \";Password=\" ~ secrets[\"cart/db\"].password)|tojson }} },\n  \"Pod\": {{ pod|tojson }}\n}\n",
        ),
        (
            "proxy.conf.j2",
            "location / {\n  {# never sent to the client #}proxy_set_header Authorization \"Basic {{ (secrets[\"cart/db\"].user ~ ':' ~ secrets[\"cart/db\"].password)|b64encode }}\";\n}\n",
        ),
    ];
    give(&mut scene, &templates);
    scene.init().exits(0);
    let password = "p:\\\"'#<&>${x} é";
    let found = libpq(&scene.read(".pgpass"), ["db.shop", "5432", "app", "ann"]);
    assert_eq!(found.as_deref(), Some(password));
    let cnf = "[client]\nuser=ann\npassword=\"p:\\\\\\\"'#<&>${x} é\"\n";
    assert_eq!(scene.read("my.cnf"), cnf);
    let settings: serde_json::Value =
        serde_json::from_str(&scene.read("appsettings.json")).unwrap();
    assert_eq!(settings["ConnectionStrings"]["Db"], format!("Host=db.shop;Password={password}"));
    assert_eq!(settings["Pod"]["deploy"], "web");
    let basic = STANDARD.encode(format!("ann:{password}"));
    let line = format!("  proxy_set_header Authorization \"Basic {basic}\";");
    assert_eq!(scene.read("proxy.conf"), format!("location / {{\n{line}\n}}\n"));
    let names: Vec<_> = scene.published().into_keys().collect();
    assert_eq!(names, ["appsettings.json", "my.cnf", "proxy.conf", "secrets.json"]);
}

#[test]
fn equal_secrets_are_equal_bytes() {
    let template = "{{ secrets|tojson }}{{ entries|toyaml }}{% for k in secrets %}{{ secrets[k]|items }}{% endfor %}";
    let mut first = scene(&Values::new());
    first.vault.set_data(IDENTITY, r#"[{"b": "2", "a": "1"}, {"d": "x", "c": "y"}]"#);
    first.vault.set_data("cart/db", r#"{"z": "1", "y": "2", "x": "3"}"#);
    first.set("SEGURA_IDENTITY", "outputs,cart/db");
    give(&mut first, &[("out.j2", template)]);
    first.init().exits(0);
    let mut second = first.another_pod("web-7d4b9c6f5-b8n2w");
    second.vault.set_data(IDENTITY, r#"[{"a": "1", "b": "2"}, {"c": "y", "d": "\u0078"}]"#);
    second.vault.set_data("cart/db", r#"{"x": "3", "y": "2", "z": "1"}"#);
    second.set("SEGURA_IDENTITY", "cart/db,outputs").init().exits(0);
    assert!(first.read("out").starts_with(r#"{"cart/db":{"x":"3","y":"2","z":"1"},"outputs":{"#));
    assert_eq!(second.published(), first.published());
}

#[test]
fn rendered_templates_are_published_with_the_files_in_one_generation() {
    let mut scene = scene(&[("k".to_owned(), "v".to_owned())].into());
    give(&mut scene, &[("a.conf.j2", "a {{ secrets.outputs.k }}"), ("b.j2", "b"), ("readme", "")]);
    for _ in 0..2 {
        scene.init().exits(0);
        assert_eq!(scene.state()["generation"], 1, "nothing has changed");
    }
    let generation = fs::canonicalize(scene.path("..data")).unwrap();
    for (name, content) in [("a.conf", "a v"), ("b", "b"), ("outputs/k", "v")] {
        assert_eq!(scene.read(name), content);
        assert_eq!(fs::canonicalize(scene.path(name)).unwrap(), generation.join(name));
    }
    assert_eq!(fs::read_link(scene.path("a.conf")).unwrap(), Path::new("..data/a.conf"));
    assert_eq!(scene.published().len(), 3);
    // A template that is gone takes its output with it.
    give(&mut scene, &[("b.j2", "b")]);
    scene.init().exits(0);
    assert_eq!(scene.state()["generation"], 2);
    assert_eq!(scene.published().into_keys().collect::<Vec<_>>(), ["b", "outputs/k"]);
}

#[test]
fn templates_can_come_from_a_config_map() {
    let mut scene = scene(&[("k".to_owned(), "v".to_owned())].into());
    let dir = give(&mut scene, &[]);
    let version = dir.join("..2026_11_22_11_30_00.123456789");
    fs::create_dir(&version).unwrap();
    symlink(version.file_name().unwrap(), dir.join("..data")).unwrap();
    for name in ["app.conf.j2", "other.txt"] {
        fs::write(version.join(name), "<{{ secrets.outputs.k }}>").unwrap();
        symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
    }
    scene.init().exits(0);
    assert_eq!(scene.read("app.conf"), "<v>");
    assert_eq!(scene.published().into_keys().collect::<Vec<_>>(), ["app.conf", "outputs/k"]);
}

#[test]
fn a_command_finds_the_rendered_templates() {
    let mut scene = scene(&[("k".to_owned(), "v".to_owned())].into());
    give(&mut scene, &[("app.conf.j2", "<{{ secrets.outputs.k }}>")]);
    let file = scene.path("app.conf").display().to_string();
    let run = scene.exec_to_end(&["cat", &file]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "<v>"), "{}", run.stderr);
}
