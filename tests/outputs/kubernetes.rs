//! The dialect `k8s`, read by a port of what the kubelet does since 1.35 (`pkg/kubelet/util/env`):
//! there is no program that a test could run.

use segura_agent::render::env::Dialect;

use super::readers::SHELLS;
use super::values::{Values, assert_same, env_scene, is_refused, refusal, taken, values};
use crate::harness::side_by_side;

/// The kubelet's limits for a value and for a file (KEP-3721).
const LONGEST_VALUE: usize = 32 * 1024;
const LONGEST_FILE: usize = 64 * 1024;

/// A line as Go's `bufio.ScanLines` gives it: without the newline, nor one CR before it.
fn line<'a>(rest: &mut Option<&'a str>) -> Option<&'a str> {
    let text = rest.take().filter(|text| !text.is_empty())?;
    let (line, after) = text.split_once('\n').map_or((text, None), |(l, after)| (l, Some(after)));
    *rest = after;
    Some(line.strip_suffix('\r').unwrap_or(line))
}

/// What the kubelet makes of an env file.
fn kubelet(file: &str) -> Result<Values, String> {
    if file.len() > LONGEST_FILE {
        return Err("too large".to_owned());
    }
    let mut rest = Some(file);
    let mut read = Values::new();
    while let Some(text) = line(&mut rest) {
        let text = text.trim_start_matches([' ', '\t']);
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, value) = text.split_once('=').ok_or_else(|| format!("no `=`: {text}"))?;
        if name.is_empty() || name.ends_with([' ', '\t']) || name.len() > 128 {
            return Err(format!("not a name: {name:?}"));
        }
        let mut piece = value.strip_prefix('\'').ok_or_else(|| format!("not quoted: {name}"))?;
        let mut value = String::new();
        let behind = loop {
            if let Some((last, behind)) = piece.split_once('\'') {
                value.push_str(last);
                break behind;
            }
            value.push_str(piece);
            value.push('\n');
            piece = line(&mut rest).ok_or_else(|| format!("not closed: {name}"))?;
        };
        let behind = behind.trim_start_matches([' ', '\t']);
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(format!("something behind the value of {name}"));
        }
        if value.len() > LONGEST_VALUE {
            return Err(format!("too long: {name}"));
        }
        // The first one counts.
        read.entry(name.to_owned()).or_insert(value);
    }
    Ok(read)
}

/// What single quotes can't carry.
fn is_beyond(value: &str) -> bool {
    value.contains('\'')
}

/// As many values as one file holds, so that all are in some file.
fn files(values: Values) -> Vec<Values> {
    let (mut files, mut held) = (vec![Values::new()], 0);
    for (key, value) in values {
        let length = key.len() + value.len() + 4;
        if held + length > LONGEST_FILE {
            files.push(Values::new());
            held = 0;
        }
        held += length;
        if let Some(file) = files.last_mut() {
            file.insert(key, value);
        }
    }
    files
}

#[test]
fn every_accepted_value_is_read_back_by_the_kubelets_rules() {
    let mut values = values(8_000);
    // A CR at the end of a line has a test of its own.
    values.retain(|_, value| !value.is_empty() && !value.contains("\r\n"));
    let mut values = taken(Dialect::Kubernetes, values, is_beyond);
    assert!(values.len() > 2_000, "only {} are left", values.len());
    values.insert("LONG".to_owned(), "\"$x\\\n#=\\".repeat(LONGEST_VALUE / 8));
    side_by_side(files(values), |values| {
        let scene = env_scene(Dialect::Kubernetes, &values);
        let read = kubelet(&scene.read("secrets.env")).unwrap();
        assert_same("the kubelet", &read, &values);
        // It is a shell's subset, too.
        for reader in SHELLS {
            reader.reads("k8s env file", &scene.path("secrets.env"), &values);
        }
    });
}

#[test]
fn values_that_single_quotes_cannot_carry_are_refused_by_name() {
    is_refused(Dialect::Kubernetes, "it's", "single quote");
    is_refused(Dialect::Kubernetes, &"x".repeat(LONGEST_VALUE), "32 KiB");
}

#[test]
fn a_carriage_return_at_the_end_of_a_line_which_the_kubelet_drops_is_refused_by_name() {
    is_refused(Dialect::Kubernetes, "a\r\nb", "carriage return");
}

#[test]
fn a_carriage_return_that_ends_no_line_stays() {
    for value in ["a\rb", "a\r", "\r", "a\n\rb"] {
        assert_eq!(refusal(Dialect::Kubernetes, "K", value), None, "{value:?}");
        let values: Values = [("K".to_owned(), value.to_owned())].into();
        let scene = env_scene(Dialect::Kubernetes, &values);
        assert_same("the kubelet", &kubelet(&scene.read("secrets.env")).unwrap(), &values);
    }
}

#[test]
fn a_file_that_is_too_long_is_refused_by_the_key_that_makes_it_so() {
    let value = "x".repeat(30_000);
    let keys = ["A", "B", "C"].map(|key| (key.to_owned(), value.clone()));
    let mut scene = super::values::scene(&keys.into());
    scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_DIALECT", "k8s");
    let run = scene.init();
    run.exits(78);
    assert!(run.error().contains("\"C\" of outputs"), "{}", run.error());
    assert!(run.error().contains("64 KiB"), "{}", run.error());
}

#[test]
fn values_that_the_kubelet_takes_for_missing_are_left_out_with_a_warning() {
    let values = [("EMPTY", ""), ("FULL", "x"), ("NONE", "")];
    let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut scene = super::values::scene(&values.into());
    scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_DIALECT", "k8s");
    let run = scene.init();
    run.exits(0);
    assert_eq!(scene.read("secrets.env"), "FULL='x'\n");
    let reported =
        |name: &str| run.stderr.lines().any(|l| l.contains(name) && l.contains("missing"));
    assert!(reported("EMPTY") && reported("NONE") && !reported("FULL"), "{}", run.stderr);
}

#[test]
fn the_port_refuses_what_the_kubelet_refuses() {
    for file in ["A", "='a'", "A ='a'", "A=a", "A=\"a\"", "A='a", "A='a'b", "A='a''b'"] {
        assert!(kubelet(file).is_err(), "{file}");
    }
    let read = kubelet("\n # c\n  A='a#\n\nb' # c\nB='$x'\r\nA='z'\n").unwrap();
    let expected = [("A", "a#\n\nb"), ("B", "$x")];
    assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}
