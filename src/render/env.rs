//! The env file in its reader's dialect: a value is written so that it is read byte for byte, or
//! refused by name.

use super::RenderError;
pub use super::dialect::Dialect;
use super::json::size;
use super::name::Variables;
use crate::model::Bundle;
use crate::secret::{Secret, SecretBuf};

/// Docker reads lines into a buffer of this size (`bufio.MaxScanTokenSize`), the newline included.
const DOCKER_LINE: usize = 64 * 1024 - 1;
/// The kubelet's limits for a name, a value and a file (KEP-3721).
const KUBELET: (usize, usize, usize) = (128, 32 * 1024, 64 * 1024);

/// A rendered env file.
#[derive(Debug)]
pub(super) struct Rendered {
    /// One assignment a variable, in the order of their names.
    pub(super) bytes: Secret<Vec<u8>>,
    /// The empty variables that are left out, since the reader treats them as missing.
    pub(super) left_out: Vec<String>,
}

/// Writes one assignment a variable, in the order of their names.
pub(super) fn render(
    bundle: &Bundle,
    variables: &Variables,
    dialect: Dialect,
) -> Result<Rendered, RenderError> {
    let mut bytes = SecretBuf::with_capacity(size(bundle));
    let mut left_out = Vec::new();
    let secrets = bundle.secrets.iter().map(|(name, set)| (name, set.flat()));
    for (name, (identity, key, value)) in variables.assign(secrets)? {
        let value = value.expose().as_str();
        let refused = |reason| RenderError::Env {
            identity: identity.clone(),
            key: key.to_owned(),
            dialect,
            reason,
        };
        if value.contains('\0') {
            return Err(RenderError::Nul { identity: identity.clone(), key: key.to_owned() });
        }
        let for_shells = matches!(dialect, Dialect::Shell | Dialect::Dotenv);
        if for_shells && is_shells_own(&name) {
            let (identity, key) = (identity.clone(), key.to_owned());
            return Err(RenderError::ShellsOwn { identity, key, variable: name });
        }
        // systemd takes such a file for invalid UTF-8 (`src/basic/utf8.c`, `unichar_is_valid`).
        if for_shells && value.contains(is_noncharacter) {
            return Err(refused(
                "it holds a noncharacter of Unicode, at which systemd refuses the whole file",
            ));
        }
        if dialect == Dialect::Kubernetes && value.is_empty() {
            left_out.push(name);
            continue;
        }
        bytes.push(name.as_bytes());
        bytes.push(b"=");
        match dialect {
            Dialect::Shell => shell(&mut bytes, value),
            Dialect::Dotenv => dotenv(&mut bytes, value).map_err(refused)?,
            Dialect::Docker => docker(&mut bytes, &name, value).map_err(refused)?,
            Dialect::Kubernetes => kubelet(&mut bytes, &name, value).map_err(refused)?,
        }
        bytes.push(b"\n");
        if dialect == Dialect::Kubernetes && bytes.len() > KUBELET.2 {
            return Err(refused("with this value the file is longer than 64 KiB"));
        }
    }
    Ok(Rendered { bytes: bytes.into_secret(), left_out })
}

/// Writes a value in single quotes, in which shells (POSIX, "Single-Quotes") and systemd keep every
/// byte. A single quote itself is written in double quotes between them, since systemd does not
/// read `'\''` as shells do.
fn shell(bytes: &mut SecretBuf, value: &str) {
    bytes.push(b"'");
    for (n, piece) in value.split('\'').enumerate() {
        if n > 0 {
            bytes.push(br#"'"'"'"#);
        }
        bytes.push(piece.as_bytes());
    }
    bytes.push(b"'");
}

/// Writes a value in single quotes, or one with a single quote in double quotes. Refuses the
/// characters that some reader interprets there; in double quotes these are more.
fn dotenv(bytes: &mut SecretBuf, value: &str) -> Result<(), &'static str> {
    if value.contains('\r') {
        return Err("it holds a carriage return, which some readers read as a newline");
    }
    if value.contains('\'') {
        if value.contains(['"', '\\', '$', '`']) {
            return Err(
                "it holds a single quote and one of \" \\ $ `, which no quoting preserves for every reader",
            );
        }
        quoted(bytes, "\"", value);
        return Ok(());
    }
    if value.contains("\\\\") || value.ends_with('\\') {
        return Err(
            "it holds two backslashes in a row or ends with one, which some readers read as one or none",
        );
    }
    if value.contains("${") {
        return Err("it holds ${, which some readers expand as a variable");
    }
    quoted(bytes, "'", value);
    Ok(())
}

/// Writes a value without quotes, which Docker would make part of it.
fn docker(bytes: &mut SecretBuf, name: &str, value: &str) -> Result<(), &'static str> {
    if value.contains(['\n', '\r']) {
        return Err("it holds a line break, at which the value would end");
    }
    if name.len() + 1 + value.len() > DOCKER_LINE {
        return Err("its line is longer than 64 KiB");
    }
    bytes.push(value.as_bytes());
    Ok(())
}

/// Writes a value in single quotes, in which the kubelet has no escape for a single quote.
fn kubelet(bytes: &mut SecretBuf, name: &str, value: &str) -> Result<(), &'static str> {
    if value.contains('\'') {
        return Err("it holds a single quote, which single quotes can't hold");
    }
    if value.contains("\r\n") {
        return Err("it holds a carriage return before a newline, which the kubelet drops");
    }
    if name.len() > KUBELET.0 {
        return Err("its variable's name is longer than 128 bytes");
    }
    if value.len() > KUBELET.1 {
        return Err("it is longer than 32 KiB");
    }
    quoted(bytes, "'", value);
    Ok(())
}

/// Variables that a shell sets by itself, protects, or gives a meaning of its own (`bash(1)`,
/// "Shell Variables"; `dash(1)`).
const SHELLS_OWN: [&str; 18] = [
    "_",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "OPTIND",
    "PIPESTATUS",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SRANDOM",
    "UID",
    "IFS",
];

fn is_shells_own(name: &str) -> bool {
    SHELLS_OWN.contains(&name) || name.starts_with("BASH")
}

/// True for noncharacters, which Unicode reserves for ever (the Unicode Standard, 23.7).
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

fn quoted(bytes: &mut SecretBuf, quote: &str, value: &str) {
    for piece in [quote, value, quote] {
        bytes.push(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::Case;
    use super::super::tests::bundle;
    use super::*;

    fn render_one(key: &str, value: &str, dialect: Dialect) -> Result<Rendered, RenderError> {
        let bundle = bundle(&[("s", &[&[(key, value)]])]);
        render(&bundle, &Variables::new("{key}", Case::Keep).unwrap(), dialect)
    }

    fn rendered(value: &str, dialect: Dialect) -> Option<String> {
        let rendered = render_one("K", value, dialect).ok()?;
        Some(String::from_utf8(rendered.bytes.expose().clone()).unwrap())
    }

    #[test]
    fn each_dialect_writes_what_its_readers_read() {
        use Dialect::{Docker, Dotenv, Kubernetes, Shell};
        for (value, dialect, expected) in [
            ("a'b", Shell, Some("K='a'\"'\"'b'\n")),
            ("", Shell, Some("K=''\n")),
            ("a\r\n$\\", Shell, Some("K='a\r\n$\\'\n")),
            ("plain #1 $x `y`", Dotenv, Some("K='plain #1 $x `y`'\n")),
            ("it's", Dotenv, Some("K=\"it's\"\n")),
            ("it's $5", Dotenv, None),
            ("a\\b", Dotenv, Some("K='a\\b'\n")),
            ("a\\\\b", Dotenv, None),
            ("a\\", Dotenv, None),
            ("a\r", Dotenv, None),
            ("${a}", Dotenv, None),
            ("", Dotenv, Some("K=''\n")),
            ("'\"$`\\", Docker, Some("K='\"$`\\\n")),
            ("a\nb", Docker, None),
            ("a\rb", Docker, None),
            ("", Docker, Some("K=\n")),
            ("a\nb\"\\$", Kubernetes, Some("K='a\nb\"\\$'\n")),
            ("it's", Kubernetes, None),
            ("", Kubernetes, Some("")),
        ] {
            assert_eq!(rendered(value, dialect).as_deref(), expected, "{dialect} {value:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_key_and_the_reason_and_never_the_value() {
        for (value, dialect, reason) in [
            ("canary\r", Dialect::Dotenv, "carriage return"),
            ("canary\n", Dialect::Docker, "line break"),
            ("canary'", Dialect::Kubernetes, "single quote"),
        ] {
            let error = render_one("the-key", value, dialect).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("\"the-key\" of s") && message.contains(reason), "{message}");
            assert!(message.contains(dialect.as_str()) && !message.contains("canary"), "{message}");
            assert!(error.hint().contains("base64") && error.hint().contains("files"));
        }
        for dialect in [Dialect::Shell, Dialect::Dotenv, Dialect::Docker, Dialect::Kubernetes] {
            let error = render_one("K", "a\0b", dialect).unwrap_err();
            assert!(matches!(error, RenderError::Nul { .. }), "{error}");
        }
    }

    #[test]
    fn limits_are_those_of_the_reader() {
        let fits = |key: &str, length: usize, dialect| {
            render_one(key, &"x".repeat(length), dialect).is_ok()
        };
        assert!(fits("K", DOCKER_LINE - 2, Dialect::Docker));
        assert!(!fits("K", DOCKER_LINE - 1, Dialect::Docker));
        assert!(fits("K", KUBELET.1, Dialect::Kubernetes));
        assert!(!fits("K", KUBELET.1 + 1, Dialect::Kubernetes));
        assert!(fits(&"k".repeat(KUBELET.0), 1, Dialect::Kubernetes));
        assert!(!fits(&"k".repeat(KUBELET.0 + 1), 1, Dialect::Kubernetes));
        assert!(fits("K", 1_000_000, Dialect::Dotenv));
        let value = "x".repeat(30_000);
        let entry = [("A", value.as_str()), ("B", &value), ("C", &value)];
        let bundle = bundle(&[("s", &[&entry])]);
        let variables = Variables::new("{key}", Case::Keep).unwrap();
        let error = render(&bundle, &variables, Dialect::Kubernetes).unwrap_err();
        assert!(error.to_string().contains("\"C\" of s"), "{error}");
    }

    #[test]
    fn an_empty_variable_is_left_out_for_the_kubelet_and_named() {
        let bundle = bundle(&[("s", &[&[("A", ""), ("B", "x"), ("C", "")]])]);
        let variables = Variables::new("{key}", Case::Keep).unwrap();
        let rendered = render(&bundle, &variables, Dialect::Kubernetes).unwrap();
        assert_eq!(rendered.left_out, ["A", "C"]);
        assert_eq!(rendered.bytes.expose(), b"B='x'\n");
    }
}
