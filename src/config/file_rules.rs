//! `SEGURA_FILE_RULES`: modes and owners of single files.

use serde_json::{Map, Value};

use super::parse;
use crate::config::settings::FileRule;

const SHAPE: &str =
    r#"must be a JSON array of rules such as [{"glob":"**/.pgpass","mode":"0600","uid":1001}]"#;

/// Reads the rules. A problem names its rule by number and never quotes it.
pub(super) fn rules(text: &str) -> Result<Vec<FileRule>, Vec<String>> {
    let read = serde_json::from_str::<Vec<Map<String, Value>>>(text);
    let read = read.map_err(|_| vec![SHAPE.to_owned()])?;
    let mut problems = Vec::new();
    let mut rules = Vec::new();
    for (number, fields) in (1..).zip(read) {
        match rule(&fields) {
            Ok(rule) => rules.push(rule),
            Err(problem) => problems.push(format!("rule {number}: {problem}")),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

fn rule(fields: &Map<String, Value>) -> Result<FileRule, String> {
    if fields.keys().any(|field| !["glob", "mode", "uid", "gid"].contains(&field.as_str())) {
        return Err("has a field other than glob, mode, uid and gid".to_owned());
    }
    let glob = fields.get("glob").and_then(Value::as_str);
    let glob = glob.filter(|glob| parse::is_glob(glob)).ok_or(
        "glob must be the path of files inside the output directory, such as db/* or **/.pgpass",
    )?;
    let mode = fields.get("mode").map(|mode| {
        let mode = mode.as_str().ok_or(r#"a string such as "0440""#);
        mode.and_then(parse::mode).map_err(|shape| format!("mode must be {shape}"))
    });
    let id = |field| {
        fields.get(field).map(|id| {
            let id = id.as_u64().map(|id| id.to_string()).unwrap_or_default();
            parse::id(&id).map_err(|shape| format!("{field} must be {shape}"))
        })
    };
    Ok(FileRule {
        glob: glob.to_owned(),
        mode: mode.transpose()?,
        uid: id("uid").transpose()?,
        gid: id("gid").transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_set_mode_and_owner_of_single_files() {
        let read = rules(
            r#"[{"glob":"**/.pgpass","mode":"0600"},{"glob":"db/*","uid":0,"gid":70},{"glob":"x"}]"#,
        );
        let rule = |glob: &str, mode, uid, gid| FileRule { glob: glob.to_owned(), mode, uid, gid };
        let expected = vec![
            rule("**/.pgpass", Some(0o600), None, None),
            rule("db/*", None, Some(0), Some(70)),
            rule("x", None, None, None),
        ];
        assert_eq!(read, Ok(expected));
        assert_eq!(rules("[]"), Ok(Vec::new()));
    }

    #[test]
    fn a_problem_names_its_rule_by_number_and_never_quotes_it() {
        for (text, expected) in [
            ("canary", "must be a JSON array"),
            (r#"{"glob":"canary"}"#, "must be a JSON array"),
            (r#"["canary"]"#, "must be a JSON array"),
            (r#"[{"glob":"x"},{"glob":"canary","mod":"0600"}]"#, "rule 2: has a field other than"),
            (r#"[{"mode":"0600"}]"#, "rule 1: glob must be"),
            (r#"[{"glob":"/canary"}]"#, "rule 1: glob must be"),
            (r#"[{"glob":""}]"#, "rule 1: glob must be"),
            (r#"[{"glob":"x","mode":384}]"#, "rule 1: mode must be a string"),
            (r#"[{"glob":"x","mode":"canary"}]"#, "rule 1: mode must be an octal mode"),
            (r#"[{"glob":"x","uid":"1001"}]"#, "rule 1: uid must be a number"),
            (r#"[{"glob":"x","gid":-1}]"#, "rule 1: gid must be a number"),
            (r#"[{"glob":"x","gid":4294967295}]"#, "rule 1: gid must be a number"),
        ] {
            let problems = rules(text).unwrap_err();
            assert!(problems[0].starts_with(expected), "{text}: {problems:?}");
            assert!(!problems[0].contains("canary"), "{problems:?}");
        }
        assert_eq!(rules(r#"[{"glob":""},{"glob":"x","mode":"9"}]"#).unwrap_err().len(), 2);
    }
}
