//! Templates that can't be understood or rendered: reported by file and line, never by a value, before
//! anything is provisioned where that can be known, and with nothing published.

mod files;

use serde_json::json;

use super::templates::give;
use crate::dev_vault::requests::{DEPROVISION, PROVISION};
use crate::harness::{Run, SEED, Scene, side_by_side, sidecar::Sidecar};

const CANARY: &str = "cAnArY-vAlUe+4f1d";

/// A pod whose secret is provisioned, and whose every value is a canary.
fn provisioned() -> Scene {
    let scene = Scene::new();
    let data = json!([{ "k": CANARY, "lines": format!("{CANARY}\n{CANARY}\0"), "user": CANARY }]);
    scene.vault.set_data(SEED, data);
    scene
}

/// The same with templates.
fn with(templates: &[(&str, &str)]) -> Scene {
    let mut scene = provisioned();
    give(&mut scene, templates);
    scene
}

/// What `init` comes to, which never shows a value and always ends.
#[track_caller]
fn init(scene: &Scene) -> Run {
    let run = Sidecar::spawn(scene.agent(&["init"])).wait();
    assert!(!run.stderr.contains("cAnArY"), "{}", run.stderr);
    run
}

/// Asserts that templates are refused before the vault is asked for anything.
#[track_caller]
fn assert_refused_at_once(scene: &Scene, parts: &[&str]) {
    let run = init(scene);
    run.exits(78);
    for part in parts {
        let reported = |line: &str| line.contains("SEGURA_TEMPLATE_DIR: ") && line.contains(part);
        assert!(run.stderr.lines().any(reported), "{part} in {}", run.stderr);
    }
    assert!(scene.request_lines().is_empty(), "{:?}", scene.request_lines());
    assert_eq!(scene.entries(), [""; 0], "nothing is written");
}

/// Asserts that a template is refused once the values are known, and that the secrets are kept.
#[track_caller]
fn assert_refused(scene: &Scene, template: &str, parts: &[&str]) {
    let run = init(scene);
    assert_eq!(run.code, Some(78), "{template}: {}", run.stderr);
    for part in parts {
        assert!(run.error().contains(part), "{template}: {part} in {}", run.stderr);
    }
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_TEMPLATE_DIR")), "{}", run.stderr);
    assert!(scene.published().is_empty() && scene.generations().is_empty(), "{template}");
    assert!(!scene.path("..data").exists(), "{template}");
    assert_eq!(scene.count(DEPROVISION), 0, "{template}: {:?}", scene.request_lines());
    let is_kept = scene.path("..segura/kept.json").exists();
    assert_eq!(is_kept, scene.count(PROVISION) > 0, "{template}: {:?}", scene.request_lines());
}

#[test]
fn a_malformed_template_is_refused_before_any_request() {
    side_by_side(
        [
            "a\n{% if %}",
            "a\n{{ secrets.",
            "\n{{",
            "\n{% for x in secrets %}",
            "\n{% endfor %}",
            "\n{% frobnicate %}",
            "\n{{ secrets[\"secret-postman\" }}",
            "\n{{ 'a }}",
            "\n{#",
            "\n{% raw %}",
        ],
        |template| {
            let scene = with(&[("sound.j2", "x"), ("app.conf.j2", template)]);
            assert_refused_at_once(&scene, &["app.conf.j2, line "]);
        },
    );
}

#[test]
fn templates_cannot_read_other_files() {
    side_by_side(
        [
            "\n{% include \"/etc/passwd\" %}",
            "\n{% include \"other.j2\" %}",
            "\n{% include secrets %}",
            "\n{% import \"other.j2\" as x %}",
            "\n{% from \"../other.j2\" import x %}",
            "\n{% extends \"other.j2\" %}",
            "\n{% block x %}{% endblock %}",
        ],
        |template| {
            let scene =
                with(&[("app.j2", template), ("other.j2", "{% macro x() %}{% endmacro %}")]);
            assert_refused_at_once(&scene, &["app.j2, line 2"]);
        },
    );
}

#[test]
fn every_faulty_template_is_reported_at_once() {
    let mut scene = with(&[("a.j2", "\n\n{{"), ("b.j2", "x"), ("c.j2", "{% endif %}")]);
    assert_refused_at_once(&scene, &["a.j2, line 3", "c.j2, line 1"]);
    scene.set("SEGURA_RENEW_INTERVAL", "never").set("SEGURA_SOURCE", "nowhere");
    let run = init(&scene);
    for part in ["a.j2", "c.j2", "SEGURA_RENEW_INTERVAL", "SEGURA_SOURCE"] {
        assert!(run.stderr.contains(part), "{part} in {}", run.stderr);
    }
}

#[test]
fn a_missing_value_is_reported_by_line_and_never_rendered_as_empty() {
    let s = "secrets[\"secret-postman\"]";
    let missing = "it uses a name that is not defined";
    let cases = [
        ("{{ secrets.nobody }}".to_owned(), missing),
        ("{{ secrets.nobody.k }}".to_owned(), missing),
        (format!("{{{{ {s}.nothing }}}}"), missing),
        (format!("{{{{ {s}.nothing|shell }}}}"), missing),
        (format!("{{{{ {s}.nothing ~ 'x' }}}}"), missing),
        (format!("{{% if {s}.nothing %}}x{{% endif %}}"), missing),
        (format!("{{% for x in {s}.nothing %}}x{{% endfor %}}"), missing),
        ("{{ entries[\"secret-postman\"][7].k }}".to_owned(), missing),
        ("{{ meta.nobody.version }}".to_owned(), missing),
        ("{{ pod.uid }}".to_owned(), missing),
        (format!("{{{{ {s}.k|frobnicate }}}}"), "frobnicate"),
        (format!("{{{{ {s}.k is frobnicated }}}}"), "frobnicated"),
        (format!("{{{{ {s}.k|pgpass(1) }}}}"), "line 2"),
        (format!("{{{{ {s}.lines|pgpass }}}}"), "line break"),
        (format!("{{{{ {s}.lines|shell }}}}"), "NUL"),
        (format!("{{{{ {s}.k|b64decode }}}}"), "not base64"),
        (format!("{{{{ {s}.k + 1 }}}}"), "line 2"),
        (format!("{{{{ {s}.k|int }}}}"), "line 2"),
        (format!("{{{{ {s}.k.nothing }}}}"), "line 2"),
        (format!("{{{{ {s}.k() }}}}"), "line 2"),
        (format!("{{{{ {s}.k.upper() }}}}"), "line 2"),
        (format!("{{{{ secrets[{s}.k] }}}}"), missing),
        (format!("{{{{ [1]|map({s}.k)|list }}}}"), "line 2"),
        (format!("{{{{ [1]|select({s}.k)|list }}}}"), "line 2"),
        (format!("{{{{ dict({s}.k) }}}}"), "line 2"),
        (format!("{{{{ range({s}.k) }}}}"), "line 2"),
        (format!("{{{{ \"%d\"|format({s}.k) }}}}"), "line 2"),
        (format!("{{% set a, b = {s}.k %}}"), "line 2"),
    ];
    side_by_side(cases, |(template, part)| {
        let scene = with(&[("app.conf.j2", &format!("{s}\n{template}\n")), ("sound.j2", "x")]);
        assert_refused(&scene, &template, &["the template app.conf.j2, line 2", part]);
    });
}

#[test]
fn every_filter_refuses_a_missing_value() {
    let s = "secrets[\"secret-postman\"]";
    let cases = [
        format!("{{{{ {s}.nothing|tojson }}}}"),
        format!("{{{{ {s}.nothing|toyaml }}}}"),
        format!("{{{{ {{\"a\": {s}.nothing}}|tojson }}}}"),
        format!("{{{{ [{s}.nothing]|toyaml }}}}"),
        format!("{{{{ [{s}.nothing]|join(\",\") }}}}"),
        format!("{{{{ [{s}]|map(attribute=\"nothing\")|join(\",\") }}}}"),
        format!("{{{{ {s}.nothing|b64encode }}}}"),
        format!("{{{{ {s}.nothing|b64decode }}}}"),
        format!("{{{{ {s}.nothing|properties }}}}"),
        format!("{{{{ {s}.nothing|pgpass }}}}"),
        format!("{{{{ {s}.nothing|urlencode }}}}"),
        format!("{{{{ {s}.nothing|upper }}}}"),
        format!("{{{{ {s}.nothing|trim }}}}"),
        format!("{{{{ {s}.nothing|length }}}}"),
        format!("{{{{ {s}.nothing|string }}}}"),
        format!("{{{{ {s}.nothing|replace('a', 'b') }}}}"),
        format!("{{{{ 'a'|replace('a', {s}.nothing) }}}}"),
        format!("{{{{ {s}.nothing|items|list }}}}"),
        format!("{{{{ {s}.nothing|first }}}}"),
        format!("{{{{ {s}.nothing|safe }}}}"),
        format!("{{{{ {s}.nothing|escape }}}}"),
        format!("{{{{ {s}.nothing == 'x' }}}}"),
        format!("{{{{ {s}.nothing in 'x' }}}}"),
        format!("{{{{ 'x' in {s}.nothing }}}}"),
        format!("{{{{ not {s}.nothing }}}}"),
        format!("{{{{ {s}.nothing or 'x' }}}}"),
        format!("{{{{ 'x' if {s}.nothing else 'y' }}}}"),
        format!("{{{{ \"%s\"|format({s}.nothing) }}}}"),
        format!("{{% set x = {s}.nothing %}}{{{{ x }}}}"),
        format!("{{% with x = {s}.nothing %}}{{{{ x }}}}{{% endwith %}}"),
        format!("{{% macro m(x) %}}{{{{ x }}}}{{% endmacro %}}{{{{ m({s}.nothing) }}}}"),
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m() }}".to_owned(),
        "{{ entries[\"secret-postman\"]|map(attribute=\"hostname\")|join(\",\") }}".to_owned(),
        "{{ []|first }}".to_owned(),
        "{{ []|max }}".to_owned(),
        "{{ {\"a\": 1}.b }}".to_owned(),
    ];
    side_by_side(cases, |template| {
        let scene = with(&[("app.conf.j2", &format!("\n{template}\n"))]);
        assert_refused(&scene, &template, &["the template app.conf.j2, line 2"]);
    });
}

#[test]
fn templates_cannot_reach_the_environment_files_or_the_network() {
    let unknown = [
        "env(\"PATH\")",
        "getenv(\"PATH\")",
        "environ.PATH",
        "environment(\"PATH\")",
        "open(\"/etc/passwd\")",
        "read(\"/etc/passwd\")",
        "file(\"/etc/passwd\")",
        "load(\"/etc/passwd\")",
        "glob(\"*\")",
        "url(\"http://127.0.0.1\")",
        "fetch(\"http://127.0.0.1\")",
        "lookup(\"env\", \"PATH\")",
        "now()",
        "exec(\"id\")",
        "system(\"id\")",
        "config",
        // What would show all there is, or grow without end.
        "debug()",
        "namespace(x=[1])",
    ];
    side_by_side(unknown, |call| {
        let scene = with(&[("app.j2", &format!("\n{{{{ {call} }}}}"))]);
        let name = call.split(['(', '.']).next().unwrap_or(call);
        assert_refused_at_once(&scene, &["the template app.j2, line 2: it uses", name]);
    });
    let missing = [
        "\"PATH\"|env",
        "\"/etc/passwd\"|open",
        "self.env",
        "pod.__class__",
        "pod.env",
        "range.__globals__",
    ];
    side_by_side(missing, |call| {
        let mut scene = with(&[("app.j2", &format!("\n{{{{ {call} }}}}"))]);
        scene.set("SEGURA_IDENTITY", SEED);
        assert_refused(&scene, call, &["the template app.j2, line 2"]);
    });
}

/// Templates that would never end, or fill all memory.
const ENDLESS: &[(&str, &str)] = &[
    (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "too many steps",
    ),
    ("{% for a in range(99999) %}{{ \"0123456789\" * 10 }}{% endfor %}", "longer than 4 MiB"),
    ("{{ \"0123456789\" * 500000 }}", "longer than 4 MiB"),
    ("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "line 2"),
    ("{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m(1) }}", "line 2"),
    ("{% for a in range(99999999999) %}{% endfor %}", "line 2"),
    ("{{ \"x\" * 99999999999 }}", "line 2"),
    (
        "{% set x = \"0123456789\" * 400000 %}{% for i in range(99999) %}{% set y = x|upper|replace(\"1\", \"22\")|urlencode %}{% endfor %}",
        "line 2",
    ),
    ("{% set a = [1] * 99999 %}{% set a = [a] * 99999 %}{{ a|tojson }}", "too large"),
    ("{% set a = [1] * 99999 %}{{ [a, a, a, a]|toyaml }}", "too large"),
    ("{{ ([\"0123456789\" * 100] * 9999)|tojson }}", "too large"),
    ("{{ ([\"0123456789\" * 100] * 9999)|join }}", "too large"),
];

#[test]
fn the_time_and_the_output_of_a_template_are_bounded() {
    side_by_side(ENDLESS, |&(template, part)| {
        let scene = with(&[("app.j2", &format!("\n{template}"))]);
        assert_refused(&scene, template, &["the template app.j2", part]);
    });
}

#[test]
fn the_longest_output_is_four_mebibytes() {
    let scene = with(&[(
        "app.j2",
        "{% for a in range(4096) %}{{ \"0123456789abcdef\" * 64 }}{% endfor %}",
    )]);
    init(&scene).exits(0);
    assert_eq!(scene.read("app").len(), 4 * 1024 * 1024);
    let scene = with(&[(
        "app.j2",
        "{% for a in range(4096) %}{{ \"0123456789abcdef\" * 64 }}{% endfor %}\n",
    )]);
    assert_refused(&scene, "one byte more", &["app.j2", "longer than 4 MiB"]);
}
