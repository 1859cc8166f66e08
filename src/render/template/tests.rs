//! The values that templates see, their limits, and the reports of their flaws.

use super::super::tests::{Written, bundle, pod};
use super::*;

const SECRETS: &[Written<'_>] = &[
    ("cart/db", &[&[("user", "u"), ("password", "p:\\'\"<&>\n")]]),
    ("two", &[&[("user", "first"), ("n", "1")], &[("user", "second")]]),
];

fn templates(text: &str) -> Result<Templates, Vec<Flaw>> {
    Templates::new([("out.j2".to_owned(), text.to_owned())])
}

fn shown(text: &str) -> Result<String, String> {
    let templates = templates(text).map_err(|flaws| flaws[0].to_string())?;
    let bundle = bundle(SECRETS);
    let rendered = templates.render(&bundle, &pod()).map_err(|error| error.to_string())?;
    assert_eq!((rendered[0].file, rendered[0].output), ("out.j2", "out"));
    Ok(String::from_utf8(rendered[0].content.expose().clone()).unwrap())
}

#[test]
fn a_template_sees_secrets_entries_meta_and_pod() {
    for (text, expected) in [
        ("{{ secrets.two.user }}", "second"),
        ("{{ secrets[\"cart/db\"].user }}\n", "u\n"),
        ("{{ secrets.two.n }}{{ entries.two[0].user }}{{ entries.two[1].user }}", "1firstsecond"),
        ("{{ meta.two.version }} {{ meta.two.engine }} {{ meta.two.id }}", "1 Generic 1"),
        ("{{ pod.name }} {{ pod.namespace }} {{ pod.deploy }}", "web-0 shop web"),
        ("{% for name in secrets %}{{ name }};{% endfor %}", "cart/db;two;"),
        ("{% for e in entries.two %}{{ e.user }} {% endfor %}", "first second "),
        ("{% if pod.uid is defined %}{{ pod.uid }}{% else %}none{% endif %}", "none"),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(secrets.two.n) }}", "[1]"),
        (
            "{% for e in entries.two %}{{ loop.index }}{% set x = e.user %}{{ x }}{% endfor %}",
            "1first2second",
        ),
        ("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}", "[x]"),
        ("{% for k, v in secrets.two|items %}{{ k }}={{ v }};{% endfor %}", "n=1;user=second;"),
        (
            "{{ secrets.two.nothing|default(\"d\") }}{{ dict(a=1)|tojson }}{{ range(2)|join }}",
            "d{\"a\":1}01",
        ),
        ("{{ [1, true, \"x\"]|join(\"-\") }} {{ {\"a\": [1]}|string }}", "1-True-x {\"a\":[1]}"),
        ("no newline", "no newline"),
        ("", ""),
    ] {
        assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn values_are_quoted_as_the_reader_needs_them_and_never_for_html() {
    let password =
        |filter: &str| shown(&format!("{{{{ secrets[\"cart/db\"].password{filter} }}}}"));
    assert_eq!(password("").unwrap(), "p:\\'\"<&>\n");
    assert_eq!(password("|tojson").unwrap(), r#""p:\\'\"<&>\n""#);
    assert_eq!(password("|toyaml").unwrap(), r#""p:\\'\"<&>\n""#);
    assert_eq!(password("|shell").unwrap(), "'p:\\'\"'\"'\"<&>\n'");
    assert_eq!(password("|properties").unwrap(), "p\\:\\\\'\"<&>\\n");
    assert_eq!(password("|trim|pgpass").unwrap(), "p\\:\\\\'\"<&>");
    assert_eq!(password("|urlencode").unwrap(), "p%3A%5C%27%22%3C%26%3E%0A");
    assert_eq!(password("|b64encode").unwrap(), "cDpcJyI8Jj4K");
    assert_eq!(password("|b64encode|b64decode").unwrap(), password("").unwrap());
    assert_eq!(shown("{{ secrets.two|tojson }}").unwrap(), r#"{"n":"1","user":"second"}"#);
    assert_eq!(
        shown("{{ entries.two|toyaml }}").unwrap(),
        r#"[{"n":"1","user":"first"},{"user":"second"}]"#
    );
    assert_eq!(shown("{{ \"a/b c~é\"|urlencode }}").unwrap(), "a%2Fb%20c~%C3%A9");
}

#[test]
fn flaws_are_reported_by_file_and_line_and_never_by_value() {
    for (text, part) in [
        ("\n{{ secrets.nobody.user }}", "out.j2, line 2: it uses a name that is not defined"),
        ("{{ secrets.two.nothing }}", "line 1: it uses a name"),
        ("{{ nothing }}", "out.j2, line 1: it uses nothing, which is neither one of secrets"),
        ("{{ secrets.two.nothing|tojson }}", "line 1: it uses a name"),
        ("{{ [secrets.two.nothing] }}", "line 1: it uses a name"),
        ("{{ {\"a\": [secrets.two.nothing]}|toyaml }}", "line 1: it uses a name"),
        ("{{ [secrets.two.nothing]|join }}", "line 1: it uses a name"),
        ("{{ entries.two|map(attribute=\"no\")|join(\",\") }}", "line 1: it uses a name"),
        ("{{ secrets.two.nothing|string }}", "line 1: it uses a name"),
        ("{{ secrets.two|shell }}", "pass one value of it"),
        ("{{ none|pgpass }}", "pass one value of it"),
        ("{{ secrets.two.n|e }}", "filter e is unknown"),
        ("{{ debug() }}", "it uses debug"),
        ("{% set n = namespace() %}", "it uses namespace"),
        ("{{ pod.uid }}", "line 1: it uses a name"),
        ("{% if %}", "out.j2, line 1: syntax error"),
        ("{{ secrets.two.user|frobnicate }}", "frobnicate"),
        ("{{ env(\"PATH\") }}", "env"),
        ("{% include \"/etc/passwd\" %}", "line 1"),
        ("{% import \"x\" as x %}", "line 1"),
        ("{{ secrets[\"cart/db\"].password|b64decode }}", "not base64"),
        ("{{ \"/w==\"|b64decode }}", "not UTF-8 text"),
        ("{{ secrets[\"cart/db\"].password|pgpass }}", "line break"),
        ("{{ secrets[\"cart/db\"].password + 1 }}", "line 1"),
        ("{{ secrets[\"cart/db\"].password|int }}", "line 1"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
            "line 1",
        ),
        ("{% for a in range(99999) %}{{ \"x\" * 1000 }}{% endfor %}", "longer than 4 MiB"),
        ("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "line 1"),
    ] {
        let message = shown(text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
        assert!(!message.contains("<&>"), "{text}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn a_deep_expression_is_refused_before_it_is_parsed() {
    for (piece, end) in [("-", "1"), ("not ", "1"), ("1~", "1"), ("pod.a.", "a"), ("(", ")")] {
        let long = format!("a\n{{# {} #}}{{{{ {}{end} }}}}", " ".repeat(9000), piece.repeat(5000));
        let flaws = templates(&long).unwrap_err();
        assert!(
            flaws[0].to_string().contains("line 2: an expression or statement is longer"),
            "{piece}"
        );
        let most = format!("{{{{ {}{end} }}}}", piece.repeat(4000 / piece.len()));
        // Any result will do: the parser must not overflow the stack of a main thread.
        let main = std::thread::Builder::new().stack_size(8 * 1024 * 1024);
        main.spawn(move || shown(&most).ok()).unwrap().join().unwrap();
    }
}

#[test]
fn every_flaw_is_reported_and_outputs_are_known_by_name() {
    let source = |file: &str, text: &str| (file.to_owned(), text.to_owned());
    let flaws = Templates::new([source("a.j2", "{%"), source("b.j2", "x"), source("c.j2", "{{")]);
    assert_eq!(flaws.unwrap_err().len(), 2);
    let templates = Templates::new([source("b.j2", "x"), source("a.conf.j2", "y")]).unwrap();
    assert_eq!(templates.outputs().collect::<Vec<_>>(), ["a.conf", "b"]);
    assert_eq!(format!("{templates:?}"), "Templates([\"a.conf.j2\", \"b.j2\"])");
    assert!(Templates::default().render(&bundle(SECRETS), &pod()).unwrap().is_empty());
}
